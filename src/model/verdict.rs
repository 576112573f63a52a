//! What a rule says of an event.

use std::sync::Arc;

use super::{card::Card, severity::Severity, value::Value};

/// One rule's verdict on one event. "No match" is counted, not passed on.
#[derive(Clone, Debug)]
pub struct Judgement {
    pub card: Arc<Card>,
    pub verdict: Verdict,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    Match(Box<Finding>),
    /// It could not be decided; open to be judged again. Never "no match".
    Undecided(Undecided),
}

/// What a match says.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    pub severity: Severity,
    /// For channels cleared for personal data.
    pub subject: String,
    /// For the others.
    pub masked_subject: String,
    /// What `fn details` answered, for cleared channels only.
    pub details: Option<Value>,
    /// Channel or group names.
    pub send_to: Vec<String>,
    /// Values of the card's `quiet.same` fields; none where there is no quiet period or one of them is blank.
    pub quiet_key: Option<Vec<String>>,
    /// Functions that failed after the match, so that the card's value stands instead: for the alert to say.
    pub fallbacks: Vec<String>,
    /// Texts that `country()` and the like did not know, for people to look at: no payload beyond the text itself.
    pub unknown_words: Vec<String>,
}

/// Why a verdict is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undecided {
    pub kind: UndecidedKind,
    /// The rule file's line, from 1.
    pub line: Option<usize>,
    /// For people; no payload.
    pub detail: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UndecidedKind {
    /// A function of the rule failed.
    Error,
    /// The operation budget was used up.
    Budget,
    /// It took too long.
    Fuse,
    /// The rule's code panicked the engine.
    Panic,
    /// The rule is parked: it was not asked.
    Parked,
    /// A process of its own died of judging it: it was not asked.
    Poison,
}

impl UndecidedKind {
    pub const ALL: [Self; 6] = [Self::Error, Self::Budget, Self::Fuse, Self::Panic, Self::Parked, Self::Poison];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Budget => "budget",
            Self::Fuse => "fuse",
            Self::Panic => "panic",
            Self::Parked => "parked",
            Self::Poison => "poison",
        }
    }
}

/// Counts of one event's judging. What was owed is counted elsewhere, by the generation's index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Match or no match.
    pub decided: u64,
    /// Of those: match.
    pub matched: u64,
    pub undecided: u64,
    /// Not asked, since the rule is parked.
    pub parked: u64,
}
