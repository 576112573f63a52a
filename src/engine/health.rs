//! `/healthz`, `/readyz` and `/metrics`, on loopback.
//!
//! Healthy: the process answers. Ready: the rules are loaded, the journal is caught up, every feed is connected or has ended, and no alarm to the
//! operators was given up without reaching anybody.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{Router, extract::State, http::StatusCode, http::header, response::IntoResponse, routing::get};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    model::{
        names::FeedName,
        signal::LastTry,
        time::{Clock, Span},
    },
    telemetry::{Metrics, metrics::Feed},
};

/// What readiness looks at.
#[derive(Clone)]
pub struct Health {
    metrics: Arc<Metrics>,
    /// With why each is away, if it is.
    feeds: Arc<BTreeMap<FeedName, LastTry>>,
    clock: Arc<dyn Clock>,
    ready: Arc<AtomicBool>,
}

impl Health {
    #[must_use]
    pub fn new(metrics: Arc<Metrics>, feeds: BTreeMap<FeedName, LastTry>, clock: Arc<dyn Clock>) -> Self {
        Self { metrics, feeds: Arc::new(feeds), clock, ready: Arc::new(AtomicBool::new(false)) }
    }

    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::SeqCst);
    }

    /// Why redflag is not ready; empty when it is.
    #[must_use]
    pub fn reasons(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if !self.ready.load(Ordering::SeqCst) {
            reasons.push("starting or stopping".to_owned());
        }
        for (feed, last_try) in self.feeds.iter() {
            if self.metrics.connected.get_or_create(&Feed { feed: feed.to_string() }).get() == 0 {
                reasons.push(format!("feed {feed} is not connected{}", self.why(last_try)));
            }
        }
        let dead = self.metrics.dead_alarms.get();
        if dead > 0 {
            reasons.push(format!("{dead} alarms reached no operator: see `redflag outbox list`"));
        }
        reasons
    }

    fn why(&self, last_try: &LastTry) -> String {
        let Some(failed) = last_try.failure() else { return String::new() };
        let next = match failed.next.map(|next| (next - self.clock.now()).num_seconds()) {
            None => String::new(),
            Some(seconds @ 1..) => format!("; the next try is in {}", Span::from_secs(seconds.unsigned_abs())),
            Some(_) => "; it is tried again now".to_owned(),
        };
        format!(": {}{next}", failed.reason)
    }

    /// Serves until `stop`.
    pub async fn serve(self, listener: TcpListener, stop: CancellationToken) {
        let app = Router::new()
            .route("/healthz", get(|| async { "ok\n" }))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics))
            .with_state(self);
        if let Err(error) = axum::serve(listener, app).with_graceful_shutdown(stop.cancelled_owned()).await {
            tracing::error!(%error, "the health page can't be served");
        }
    }
}

/// Binds the address of `[http]`: loopback only, since there is no login.
///
/// # Errors
/// When it is not on loopback, or can't be bound.
pub async fn bind(listen: SocketAddr) -> std::io::Result<TcpListener> {
    if !listen.ip().is_loopback() {
        let text = format!("[http] listen = \"{listen}\" is not on loopback, and these pages have no login");
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, text));
    }
    TcpListener::bind(listen).await
}

async fn readyz(State(health): State<Health>) -> impl IntoResponse {
    let reasons = health.reasons();
    if reasons.is_empty() {
        (StatusCode::OK, "ready\n".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {}\n", reasons.join("; ")))
    }
}

async fn metrics(State(health): State<Health>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], health.metrics.page())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::time::{ManualClock, Timestamp};

    #[test]
    fn a_feed_that_is_away_says_why_and_when_it_is_tried_again() {
        let clock = ManualClock::at(Timestamp::from_timestamp(1_700_000_000, 0).unwrap());
        let last_try = LastTry::default();
        let feeds = BTreeMap::from([(FeedName::new("concedus"), last_try.clone())]);
        let metrics = Arc::new(Metrics::new());
        let health = Health::new(Arc::clone(&metrics), feeds, Arc::new(clock.clone()));
        health.set_ready(true);
        let mut told = vec![health.reasons()];
        last_try
            .failed("the token endpoint refused the login with status 401", Some(clock.now() + chrono::TimeDelta::seconds(31)));
        told.push(health.reasons());
        clock.advance(Duration::from_secs(31));
        told.push(health.reasons());
        last_try.failed("No such file or directory (os error 2)", None);
        told.push(health.reasons());
        insta::assert_snapshot!(told.concat().join("\n"), @r"
        feed concedus is not connected
        feed concedus is not connected: the token endpoint refused the login with status 401; the next try is in 31s
        feed concedus is not connected: the token endpoint refused the login with status 401; it is tried again now
        feed concedus is not connected: No such file or directory (os error 2)
        ");
        metrics.connected.get_or_create(&Feed { feed: "concedus".to_owned() }).set(1);
        assert!(health.reasons().is_empty());
    }
}
