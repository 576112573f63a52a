//! Mail by SMTP, over connections of our own.
//!
//! Not lettre's pool: in 0.11.23 it never sets `TCP_NODELAY`, which costs 40 ms a message, and its `send` does not say at which step a
//! server refused. Its builder, commands and replies are used; sockets, TLS and the keeping of connections are here.
//!
//! Promises: TLS before anything but EHLO (in the clear on loopback only, when asked for); certificates always verified; one envelope a
//! recipient; a connection that was kept and turns out dead is replaced once, and only before DATA was sent; after that a lost reply is
//! `Retry` with the same Message-ID, which makes a duplicate visible as one.
//!
//! | step | 4xx | 421 | 5xx | closed, garbage, silence |
//! | --- | --- | --- | --- | --- |
//! | greeting, EHLO, STARTTLS, AUTH | retry | retry | retry (an operator can mend it) | retry |
//! | MAIL, RCPT, DATA, end of message | retry | retry | reject, but 530, 534, 535, 538: retry (log-in or TLS wanted) | retry |

mod dialogue;
#[cfg(test)]
mod tests;
mod wire;

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use futures_util::future::BoxFuture;
use lettre::{Address, message::Mailbox};
use tokio::{sync::Semaphore, time::Instant};

use self::dialogue::{Dialogue, Fault, Security, Server, Step, Why};
use super::{Channel, ChannelError, chain, eml, says_loopback, tls};
use crate::{
    config::{EmailConfig, channels::MailTls},
    model::{
        delivery::{Outcome, Parcel},
        ids::DeliveryId,
        names::ChannelName,
        rendered::{Clearance, Form, Mail, Rendered},
    },
};

/// A connection kept longer than this is not trusted: servers hang up on the idle, and middle boxes forget them without a word.
const KEPT: Duration = Duration::from_secs(30);

/// The mail channel.
pub struct Email {
    name: ChannelName,
    server: Server,
    from: Mailbox,
    to: Vec<Mailbox>,
    recipients: Vec<String>,
    clearance: Clearance,
    timeout: Duration,
    /// Bounds the connections that are open at once.
    free: Semaphore,
    kept: Mutex<Vec<(Dialogue, Instant)>>,
}

impl Email {
    /// # Errors
    /// When a setting is nonsense or unsafe, the password can't be read, or the authority's file is none.
    pub fn new(name: &ChannelName, config: &EmailConfig) -> Result<Self, ChannelError> {
        let wrong = |key: &'static str| move |problem: String| ChannelError::setting(name, key, problem);
        let from = eml::mailbox(&config.from).map_err(wrong("from"))?;
        let to: Vec<Mailbox> = config.to.iter().map(|text| eml::mailbox(text).map_err(wrong("to"))).collect::<Result<_, _>>()?;
        if to.is_empty() {
            return Err(wrong("to")("names nobody".to_owned()));
        }
        if config.connections == 0 {
            return Err(wrong("connections")("must be at least 1".to_owned()));
        }
        let login = match (&config.username, &config.password) {
            (Some(username), Some(password)) => {
                let password =
                    password.read().map_err(|source| ChannelError::Secret { channel: name.clone(), what: "password", source })?;
                Some((username.clone(), password))
            }
            (None, None) => None,
            (Some(_), None) => return Err(wrong("password")("is missing: `username` is set".to_owned())),
            (None, Some(_)) => return Err(wrong("username")("is missing: `password` is set".to_owned())),
        };
        Ok(Self {
            server: server(name, config, login)?,
            recipients: to.iter().map(|mailbox| mailbox.email.to_string()).collect(),
            name: name.clone(),
            from,
            to,
            clearance: config.clearance,
            timeout: config.retry.timeout.get(),
            free: Semaphore::new(usize::from(config.connections)),
            kept: Mutex::new(Vec::new()),
        })
    }

    async fn attempt(&self, recipient: &Address, mail: &[u8]) -> Result<String, Fault> {
        let deadline = Instant::now() + self.timeout;
        let permit = tokio::time::timeout_at(deadline, self.free.acquire()).await;
        let Ok(Ok(_permit)) = permit else {
            return Err(Fault { step: Step::Wait, why: Why::TimedOut });
        };
        if let Some(mut kept) = self.take_kept() {
            match kept.transmit(&self.from.email, recipient, mail, deadline).await {
                Ok(reply) => return Ok(self.keep(kept, reply)),
                Err(fault) if !is_stale(&fault) => return Err(fault),
                Err(_) => {}
            }
        }
        let mut fresh = Dialogue::open(&self.server, deadline).await?;
        let reply = fresh.transmit(&self.from.email, recipient, mail, deadline).await?;
        Ok(self.keep(fresh, reply))
    }

    fn take_kept(&self) -> Option<Dialogue> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(_, since)| since.elapsed() < KEPT);
        kept.pop().map(|(dialogue, _)| dialogue)
    }

    fn keep(&self, dialogue: Dialogue, reply: String) -> String {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).push((dialogue, Instant::now()));
        reply
    }

    fn written(&self, parcel: &Parcel, mail: &Mail) -> Result<(Address, Vec<u8>), String> {
        let address = eml::address(&parcel.recipient).map_err(|problem| format!("the recipient {problem}"))?;
        // The recipient may have left the configuration since: the delivery is still owed to him.
        let configured = self.to.iter().find(|mailbox| mailbox.email == address).cloned();
        let to = configured.unwrap_or_else(|| Mailbox::new(None, address.clone()));
        let bytes = eml::bytes(parcel, mail, &self.from, &[to]).map_err(|error| chain(&error))?;
        Ok((address, bytes))
    }
}

/// Whether a kept connection was merely dead. Only before DATA: afterwards the server may have the mail.
fn is_stale(fault: &Fault) -> bool {
    matches!(fault.step, Step::Mail | Step::Rcpt) && matches!(fault.why, Why::Broken(_) | Why::Reply { code: 421, .. })
}

fn server(
    name: &ChannelName,
    config: &EmailConfig,
    login: Option<(String, secrecy::SecretString)>,
) -> Result<Server, ChannelError> {
    let wrong = |problem: &str| ChannelError::setting(name, "server", problem);
    let url: url::Url = config.server.parse().map_err(|_| wrong("is no address; write smtp://host:587 or smtps://host:465"))?;
    let implicit = match url.scheme() {
        "smtp" => false,
        "smtps" => true,
        _ => return Err(wrong("must begin with smtp:// or smtps://")),
    };
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("holds a log-in; use `username` and `password`"));
    }
    if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("has something after the port"));
    }
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(|| wrong("names no host"))?;
    let host = host.trim_matches(['[', ']']).to_owned();
    let security = match (config.tls, implicit) {
        (MailTls::None, true) => return Err(ChannelError::setting(name, "tls", "is `none`, but smtps:// is TLS from the start")),
        (MailTls::None, false) if says_loopback(&host) => Security::LoopbackOnly,
        (MailTls::None, false) => {
            return Err(ChannelError::setting(
                name,
                "tls",
                "may be `none` only for a server on loopback (localhost, 127.0.0.1, ::1)",
            ));
        }
        (MailTls::Required, _) => {
            let tls = tls::client(config.ca_file.as_deref()).map_err(|source| match &config.ca_file {
                Some(path) => ChannelError::Authority { channel: name.clone(), path: path.clone(), source },
                None => ChannelError::Tls { channel: name.clone(), source },
            })?;
            if implicit { Security::Implicit(tls) } else { Security::StartTls(tls) }
        }
    };
    let port = url.port().unwrap_or(if implicit { 465 } else { 587 });
    Ok(Server { host, port, security, login })
}

/// The table at the head of this file.
fn outcome(fault: &Fault, subject: &str) -> Outcome {
    let mut detail = fault.to_string();
    if !subject.is_empty() {
        // Some servers quote what they refuse; what was sent does not belong into a log.
        detail = detail.replace(subject, "…");
    }
    let about_the_message = matches!(fault.step, Step::Mail | Step::Rcpt | Step::Data | Step::Dot);
    match fault.why {
        Why::Reply { code: 530 | 534 | 535 | 538, .. } => Outcome::Retry { detail, after: None },
        Why::Reply { code: 500..=599, .. } if about_the_message => Outcome::Reject { detail },
        Why::Unfit { forever: true, .. } => Outcome::Reject { detail },
        _ => Outcome::Retry { detail, after: None },
    }
}

impl Channel for Email {
    fn name(&self) -> &ChannelName {
        &self.name
    }

    fn kind(&self) -> &'static str {
        "email"
    }

    fn form(&self) -> Form {
        Form::Mail
    }

    fn clearance(&self) -> Clearance {
        self.clearance
    }

    fn recipients(&self) -> &[String] {
        &self.recipients
    }

    fn identity(&self, delivery: DeliveryId) -> String {
        eml::identity(delivery.0, &self.name, self.from.email.domain())
    }

    fn host(&self) -> &str {
        &self.server.host
    }

    fn send<'a>(&'a self, parcel: &'a Parcel) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            let Rendered::Mail(mail) = &parcel.rendered else {
                return Outcome::Reject { detail: "something else than a mail was handed to a mail channel".to_owned() };
            };
            let (recipient, bytes) = match self.written(parcel, mail) {
                Ok(written) => written,
                Err(detail) => return Outcome::Reject { detail },
            };
            match self.attempt(&recipient, &bytes).await {
                Ok(reply) => Outcome::Delivered { detail: format!("accepted: {reply}") },
                Err(fault) => outcome(&fault, &mail.subject),
            }
        })
    }
}
