//! What the store commits in one transaction: a batch of events, and what the batch before it caused.

use std::sync::Arc;

use super::{
    alert::{Alert, Message, QuietPeriod},
    books::{BooksDelta, Imbalance},
    card::Card,
    delivery::{Mark, NewDelivery},
    event::{Event, Quarantined},
    hash::Digest,
    ids::Seq,
    lookup::Narrowed,
    names::{FeedName, RuleId},
    time::Timestamp,
    verdict::{Undecided, UndecidedKind},
};

/// One transaction of the engine.
#[derive(Clone, Debug, Default)]
pub struct Turn {
    /// Batch n: contiguous sequences behind the last journaled one.
    pub events: Arc<Vec<Event>>,
    pub quarantined: Vec<Quarantined>,
    /// What came of quarantined bytes that a person wanted judged.
    pub retried: Vec<Retried>,
    /// Where each feed's source goes on, once this is committed.
    pub positions: Vec<(FeedName, String)>,
    /// What batch n−1 caused.
    pub effects: Effects,
    /// Changes of the books, to be added to the rows that are there.
    pub books: Vec<BooksDelta>,
    pub gaps: Vec<Gap>,
    /// What look-ups say of gaps that are on disk.
    pub narrowed: Vec<Narrowed>,
}

impl Turn {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
            && self.quarantined.is_empty()
            && self.retried.is_empty()
            && self.positions.is_empty()
            && self.effects.is_empty()
            && self.books.is_empty()
            && self.gaps.is_empty()
            && self.narrowed.is_empty()
    }
}

/// What judging caused.
#[derive(Clone, Debug, Default)]
pub struct Effects {
    /// Events up to here are judged: the cursor. It moves together with the ledger entry of the generation that judged.
    pub judged: Option<Judged>,
    pub alerts: Vec<Alert>,
    pub messages: Vec<Message>,
    pub deliveries: Vec<NewDelivery>,
    /// Begun or changed quiet periods: insert or replace by (rule, key).
    pub quiet: Vec<QuietPeriod>,
    /// Ended ones: delete.
    pub quiet_ended: Vec<(RuleId, Vec<String>)>,
    pub undecided: Vec<UndecidedRow>,
    /// What the auditor found, and what balances again.
    pub imbalances: Vec<Imbalance>,
    /// Of deliveries in trouble.
    pub marks: Vec<Mark>,
    /// Earlier ones of these that now have a verdict, or another reason for having none: written before them.
    pub settled: Vec<Settled>,
    /// Begun or changed parkings: insert or replace by rule.
    pub parked: Vec<Parked>,
    /// Ended ones: delete, before those are written.
    pub unparked: Vec<RuleId>,
}

impl Effects {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.judged.is_none()
            && self.alerts.is_empty()
            && self.messages.is_empty()
            && self.deliveries.is_empty()
            && self.quiet.is_empty()
            && self.quiet_ended.is_empty()
            && self.undecided.is_empty()
            && self.imbalances.is_empty()
            && self.marks.is_empty()
            && self.settled.is_empty()
            && self.parked.is_empty()
            && self.unparked.is_empty()
    }
}

/// A range of events that one generation judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judged {
    pub from: Seq,
    pub to: Seq,
    pub generation: Digest,
}

/// A verdict that is missing.
#[derive(Clone, Debug)]
pub struct UndecidedRow {
    pub seq: Seq,
    pub rule: RuleId,
    pub rule_hash: Digest,
    pub at: Timestamp,
    pub why: Undecided,
}

/// How an open missing verdict ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    pub seq: Seq,
    pub rule: RuleId,
    pub at: Timestamp,
    pub outcome: Outcome,
    /// The rule that was asked this time.
    pub by: Digest,
}

/// What judging an event again gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Match,
    NoMatch,
    /// The rule is another one, and could not judge it either: that is an open row of its own.
    Again,
}

impl Outcome {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Match => "match",
            Self::NoMatch => "no match",
            Self::Again => "again",
        }
    }
}

/// A rule that is not asked: the events that it would have judged are owed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parked {
    pub rule: RuleId,
    /// Of the rule and its modules: another one is not parked.
    pub rule_hash: Digest,
    pub at: Timestamp,
    /// The last event that it was asked about.
    pub seq: Seq,
    /// For people; no payload.
    pub why: String,
    /// How often it was tried again in vain.
    pub tries: u32,
    pub next_try: Timestamp,
}

/// Missing verdicts of one rule that are open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenVerdicts {
    pub rule: RuleId,
    /// Of the rule that could not judge.
    pub rule_hash: Digest,
    pub kind: UndecidedKind,
    pub count: u64,
}

/// Quarantined bytes that were decoded again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retried {
    pub id: i64,
    pub at: Timestamp,
    /// Whether rules judge what was in it. Else it stays open.
    pub judged: bool,
    /// For people: no payload.
    pub outcome: String,
}

/// An interval for which a feed can't prove that everything arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    pub feed: FeedName,
    pub topics: Vec<String>,
    pub from: Timestamp,
    pub until: Timestamp,
    pub found_at: Timestamp,
    pub reason: String,
}

/// A rule set that was or is live, kept so that the past can be explained.
#[derive(Clone, Debug)]
pub struct GenerationRecord {
    pub hash: Digest,
    pub live_from: Timestamp,
    pub cards: Vec<Card>,
    /// File name (relative to the rules' folder) → content, for every file of the set.
    pub files: Vec<(String, Vec<u8>)>,
}

/// What is kept beside the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    Templates,
    /// The configuration's files as they are written, with the places of secrets and never a secret.
    Configuration,
}

impl Kept {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Templates => "templates",
            Self::Configuration => "configuration",
        }
    }
}

/// Files that are live together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptSet {
    pub kind: Kept,
    pub live_from: Timestamp,
    /// Name → content, by name.
    pub files: Vec<(String, Vec<u8>)>,
}

impl KeptSet {
    /// Of all names and contents.
    #[must_use]
    pub fn hash(&self) -> Digest {
        Digest::of_parts(self.files.iter().flat_map(|(name, content)| [name.as_bytes(), content.as_slice()]))
    }
}
