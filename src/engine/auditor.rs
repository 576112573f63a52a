//! The auditor: compares the books, and says when they do not balance.
//!
//! It reads what is committed, as of one moment, so every figure is settled: what moves on between two commits is in both sums or in
//! neither. Only what is still under way between the socket and the engine is in no commit; that is looked at from the sources' own
//! meters, and missing if it doesn't arrive. Each imbalance is told once, and once more when it balances again; what was told survives a
//! restart, since it is written in the transaction of its alarm.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::pipeline::Control;
use crate::{
    alerts::Alarm,
    model::{
        books::{BooksRow, Imbalance, Seam},
        causes,
        names::{FeedName, TopicName},
        severity::Severity,
        signal::Meter,
        time::{Clock, Timestamp},
    },
    store::{Reader, StoreError},
    telemetry::{Metrics, metrics::FeedSeam},
};

/// How often it looks. An imbalance is told within two looks.
pub const EVERY: Duration = Duration::from_secs(10);

/// How far back a usual look goes: back-filled events are booked under their receipt, so older hours don't change.
const RECENT: chrono::TimeDelta = chrono::TimeDelta::hours(26);

/// After so many looks all hours are looked at.
const WHOLE: u32 = 360;

type Place = (Seam, FeedName, TopicName, Timestamp);

/// Owns what was told.
pub struct Auditor {
    reader: Reader,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    meters: HashMap<FeedName, Meter>,
    open: BTreeMap<Place, Imbalance>,
    /// Of each feed's meter at the last look: what was read, and what was taken up.
    under_way: HashMap<FeedName, (u64, u64)>,
    looks: u32,
}

/// What one look came to.
#[derive(Debug, Default)]
pub struct Findings {
    pub changed: Vec<Imbalance>,
    pub alarms: Vec<Alarm>,
}

impl Auditor {
    /// Goes on with what an earlier run has told.
    ///
    /// # Errors
    /// When the store can't be read.
    pub fn new(
        reader: Reader,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        meters: HashMap<FeedName, Meter>,
    ) -> Result<Self, StoreError> {
        let open = reader.imbalances()?.into_iter().map(|row| (place(&row), row)).collect();
        Ok(Self { reader, clock, metrics, meters, open, under_way: HashMap::new(), looks: 0 })
    }

    /// Looks until `stop`.
    pub async fn run(mut self, control: mpsc::Sender<Control>, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(EVERY);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            let looked = tokio::task::spawn_blocking(move || {
                let findings = self.look();
                (self, findings)
            });
            let findings;
            (self, findings) = match looked.await {
                Ok(looked) => looked,
                Err(error) => return tracing::error!(%error, "the auditor broke"),
            };
            match findings {
                Ok(findings) if findings.changed.is_empty() && findings.alarms.is_empty() => {}
                Ok(findings) => {
                    // The engine is gone only when it broke, and that ends the service.
                    let _ = control.send(Control::Audited(findings.changed, findings.alarms)).await;
                }
                Err(error) => tracing::error!(error = causes::chain(&error), "the books can't be read"),
            }
        }
    }

    /// Compares once.
    ///
    /// # Errors
    /// When the store can't be read.
    pub fn look(&mut self) -> Result<Findings, StoreError> {
        let now = self.clock.now();
        let whole = self.looks.is_multiple_of(WHOLE);
        self.looks += 1;
        let from = if whole { Timestamp::UNIX_EPOCH } else { now - RECENT };
        let rows = self.reader.books_since(from)?;
        let mut findings = Findings::default();
        let mut found: BTreeMap<Place, Imbalance> =
            rows.iter().flat_map(|row| imbalances(row, now)).map(|row| (place(&row), row)).collect();
        let mut worse: BTreeMap<(Seam, FeedName), Vec<Imbalance>> = BTreeMap::new();
        for (place, row) in &mut found {
            let known = self.open.get(place);
            if known.is_some_and(|known| (known.left, known.right) == (row.left, row.right)) {
                continue;
            }
            row.found_at = known.map_or(now, |known| known.found_at);
            findings.changed.push(row.clone());
            // A row that moves on with the same difference is no news.
            if known.is_none_or(|known| difference(known) != difference(row)) {
                worse.entry((row.seam, row.feed.clone())).or_default().push(row.clone());
            }
        }
        let gone: Vec<Place> = self.open.keys().filter(|place| place.3 >= from && !found.contains_key(place)).cloned().collect();
        for place in gone {
            let Some(settled) = self.open.remove(&place) else { continue };
            findings.alarms.push(again(&settled));
            findings.changed.push(Imbalance { settled_at: Some(now), ..settled });
        }
        findings.alarms.extend(worse.iter().map(|((seam, feed), rows)| differs(*seam, feed, rows)));
        findings.alarms.extend(self.stuck());
        self.open.extend(found);
        self.show(now);
        Ok(findings)
    }

    /// Feeds of which something was read that nothing took up since the last look.
    fn stuck(&mut self) -> Vec<Alarm> {
        let mut alarms = Vec::new();
        for (feed, meter) in &self.meters {
            // In this order: what is taken in between counts as taken.
            let (read, taken) = (meter.read(), meter.taken());
            let before = self.under_way.insert(feed.clone(), (read, taken));
            if let Some((was_read, was_taken)) = before
                && was_taken == taken
                && taken < was_read
            {
                tracing::error!(%feed, read = was_read, taken, "messages were read and never arrived at the engine");
                alarms.push(lost(feed, was_read - taken));
            }
        }
        alarms
    }

    fn show(&self, now: Timestamp) {
        for feed in self.meters.keys() {
            for seam in Seam::ALL {
                let open = self.open.values().filter(|row| row.seam == seam && row.feed == *feed);
                let sum: i128 = open.map(|row| difference(row).abs()).sum();
                let label = FeedSeam { feed: feed.to_string(), seam: seam.as_str().to_owned() };
                self.metrics.books_difference.get_or_create(&label).set(i64::try_from(sum).unwrap_or(i64::MAX));
            }
        }
        self.metrics.books_looked_unix_seconds.set(now.timestamp_micros() as f64 / 1e6);
    }
}

fn place(row: &Imbalance) -> Place {
    (row.seam, row.feed.clone(), row.topic.clone(), row.hour)
}

fn imbalances(row: &BooksRow, now: Timestamp) -> impl Iterator<Item = Imbalance> {
    Seam::ALL.into_iter().filter_map(move |seam| {
        let (left, right) = row.sides(seam);
        let (feed, topic) = (row.feed.clone(), row.topic.clone());
        (left != right).then_some(Imbalance { seam, feed, topic, hour: row.hour, left, right, found_at: now, settled_at: None })
    })
}

fn difference(row: &Imbalance) -> i128 {
    i128::from(row.left) - i128::from(row.right)
}

/// Whose books they are.
fn whose(feed: &FeedName) -> String {
    if feed.is_empty() { "The books of redflag's own messages".to_owned() } else { format!("The books of feed {feed}") }
}

fn differs(seam: Seam, feed: &FeedName, rows: &[Imbalance]) -> Alarm {
    const SHOWN: usize = 10;
    let (left, right) = seam.equation();
    tracing::error!(%feed, seam = seam.as_str(), rows = rows.len(), "the books do not balance");
    let mut alarm = Alarm::new(
        format!("books {feed} {}", seam.as_str()),
        Severity::Critical,
        format!("{} do not balance ({})", whose(feed), seam.as_str()),
    )
    .note(format!("These must be equal: {left} = {right}."));
    for row in rows.iter().take(SHOWN) {
        let topic = if row.topic.is_empty() { String::new() } else { format!("topic {}, ", shown(&row.topic)) };
        alarm = alarm.note(format!("In {topic}the hour of {} (UTC) they are {} and {}.", hour(row), row.left, row.right));
    }
    if rows.len() > SHOWN {
        alarm = alarm.note(format!("So it is in {} more.", rows.len() - SHOWN));
    }
    alarm.note("Something was lost or counted twice inside redflag, and alerts may be missing. Compare with the provider's own records of that hour, and report it.")
}

fn again(row: &Imbalance) -> Alarm {
    tracing::info!(feed = %row.feed, seam = row.seam.as_str(), "the books balance again");
    Alarm::new(
        format!("balanced {} {} {} {}", row.feed, row.seam.as_str(), row.topic, row.hour),
        Severity::Info,
        format!("{} balance again ({})", whose(&row.feed), row.seam.as_str()),
    )
    .note(format!("It was about the hour of {} (UTC).", hour(row)))
}

fn lost(feed: &FeedName, count: u64) -> Alarm {
    Alarm::new(
        format!("unread {feed}"),
        Severity::Critical,
        format!("The books of feed {feed} do not balance (socket): {count} messages were read and did not arrive"),
    )
    .note("They were read off the socket and have not reached the decoder. Either the engine hangs, or they are lost.")
    .note("Restart redflag: it asks the provider for what was missed.")
}

fn hour(row: &Imbalance) -> impl std::fmt::Display {
    row.hour.format("%Y-%m-%d %H:00")
}

/// A topic that the feed named may be anything.
fn shown(topic: &TopicName) -> String {
    topic.chars().filter(|c| !c.is_control()).take(80).collect()
}

#[cfg(test)]
mod tests;
