//! `/healthz`, `/readyz` and `/metrics`, on loopback.
//!
//! Healthy: the process answers. Ready: the rules are loaded, the journal is caught up, every feed is connected or has ended, and no alarm to the
//! operators was given up without reaching anybody.

use std::{
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
    model::names::FeedName,
    telemetry::{Metrics, metrics::Feed},
};

/// What readiness looks at.
#[derive(Clone)]
pub struct Health {
    metrics: Arc<Metrics>,
    feeds: Arc<[FeedName]>,
    ready: Arc<AtomicBool>,
}

impl Health {
    #[must_use]
    pub fn new(metrics: Arc<Metrics>, feeds: Arc<[FeedName]>) -> Self {
        Self { metrics, feeds, ready: Arc::new(AtomicBool::new(false)) }
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
        for feed in self.feeds.iter() {
            if self.metrics.connected.get_or_create(&Feed { feed: feed.to_string() }).get() == 0 {
                reasons.push(format!("feed {feed} is not connected"));
            }
        }
        let dead = self.metrics.dead_alarms.get();
        if dead > 0 {
            reasons.push(format!("{dead} alarms reached no operator: see `redflag outbox list`"));
        }
        reasons
    }

    /// Serves until `stop`.
    pub async fn serve(self, listener: TcpListener, stop: CancellationToken) -> std::io::Result<()> {
        let app = Router::new()
            .route("/healthz", get(|| async { "ok\n" }))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics))
            .with_state(self);
        axum::serve(listener, app).with_graceful_shutdown(async move { stop.cancelled().await }).await
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
