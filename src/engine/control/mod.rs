//! The control side: what `status`, `reload`, `alerts`, `outbox`, `quarantine`, `gaps` and `coverage` ask, and who answers.
//!
//! ```text
//! command ─▶ client ─▶ control socket ─▶ Office (with the running service)   ─▶ the store's writer, the engine
//!                  └─▶ nothing runs: its own Office over the store, under the same lock
//! ```
//!
//! One [`Request`] and one [`Reply`] a connection, each a line of JSON with the version of this protocol. Whoever may open the socket may
//! ask everything; the kernel says who it is, and whatever changes something, or shows personal data, is in the audit record.

mod alerts;
pub mod client;
mod coverage;
mod gaps;
mod outbox;
pub mod people;
mod quarantine;
mod reload;
mod socket;
mod status;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use tokio::sync::{Notify, mpsc};

pub use alerts::{AlertLine, AlertPage, HistoryLine};
pub use coverage::{Coverage, Hour, ImbalanceLine, LedgerLine};
pub use gaps::GapLine;
pub use outbox::DeliveryLine;
pub use quarantine::QuarantineLine;
pub use reload::{Finding, Reloaded};
pub use socket::{Served, serve};
pub use status::{ChannelLine, FeedLine, LastAlert, Rules, Service, Status, StoreLine};

use super::{
    health::Health,
    pipeline,
    reload::{Report, Request as Reload},
};
use crate::{
    config::Config,
    model::{
        actor::Actor,
        alert::AlertState,
        causes,
        delivery::State,
        names::ChannelName,
        time::{Clock, Timestamp},
    },
    rules::set::Generation,
    store::{Act, Change, Changed, SqliteStore, StoreError},
    telemetry::Metrics,
};

/// Of this protocol.
pub const VERSION: u32 = 1;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
pub enum Ask {
    Status,
    Reload {
        /// Lets a held-back change through.
        confirm: bool,
        note: String,
    },
    Alerts {
        rule: Option<String>,
        since: Option<Timestamp>,
        state: Option<AlertState>,
        limit: usize,
        personal: bool,
    },
    Alert {
        id: String,
        personal: bool,
    },
    /// To another state; none: only a note.
    SetAlerts {
        ids: Vec<String>,
        to: Option<AlertState>,
        note: String,
    },
    Outbox {
        channel: Option<String>,
        /// None: what is not delivered.
        states: Vec<State>,
        dropped: bool,
        since: Option<Timestamp>,
        limit: usize,
    },
    RetryDeliveries {
        which: Which,
        note: String,
    },
    DropDeliveries {
        which: Which,
        note: String,
    },
    Quarantine {
        feed: Option<String>,
        state: Option<String>,
        since: Option<Timestamp>,
        limit: usize,
    },
    RetryQuarantined {
        ids: Vec<String>,
        note: String,
    },
    DropQuarantined {
        ids: Vec<String>,
        note: String,
    },
    Gaps {
        feed: Option<String>,
        /// Closed ones as well.
        all: bool,
        limit: usize,
    },
    CloseGaps {
        ids: Vec<String>,
        note: String,
    },
    Coverage {
        feed: Option<String>,
        topic: Option<String>,
        since: Option<Timestamp>,
    },
}

/// Which deliveries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Which {
    Ids(Vec<String>),
    /// Every dead letter, of one channel or of all.
    Dead {
        channel: Option<String>,
    },
}

/// One line to the socket.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Request {
    pub version: u32,
    /// The store that is meant: several services may run on one machine.
    pub store: PathBuf,
    /// Whom `sudo` names, else who calls.
    pub claims: Option<String>,
    pub ask: Ask,
}

/// One line back.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Reply {
    pub version: u32,
    #[serde(flatten)]
    pub answer: Answer,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    Ok(Json),
    Refused(Refusal),
}

/// Why something was not done; for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{text}")]
pub struct Refusal {
    pub why: Why,
    pub text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// There is no such alert, delivery, channel, …
    Unknown,
    /// It is there, and this can't be done to it now.
    NotNow,
    /// Only a running service can.
    NeedsService,
    /// Another store is served here.
    OtherStore,
    /// The two ends speak different versions.
    Version,
    Failed,
}

impl Refusal {
    fn unknown(text: impl Into<String>) -> Self {
        Self { why: Why::Unknown, text: text.into() }
    }

    fn needs_service(text: impl Into<String>) -> Self {
        Self { why: Why::NeedsService, text: text.into() }
    }

    fn failed(error: &dyn std::error::Error) -> Self {
        Self { why: Why::Failed, text: causes::chain(error) }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Refused { operation, detail } => Self { why: Why::NotNow, text: format!("{operation}: {detail}") },
            other => Self::failed(&other),
        }
    }
}

/// What a running service adds to its store.
#[derive(Clone)]
pub struct Live {
    pub metrics: Arc<Metrics>,
    pub health: Health,
    pub generation: Arc<ArcSwap<Generation>>,
    pub last_load: Arc<ArcSwap<Report>>,
    pub reload: mpsc::Sender<Reload>,
    pub engine: mpsc::Sender<pipeline::Control>,
    pub wake: HashMap<ChannelName, Arc<Notify>>,
    pub since: Timestamp,
    /// What somebody should look at for as long as it runs.
    pub findings: Arc<[String]>,
}

/// Who answers: over the socket of a running service, or in a command's own process while nothing runs. Its methods block.
#[derive(Clone)]
pub struct Office {
    pub config: Arc<Config>,
    pub store: SqliteStore,
    pub clock: Arc<dyn Clock>,
    /// None: nothing runs.
    pub live: Option<Live>,
}

impl Office {
    /// Answers one question.
    ///
    /// # Errors
    /// Why not.
    pub fn answer(&self, ask: Ask, actor: &Actor) -> Result<Json, Refusal> {
        match ask {
            Ask::Status => json(&self.status()?),
            Ask::Reload { confirm, note } => json(&self.reload(confirm, &note, actor)?),
            Ask::Alerts { rule, since, state, limit, personal } => {
                json(&self.alerts(rule, since, state, limit, personal, actor)?)
            }
            Ask::Alert { id, personal } => json(&self.alert(&id, personal, actor)?),
            Ask::SetAlerts { ids, to, note } => json(&self.set_alerts(&ids, to, note, actor)?),
            Ask::Outbox { channel, states, dropped, since, limit } => json(&self.outbox(channel, states, dropped, since, limit)?),
            Ask::RetryDeliveries { which, note } => json(&self.retry_deliveries(&which, note, actor)?),
            Ask::DropDeliveries { which, note } => json(&self.drop_deliveries(&which, note, actor)?),
            Ask::Quarantine { feed, state, since, limit } => json(&self.quarantine(feed, state, since, limit)?),
            Ask::RetryQuarantined { ids, note } => json(&self.retry_quarantined(&ids, note, actor)?),
            Ask::DropQuarantined { ids, note } => json(&self.drop_quarantined(&ids, note, actor)?),
            Ask::Gaps { feed, all, limit } => json(&self.gaps(feed.as_deref(), all, limit)?),
            Ask::CloseGaps { ids, note } => json(&self.close_gaps(&ids, note, actor)?),
            Ask::Coverage { feed, topic, since } => json(&self.coverage(feed.as_deref(), topic.as_deref(), since)?),
        }
    }

    fn act(&self, actor: &Actor, action: &str, note: String, change: Change) -> Result<Vec<Changed>, Refusal> {
        let act = Act { actor: actor.clone(), action: action.to_owned(), note, change };
        let changed = self.store.act(act).wait()?;
        for changed in &changed {
            tracing::info!(who = %actor, uid = actor.uid, action, object = changed.object, "done by hand");
        }
        Ok(changed)
    }
}

/// The folder that a store is known by, whatever led there.
#[must_use]
pub fn store_of(data_dir: &Path) -> PathBuf {
    data_dir.canonicalize().or_else(|_| std::path::absolute(data_dir)).unwrap_or_else(|_| data_dir.to_owned())
}

fn json(value: &impl Serialize) -> Result<Json, Refusal> {
    serde_json::to_value(value).map_err(|error| Refusal::failed(&error))
}

/// A proposal for a name that isn't there.
fn proposal(wrong: &str, known: &[&str]) -> String {
    match crate::config::shape::nearest(wrong, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.is_empty() => "there is none".to_owned(),
        None => format!("there are: {}", known.join(", ")),
    }
}
