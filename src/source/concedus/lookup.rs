//! Asking how one identification or person stands (feed.md §9): one request at a time, never faster than configured.
//!
//! It never logs in: it goes by the token that the socket's own login keeps, and waits where there is none, so that it can't lock an
//! account. No key, token or answer body is in any log or error.

use std::{borrow::Cow, time::Duration};

use reqwest::{StatusCode, header};
use secrecy::ExposeSecret;
use serde_json::Value as Json;
use tokio::{sync::watch, time::Instant};
use url::Url;

use super::token::Bearer;
use crate::model::lookup::Identification;

/// An answer is a few bytes; more is not read.
const LONGEST_ANSWER: usize = 64 * 1024;
/// No provider makes us wait longer than this for one question.
const LONGEST_WAIT: Duration = Duration::from_mins(10);

/// What the provider says of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Stands(Standing),
    /// It knows no such key (or not yet).
    Unknown,
    /// It said something, and nobody knows what.
    Unreadable,
}

/// How an identification or a person stands, by the provider's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing(pub i64);

impl Standing {
    /// How it ended, as the word of an identResult; none while it is under way. What the number 0 covers beside failures is not
    /// documented. A number that no table has is its own word: it is no success, and rules show it to people.
    #[must_use]
    pub fn ended(self) -> Option<Cow<'static, str>> {
        match self.0 {
            100 => Some(Cow::Borrowed("success")),
            // 110: an identification that follows a change of data, and has no end yet.
            101 | 110 => None,
            0 => Some(Cow::Borrowed("failed")),
            102 => Some(Cow::Borrowed("aborted")),
            other => Some(Cow::Owned(other.to_string())),
        }
    }

    #[must_use]
    pub fn is_known(self) -> bool {
        matches!(self.0, 0 | 100..=102 | 110)
    }

    /// Whether the journal has this end, in whatever word: which words the feed uses for a failure is not documented.
    #[must_use]
    pub fn is_in(self, said: &[String]) -> bool {
        match self.ended() {
            None => true,
            Some(word) => said.contains(&word.into_owned()) || (matches!(self.0, 0 | 102) && !said.is_empty()),
        }
    }
}

/// The message that should have come. Why it ended so and when, a look-up does not say.
#[must_use]
pub fn message(about: &Identification, standing: Standing) -> Option<Vec<u8>> {
    let word = standing.ended()?;
    let message = serde_json::json!({
        "topic": "identResult",
        "kyc": about.kyc,
        "identId": about.ident_id,
        "personKey": about.person_key,
        "reason": null,
        "status": word,
    });
    Some(message.to_string().into_bytes())
}

/// There is no answer; it may be asked again.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    #[error("the provider refused the look-up with status {status}")]
    Refused { status: u16 },
    #[error("the provider wants fewer look-ups (status 429)")]
    TooMany { wait: Option<Duration> },
    #[error("the provider answered the look-up with status {status}")]
    Status { status: u16 },
    #[error("the provider can't be reached for look-ups")]
    Unreachable(#[source] reqwest::Error),
}

impl LookupError {
    /// How long the provider asks us to wait.
    #[must_use]
    pub fn wait(&self) -> Option<Duration> {
        if let Self::TooMany { wait } = self { wait.map(|wait| wait.min(LONGEST_WAIT)) } else { None }
    }
}

/// Asks, one after the other.
#[derive(Debug)]
pub struct Lookups {
    http: reqwest::Client,
    base: Url,
    token: watch::Receiver<Option<Bearer>>,
    spacing: Duration,
    last: Option<Instant>,
}

impl Lookups {
    pub(super) fn new(http: reqwest::Client, base: Url, token: watch::Receiver<Option<Bearer>>, spacing: Duration) -> Self {
        Self { http, base, token, spacing, last: None }
    }

    /// Asks about the identification, or the person where its number is not known.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn ask(&mut self, about: &Identification) -> Result<Answer, LookupError> {
        let (kind, key) = match (&about.ident_id, &about.person_key) {
            (Some(id), _) => ("ident", id),
            (None, Some(key)) => ("person", key),
            (None, None) => return Ok(Answer::Unknown),
        };
        let Some(url) = below(&self.base, kind, key) else { return Ok(Answer::Unknown) };
        if let Some(last) = self.last {
            tokio::time::sleep_until(last + self.spacing).await;
        }
        let token = self.bearer().await;
        self.last = Some(Instant::now());
        let unreachable = |error: reqwest::Error| LookupError::Unreachable(error.without_url());
        let mut response = self.http.get(url).bearer_auth(token.expose_secret()).send().await.map_err(unreachable)?;
        match response.status() {
            StatusCode::NOT_FOUND => return Ok(Answer::Unknown),
            StatusCode::TOO_MANY_REQUESTS => return Err(LookupError::TooMany { wait: retry_after(&response) }),
            status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
                return Err(LookupError::Refused { status: status.as_u16() });
            }
            status if !status.is_success() => return Err(LookupError::Status { status: status.as_u16() }),
            _ => {}
        }
        let mut text = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            text.extend_from_slice(&chunk);
            if text.len() > LONGEST_ANSWER {
                return Ok(Answer::Unreadable);
            }
        }
        Ok(parse(&text).map_or(Answer::Unreadable, Answer::Stands))
    }

    /// The token of the socket's login, once there is one that is good.
    async fn bearer(&mut self) -> secrecy::SecretString {
        loop {
            if let Some(bearer) = self.token.borrow_and_update().as_ref().filter(|bearer| bearer.until > Instant::now()) {
                return bearer.access.clone();
            }
            if self.token.changed().await.is_err() {
                // The source is gone, and this ends with it.
                std::future::pending::<()>().await;
            }
        }
    }
}

/// Keys are the partner's own: whatever is in them is percent-encoded. None for one that a path can't hold.
fn below(base: &Url, kind: &str, key: &str) -> Option<Url> {
    // These two mean another path, however they are written.
    if key.is_empty() || key == "." || key == ".." {
        return None;
    }
    let mut url = base.clone();
    url.path_segments_mut().ok()?.pop_if_empty().extend(["status", kind, key]);
    Some(url)
}

/// In seconds; a date is not waited for.
fn retry_after(response: &reqwest::Response) -> Option<Duration> {
    let seconds = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// Reads `{"status":100}`: in any casing, as a text, in `data`, as the one entry of an array, or bare.
fn parse(text: &[u8]) -> Option<Standing> {
    standing(&serde_json::from_slice(text).ok()?, 0)
}

fn standing(answer: &Json, depth: u8) -> Option<Standing> {
    if depth > 2 {
        return None;
    }
    match answer {
        Json::Number(number) => number.as_i64().map(Standing),
        Json::String(text) => text.trim().parse().ok().map(Standing),
        Json::Array(entries) => match entries.as_slice() {
            [one] => standing(one, depth + 1),
            _ => None,
        },
        Json::Object(fields) => {
            let field = |name: &str| fields.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value);
            standing(field("status").or_else(|| field("data"))?, depth + 1)
        }
        Json::Null | Json::Bool(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_in_every_shape_that_can_be_meant() {
        for text in [
            r#"{"status":100}"#,
            r#"{"Status":"100"}"#,
            r#"[{"status":100}]"#,
            r#"{"data":{"status":100}}"#,
            r#"{"status":100,"person":"P"}"#,
            "100",
            "\" 100 \"",
        ] {
            assert_eq!(parse(text.as_bytes()), Some(Standing(100)), "{text}");
        }
        for text in
            ["", "{}", "<html>", "[]", "[1,2]", "null", "true", r#"{"status":null}"#, r#"{"status":1.5}"#, r#"{"status":"ok"}"#]
        {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(parse(br#"{"status":0}"#), Some(Standing(0)), "a failure is 0, and 0 is no absence");
    }

    #[test]
    fn a_number_says_how_it_ended_and_a_strange_one_is_no_success() {
        let words: Vec<_> = [100, 0, 102, 101, 110, 103, -1].map(|code| Standing(code).ended()).into_iter().collect();
        let word = |text: &'static str| Some(Cow::Borrowed(text));
        assert_eq!(words, [word("success"), word("failed"), word("aborted"), None, None, word("103"), word("-1")]);
        assert!(!Standing(103).is_known() && Standing(0).is_known());
    }

    #[test]
    fn a_failure_is_known_in_whatever_word_the_feed_told_it() {
        let said = ["rejected".to_owned()];
        assert!(Standing(0).is_in(&said) && Standing(102).is_in(&said) && Standing(101).is_in(&[]));
        assert!(!Standing(100).is_in(&said) && !Standing(0).is_in(&[]) && !Standing(103).is_in(&said));
        assert!(Standing(103).is_in(&["103".to_owned()]), "asked a second time it is no news");
    }

    #[test]
    fn keys_are_encoded_and_can_t_lead_elsewhere() {
        let base = Url::parse("https://api.example.com/v2/").unwrap();
        let path = |key| below(&base, "person", key).map(|url| url.path().to_owned());
        assert_eq!(path("PERS_1").as_deref(), Some("/v2/status/person/PERS_1"));
        assert_eq!(path("a/../b?c#d+e").as_deref(), Some("/v2/status/person/a%2F..%2Fb%3Fc%23d+e"));
        assert_eq!((path(".."), path("."), path("")), (None, None, None));
    }

    #[test]
    fn the_message_has_what_is_known_and_nothing_else() {
        let about =
            Identification { ident_id: Some("1".to_owned()), person_key: Some("P".to_owned()), ..Identification::default() };
        let text = String::from_utf8(message(&about, Standing(0)).unwrap()).unwrap();
        insta::assert_snapshot!(text, @r#"{"topic":"identResult","kyc":null,"identId":"1","personKey":"P","reason":null,"status":"failed"}"#);
        assert_eq!(message(&about, Standing(101)), None);
    }
}
