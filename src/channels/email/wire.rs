//! The bytes of a mail connection, watched. lettre reads a reply up to its line end however far that is, and keeps what follows a reply
//! for the next one. So two things are refused here, below it: a reply that is endless, and a server that speaks out of turn (bytes after a
//! reply and before our next command), by which a later reply could be taken for an earlier one's, or plain text for what TLS protects.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
};

use lettre::transport::smtp::client::AsyncTokioStream;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;

/// The most that a reply may hold.
const REPLY_BYTES: usize = 64 * 1024;

#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A watched connection.
#[derive(Debug)]
pub struct Wire {
    stream: Stream,
    /// Given to the reader before anything else: the banner, read before TLS and wanted by lettre after it.
    replay: Vec<u8>,
    turn: Turn,
}

/// How far the server's reply has come.
#[derive(Debug, Default)]
struct Turn {
    bytes: usize,
    /// The line's first four bytes tell whether it is the last.
    head: [u8; 4],
    column: usize,
    complete: bool,
}

impl Turn {
    fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        for &byte in bytes {
            if self.complete {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "the server spoke out of turn"));
            }
            self.bytes += 1;
            if self.bytes > REPLY_BYTES {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "the server's reply is too long"));
            }
            if byte == b'\n' {
                self.complete = self.head[3] != b'-';
                (self.head, self.column) = ([0; 4], 0);
            } else {
                if let Some(place) = self.head.get_mut(self.column) {
                    *place = byte;
                }
                self.column += 1;
            }
        }
        Ok(())
    }
}

impl Wire {
    pub fn plain(stream: TcpStream) -> Self {
        Self { stream: Stream::Plain(stream), replay: Vec::new(), turn: Turn::default() }
    }

    pub fn tls(stream: TlsStream<TcpStream>) -> Self {
        Self { stream: Stream::Tls(Box::new(stream)), replay: Vec::new(), turn: Turn::default() }
    }

    /// The bare connection, for TLS to be put on it. None when it is there already.
    pub fn into_plain(self) -> Option<TcpStream> {
        match self.stream {
            Stream::Plain(stream) => Some(stream),
            Stream::Tls(_) => None,
        }
    }

    /// Lets the next reader see these bytes first.
    #[must_use]
    pub fn replaying(mut self, bytes: Vec<u8>) -> Self {
        self.replay = bytes;
        self.turn = Turn::default();
        self
    }

    /// One whole reply.
    pub async fn reply(&mut self) -> io::Result<Vec<u8>> {
        let mut reply = Vec::new();
        while !self.turn.complete {
            if self.read_buf(&mut reply).await? == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server hung up"));
            }
        }
        Ok(reply)
    }

    /// A command and its reply.
    pub async fn ask(&mut self, command: &str) -> io::Result<Vec<u8>> {
        self.write_all(command.as_bytes()).await?;
        self.flush().await?;
        self.reply().await
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        if self.replay.is_empty() {
            let read = match &mut self.stream {
                Stream::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
                Stream::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
            };
            if !matches!(read, Poll::Ready(Ok(()))) {
                return read;
            }
        } else {
            let count = self.replay.len().min(buffer.remaining());
            buffer.put_slice(&self.replay[..count]);
            self.replay.drain(..count);
        }
        Poll::Ready(self.turn.take(&buffer.filled()[before..]))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.turn = Turn::default();
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(context),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

impl AsyncTokioStream for Wire {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        match &self.stream {
            Stream::Plain(stream) => stream.peer_addr(),
            Stream::Tls(stream) => stream.get_ref().0.peer_addr(),
        }
    }
}
