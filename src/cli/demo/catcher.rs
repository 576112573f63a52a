//! The demo's mail server and chat: they accept everything on loopback and lay it down as files, one a message, to be looked at.
//!
//! The demo's mails go through the real channels over real sockets; only what stands at the other end is here. No TLS, no log-in, no
//! delivery: never a server for anything but the demo.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::{Router, body::Bytes, extract::State, http::StatusCode, routing::post};
use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// The longest line, and the largest message, that is taken.
const LINE_BYTES: u64 = 64 * 1024;
const MESSAGE_BYTES: usize = 16 * 1024 * 1024;

/// Both catchers. They stop when this is dropped.
#[derive(Debug)]
pub struct Catchers {
    /// For `server = "smtp://…"` with `tls = "none"`.
    pub smtp_addr: SocketAddr,
    /// For the chat channel's `url`.
    pub chat_url: String,
    caught: Arc<Caught>,
    _tasks: JoinSet<()>,
}

impl Catchers {
    /// How many mails lie in `mail/`.
    #[must_use]
    pub fn mails(&self) -> u64 {
        self.caught.mails.load(Ordering::SeqCst)
    }

    /// How many posts lie in `chat/`.
    #[must_use]
    pub fn chats(&self) -> u64 {
        self.caught.chats.load(Ordering::SeqCst)
    }
}

#[derive(Debug)]
struct Caught {
    folder: PathBuf,
    mails: AtomicU64,
    chats: AtomicU64,
}

impl Caught {
    /// Writes the next file of its kind: 00001.eml, 00002.eml, …
    async fn keep(&self, kind: &str, count: &AtomicU64, ending: &str, bytes: &[u8]) -> io::Result<u64> {
        let number = count.fetch_add(1, Ordering::SeqCst) + 1;
        tokio::fs::write(self.folder.join(kind).join(format!("{number:05}.{ending}")), bytes).await?;
        Ok(number)
    }
}

/// Starts both on free ports of 127.0.0.1. Mails go to `dir/mail/*.eml`, posts to `dir/chat/*.json`.
///
/// # Errors
/// When the folders can't be made or no port is free.
pub async fn start(dir: &Path) -> io::Result<Catchers> {
    tokio::fs::create_dir_all(dir.join("mail")).await?;
    tokio::fs::create_dir_all(dir.join("chat")).await?;
    let caught = Arc::new(Caught { folder: dir.to_owned(), mails: AtomicU64::new(0), chats: AtomicU64::new(0) });
    let smtp = TcpListener::bind("127.0.0.1:0").await?;
    let chat = TcpListener::bind("127.0.0.1:0").await?;
    let (smtp_addr, chat_url) = (smtp.local_addr()?, format!("http://{}/chat", chat.local_addr()?));
    let mut tasks = JoinSet::new();
    tasks.spawn(accept_mail(smtp, caught.clone()));
    let router = Router::new().route("/chat", post(accept_chat)).with_state(caught.clone());
    tasks.spawn(async move {
        if let Err(error) = axum::serve(chat, router).await {
            tracing::error!(%error, "the demo's chat stopped");
        }
    });
    Ok(Catchers { smtp_addr, chat_url, caught, _tasks: tasks })
}

async fn accept_chat(State(caught): State<Arc<Caught>>, body: Bytes) -> (StatusCode, &'static str) {
    let Ok(json) = serde_json::from_slice::<serde_json::Value>(&body) else {
        return (StatusCode::BAD_REQUEST, "invalid_payload");
    };
    match caught.keep("chat", &caught.chats, "json", format!("{json:#}\n").as_bytes()).await {
        Ok(_) => (StatusCode::OK, "ok"),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "not_written"),
    }
}

async fn accept_mail(listener: TcpListener, caught: Arc<Caught>) {
    let mut dialogues = JoinSet::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let caught = caught.clone();
                dialogues.spawn(async move {
                    if let Err(error) = dialogue(stream, &caught).await {
                        tracing::debug!(%error, "a mail connection of the demo broke");
                    }
                });
            }
            Err(error) => tracing::warn!(%error, "the demo's mail server could not accept"),
        }
        while dialogues.try_join_next().is_some() {}
    }
}

/// One connection, from greeting to QUIT.
async fn dialogue(stream: TcpStream, caught: &Caught) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    stream.write_all(b"220 demo redflag catches everything\r\n").await?;
    let (mut sender, mut recipients) = (false, 0);
    loop {
        let Some(line) = line(&mut stream).await? else { return Ok(()) };
        let verb = String::from_utf8_lossy(&line[..line.len().min(4)]).to_ascii_uppercase();
        let reply = match verb.as_str() {
            "EHLO" => "250-demo\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n".to_owned(),
            "HELO" => "250 demo\r\n".to_owned(),
            "NOOP" => "250 2.0.0 ok\r\n".to_owned(),
            "RSET" => {
                (sender, recipients) = (false, 0);
                "250 2.0.0 ok\r\n".to_owned()
            }
            "MAIL" => {
                (sender, recipients) = (true, 0);
                "250 2.1.0 ok\r\n".to_owned()
            }
            "RCPT" if sender => {
                recipients += 1;
                "250 2.1.5 ok\r\n".to_owned()
            }
            "DATA" if recipients > 0 => {
                stream.write_all(b"354 go on, end with a dot\r\n").await?;
                let Some(mail) = message(&mut stream).await? else { return Ok(()) };
                (sender, recipients) = (false, 0);
                match caught.keep("mail", &caught.mails, "eml", &mail).await {
                    Ok(number) => format!("250 2.0.0 caught as {number:05}.eml\r\n"),
                    Err(_) => "451 4.3.0 not written\r\n".to_owned(),
                }
            }
            "RCPT" | "DATA" => "503 5.5.1 MAIL and RCPT come first\r\n".to_owned(),
            "QUIT" => {
                stream.write_all(b"221 2.0.0 bye\r\n").await?;
                return stream.shutdown().await;
            }
            _ => "502 5.5.1 not in this demo\r\n".to_owned(),
        };
        stream.write_all(reply.as_bytes()).await?;
    }
}

/// The message up to its dot, with the dots that were doubled made one. None when the peer left before its end.
async fn message(stream: &mut BufReader<TcpStream>) -> io::Result<Option<Vec<u8>>> {
    let mut mail = Vec::new();
    while let Some(line) = line(stream).await? {
        if line == b".\r\n" {
            return Ok(Some(mail));
        }
        mail.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
        if mail.len() > MESSAGE_BYTES {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the message is too large"));
        }
    }
    Ok(None)
}

/// A line with its end; None at the end of the connection.
async fn line(stream: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    (&mut *stream).take(LINE_BYTES).read_until(b'\n', &mut line).await?;
    if line.is_empty() {
        return Ok(None);
    }
    if line.ends_with(b"\n") { Ok(Some(line)) } else { Err(io::Error::new(io::ErrorKind::InvalidData, "a line without an end")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        channels,
        config::{
            ChannelConfig, EmailConfig, Secret, SlackConfig,
            channels::{MailTls, RetryConfig},
        },
        model::{
            delivery::{Outcome, Parcel},
            ids::Ids,
            names::ChannelName,
            rendered::{Clearance, Mail, Rendered},
            time::SystemClock,
        },
    };

    #[tokio::test]
    async fn what_the_real_channels_send_lies_there_as_files() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let catchers = start(folder.path()).await.unwrap();
        let url = folder.path().join("url");
        std::fs::write(&url, &catchers.chat_url).unwrap();
        let mail = ChannelConfig::Email(EmailConfig {
            server: format!("smtp://{}", catchers.smtp_addr),
            tls: MailTls::None,
            ca_file: None,
            username: None,
            password: None,
            from: "redflag@example.com".to_owned(),
            to: vec!["kyc@example.com".to_owned()],
            clearance: Clearance::Personal,
            connections: 2,
            retry: RetryConfig::default(),
        });
        let chat = ChannelConfig::Slack(SlackConfig {
            url: Secret::File(url),
            clearance: Clearance::Masked,
            retry: RetryConfig::default(),
        });
        let text = "first\n.\n..dots\nlast".to_owned();
        let mail_body = Rendered::Mail(Mail { subject: "Größe weicht ab".to_owned(), text, html: None });
        let chat_body = Rendered::Json(serde_json::json!({"text": "Größe"}));
        for (config, rendered) in [(mail, mail_body), (chat, chat_body)] {
            let channel = channels::build(&ChannelName::new("demo"), &config, Arc::new(SystemClock)).unwrap();
            for seed in 0..2 {
                let mut ids = Ids::seeded(seed);
                let at = chrono::DateTime::from_timestamp(1_790_000_000, 0).unwrap();
                let (message, delivery) = (ids.message(at), ids.delivery(at));
                let parcel = Parcel {
                    delivery,
                    message,
                    recipient: channel.recipients()[0].clone(),
                    identity: channel.identity(delivery),
                    attempt: 1,
                    rendered: rendered.clone(),
                };
                let outcome = channel.send(&parcel).await;
                assert!(matches!(outcome, Outcome::Delivered { .. }), "{outcome:?}");
            }
        }
        assert_eq!((catchers.mails(), catchers.chats()), (2, 2));
        let bytes = std::fs::read(folder.path().join("mail/00002.eml")).unwrap();
        let parsed = mail_parser::MessageParser::default().parse(&bytes).unwrap();
        assert_eq!(parsed.subject(), Some("Größe weicht ab"));
        assert_eq!(parsed.body_text(0).unwrap().trim_end(), "first\r\n.\r\n..dots\r\nlast");
        assert_eq!(std::fs::read_to_string(folder.path().join("chat/00001.json")).unwrap(), "{\n  \"text\": \"Größe\"\n}\n");
    }
}
