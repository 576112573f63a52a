//! Steering a simulator in another process: `GET /control/stats`, `GET` and `PUT /control/faults`, `POST /control/drop` (every open
//! socket) and `POST /control/push` (the body is a frame). No token is asked for: a simulator holds nothing worth one.

use std::sync::Arc;

use axum::{
    Json, Router,
    body::Bytes,
    extract::State,
    http::StatusCode,
    routing::{get, post},
};

use super::{faults::Faults, server::Shared, stats::Stats};

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/control/stats", get(stats))
        .route("/control/faults", get(faults).put(set_faults))
        .route("/control/drop", post(drop_sockets))
        .route("/control/push", post(push))
}

async fn stats(State(shared): State<Arc<Shared>>) -> Json<Stats> {
    Json(shared.counters.stats())
}

async fn faults(State(shared): State<Arc<Shared>>) -> Json<Faults> {
    Json(shared.faults.borrow().clone())
}

async fn set_faults(State(shared): State<Arc<Shared>>, Json(faults): Json<Faults>) -> StatusCode {
    shared.faults.send_replace(faults);
    StatusCode::NO_CONTENT
}

async fn drop_sockets(State(shared): State<Arc<Shared>>) -> StatusCode {
    shared.drop_sockets();
    StatusCode::NO_CONTENT
}

async fn push(State(shared): State<Arc<Shared>>, body: Bytes) -> StatusCode {
    shared.push(body.to_vec()).await;
    StatusCode::NO_CONTENT
}
