//! The look-ups of single identifications and people: `GET /v2/status/ident/ID`, `GET /v2/status/person/KEY`.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::json;

use super::server::{Shared, refusal};

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new().route("/v2/status/ident/{id}", get(ident)).route("/v2/status/person/{key}", get(person))
}

async fn ident(State(shared): State<Arc<Shared>>, headers: HeaderMap, Path(id): Path<String>) -> Response {
    let known = shared.feed.register.as_ref().and_then(|register| register.ident(&id));
    answer(&shared, &headers, known)
}

async fn person(State(shared): State<Arc<Shared>>, headers: HeaderMap, Path(key): Path<String>) -> Response {
    let known = shared.feed.register.as_ref().and_then(|register| register.person(&key));
    answer(&shared, &headers, known)
}

fn answer(shared: &Shared, headers: &HeaderMap, status: Option<u16>) -> Response {
    shared.counters.lookups.add(1);
    if shared.bearer(headers).is_none() {
        return refusal(StatusCode::UNAUTHORIZED, "the token is unknown or has expired");
    }
    if let Some(failing) = shared.faults.borrow().fail_lookups {
        return refusal(StatusCode::from_u16(failing).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), "as was asked for");
    }
    match status {
        Some(status) => Json(json!({ "status": status })).into_response(),
        None => refusal(StatusCode::NOT_FOUND, "unknown key"),
    }
}
