//! Tokens: given for a password, refreshed, good for a while.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use base64::Engine as _;
use fastrand::Rng;
use serde::Serialize;

use crate::model::time::Timestamp;

/// What a token request is answered with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Granted {
    access_token: String,
    /// Unix time in seconds.
    exp: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
}

#[derive(Debug)]
pub(super) struct Tokens {
    life: Duration,
    with_refresh: bool,
    given: Mutex<Given>,
}

#[derive(Debug)]
struct Given {
    rng: Rng,
    /// Access tokens and their ends; those that ended go with the next one given.
    access: HashMap<String, Timestamp>,
    /// Refresh tokens and whose they are: good once, until ten lives of an access token have passed.
    refresh: HashMap<String, (String, Timestamp)>,
}

impl Tokens {
    pub(super) fn new(seed: u64, life: Duration, with_refresh: bool) -> Self {
        let given = Given { rng: Rng::with_seed(!seed), access: HashMap::new(), refresh: HashMap::new() };
        // Longer than anything runs, short enough to add to any stamp.
        let life = life.min(Duration::from_hours(24 * 365));
        Self { life, with_refresh, given: Mutex::new(given) }
    }

    pub(super) fn grant(&self, user: &str, now: Timestamp) -> Granted {
        let mut given = self.given();
        given.access.retain(|_, end| *end > now);
        given.refresh.retain(|_, (_, end)| *end > now);
        let end = now + self.life;
        let access_token = jwt(&mut given.rng, user, end);
        given.access.insert(access_token.clone(), end);
        let refresh_token = self.with_refresh.then(|| {
            let token = random(&mut given.rng, 32);
            given.refresh.insert(token.clone(), (user.to_owned(), now + self.life * 10));
            token
        });
        Granted { access_token, exp: end.timestamp(), refresh_token }
    }

    /// A new token for a refresh token, which is used up by it.
    pub(super) fn refresh(&self, token: &str, now: Timestamp) -> Option<Granted> {
        let (user, end) = self.given().refresh.remove(token)?;
        (end > now).then(|| self.grant(&user, now))
    }

    /// When this access token ends; `None` when it is unknown or has ended.
    pub(super) fn end(&self, token: &str, now: Timestamp) -> Option<Timestamp> {
        self.given().access.get(token).copied().filter(|end| *end > now)
    }

    fn given(&self) -> MutexGuard<'_, Given> {
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks like the provider's; nobody may read it, and its signature is noise.
fn jwt(rng: &mut Rng, user: &str, end: Timestamp) -> String {
    let part = |json: String| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(json);
    let header = part(r#"{"alg":"HS256","typ":"JWT"}"#.to_owned());
    let body = part(serde_json::json!({ "sub": user, "exp": end.timestamp() }).to_string());
    format!("{header}.{body}.{}", random(rng, 32))
}

fn random(rng: &mut Rng, bytes: usize) -> String {
    let mut noise = vec![0; bytes];
    rng.fill(&mut noise);
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(noise)
}
