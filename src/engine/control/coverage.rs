//! `coverage`: what arrived and what became of it, hour by hour, for whoever must prove that nothing was missed; and what is not covered.

use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use super::{GapLine, Office, Refusal, proposal};
use crate::{
    model::{
        books::{BooksRow, Seam},
        hash::Digest,
        ids::Seq,
        names::{FeedName, TopicName},
        time::Timestamp,
    },
    store::QuarantineFilter,
};

/// The whole answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Coverage {
    /// Oldest first.
    pub hours: Vec<Hour>,
    /// Which generation judged which events, without holes.
    pub ledger: Vec<LedgerLine>,
    pub gaps: Vec<GapLine>,
    /// What the books of all feeds don't account for; empty when they balance.
    pub imbalances: Vec<ImbalanceLine>,
    /// In words: what no rule has decided, and why.
    pub not_covered: Vec<String>,
}

/// One feed, topic and hour.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hour {
    pub hour: Timestamp,
    pub feed: FeedName,
    /// None: frames, before a topic is known.
    pub topic: Option<TopicName>,
    /// Frames, where no topic is known; else entries.
    pub received: u64,
    pub already_had: u64,
    pub journaled: u64,
    pub quarantined: u64,
    pub evaluated: u64,
    /// Verdicts: events × rules of their topic.
    pub owed: u64,
    pub decided: u64,
    pub undecided: u64,
    /// Verdicts that were put off, because their rule is parked.
    pub parked: u64,
    /// Missing verdicts, parked or undecided, that a rule was asked for again.
    pub asked_again: u64,
}

/// Two sums of the books that should be equal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImbalanceLine {
    pub seam: Seam,
    pub feed: FeedName,
    /// None: frames, before a topic is known.
    pub topic: Option<TopicName>,
    pub hour: Timestamp,
    pub left: u64,
    pub right: u64,
}

impl ImbalanceLine {
    /// Where and by how much, in words.
    #[must_use]
    pub fn told(&self) -> String {
        let (left, right) = self.seam.equation();
        let topic = self.topic.as_ref().map_or_else(String::new, |topic| format!(", topic {topic}"));
        let hour = self.hour.format("%Y-%m-%d %H:00 UTC");
        format!("feed {}{topic}, {hour}: {} {left}, {} {right}", self.feed, self.left, self.right)
    }
}

/// What is off in this row.
pub(super) fn imbalances(row: &BooksRow) -> impl Iterator<Item = ImbalanceLine> {
    Seam::ALL.into_iter().filter_map(|seam| {
        let (left, right) = row.sides(seam);
        (left != right).then(|| ImbalanceLine {
            seam,
            feed: row.feed.clone(),
            topic: Some(row.topic.clone()).filter(|topic| !topic.is_empty()),
            hour: row.hour,
            left,
            right,
        })
    })
}

/// A range of events that one generation judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LedgerLine {
    pub from: Seq,
    pub to: Seq,
    pub generation: Digest,
    /// When it went live first, and how many rules it has.
    pub live_from: Option<Timestamp>,
    pub rules: usize,
}

impl Office {
    pub(super) fn coverage(
        &self,
        feed: Option<&str>,
        topic: Option<&str>,
        since: Option<Timestamp>,
    ) -> Result<Coverage, Refusal> {
        if let Some(feed) = feed {
            self.known_feed(feed)?;
        }
        let reader = self.store.reader();
        let mut rows = reader.books_since(Timestamp::UNIX_EPOCH)?;
        if let Some(topic) = topic {
            let known: BTreeSet<&str> = rows.iter().map(|row| &*row.topic).filter(|topic| !topic.is_empty()).collect();
            if !known.contains(topic) {
                let known: Vec<&str> = known.into_iter().collect();
                return Err(Refusal::unknown(format!(
                    "nothing of the topic `{topic}` was received; {}",
                    proposal(topic, &known)
                )));
            }
        }
        // The hour in which it begins counts as a whole.
        let ended = |row: &BooksRow| since.is_some_and(|since| row.hour + TimeDelta::hours(1) <= since);
        // redflag's own messages are under no feed.
        rows.retain(|row| !row.feed.is_empty() && !ended(row));
        rows.retain(|row| feed.is_none_or(|feed| *row.feed == *feed) && topic.is_none_or(|topic| *row.topic == *topic));
        rows.sort_by(|a, b| (a.hour, &a.feed, &a.topic).cmp(&(b.hour, &b.feed, &b.topic)));
        let imbalances: Vec<ImbalanceLine> = rows.iter().flat_map(imbalances).collect();
        let hours: Vec<Hour> = rows.into_iter().map(Hour::from).collect();
        let mut sets: BTreeMap<Digest, (Option<Timestamp>, usize)> = BTreeMap::new();
        let mut ledger = Vec::new();
        for judged in reader.ledger()? {
            if let std::collections::btree_map::Entry::Vacant(place) = sets.entry(judged.generation) {
                let kept = reader.generation(&judged.generation)?;
                let rules = kept.as_ref().map_or(0, |kept| kept.cards.iter().filter(|card| card.stage.runs()).count());
                place.insert((kept.map(|kept| kept.live_from), rules));
            }
            let (live_from, rules) = sets.get(&judged.generation).copied().unwrap_or_default();
            ledger.push(LedgerLine { from: judged.from, to: judged.to, generation: judged.generation, live_from, rules });
        }
        let gaps = reader.gaps()?.into_iter().map(GapLine::from).filter(|gap| {
            feed.is_none_or(|feed| *gap.feed == *feed)
                && since.is_none_or(|since| gap.until >= since)
                && topic.is_none_or(|topic| gap.topics.is_empty() || gap.topics.iter().any(|name| name == topic))
        });
        let gaps: Vec<GapLine> = gaps.collect();
        let quarantined = reader.find_quarantined(&QuarantineFilter {
            feed: feed.map(str::to_owned),
            state: None,
            since,
            limit: usize::MAX,
        })?;
        let open = quarantined.iter().filter(|entry| entry.state != "retried").count();
        let waiting = reader.last()?.0 - reader.judged()?.0;
        let mut not_covered = not_covered(&hours, &gaps, &imbalances, open, waiting);
        for missing in reader.open_verdicts()? {
            let (rule, kind) = (&missing.rule, missing.kind.as_str());
            not_covered.push(format!("rule {rule}: verdicts that are still missing: {} ({kind})", missing.count));
        }
        for parked in reader.parked()? {
            let since = parked.at.format("%Y-%m-%d %H:%M:%S UTC");
            not_covered.push(format!("rule {} is parked since {since}: {}", parked.rule, parked.why));
        }
        Ok(Coverage { hours, ledger, gaps, imbalances, not_covered })
    }
}

/// What an auditor must know beside the numbers.
fn not_covered(hours: &[Hour], gaps: &[GapLine], imbalances: &[ImbalanceLine], quarantined: usize, waiting: u64) -> Vec<String> {
    let mut told = Vec::new();
    let mut unwatched: BTreeMap<(&FeedName, &TopicName), u64> = BTreeMap::new();
    let mut watched: BTreeSet<(&FeedName, &TopicName)> = BTreeSet::new();
    for hour in hours {
        let Some(topic) = &hour.topic else { continue };
        if hour.owed > 0 {
            watched.insert((&hour.feed, topic));
        }
        if hour.owed == 0 && hour.evaluated > 0 {
            *unwatched.entry((&hour.feed, topic)).or_default() += hour.evaluated;
        }
    }
    for ((feed, topic), events) in unwatched {
        let when = if watched.contains(&(feed, topic)) { " in some hours" } else { "" };
        told.push(format!("feed {feed}, topic {topic}: no rule watched it{when} ({events} events)"));
    }
    if quarantined > 0 {
        told.push(format!(
            "{quarantined} entries of the quarantine were judged by no rule; `redflag quarantine list` shows them"
        ));
    }
    if waiting > 0 {
        told.push(format!("{waiting} events are journaled and not judged yet"));
    }
    for gap in gaps.iter().filter(|gap| gap.is_open()) {
        told.push(format!(
            "feed {}: between {} and {} messages may be missing",
            gap.feed,
            gap.from.format("%Y-%m-%d %H:%M:%S"),
            gap.until.format("%Y-%m-%d %H:%M:%S UTC")
        ));
    }
    for imbalance in imbalances {
        told.push(format!("the books don't balance: {}", imbalance.told()));
    }
    told
}

impl From<BooksRow> for Hour {
    fn from(row: BooksRow) -> Self {
        let counts = row.counts;
        let topic = Some(row.topic).filter(|topic| !topic.is_empty());
        Self {
            hour: row.hour,
            feed: row.feed,
            received: if topic.is_none() { counts.frames } else { counts.elements },
            topic,
            already_had: counts.already_had,
            journaled: counts.journaled,
            quarantined: counts.quarantined,
            evaluated: counts.evaluated,
            owed: counts.owed,
            decided: counts.decided,
            undecided: counts.undecided,
            parked: counts.parked,
            asked_again: counts.asked_again,
        }
    }
}
