//! A mail server that does what a script says: at any step of any connection it can refuse, stall, lie, or go away. A real one can't be
//! made to. With TLS by STARTTLS, log-in, and a mailbox that also knows which mails it never acknowledged.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

pub const USERNAME: &str = "redflag";
pub const PASSWORD: &str = "s3cret-pass";

/// Where a dialogue stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    Banner,
    Ehlo,
    StartTls,
    Auth,
    Mail,
    Rcpt,
    Data,
    Dot,
}

/// What the script is asked.
#[derive(Clone, Copy, Debug)]
pub struct Visit<'a> {
    pub step: Step,
    /// Which connection it is, from 1.
    pub connection: usize,
    /// How often this step came, over all connections, from 1.
    pub nth: usize,
    /// The line that the client said; of the dot, its envelope's recipient.
    pub said: &'a str,
}

/// What the server does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// As it should.
    Usual,
    /// This instead (without its line end).
    Say(&'static str),
    /// As it should, and then this, which nobody asked for.
    Also(&'static str),
    /// Takes its time for every byte.
    Trickle(Duration),
    /// A line of so many bytes, then its end.
    Long(usize),
    Close,
    /// Goes away so that the client sees a reset.
    Reset,
    Hang,
}

pub type Script = Arc<dyn Fn(&Visit<'_>) -> Act + Send + Sync>;

/// A mail that came whole.
#[derive(Clone, Debug)]
pub struct Letter {
    pub to: Vec<String>,
    pub bytes: Vec<u8>,
    /// Whether the client was told so.
    pub acknowledged: bool,
}

impl Letter {
    /// A header's value, unfolded.
    pub fn header(&self, name: &str) -> Option<String> {
        let text = String::from_utf8_lossy(&self.bytes).replace("\r\n ", " ").replace("\r\n\t", " ");
        let head = text.split("\r\n\r\n").next()?.to_owned();
        head.split("\r\n").find_map(|line| {
            let (field, value) = line.split_once(':')?;
            field.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    }
}

#[derive(Default)]
struct State {
    connections: usize,
    steps: Vec<Step>,
    letters: Vec<Letter>,
    cleartext: Vec<String>,
}

struct Shared {
    state: Mutex<State>,
    script: Mutex<Script>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The running server; it ends with this value.
pub struct Smtp {
    port: u16,
    authority: PathBuf,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Smtp {
    /// On a free port; its certificate (for `localhost`) goes to `folder`.
    pub async fn start(folder: &Path, script: Script) -> anyhow::Result<Self> {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let authority = folder.join(format!("smtp-{port}.pem"));
        std::fs::write(&authority, made.cert.pem())?;
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let tls =
            rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key.into());
        let acceptor = TlsAcceptor::from(Arc::new(tls.context("the mail server's certificate")?));
        let shared = Arc::new(Shared { state: Mutex::default(), script: Mutex::new(script) });
        let task = tokio::spawn({
            let shared = Arc::clone(&shared);
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let (shared, acceptor) = (Arc::clone(&shared), acceptor.clone());
                    tokio::spawn(async move { Connection::new(shared).serve(stream, acceptor).await });
                }
            }
        });
        Ok(Self { port, authority, shared, task })
    }

    /// One that does everything as it should.
    pub async fn faithful(folder: &Path) -> anyhow::Result<Self> {
        Self::start(folder, Arc::new(|_| Act::Usual)).await
    }

    /// From now on another script.
    pub fn follow(&self, script: Script) {
        *self.shared.script.lock().unwrap_or_else(PoisonError::into_inner) = script;
    }

    pub fn url(&self) -> String {
        format!("smtp://localhost:{}", self.port)
    }

    pub fn authority(&self) -> &Path {
        &self.authority
    }

    pub fn letters(&self) -> Vec<Letter> {
        self.shared.state().letters.clone()
    }

    pub fn connections(&self) -> usize {
        self.shared.state().connections
    }

    /// Every line that came before TLS.
    pub fn cleartext(&self) -> Vec<String> {
        self.shared.state().cleartext.clone()
    }
}

impl Drop for Smtp {
    fn drop(&mut self) {
        self.task.abort();
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

struct Connection {
    shared: Arc<Shared>,
    number: usize,
    to: Vec<String>,
}

impl Connection {
    fn new(shared: Arc<Shared>) -> Self {
        let number = {
            let mut state = shared.state();
            state.connections += 1;
            state.connections
        };
        Self { shared, number, to: Vec::new() }
    }

    /// An error ends it, as do most acts.
    async fn serve(mut self, tcp: TcpStream, acceptor: TlsAcceptor) -> io::Result<()> {
        let mut plain = BufReader::new(tcp);
        if !self.talk(&mut plain, false).await? {
            return Ok(());
        }
        let tls = acceptor.accept(plain.into_inner()).await?;
        self.talk(&mut BufReader::new(tls), true).await.map(drop)
    }

    /// Until the end (false), or until TLS is wanted (true).
    async fn talk<S: Stream + Resettable>(&mut self, stream: &mut BufReader<S>, encrypted: bool) -> io::Result<bool> {
        if !encrypted {
            self.step(stream, Step::Banner, "", "220 scripted").await?;
        }
        let mut line = String::new();
        loop {
            line.clear();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(false);
            }
            let said = line.trim_end().to_owned();
            if !encrypted {
                self.shared.state().cleartext.push(said.clone());
            }
            match said.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase().as_str() {
                "EHLO" => {
                    let offer = if encrypted {
                        "250-scripted\r\n250-8BITMIME\r\n250 AUTH PLAIN LOGIN"
                    } else {
                        "250-scripted\r\n250 STARTTLS"
                    };
                    self.step(stream, Step::Ehlo, &said, offer).await?;
                }
                "STARTTLS" => {
                    self.step(stream, Step::StartTls, &said, "220 go").await?;
                    return Ok(true);
                }
                "AUTH" => {
                    self.step(stream, Step::Auth, &said, "235 in").await?;
                }
                "MAIL" => {
                    self.to.clear();
                    self.step(stream, Step::Mail, &said, "250 ok").await?;
                }
                "RCPT" => {
                    let address =
                        said.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map_or("", |(address, _)| address);
                    self.to.push(address.to_owned());
                    self.step(stream, Step::Rcpt, &said, "250 ok").await?;
                }
                "DATA" => {
                    self.step(stream, Step::Data, &said, "354 go").await?;
                    self.take(stream).await?;
                }
                "RSET" | "NOOP" => stream.write_all(b"250 ok\r\n").await?,
                "QUIT" => {
                    stream.write_all(b"221 bye\r\n").await?;
                    return Ok(false);
                }
                _ => stream.write_all(b"500 what?\r\n").await?,
            }
        }
    }

    /// The mail itself, and the answer to its final dot.
    async fn take<S: Stream + Resettable>(&mut self, stream: &mut BufReader<S>) -> io::Result<()> {
        let mut bytes = Vec::new();
        while !(bytes.ends_with(b"\r\n.\r\n") || bytes == b".\r\n") {
            if stream.read_until(b'\n', &mut bytes).await? == 0 {
                return Ok(());
            }
        }
        let place = {
            let mut state = self.shared.state();
            state.letters.push(Letter { to: self.to.clone(), bytes, acknowledged: false });
            state.letters.len() - 1
        };
        let to = self.to.join(",");
        let act = self.step(stream, Step::Dot, &to, "250 queued").await?;
        self.shared.state().letters[place].acknowledged =
            matches!(act, Act::Usual | Act::Also(_)) || matches!(act, Act::Say(text) if text.starts_with("250"));
        Ok(())
    }

    async fn step<S: Stream + Resettable>(
        &self,
        stream: &mut BufReader<S>,
        step: Step,
        said: &str,
        usual: &str,
    ) -> io::Result<Act> {
        let nth = {
            let mut state = self.shared.state();
            state.steps.push(step);
            state.steps.iter().filter(|one| **one == step).count()
        };
        let script = Arc::clone(&self.shared.script.lock().unwrap_or_else(PoisonError::into_inner));
        let act = script(&Visit { step, connection: self.number, nth, said });
        match &act {
            Act::Usual => stream.write_all(format!("{usual}\r\n").as_bytes()).await?,
            Act::Say(text) => stream.write_all(format!("{text}\r\n").as_bytes()).await?,
            Act::Also(text) => stream.write_all(format!("{usual}\r\n{text}\r\n").as_bytes()).await?,
            Act::Trickle(pause) => {
                for byte in format!("{usual}\r\n").bytes() {
                    stream.write_all(&[byte]).await?;
                    stream.flush().await?;
                    tokio::time::sleep(*pause).await;
                }
            }
            Act::Long(bytes) => {
                let mut text = usual[..4].to_owned();
                text.extend(std::iter::repeat_n('x', *bytes));
                stream.write_all(format!("{text}\r\n").as_bytes()).await?;
            }
            Act::Close => return Err(io::ErrorKind::ConnectionAborted.into()),
            Act::Reset => {
                stream.get_ref().reset_at_end()?;
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            Act::Hang => std::future::pending().await,
        }
        stream.flush().await?;
        Ok(act)
    }
}

/// A connection that can end with RST instead of FIN.
trait Resettable {
    fn reset_at_end(&self) -> io::Result<()>;
}

impl Resettable for TcpStream {
    fn reset_at_end(&self) -> io::Result<()> {
        self.set_zero_linger()
    }
}

impl Resettable for tokio_rustls::server::TlsStream<TcpStream> {
    fn reset_at_end(&self) -> io::Result<()> {
        self.get_ref().0.set_zero_linger()
    }
}
