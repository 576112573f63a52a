//! Access tokens: from user name and password, or by the refresh token of an earlier answer.
//!
//! Promises: the password is read anew at each use (so that it can be rotated under a running service); at most one request a
//! second, whatever happens; no token, password or answer body in any log or error. The token itself is opaque (feed.md §3).

use std::{convert::Infallible, sync::Arc, time::Duration};

use reqwest::StatusCode;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value as Json;
use tokio::{sync::watch, time::Instant};
use url::Url;

use crate::{
    config::{ConcedusConfig, Secret, secret::SecretError},
    model::time::{Clock, Timestamp},
};

/// The documented lifetime: taken where `exp` is absent, or in the past by our clock.
const DOCUMENTED_LIFE: Duration = Duration::from_mins(4);
/// However far away `exp` is, a token is renewed within this.
const LONGEST_LIFE: Duration = Duration::from_hours(1);
/// A token answer is a few kilobytes; more is not read.
const LONGEST_ANSWER: usize = 256 * 1024;

/// No token could be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum TokenError {
    #[error("the feed's password can't be read")]
    Password(#[source] SecretError),
    #[error("the token endpoint refused the login with status {status}")]
    Refused { status: u16 },
    #[error("the token endpoint answered with status {status}")]
    Status { status: u16 },
    #[error("the token endpoint can't be reached")]
    Unreachable(#[source] reqwest::Error),
    #[error("the token endpoint's answer holds no accessToken")]
    NoToken,
}

/// A token to connect with.
#[derive(Debug)]
pub(super) struct Token {
    pub(super) access: SecretString,
    /// It came by a refresh: when it is refused, the password has not been tried yet.
    pub(super) refreshed: bool,
}

/// The token that is held, for requests beside the socket.
#[derive(Debug)]
pub(super) struct Bearer {
    pub(super) access: SecretString,
    pub(super) until: Instant,
}

/// What the token endpoint said.
#[derive(Debug)]
struct Answer {
    access: SecretString,
    refresh: Option<SecretString>,
    /// Unix seconds.
    exp: Option<i64>,
}

#[derive(Debug)]
struct Held {
    refresh: Option<SecretString>,
    renew_at: Instant,
}

/// Gets tokens and keeps the last one's refresh token.
#[derive(Debug)]
pub(super) struct Tokens {
    http: reqwest::Client,
    token_url: Url,
    refresh_url: Url,
    username: String,
    username_field: String,
    password: Secret,
    clock: Arc<dyn Clock>,
    spacing: Duration,
    last_request: Option<Instant>,
    held: Option<Held>,
    bearer: watch::Sender<Option<Bearer>>,
}

impl Tokens {
    pub(super) fn new(
        http: reqwest::Client,
        auth: &Url,
        config: &ConcedusConfig,
        clock: Arc<dyn Clock>,
        spacing: Duration,
    ) -> Self {
        let below = |name: &str| {
            let mut url = auth.clone();
            url.set_path(&format!("{}/{name}", auth.path().trim_end_matches('/')));
            url
        };
        Self {
            http,
            token_url: below("token"),
            refresh_url: below("refresh"),
            username: config.username.clone(),
            username_field: config.username_field.clone(),
            password: config.password.clone(),
            clock,
            spacing,
            last_request: None,
            held: None,
            bearer: watch::Sender::new(None),
        }
    }

    /// The token that is held, as it changes.
    pub(super) fn bearer(&self) -> watch::Receiver<Option<Bearer>> {
        self.bearer.subscribe()
    }

    /// A new token: by refresh where a refresh token is held, else (or if that is refused) by password.
    pub(super) async fn fresh(&mut self) -> Result<Token, TokenError> {
        if let Some(refresh) = self.held.as_ref().and_then(|held| held.refresh.clone()) {
            let body = serde_json::json!({ "RefreshToken": refresh.expose_secret() });
            match self.ask(self.refresh_url.clone(), &body).await {
                Ok(mut answer) => {
                    // Whether refresh tokens rotate is not documented: without a new one the old one stays.
                    answer.refresh = answer.refresh.or(Some(refresh));
                    return Ok(self.hold(answer, true));
                }
                Err(unreachable @ TokenError::Unreachable(_)) => return Err(unreachable),
                Err(refused) => {
                    tracing::info!(error = %refused, "the refresh token was not taken; logging in anew");
                    self.forget();
                }
            }
        }
        let password = self.password.read().map_err(TokenError::Password)?;
        let mut body = serde_json::Map::new();
        body.insert(self.username_field.clone(), Json::from(self.username.as_str()));
        body.insert("password".to_owned(), Json::from(password.expose_secret()));
        let answer = self.ask(self.token_url.clone(), &Json::Object(body)).await?;
        Ok(self.hold(answer, false))
    }

    /// The refresh token is worth nothing any more: the next token comes by password.
    pub(super) fn forget(&mut self) {
        self.held = None;
        self.bearer.send_replace(None);
    }

    /// Renews before expiry for as long as a socket stands, for the next connect. Whether the open socket needs it is not
    /// documented; failures are only told, the socket goes on.
    pub(super) async fn keep_fresh(&mut self) -> Infallible {
        let mut pause = Duration::ZERO;
        loop {
            let renew_at = self.held.as_ref().map_or_else(Instant::now, |held| held.renew_at);
            tokio::time::sleep_until(renew_at.max(Instant::now() + pause)).await;
            pause = match self.fresh().await {
                Ok(_) => Duration::ZERO,
                Err(error) => {
                    tracing::warn!(%error, "the token could not be renewed; the socket goes on with the one it has");
                    // A refused login may lock the account: slow down, the next connect climbs the ladder.
                    (pause * 2).clamp(Duration::from_secs(30), Duration::from_mins(30))
                }
            };
        }
    }

    async fn ask(&mut self, url: Url, body: &Json) -> Result<Answer, TokenError> {
        if let Some(last) = self.last_request {
            tokio::time::sleep_until(last + self.spacing).await;
        }
        self.last_request = Some(Instant::now());
        let unreachable = |error: reqwest::Error| TokenError::Unreachable(error.without_url());
        let mut response = self.http.post(url).json(body).send().await.map_err(unreachable)?;
        match response.status() {
            status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
                return Err(TokenError::Refused { status: status.as_u16() });
            }
            status if !status.is_success() => return Err(TokenError::Status { status: status.as_u16() }),
            _ => {}
        }
        let mut text = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            text.extend_from_slice(&chunk);
            if text.len() > LONGEST_ANSWER {
                return Err(TokenError::NoToken);
            }
        }
        parse(&text).ok_or(TokenError::NoToken)
    }

    fn hold(&mut self, answer: Answer, refreshed: bool) -> Token {
        let life = life(answer.exp, self.clock.now());
        // Renewed after three quarters of its life, as long as that leaves the endpoint in peace.
        let renew_at = Instant::now() + life.mul_f64(0.75).max(self.spacing);
        self.bearer.send_replace(Some(Bearer { access: answer.access.clone(), until: Instant::now() + life }));
        self.held = Some(Held { refresh: answer.refresh, renew_at });
        Token { access: answer.access, refreshed }
    }
}

/// How long a token may be thought to live. Clocks differ: an `exp` in our past says that ours runs ahead, not that the server
/// gave out an expired token; one far in the future is not trusted for long.
fn life(exp: Option<i64>, now: Timestamp) -> Duration {
    let Some(exp) = exp else { return DOCUMENTED_LIFE };
    let left = exp.saturating_mul(1000).saturating_sub(now.timestamp_millis());
    match u64::try_from(left) {
        Ok(millis) if millis > 0 => Duration::from_millis(millis).min(LONGEST_LIFE),
        _ => {
            tracing::warn!(
                behind = %format_args!("{}s", left.unsigned_abs() / 1000),
                "a new token has expired by this machine's clock, which must be wrong; the token is used anyway"
            );
            DOCUMENTED_LIFE
        }
    }
}

/// Reads `{accessToken, exp, refreshToken?}`; casing and underscores don't matter, `exp` may be a text, a fraction or milliseconds.
fn parse(text: &[u8]) -> Option<Answer> {
    let Json::Object(fields) = serde_json::from_slice(text).ok()? else { return None };
    let field =
        |name: &str| fields.iter().find(|(key, _)| key.replace('_', "").eq_ignore_ascii_case(name)).map(|(_, value)| value);
    let secret = |name: &str| {
        let text = field(name)?.as_str().filter(|text| !text.is_empty())?;
        Some(SecretString::from(text.to_owned()))
    };
    let exp = field("exp").and_then(|exp| match exp {
        Json::Number(number) => number.as_i64().or_else(|| number.as_f64().map(|exp| exp as i64)),
        Json::String(text) => text.trim().parse().ok(),
        _ => None,
    });
    // Seconds reach 10^11 in the year 5138: what is larger was meant as milliseconds.
    let exp = exp.map(|exp| if exp > 100_000_000_000 { exp / 1000 } else { exp });
    Some(Answer { access: secret("accesstoken")?, refresh: secret("refreshtoken"), exp })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_answer_is_read_with_and_without_a_refresh_token() {
        let answer = parse(br#"{"accessToken":"a.b.c","exp":1646842318,"refreshToken":"r"}"#).unwrap();
        assert_eq!(answer.access.expose_secret(), "a.b.c");
        assert_eq!(answer.exp, Some(1_646_842_318));
        assert_eq!(answer.refresh.unwrap().expose_secret(), "r");
        assert!(parse(br#"{"accessToken":"a","exp":1}"#).unwrap().refresh.is_none());
    }

    #[test]
    fn other_casings_and_forms_of_exp_are_accepted() {
        for text in [
            r#"{"access_token":"a","EXP":"1646842318"}"#,
            r#"{"AccessToken":"a","exp":1646842318.9}"#,
            r#"{"accessToken":"a","exp":1646842318000}"#,
        ] {
            assert_eq!(parse(text.as_bytes()).unwrap().exp, Some(1_646_842_318), "{text}");
        }
        assert_eq!(parse(br#"{"accessToken":"a","exp":null}"#).unwrap().exp, None);
    }

    #[test]
    fn an_answer_without_a_token_is_none() {
        for text in ["", "[]", "{}", r#"{"error":"Invalid request"}"#, r#"{"accessToken":""}"#, r#"{"accessToken":7}"#] {
            assert!(parse(text.as_bytes()).is_none(), "{text}");
        }
    }

    #[test]
    fn a_skewed_clock_does_not_expire_a_new_token() {
        let now = chrono::DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        let cases = [(60, 60), (240, 240), (86_400 * 365, 3600), (0, 240), (-7200, 240)];
        for (ahead, seconds) in cases {
            assert_eq!(life(Some(1_700_000_000 + ahead), now), Duration::from_secs(seconds), "exp {ahead} s ahead");
        }
        assert_eq!(life(None, now), DOCUMENTED_LIFE);
    }

    #[test]
    fn no_debug_output_shows_a_token() {
        let answer = parse(br#"{"accessToken":"hidden-1","exp":1,"refreshToken":"hidden-2"}"#).unwrap();
        assert!(!format!("{answer:?}").contains("hidden"));
    }
}
