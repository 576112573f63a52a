//! A delivery = (message, channel, recipient): a row with its own state until it is acknowledged or given up.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    alert::{Message, Purpose},
    ids::{DeliveryId, MessageId},
    names::ChannelName,
    rendered::Rendered,
    severity::Severity,
    time::Timestamp,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// To be sent at `due_at`.
    Waiting,
    /// In a worker's hands until its lease ends.
    Leased,
    Delivered,
    /// Given up; kept with its reason.
    Dead,
}

impl State {
    pub const ALL: [Self; 4] = [Self::Waiting, Self::Leased, Self::Delivered, Self::Dead];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Leased => "leased",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
        }
    }
}

/// A delivery as it is first written.
#[derive(Clone, Debug, PartialEq)]
pub struct NewDelivery {
    pub id: DeliveryId,
    pub message: MessageId,
    pub channel: ChannelName,
    /// A mail address; for other channels the channel's own name.
    pub recipient: String,
    /// Fixed here; every attempt carries it, as Message-ID (in angle brackets) or Idempotency-Key.
    pub identity: String,
    pub due_at: Timestamp,
    /// Given up after this; moved on by the time for which no redflag runs.
    pub expires_at: Timestamp,
    pub severity: Severity,
    pub purpose: Purpose,
    /// If it is not made by then, the message goes another way as well, and that is told. None: it was.
    pub late_at: Option<Timestamp>,
}

/// A delivery in a worker's hands.
#[derive(Clone, Debug)]
pub struct Leased {
    pub delivery: NewDelivery,
    /// This attempt's number, from 1; its row is written.
    pub attempt: u32,
    pub message: Arc<Message>,
}

/// What a channel is given.
#[derive(Clone, Debug)]
pub struct Parcel {
    pub delivery: DeliveryId,
    pub message: MessageId,
    pub recipient: String,
    pub identity: String,
    pub attempt: u32,
    pub rendered: Rendered,
}

/// How an attempt ended. Detail is for people: what the peer said, cut and without payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Delivered {
        detail: String,
    },
    /// It may go through later; `after` is the peer's own wish.
    Retry {
        detail: String,
        after: Option<std::time::Duration>,
    },
    /// It never will.
    Reject {
        detail: String,
    },
}

/// What becomes of a delivery after an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    Delivered,
    Retry { due_at: Timestamp },
    Dead,
}

/// One finished attempt.
#[derive(Clone, Debug)]
pub struct AttemptReport {
    pub delivery: DeliveryId,
    pub attempt: u32,
    pub finished_at: Timestamp,
    pub detail: String,
    pub next: Next,
}

/// A delivery that is late, or was given up.
#[derive(Clone, Debug, PartialEq)]
pub struct Trouble {
    pub delivery: DeliveryId,
    pub message: MessageId,
    pub channel: ChannelName,
    pub severity: Severity,
    pub purpose: Purpose,
    pub state: State,
    pub attempts: u32,
    /// What the last attempt was told.
    pub detail: Option<String>,
    /// Since when it is to go another way; none when it does.
    pub late_at: Option<Timestamp>,
}

/// What the operators have not heard of yet, of one channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Untold {
    /// Given up.
    pub dead: u64,
    /// Owed, and late.
    pub late: u64,
    pub worst: Option<Severity>,
    /// The last of them, as a row.
    pub up_to: i64,
}

/// What was done about a [`Trouble`]. Committed with what was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mark {
    /// Its message goes another way, if there is one. The operators are to hear of it, if it is late.
    Rerouted(DeliveryId),
    /// The operators were told of all troubles of the channel up to that row.
    Told { channel: ChannelName, up_to: i64 },
}
