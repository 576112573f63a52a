//! Look-ups: how the provider says that single identifications stand, where a gap may have swallowed what it sent of them.

use super::{ids::Seq, names::FeedName, time::Timestamp};

/// What every word for success becomes in the journal.
pub const SUCCESS: &str = "success";

/// An identification that the journal knows, or a person of whom it knows no identification by its number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identification {
    /// None: only the person can be asked about.
    pub ident_id: Option<String>,
    pub person_key: Option<String>,
    pub kyc: Option<String>,
    /// What the journal has as its outcomes, none of them a success.
    pub said: Vec<String>,
}

/// An outcome that the journal has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub ident_id: Option<String>,
    pub person_key: Option<String>,
    pub status: Option<String>,
}

impl Outcome {
    /// Whether it is what was found: then there is no news in that any more.
    #[must_use]
    pub fn is(&self, found: &Found) -> bool {
        let about = &found.about;
        let same = if about.ident_id.is_some() { self.ident_id == about.ident_id } else { self.person_key == about.person_key };
        same && (self.status.as_deref() == Some(SUCCESS)) == (found.status == SUCCESS)
    }
}

/// An outcome that the journal lacked when it was looked up, as the message that should have come.
#[derive(Clone, Debug)]
pub struct Found {
    pub about: Identification,
    /// The word of the message.
    pub status: String,
    pub message: Vec<u8>,
}

/// All that was asked because of one gap. One signal, so that a gap is closed together with what was in it, or not at all.
#[derive(Clone, Debug)]
pub struct LookedUp {
    pub feed: FeedName,
    pub gap: i64,
    /// Compared with the journal up to here.
    pub upto: Seq,
    pub found: Vec<Found>,
    pub report: Report,
    /// Nothing was said of this gap before.
    pub first: bool,
}

/// What asking came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// How many were asked about and answered.
    pub asked: u64,
    /// Of these: still under way, or ended as the journal has it.
    pub as_known: u64,
    /// Why nobody can say that nothing is missing; none: the gap is closed.
    pub open: Vec<String>,
    /// Not all could be asked: it is tried again.
    pub unfinished: bool,
}

impl Report {
    /// `brought`: how many outcomes were journaled by it.
    #[must_use]
    pub fn words(&self, brought: u64) -> String {
        let (asked, as_known) = (self.asked, self.as_known);
        let mut words = format!("{asked} looked up, {as_known} of them as known, {brought} outcomes that the journal lacked");
        if !self.open.is_empty() {
            words.push_str("; it stays open: ");
            words.push_str(&self.open.join("; "));
        }
        words
    }
}

/// What becomes of a gap by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Narrowed {
    pub gap: i64,
    pub at: Timestamp,
    pub words: String,
    pub closes: bool,
    /// It is not asked for again.
    pub done: bool,
}
