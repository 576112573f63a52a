//! 1 · The feed: token, socket, methods, back-fill; and JSON-lines files.

use tokio::sync::watch;

use crate::model::signal::{LastTry, Latest, Meter};

pub mod concedus;
pub mod jsonl;

/// Where a source goes on.
#[derive(Clone, Debug)]
pub struct Resume {
    /// When the feed's topics were last received; kept up to date while the source runs.
    pub latest: watch::Receiver<Latest>,
    /// What the last journaled frame carried as its position.
    pub position: Option<String>,
    /// Counts every message that is read.
    pub meter: Meter,
    /// Says why it is away.
    pub last_try: LastTry,
}
