//! `gaps`: what back-fill could not prove complete, and closing it once somebody knows.

use serde::{Deserialize, Serialize};

use super::{Office, Refusal};
use crate::{
    model::{actor::Actor, names::FeedName, time::Timestamp},
    store::{Change, Changed, GapRow, Numbered},
};

/// An interval for which a feed can't prove that everything arrived.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GapLine {
    pub number: i64,
    pub feed: FeedName,
    /// Empty: all.
    pub topics: Vec<String>,
    pub from: Timestamp,
    pub until: Timestamp,
    pub found_at: Timestamp,
    pub reason: String,
    /// None: open.
    pub closed_at: Option<Timestamp>,
    pub closed_by: Option<String>,
    /// What look-ups came to.
    pub looked_up: Option<String>,
}

impl GapLine {
    /// In words, for people.
    #[must_use]
    pub fn topics(&self) -> String {
        if self.topics.is_empty() { "all topics".to_owned() } else { self.topics.join(", ") }
    }

    #[must_use]
    pub fn is_open(&self) -> bool {
        self.closed_at.is_none()
    }
}

impl From<GapRow> for GapLine {
    fn from(row: GapRow) -> Self {
        let GapRow { id, gap, closed_at, closed_by, looked_up } = row;
        Self {
            number: id,
            feed: gap.feed,
            topics: gap.topics,
            from: gap.from,
            until: gap.until,
            found_at: gap.found_at,
            reason: gap.reason,
            closed_at,
            closed_by,
            looked_up,
        }
    }
}

impl Office {
    /// Newest first.
    pub(super) fn gaps(&self, feed: Option<&str>, all: bool, limit: usize) -> Result<Vec<GapLine>, Refusal> {
        if let Some(feed) = feed {
            self.known_feed(feed)?;
        }
        let wanted = |gap: &GapLine| (all || gap.is_open()) && feed.is_none_or(|feed| *gap.feed == *feed);
        let gaps = self.store.reader().gaps()?;
        Ok(gaps.into_iter().rev().map(GapLine::from).filter(wanted).take(limit).collect())
    }

    pub(super) fn close_gaps(&self, ids: &[String], note: String, actor: &Actor) -> Result<Vec<Changed>, Refusal> {
        if note.trim().is_empty() {
            return Err(Refusal::unknown("say with --note how it is known that nothing is missing, or what was done about it"));
        }
        let reader = self.store.reader();
        let mut gaps = Vec::with_capacity(ids.len());
        for id in ids {
            let list = "`redflag gaps list --all` shows them";
            let Ok(number) = id.trim_start_matches('#').parse::<i64>() else {
                return Err(Refusal::unknown(format!("`{id}` names no gap: it is a number; {list}")));
            };
            if reader.gap(number)?.is_none() {
                return Err(Refusal::unknown(match reader.highest(Numbered::Gaps)? {
                    0 => "there never was a gap".to_owned(),
                    highest => format!("there is no gap {number}; the last one is {highest}, {list}"),
                }));
            }
            gaps.push(number);
        }
        self.act(actor, "gaps close", note, Change::CloseGaps { gaps })
    }
}
