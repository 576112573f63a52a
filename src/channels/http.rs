//! What the channels over HTTP share: the client, the one POST, and what its answer means.
//!
//! The address is a secret (whoever has a chat's webhook address can post there), so no text made here holds it. No redirects, no proxy
//! from the environment, names resolved and checked on each connection, at most 64 KiB of an answer read.

use std::{sync::Arc, time::Duration};

use chrono::DateTime;
use reqwest::{
    Client, Response, StatusCode, Url,
    dns::{Addrs, Name, Resolve, Resolving},
    header::{HeaderMap, RETRY_AFTER},
    redirect::Policy,
};
use secrecy::{ExposeSecret, SecretString};

use super::{ChannelError, chain, may_reach, said, says_loopback};
use crate::model::{
    delivery::Outcome,
    names::ChannelName,
    time::{Clock, Timestamp},
};

/// How much of an answer is read.
const ANSWER_BYTES: usize = 64 * 1024;

/// The longest wait that a peer may wish for; beyond it our own schedule knows better.
const LONGEST_WISH: Duration = Duration::from_hours(1);

/// An address to post to.
pub(super) struct Target {
    client: Client,
    url: Url,
    host: String,
    clock: Arc<dyn Clock>,
}

/// What came back.
pub(super) struct Answer {
    status: StatusCode,
    retry_after: Option<Duration>,
    /// As far as it was read and is UTF-8.
    body: String,
}

impl Target {
    /// # Errors
    /// When the address is none, is neither https nor loopback, or names a forbidden address.
    pub(super) fn new(
        channel: &ChannelName,
        url: &SecretString,
        timeout: Duration,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ChannelError> {
        let wrong = |problem: &str| ChannelError::setting(channel, "url", problem);
        let url: Url = url.expose_secret().trim().parse().map_err(|_| wrong("is no web address"))?;
        let host = url.host_str().ok_or_else(|| wrong("names no host"))?.to_owned();
        let loopback = match url.scheme() {
            "https" => false,
            "http" if says_loopback(&host) => true,
            "http" => return Err(wrong("is http://; that is allowed on loopback only, use https://")),
            _ => return Err(wrong("must begin with https://")),
        };
        // A literal address is never resolved: it is checked here.
        if host.trim_matches(['[', ']']).parse().is_ok_and(|address| !may_reach(address, loopback)) {
            return Err(wrong("names an address that nothing may be sent to"));
        }
        let client = Client::builder()
            .redirect(Policy::none())
            .no_proxy()
            .referer(false)
            .timeout(timeout)
            .tcp_nodelay(true)
            .pool_idle_timeout(Duration::from_secs(30))
            .user_agent(concat!("redflag/", env!("CARGO_PKG_VERSION")))
            .dns_resolver(Arc::new(Guarded { loopback }))
            .build()
            .map_err(|source| ChannelError::Client { channel: channel.clone(), source })?;
        Ok(Self { client, url, host, clock })
    }

    pub(super) fn host(&self) -> &str {
        &self.host
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Posts the JSON. Whatever keeps an answer from coming (name, connection, TLS, time) is the outcome `Retry`.
    pub(super) async fn post(&self, body: Vec<u8>, headers: HeaderMap) -> Result<Answer, Outcome> {
        self.ask(self.client.post(self.url.clone()).header("content-type", "application/json").headers(headers).body(body)).await
    }

    /// As [`Target::post`], with a GET.
    pub(super) async fn get(&self) -> Result<Answer, Outcome> {
        self.ask(self.client.get(self.url.clone())).await
    }

    async fn ask(&self, request: reqwest::RequestBuilder) -> Result<Answer, Outcome> {
        let response = request.send().await.map_err(|error| {
            let what = if error.is_timeout() { "no answer in time".to_owned() } else { chain(&error.without_url()) };
            Outcome::Retry { detail: what, after: None }
        })?;
        let status = response.status();
        let retry_after = retry_after(response.headers(), self.clock.now());
        let body = read(response).await;
        Ok(Answer { status, retry_after, body })
    }
}

impl Answer {
    pub(super) fn body(&self) -> &str {
        self.body.trim()
    }

    /// What the status means. 2xx is delivered.
    pub(super) fn outcome(&self) -> Outcome {
        let code = self.status.as_u16();
        let detail = match self.word() {
            Some(word) => format!("answered {code}: {word}"),
            None => format!("answered {code}"),
        };
        match code {
            200..=299 => Outcome::Delivered { detail },
            300..=399 => {
                Outcome::Retry { detail: format!("{detail}; redirects are not followed, set the final address"), after: None }
            }
            408 | 425 | 429 | 500..=599 => Outcome::Retry { detail, after: self.retry_after },
            400..=499 => Outcome::Reject { detail },
            _ => Outcome::Retry { detail, after: None },
        }
    }

    /// The body when it is a short code such as `no_service`. Anything longer may echo what was sent, and is not kept.
    fn word(&self) -> Option<String> {
        let body = self.body();
        let code = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        (!body.is_empty() && body.len() <= 64 && body.chars().all(code)).then(|| said(body))
    }
}

/// The answer as far as it is allowed to go. An answer that breaks off or never ends is cut there: its status stands.
async fn read(mut response: Response) -> String {
    let mut bytes = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        let room = ANSWER_BYTES - bytes.len();
        bytes.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if bytes.len() == ANSWER_BYTES {
            break;
        }
    }
    String::from_utf8(bytes).unwrap_or_default()
}

/// `Retry-After`, in seconds or as a date, capped.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wish = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) => LONGEST_WISH,
        Err(_) => DateTime::parse_from_rfc2822(text).ok()?.signed_duration_since(now).to_std().unwrap_or_default(),
    };
    Some(wish.min(LONGEST_WISH))
}

/// Resolves a name and lets through only what may be reached.
struct Guarded {
    loopback: bool,
}

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let loopback = self.loopback;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed: Vec<_> = found.filter(|address| may_reach(address.ip(), loopback)).collect();
            if allowed.is_empty() {
                return Err("the name has no address that may be reached".into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;
    use crate::model::time::SystemClock;

    fn target(url: &str) -> Result<Target, ChannelError> {
        Target::new(&ChannelName::new("chat"), &SecretString::from(url), Duration::from_secs(1), Arc::new(SystemClock))
    }

    #[test]
    fn only_https_or_loopback_and_the_address_is_never_said() {
        let mut refused = String::new();
        for url in [
            "http://hooks.example.com/SECRET",
            "ftp://hooks.example.com/SECRET",
            "hooks.example.com/SECRET",
            "https://169.254.169.254/SECRET",
            "https://[::ffff:a9fe:a9fe]/SECRET",
            "https://2852039166/SECRET",
            "https://0.0.0.0/SECRET",
        ] {
            let error = target(url).map(|_| ()).unwrap_err().to_string();
            refused.push_str(&error);
            refused.push('\n');
        }
        assert!(!refused.contains("SECRET"));
        insta::assert_snapshot!(refused, @r"
        channel `chat`: `url` is http://; that is allowed on loopback only, use https://
        channel `chat`: `url` must begin with https://
        channel `chat`: `url` is no web address
        channel `chat`: `url` names an address that nothing may be sent to
        channel `chat`: `url` names an address that nothing may be sent to
        channel `chat`: `url` names an address that nothing may be sent to
        channel `chat`: `url` names an address that nothing may be sent to
        ");
        assert!(target("http://127.0.0.1:1/x").is_ok() && target("https://hooks.example.com/x").is_ok());
    }

    #[test]
    fn a_wish_to_wait_is_read_in_both_forms_and_capped() {
        let now = DateTime::parse_from_rfc3339("2026-11-01T12:00:00Z").unwrap().to_utc();
        let mut wishes = String::new();
        for text in [
            "7",
            "315360000",
            "99999999999999999999999",
            "Sun, 01 Nov 2026 12:01:00 GMT",
            "Sun, 01 Nov 2020 12:01:00 GMT",
            "soon",
            "",
        ] {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())]);
            writeln!(wishes, "{text:?} → {:?}", retry_after(&headers, now)).unwrap();
        }
        insta::assert_snapshot!(wishes, @r#"
        "7" → Some(7s)
        "315360000" → Some(3600s)
        "99999999999999999999999" → Some(3600s)
        "Sun, 01 Nov 2026 12:01:00 GMT" → Some(60s)
        "Sun, 01 Nov 2020 12:01:00 GMT" → Some(0ns)
        "soon" → None
        "" → None
        "#);
    }

    #[test]
    fn each_status_has_its_outcome() {
        let mut table = String::new();
        for code in [200, 204, 301, 302, 400, 401, 403, 404, 408, 410, 425, 429, 500, 502, 503, 599] {
            let answer =
                Answer { status: StatusCode::from_u16(code).unwrap(), retry_after: None, body: "no_service\n".to_owned() };
            let name = match answer.outcome() {
                Outcome::Delivered { .. } => "delivered",
                Outcome::Retry { .. } => "retry",
                Outcome::Reject { .. } => "reject",
            };
            writeln!(table, "{code} {name}").unwrap();
        }
        insta::assert_snapshot!(table, @r"
        200 delivered
        204 delivered
        301 retry
        302 retry
        400 reject
        401 reject
        403 reject
        404 reject
        408 retry
        410 reject
        425 retry
        429 retry
        500 retry
        502 retry
        503 retry
        599 retry
        ");
    }
}
