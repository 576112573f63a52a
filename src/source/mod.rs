//! 1 · The feed: token, socket, methods, back-fill; and JSON-lines files.
//! Stages never import each other: only `model` types cross, the store is reached through its traits, and `engine` wires.

pub mod concedus;

use crate::model::time::Timestamp;

/// Where a source goes on: what the journal knows of its feed.
pub struct Resume {
    pub last_received: tokio::sync::watch::Receiver<Option<Timestamp>>,
    pub position: Option<String>,
}
