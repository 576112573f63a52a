//! The books: what was counted, per feed, topic and hour; and what must be equal in them.
//!
//! Each count is made where the thing happens, by whoever does it: the socket counts what it read, the decoder what it split, the store its
//! rows, the engine what it handed to the rules, the rules their verdicts. None is derived from another, so that whatever is lost between two
//! of them shows as a difference. A count is committed with the turn that did it, so the books are settled at each commit.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::{
    names::{FeedName, TopicName},
    time::Timestamp,
};

macro_rules! counts {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What the books count.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        pub struct Counts {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Counts {
            /// In the order of [`Counts::values`]; the store's columns are called so.
            pub const NAMES: &[&str] = &[$(stringify!($name)),*];

            #[must_use]
            pub fn values(&self) -> [u64; Self::NAMES.len()] {
                [$(self.$name),*]
            }

            #[must_use]
            pub fn from_values(values: [u64; Self::NAMES.len()]) -> Self {
                let [$($name),*] = values;
                Self { $($name),* }
            }

            pub fn add(&mut self, other: &Self) {
                $(self.$name += other.$name;)*
            }
        }
    };
}

counts! {
    /// By the source: messages read off the socket, or lines read from a file.
    frames,
    /// By the intake: frames that decoded, wholly or in part.
    decoded,
    /// By the intake: frames of which nothing could be decoded.
    refused,
    /// By the intake: frames that answered a method of ours.
    method_replies,
    /// By the intake: frames and entries that were set aside.
    quarantined,
    /// By the store: rows of them.
    set_aside,
    /// By the decoder: entries that were split out of frames.
    elements,
    /// By the reconciler: entries that a request brought and the journal already had.
    already_had,
    /// By the reconciler: entries that were taken for an answer and given back as live.
    given_back,
    /// By the reconciler: entries that may have been an answer or a live event, and were taken for the one or marked.
    ambiguous,
    /// By the store: rows of the journal.
    journaled,
    /// By the engine: events handed to the rules.
    evaluated,
    /// By the generation's index: events × rules of their topic.
    owed,
    /// By the evaluator: verdicts that are match or no match.
    decided,
    /// By the evaluator: verdicts that are missing.
    undecided,
    /// By the store: rows of missing verdicts.
    undecided_kept,
    /// By the evaluator: verdicts put off, because their rule is parked.
    parked,
    /// By the engine: missing verdicts, parked or undecided, that a rule was asked for again.
    asked_again,
    /// By the evaluator: verdicts that are match.
    matched,
    /// By the store: rows of alerts.
    alerts,
    /// By routing: deliveries that messages owe.
    due,
    /// By the store: rows of deliveries that came with their message.
    deliveries,
}

/// A change of the books of one feed, topic and hour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BooksDelta {
    /// Empty where there is none: redflag's own alarms.
    pub feed: FeedName,
    /// Empty where no topic is known (frames, quarantine).
    pub topic: TopicName,
    /// The hour's start.
    pub hour: Timestamp,
    pub counts: Counts,
}

/// Changes of the books since they were last taken.
#[derive(Debug, Default)]
pub struct Books(HashMap<(FeedName, TopicName, i64), Counts>);

impl Books {
    /// The counters of this feed, topic (empty where none is known) and hour.
    pub fn of(&mut self, feed: &FeedName, topic: &TopicName, at: Timestamp) -> &mut Counts {
        self.0.entry((feed.clone(), topic.clone(), at.timestamp().div_euclid(3_600))).or_default()
    }

    /// Hands the changes over and begins anew.
    pub fn take(&mut self) -> Vec<BooksDelta> {
        let mut changes: Vec<_> = self
            .0
            .drain()
            .filter_map(|((feed, topic, hour), counts)| {
                Some(BooksDelta { feed, topic, hour: Timestamp::from_timestamp(hour * 3_600, 0)?, counts })
            })
            .collect();
        changes.sort_by(|a, b| (&a.feed, &a.topic, a.hour).cmp(&(&b.feed, &b.topic, b.hour)));
        changes
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// One row of the books as it stands, with what waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BooksRow {
    pub feed: FeedName,
    pub topic: TopicName,
    pub hour: Timestamp,
    pub counts: Counts,
    /// Events above the cursor: journaled, and to be judged.
    pub waiting: u64,
}

impl BooksRow {
    /// Both sides of this seam.
    #[must_use]
    pub fn sides(&self, seam: Seam) -> (u64, u64) {
        let c = &self.counts;
        match seam {
            Seam::Socket => (c.frames, c.decoded + c.refused + c.method_replies),
            Seam::Quarantine => (c.quarantined, c.set_aside),
            Seam::Journal => (c.elements + c.given_back, c.journaled + c.already_had),
            Seam::Rules => (c.journaled, c.evaluated + self.waiting),
            Seam::Verdicts => (c.owed + c.asked_again, c.decided + c.undecided + c.parked),
            Seam::Alerts => (c.matched + c.undecided + c.parked, c.alerts + c.undecided_kept),
            Seam::Outbox => (c.due, c.deliveries),
        }
    }
}

/// A place where something is handed over, and may be lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Seam {
    /// From the socket to the decoder.
    Socket,
    /// From the decoder to the quarantine.
    Quarantine,
    /// From the decoder to the journal.
    Journal,
    /// From the journal to the rules.
    Rules,
    /// From the rules of a topic to their verdicts.
    Verdicts,
    /// From verdicts to alerts.
    Alerts,
    /// From alerts to deliveries.
    Outbox,
}

impl Seam {
    pub const ALL: [Self; 7] =
        [Self::Socket, Self::Quarantine, Self::Journal, Self::Rules, Self::Verdicts, Self::Alerts, Self::Outbox];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Socket => "socket",
            Self::Quarantine => "quarantine",
            Self::Journal => "journal",
            Self::Rules => "rules",
            Self::Verdicts => "verdicts",
            Self::Alerts => "alerts",
            Self::Outbox => "outbox",
        }
    }

    /// The two sums that must be equal, in words.
    #[must_use]
    pub fn equation(self) -> (&'static str, &'static str) {
        match self {
            Self::Socket => ("frames read off the socket", "decoded, refused, and answers to our questions"),
            Self::Quarantine => ("frames and entries set aside", "rows of the quarantine"),
            Self::Journal => ("entries split out of frames", "events journaled, and those that the journal had"),
            Self::Rules => ("events journaled", "events evaluated, and waiting"),
            Self::Verdicts => ("verdicts owed, and asked for again", "verdicts decided, undecided, and parked"),
            Self::Alerts => ("matches and missing verdicts", "rows of alerts and of missing verdicts"),
            Self::Outbox => ("deliveries that messages owe", "rows of deliveries"),
        }
    }
}

impl std::str::FromStr for Seam {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|seam| seam.as_str() == text).ok_or(())
    }
}

/// Two sums that are not equal, or are again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imbalance {
    pub seam: Seam,
    pub feed: FeedName,
    pub topic: TopicName,
    pub hour: Timestamp,
    pub left: u64,
    pub right: u64,
    pub found_at: Timestamp,
    /// None as long as they differ.
    pub settled_at: Option<Timestamp>,
}
