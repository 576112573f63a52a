//! What may be concluded from look-ups, and what not. Pure.
//!
//! A look-up answers for an identification that somebody asks for. So a gap can be closed only if everybody is known who may have been
//! in it, and if what may be missing of them is their outcome: that is, `identResult`, while the announcements of identifications are
//! whole from long enough before. Whatever else a gap may hold (announcements, differences, decisions, attachments) no look-up lists.

use crate::{
    model::{
        lookup::{Found, Identification},
        names::FeedName,
        time::{Span, Timestamp},
        topic::{self, IDENT_REQUESTS_CREATED, IDENT_RESULT},
        turn::Gap,
    },
    source::concedus::lookup::{Answer, message},
    store::{Announced, GapRow},
};

/// What of a gap look-ups have to do with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Topics {
    pub results: bool,
    /// New identifications may have been announced in it.
    pub requests: bool,
}

pub(super) fn topics(gap: &Gap) -> Topics {
    let holds = |name: &str| gap.topics.is_empty() || gap.topics.iter().any(|topic| canonical(topic) == name);
    Topics { results: holds(IDENT_RESULT.name), requests: holds(IDENT_REQUESTS_CREATED.name) }
}

/// Whether this gap is open and may hide that an identification was announced.
pub(super) fn hides_requests(row: &GapRow, feed: &FeedName, (from, until): (Timestamp, Timestamp)) -> bool {
    let gap = &row.gap;
    row.closed_at.is_none() && gap.feed == *feed && topics(gap).requests && gap.from <= until && from <= gap.until
}

/// What is known of announcements in the time that counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ground {
    pub announced: Announced,
    /// Another gap may hide some.
    pub other_gap: bool,
    /// Retention deletes what is older.
    pub kept_since: Option<Timestamp>,
}

/// Counts the answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub asked: u64,
    pub as_known: u64,
    /// The provider knows no such key.
    pub unknown: u64,
    /// Nobody knows what the answer means.
    pub strange: u64,
    /// People of whom there is an identification that the journal has never heard of.
    pub unheard: u64,
    /// Beyond the limit.
    pub left_out: u64,
}

impl Tally {
    /// Answers what the journal lacks.
    pub(super) fn take(&mut self, about: Identification, answer: Answer) -> Option<Found> {
        self.asked += 1;
        let standing = match answer {
            Answer::Stands(standing) => standing,
            Answer::Unknown => {
                self.unknown += 1;
                return None;
            }
            Answer::Unreadable => {
                self.strange += 1;
                return None;
            }
        };
        self.strange += u64::from(!standing.is_known());
        // All that is known of this person has ended in failure, and the provider says something else.
        let unheard = about.ident_id.is_none() && !about.said.is_empty() && !matches!(standing.0, 0 | 102);
        self.unheard += u64::from(unheard);
        if standing.is_in(&about.said) {
            self.as_known += u64::from(!unheard);
            return None;
        }
        let status = standing.ended()?.into_owned();
        let message = message(&about, standing)?;
        Some(Found { about, status, message })
    }
}

/// Why nobody can say that nothing is missing any more; nothing: it can be said.
pub(super) fn open(
    gap: &Gap,
    since: Timestamp,
    reach: Span,
    ground: &Ground,
    tally: &Tally,
    failure: Option<&str>,
) -> Vec<String> {
    let mut open = Vec::new();
    let beyond: Vec<&str> = gap.topics.iter().map(|topic| canonical(topic)).filter(|topic| *topic != IDENT_RESULT.name).collect();
    if gap.topics.is_empty() || !beyond.is_empty() {
        let beyond = if beyond.is_empty() { "other topics".to_owned() } else { beyond.join(", ") };
        open.push(format!("what it may hold of {beyond} can't be looked up"));
    } else {
        let Announced { first, last, set_aside } = ground.announced;
        if first.is_none_or(|first| first > since) || ground.kept_since.is_some_and(|kept| kept > since) {
            open.push(format!("not all identifications of the {reach} before it are known (lookups.reach)"));
        } else if last.is_none_or(|last| last < since) {
            open.push(format!(
                "no identification was announced in the {reach} before it: nobody knows whether the feed still does"
            ));
        }
        if ground.other_gap {
            open.push("another open gap may hide identifications".to_owned());
        }
        if set_aside > 0 {
            open.push(format!("{set_aside} entries of the quarantine may be about identifications"));
        }
    }
    let mut count = |number: u64, what: &str| {
        if number > 0 {
            open.push(format!("{what}: {number}"));
        }
    };
    count(tally.unheard, "people with an identification that the feed never told of");
    count(tally.unknown, "not known to the provider");
    count(tally.strange, "answers that redflag does not know");
    count(tally.left_out, "not asked about, since they are more than lookups.limit, at least");
    if let Some(failure) = failure {
        open.push(format!("not all could be asked: {failure}; it is tried again"));
    }
    open
}

fn canonical(name: &str) -> &str {
    topic::find(name).map_or(name, |topic| topic.name)
}

#[cfg(test)]
mod tests;
