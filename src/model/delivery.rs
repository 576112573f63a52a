//! A delivery = (message, channel, recipient): a row with its own state until it is acknowledged or given up.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    alert::Message,
    ids::{DeliveryId, MessageId},
    names::ChannelName,
    rendered::Rendered,
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
    /// Given up after this.
    pub expires_at: Timestamp,
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
