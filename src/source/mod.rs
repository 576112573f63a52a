//! 1 · The feed: token, socket, methods, back-fill; and JSON-lines files.

use tokio::sync::watch;

use crate::model::{signal::Meter, time::Timestamp};

pub mod concedus;
pub mod jsonl;

/// Where a source goes on.
#[derive(Clone, Debug)]
pub struct Resume {
    /// When the last journaled event of the feed was received; kept up to date while the source runs.
    pub last_received: watch::Receiver<Option<Timestamp>>,
    /// What the last journaled frame carried as its position.
    pub position: Option<String>,
    /// Counts every message that is read.
    pub meter: Meter,
}
