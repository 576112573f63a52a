//! One connection to the mail server: how it is made, and one mail over it. Every step has its name, so that a fault says where.

use std::{fmt, net::IpAddr, sync::Arc};

use lettre::{
    Address,
    transport::smtp::{
        authentication::{Credentials, DEFAULT_MECHANISMS},
        client::AsyncSmtpConnection,
        commands::{Data, Mail, Rcpt},
        extension::{ClientId, Extension, MailParameter},
        response::Response,
    },
};
use rustls::{ClientConfig, pki_types::ServerName};
use secrecy::{ExposeSecret, SecretString};
use tokio::{net::TcpStream, time::Instant};
use tokio_rustls::TlsConnector;

use super::wire::Wire;
use crate::channels::{chain, may_reach, said};

/// Where a dialogue stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Wait,
    Connect,
    Tls,
    Banner,
    Ehlo,
    StartTls,
    Auth,
    Mail,
    Rcpt,
    Data,
    /// After the final dot.
    Dot,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Wait => "waiting for a free connection",
            Self::Connect => "connecting",
            Self::Tls => "the TLS handshake",
            Self::Banner => "the greeting",
            Self::Ehlo => "EHLO",
            Self::StartTls => "STARTTLS",
            Self::Auth => "AUTH",
            Self::Mail => "MAIL FROM",
            Self::Rcpt => "RCPT TO",
            Self::Data => "DATA",
            Self::Dot => "the end of the message",
        })
    }
}

/// Why a dialogue ended early.
#[derive(Debug)]
pub struct Fault {
    pub step: Step,
    pub why: Why,
}

#[derive(Debug)]
pub enum Why {
    /// The server said no.
    Reply {
        code: u16,
        text: String,
    },
    /// Network, TLS, or nonsense instead of a reply.
    Broken(String),
    TimedOut,
    /// We will not go on: what the server lacks. `forever` when no later attempt with this recipient can differ.
    Unfit {
        text: String,
        forever: bool,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { step, why } = self;
        match why {
            Why::Reply { code, text } => write!(f, "{step}: {code} {text}"),
            Why::Broken(text) | Why::Unfit { text, .. } => write!(f, "{step}: {text}"),
            Why::TimedOut => write!(f, "{step}: no reply in time"),
        }
    }
}

impl Fault {
    fn unfit(step: Step, text: &str) -> Self {
        Self { step, why: Why::Unfit { text: text.to_owned(), forever: false } }
    }

    fn broken(step: Step, error: &dyn std::error::Error) -> Self {
        Self { step, why: Why::Broken(chain(error)) }
    }
}

/// How the connection is protected.
#[derive(Clone)]
pub enum Security {
    /// TLS by STARTTLS, without which nothing is said.
    StartTls(Arc<ClientConfig>),
    /// TLS from the first byte.
    Implicit(Arc<ClientConfig>),
    /// In the clear, to loopback addresses alone.
    LoopbackOnly,
}

/// The server and how to get in.
pub struct Server {
    pub host: String,
    pub port: u16,
    pub security: Security,
    pub login: Option<(String, SecretString)>,
}

const NONSENSE: &str = "the server's reply makes no sense";

/// A connection that has said EHLO, over TLS, and logged in.
pub struct Dialogue {
    smtp: AsyncSmtpConnection,
}

impl Dialogue {
    /// # Errors
    /// A [`Fault`] with its step. Nothing but EHLO and STARTTLS has been sent before TLS stood.
    pub async fn open(server: &Server, deadline: Instant) -> Result<Self, Fault> {
        let tcp = in_time(Step::Connect, deadline, server.connect()).await?.map_err(|e| Fault::broken(Step::Connect, &e))?;
        let me = match tcp.local_addr().map(|address| address.ip().to_canonical()) {
            Ok(IpAddr::V4(v4)) => ClientId::Ipv4(v4),
            Ok(IpAddr::V6(v6)) => ClientId::Ipv6(v6),
            Err(error) => return Err(Fault::broken(Step::Connect, &error)),
        };
        let (mut wire, starttls) = match &server.security {
            Security::Implicit(config) => (server.encrypt(tcp, config, deadline).await?, None),
            Security::StartTls(config) => (Wire::plain(tcp), Some(config)),
            Security::LoopbackOnly => (Wire::plain(tcp), None),
        };
        let banner = expect(Step::Banner, 220, in_time(Step::Banner, deadline, wire.reply()).await?)?;
        if let Some(config) = starttls {
            let hello = in_time(Step::Ehlo, deadline, wire.ask(&format!("EHLO {me}\r\n"))).await?;
            if !offers_starttls(&expect(Step::Ehlo, 250, hello)?) {
                return Err(Fault::unfit(Step::StartTls, "the server does not offer it, and nothing is sent in the clear"));
            }
            let go = in_time(Step::StartTls, deadline, wire.ask("STARTTLS\r\n")).await?;
            expect(Step::StartTls, 220, go)?;
            let Some(tcp) = wire.into_plain() else {
                return Err(Fault::unfit(Step::StartTls, "the connection is encrypted already"));
            };
            wire = server.encrypt(tcp, config, deadline).await?;
        }
        let stream = Box::new(wire.replaying(banner));
        let opened = in_time(Step::Ehlo, deadline, AsyncSmtpConnection::connect_with_transport(stream, &me)).await?;
        let mut dialogue = Self { smtp: opened.map_err(|error| smtp_fault(Step::Ehlo, &error))? };
        if let Some((username, password)) = &server.login {
            let info = dialogue.smtp.server_info();
            if info.get_auth_mechanism(DEFAULT_MECHANISMS).is_none() {
                return Err(Fault::unfit(Step::Auth, "the server offers neither PLAIN nor LOGIN"));
            }
            let credentials = Credentials::new(username.clone(), password.expose_secret().to_owned());
            let logged_in = in_time(Step::Auth, deadline, dialogue.smtp.auth(DEFAULT_MECHANISMS, &credentials)).await?;
            fitting(Step::Auth, logged_in, &[235])?;
        }
        Ok(dialogue)
    }

    /// One mail to one recipient. The reply to the final dot.
    ///
    /// # Errors
    /// A [`Fault`]; the connection is then not to be used again.
    pub async fn transmit(&mut self, from: &Address, to: &Address, mail: &[u8], deadline: Instant) -> Result<String, Fault> {
        let mut parameters = Vec::new();
        if !(from.as_ref() as &str).is_ascii() || !(to.as_ref() as &str).is_ascii() {
            if !self.smtp.server_info().supports_feature(Extension::SmtpUtfEight) {
                let text = "the address is not ASCII and the server knows no SMTPUTF8".to_owned();
                return Err(Fault { step: Step::Mail, why: Why::Unfit { text, forever: true } });
            }
            parameters.push(MailParameter::SmtpUtfEight);
        }
        self.command(Step::Mail, Mail::new(Some(from.clone()), parameters), deadline, &[250]).await?;
        self.command(Step::Rcpt, Rcpt::new(to.clone(), Vec::new()), deadline, &[250, 251]).await?;
        self.command(Step::Data, Data, deadline, &[354]).await?;
        // lettre ends the message with a line end of its own.
        let mail = mail.strip_suffix(b"\r\n").unwrap_or(mail);
        let reply = in_time(Step::Dot, deadline, self.smtp.message(mail)).await?;
        let reply = fitting(Step::Dot, reply, &[250])?;
        Ok(said(&reply.message().collect::<Vec<_>>().join(" ")))
    }

    async fn command(&mut self, step: Step, command: impl fmt::Display, deadline: Instant, codes: &[u16]) -> Result<(), Fault> {
        let reply = in_time(step, deadline, self.smtp.command(command)).await?;
        fitting(step, reply, codes).map(drop)
    }
}

impl Server {
    /// Resolves once and connects to an address that was checked.
    async fn connect(&self) -> std::io::Result<TcpStream> {
        let loopback = matches!(self.security, Security::LoopbackOnly);
        let mut last = std::io::Error::other("the name has no address that may be reached");
        for address in tokio::net::lookup_host((self.host.as_str(), self.port)).await? {
            if !may_reach(address.ip(), loopback) {
                continue;
            }
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    // Without it the message's end waits 40 ms for the acknowledgement of its body.
                    stream.set_nodelay(true)?;
                    return Ok(stream);
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn encrypt(&self, tcp: TcpStream, config: &Arc<ClientConfig>, deadline: Instant) -> Result<Wire, Fault> {
        let name = ServerName::try_from(self.host.clone()).map_err(|error| Fault::broken(Step::Tls, &error))?;
        let shaken = in_time(Step::Tls, deadline, TlsConnector::from(config.clone()).connect(name, tcp)).await?;
        shaken.map(Wire::tls).map_err(|error| Fault::broken(Step::Tls, &error))
    }
}

async fn in_time<T>(step: Step, deadline: Instant, work: impl Future<Output = T>) -> Result<T, Fault> {
    tokio::time::timeout_at(deadline, work).await.map_err(|_| Fault { step, why: Why::TimedOut })
}

/// The reply, when it begins with the code that this step wants.
fn expect(step: Step, code: u16, reply: std::io::Result<Vec<u8>>) -> Result<Vec<u8>, Fault> {
    let reply = reply.map_err(|error| Fault::broken(step, &error))?;
    let text = String::from_utf8_lossy(&reply);
    match text.get(..3).and_then(|digits| digits.parse::<u16>().ok()) {
        Some(found) if found == code => Ok(reply),
        Some(found @ 400..=599) => {
            let text = text.lines().filter_map(|line| line.get(4..)).collect::<Vec<_>>().join(" ");
            Err(Fault { step, why: Why::Reply { code: found, text: said(&text) } })
        }
        _ => Err(Fault { step, why: Why::Broken(NONSENSE.to_owned()) }),
    }
}

fn offers_starttls(hello: &[u8]) -> bool {
    String::from_utf8_lossy(hello)
        .lines()
        .filter_map(|line| line.get(4..))
        .any(|keyword| keyword.trim().eq_ignore_ascii_case("STARTTLS"))
}

/// lettre takes any 2xx or 3xx for a yes; a step has its own.
fn fitting(step: Step, reply: Result<Response, lettre::transport::smtp::Error>, codes: &[u16]) -> Result<Response, Fault> {
    let reply = reply.map_err(|error| smtp_fault(step, &error))?;
    let code = u16::from(reply.code());
    if codes.contains(&code) {
        Ok(reply)
    } else {
        Err(Fault { step, why: Why::Broken(format!("the server answered {code}, which makes no sense here")) })
    }
}

fn smtp_fault(step: Step, error: &lettre::transport::smtp::Error) -> Fault {
    use std::error::Error;
    let cause = error.source().map(chain).unwrap_or_default();
    let why = match error.status() {
        Some(code) => Why::Reply { code: u16::from(code), text: cause },
        None if cause == "incomplete response" => Why::Broken("the server hung up".to_owned()),
        None if error.is_response() => Why::Broken(NONSENSE.to_owned()),
        None if cause.is_empty() => Why::Broken(said(&error.to_string())),
        None => Why::Broken(cause),
    };
    Fault { step, why }
}
