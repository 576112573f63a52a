//! What a verdict becomes: an alert, which starts a message or is a repeat within a quiet period.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    card::Card,
    event::{Event, Origin},
    ids::{AlertId, MessageId, Seq},
    names::{FeedName, RuleId, TopicName},
    severity::Severity,
    time::Timestamp,
    value::{Map, Value},
};

/// One match, kept for ever.
#[derive(Clone, Debug)]
pub struct Alert {
    pub id: AlertId,
    pub raised_at: Timestamp,
    pub seq: Seq,
    pub card: Arc<Card>,
    pub severity: Severity,
    pub subject: String,
    pub masked_subject: String,
    pub role: Role,
    /// The message that it started, or the one whose quiet period it fell into. None for a rule in shadow.
    pub message: Option<MessageId>,
}

/// What an alert did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// It started a message.
    First,
    /// It fell into a quiet period: recorded, counted, told in the follow-up.
    Repeat,
    /// Its rule runs in shadow: recorded, nothing sent.
    Shadow,
}

impl Role {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Repeat => "repeat",
            Self::Shadow => "shadow",
        }
    }
}

/// How far people are with an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AlertState {
    /// Nobody has said anything yet.
    Open,
    /// Somebody has taken it up.
    Acknowledged,
    Closed,
}

impl AlertState {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Acknowledged => "acknowledged",
            Self::Closed => "closed",
        }
    }
}

/// What people are told, and all that a template may use. Kept as JSON in the store; `facts` holds personal data, and a channel
/// without clearance gets it masked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    pub id: MessageId,
    pub created_at: Timestamp,
    pub purpose: Purpose,
    pub severity: Severity,
    /// Channel or group names, as the rule gave them; a follow-up goes the same ways.
    pub send_to: Vec<String>,
    pub subject: String,
    pub masked_subject: String,
    /// `demo`, `test` or `prod`.
    pub environment: String,
    /// The rule that matched; none for redflag's own alarms.
    pub card: Option<Arc<Card>>,
    /// The event that matched; none for redflag's own alarms.
    pub event: Option<EventFacts>,
    /// What `fn details` answered: cleared channels only.
    pub details: Option<Value>,
    /// Of a follow-up: how many repeats fell into the quiet period.
    pub repeats: u64,
    /// Sentences that redflag adds (a function failed, the event is late or may be a repeat, …): no payload.
    pub notes: Vec<String>,
    /// Of the whole rule set that judged.
    pub generation: Option<super::hash::Digest>,
}

/// Why a message goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    Alert,
    /// At the end of a quiet period that had repeats.
    FollowUp,
    /// redflag speaks about itself.
    Alarm,
    /// `redflag channel test`.
    Test,
}

impl Purpose {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Alert => "alert",
            Self::FollowUp => "follow-up",
            Self::Alarm => "alarm",
            Self::Test => "test",
        }
    }
}

/// The event of a message, as templates see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventFacts {
    pub seq: Seq,
    pub feed: FeedName,
    pub topic: TopicName,
    pub received_at: Timestamp,
    pub at: Timestamp,
    /// Messages of older versions don't say.
    #[serde(default)]
    pub origin: Origin,
    pub late: bool,
    pub maybe_repeat: bool,
    /// The canonical fields.
    pub body: Map,
}

impl From<&Event> for EventFacts {
    fn from(event: &Event) -> Self {
        Self {
            seq: event.seq,
            feed: event.feed.clone(),
            topic: event.topic.clone(),
            received_at: event.received_at,
            at: event.at(),
            origin: event.origin,
            late: event.late,
            maybe_repeat: event.maybe_repeat,
            body: event.body.clone(),
        }
    }
}

/// A running quiet period of one rule and key.
#[derive(Clone, Debug, PartialEq)]
pub struct QuietPeriod {
    pub rule: RuleId,
    pub key: Vec<String>,
    pub severity: Severity,
    pub message: MessageId,
    pub from: Timestamp,
    pub until: Timestamp,
    /// Alerts that fell into it so far.
    pub repeats: u64,
}
