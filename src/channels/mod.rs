//! 8 · The ways out, one file a channel.
//!
//! A channel is given a [`Parcel`] and answers with an [`Outcome`]: it never retries by itself, keeps no queue and knows no schedule (the
//! outbox does). What it promises: every attempt of a delivery carries the same identity; an attempt ends within the configured time; no
//! secret and no payload in what it says; nothing leaves in the clear except on loopback.
//!
//! The rule for the outcomes: `Reject` is what the peer says for good of *this* message (SMTP 5xx after the log-in, HTTP 4xx). What lies
//! before it and an operator can mend (a wrong password, an expired certificate, a redirect) is `Retry` with a detail that says so: the
//! alert waits, the delay notice and in the end the dead letter are loud, and no alert is thrown away for a typo in the configuration.

pub mod beat;
pub mod email;
mod eml;
pub mod file;
mod http;
pub mod slack;
mod tls;
pub mod webhook;

use std::{net::IpAddr, path::PathBuf, sync::Arc};

use futures_util::future::BoxFuture;

use crate::{
    config::{ChannelConfig, secret::SecretError},
    model::{
        causes,
        delivery::{Outcome, Parcel},
        ids::DeliveryId,
        names::ChannelName,
        rendered::{Clearance, Form},
        time::Clock,
    },
};

/// A way out.
pub trait Channel: Send + Sync {
    fn name(&self) -> &ChannelName;

    /// `email`, `slack`, `webhook` or `file`, as in the configuration.
    fn kind(&self) -> &'static str;

    /// What the channel wants to be given.
    fn form(&self) -> Form;

    fn clearance(&self) -> Clearance;

    /// One delivery each: the addresses of a mail channel, else the channel's own name.
    fn recipients(&self) -> &[String];

    /// What every attempt of a delivery carries: a Message-ID with its angle brackets, or an Idempotency-Key.
    fn identity(&self, delivery: DeliveryId) -> String;

    /// The machine that the channel depends on: two channels of one host fail together.
    fn host(&self) -> &str;

    /// One attempt, which ends within the channel's configured time.
    fn send<'a>(&'a self, parcel: &'a Parcel) -> BoxFuture<'a, Outcome>;
}

/// A channel can't be built from its configuration.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    #[error("channel `{channel}`: its {what} can't be read")]
    Secret { channel: ChannelName, what: &'static str, source: SecretError },
    #[error("channel `{channel}`: `{key}` {problem}")]
    Setting { channel: ChannelName, key: &'static str, problem: String },
    #[error("channel `{channel}`: the authority in {path} can't be used")]
    Authority { channel: ChannelName, path: PathBuf, source: tls::TlsError },
    #[error("channel `{channel}`: TLS can't be set up")]
    Tls { channel: ChannelName, source: tls::TlsError },
    #[error("channel `{channel}`: the HTTP client can't be set up")]
    Client { channel: ChannelName, source: reqwest::Error },
    #[error("channel `{channel}`: the folder {path} can't be made")]
    Folder { channel: ChannelName, path: PathBuf, source: std::io::Error },
}

impl ChannelError {
    fn setting(channel: &ChannelName, key: &'static str, problem: impl Into<String>) -> Self {
        Self::Setting { channel: channel.clone(), key, problem: problem.into() }
    }
}

/// Builds the channel. Secrets are read here, once: a missing one is a fault of the start, not of the first alert.
///
/// # Errors
/// When a secret is unreadable, a setting is nonsense or unsafe, or the folder of a file channel can't be made.
pub fn build(name: &ChannelName, config: &ChannelConfig, clock: Arc<dyn Clock>) -> Result<Arc<dyn Channel>, ChannelError> {
    Ok(match config {
        ChannelConfig::Email(config) => Arc::new(email::Email::new(name, config)?),
        ChannelConfig::Slack(config) => Arc::new(slack::Slack::new(name, config, clock)?),
        ChannelConfig::Webhook(config) => Arc::new(webhook::Webhook::new(name, config, clock)?),
        ChannelConfig::File(config) => Arc::new(file::Folder::new(name, config)?),
    })
}

/// How much of what a peer said is kept.
const DETAIL_CHARS: usize = 300;

/// What a peer said, fit for a log line: one line, no control characters, cut.
fn said(text: &str) -> String {
    let mut line: String = text.chars().map(|c| if is_unsafe(c) { ' ' } else { c }).take(DETAIL_CHARS + 1).collect();
    if line.chars().count() > DETAIL_CHARS {
        line.pop();
        line.push('…');
    }
    line.trim().to_owned()
}

/// Characters that end a line, steer a terminal or turn the direction of the text around them.
fn is_unsafe(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// An error and what it came from, safe to show.
fn chain(error: &dyn std::error::Error) -> String {
    said(&causes::chain(error))
}

/// Whether an address may be talked to at all. Targets come from the operator's configuration alone; this is the second wall, against a
/// name that resolves to the machine's metadata service, to everybody or to nobody. With `loopback` only loopback will do.
fn may_reach(address: IpAddr, loopback: bool) -> bool {
    let address = address.to_canonical();
    if loopback {
        return address.is_loopback();
    }
    match address {
        IpAddr::V4(v4) => !(v4.is_unspecified() || v4.is_multicast() || v4.is_broadcast() || v4.is_link_local()),
        IpAddr::V6(v6) => {
            // NAT64 (64:ff9b::/96) carries a v4 address that must be allowed itself.
            let nat64 = matches!(v6.segments(), [0x64, 0xff9b, 0, 0, 0, 0, _, _]);
            let [.., a, b, c, d] = v6.octets();
            !(v6.is_unspecified() || v6.is_multicast() || v6.is_unicast_link_local())
                && (!nat64 || may_reach(IpAddr::from([a, b, c, d]), false))
        }
    }
}

/// Whether a host is written as loopback: `localhost` or a loopback address. What a name resolves to is checked at connect.
fn says_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|address| may_reach(address, true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_services_and_nobody_are_out_of_reach_however_they_are_written() {
        for address in
            ["169.254.169.254", "0.0.0.0", "::", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "224.0.0.1", "fe80::1"]
        {
            assert!(!may_reach(address.parse().unwrap(), false), "{address}");
        }
        for address in ["10.0.0.8", "192.0.2.1", "2001:db8::1", "127.0.0.1", "::1"] {
            assert!(may_reach(address.parse().unwrap(), false), "{address}");
        }
        assert!(may_reach("::ffff:127.0.0.1".parse().unwrap(), true));
        assert!(!may_reach("10.0.0.8".parse().unwrap(), true));
    }

    #[test]
    fn what_a_peer_said_is_one_short_line() {
        assert_eq!(said("550 no\r\n\u{1b}[31msuch\u{202e} user "), "550 no   [31msuch  user");
        assert_eq!(said(&"x".repeat(10_000)).chars().count(), DETAIL_CHARS + 1);
    }
}
