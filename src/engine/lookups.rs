//! Look-ups after a gap that back-fill could not close: whom to ask about, what may be concluded, and handing that to the engine.
//!
//! ```text
//! gap found ─▶ who has no known success? (journal) ─▶ ask, one at a time (source) ─▶ one signal: what was found, what becomes of the gap
//! ```
//!
//! Promises: nothing is asked faster than configured, nor more than configured for one gap; what is found is journaled and judged like
//! any event, in the transaction that says so of the gap; a gap is closed only when [`plan::open`] knows no reason against it; whatever
//! can't be asked now is tried again, ever more rarely, for a week.

mod plan;

use std::{collections::HashMap, time::Duration};

use chrono::TimeDelta;
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use self::plan::Ground;
use crate::{
    config::feeds::LookupsConfig,
    model::{
        causes,
        lookup::{Found, Identification, LookedUp, Report},
        names::FeedName,
        signal::{Heard, Meter, Signal},
        time::{Clock, Span},
    },
    source::concedus::lookup::{Answer, LookupError, Lookups},
    store::{GapRow, Reader, StoreError},
};

/// Gaps that are older are not asked for any more.
const WEEK: TimeDelta = TimeDelta::days(7);
/// One question is tried so often before the others wait with it.
const TRIES: u32 = 6;
/// The first wait after a gap could not be finished; it doubles up to the last.
const FIRST_WAIT: Duration = Duration::from_mins(10);
const LAST_WAIT: Duration = Duration::from_hours(6);
/// It never looks for work more often by itself.
const FLOOR: Duration = Duration::from_secs(10);

/// Looks up for one feed.
pub struct Work {
    pub feed: FeedName,
    pub config: LookupsConfig,
    pub client: Lookups,
    pub reader: Reader,
    pub clock: std::sync::Arc<dyn Clock>,
    /// How long the journal keeps events, if not for ever.
    pub keep: Option<Span>,
    /// Changes when a gap is on disk.
    pub gaps: watch::Receiver<()>,
    pub signals: mpsc::Sender<Heard>,
    pub meter: Meter,
}

/// Gaps that were handed on, and those to be tried again: when, and after how many tries.
type Handled = HashMap<i64, Option<(Instant, u32)>>;

impl Work {
    /// Looks up until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        stop.run_until_cancelled(self.watch()).await;
    }

    async fn watch(&mut self) {
        let mut handled = Handled::new();
        loop {
            self.gaps.mark_unchanged();
            let feed = self.feed.clone();
            match self.read(move |reader| reader.gaps_to_look_up(&feed)).await {
                Ok(mut gaps) => {
                    let now = self.clock.now();
                    gaps.retain(|gap| gap.gap.found_at > now - WEEK);
                    handled.retain(|id, again| again.is_none() || gaps.iter().any(|gap| gap.id == *id));
                    for gap in gaps {
                        let tries = match handled.get(&gap.id) {
                            None => 0,
                            Some(Some((at, tries))) if *at <= Instant::now() => *tries,
                            Some(_) => continue,
                        };
                        let Some(again) = self.handle(&gap, tries).await else { return };
                        handled.insert(gap.id, again);
                    }
                }
                Err(error) => {
                    tracing::error!(feed = %self.feed, error = causes::chain(&error), "gaps can't be read; trying again");
                }
            }
            let next = handled.values().flatten().map(|(at, _)| *at).min();
            let now = Instant::now();
            let next = next.unwrap_or(now + LAST_WAIT).max(now + FLOOR);
            tokio::select! {
                changed = self.gaps.changed() => if changed.is_err() { return },
                () = tokio::time::sleep_until(next) => {}
            }
        }
    }

    /// Answers when to try again; none at all: the engine is gone.
    async fn handle(&mut self, gap: &GapRow, tries: u32) -> Option<Option<(Instant, u32)>> {
        let again = || Some((Instant::now() + FIRST_WAIT.saturating_mul(1 << tries.min(8)).min(LAST_WAIT), tries + 1));
        match self.look_up(gap).await {
            Ok(looked) => {
                let unfinished = looked.report.unfinished;
                let heard = Heard { signal: Signal::LookedUp(looked), read: self.meter.taken() };
                self.signals.send(heard).await.ok()?;
                Some(if unfinished { again() } else { None })
            }
            Err(error) => {
                tracing::error!(feed = %self.feed, gap = gap.id, error = causes::chain(&error), "a gap can't be looked up; trying again");
                Some(again())
            }
        }
    }

    async fn look_up(&mut self, row: &GapRow) -> Result<LookedUp, StoreError> {
        let (feed, gap, limit) = (self.feed.clone(), row.gap.clone(), self.config.limit as usize);
        let topics = plan::topics(&gap);
        let window = (gap.from - self.config.reach.delta(), gap.until);
        let kept_since = self.keep.and_then(|keep| self.clock.now().checked_sub_signed(keep.delta()));
        let number = row.id;
        let (mut upto, people, ground) = self
            .read(move |reader| {
                let upto = reader.last()?;
                let mut people = Vec::new();
                if topics.results || topics.requests {
                    people = reader.unfinished(&feed, window, limit + 1)?;
                    people.extend(reader.unfinished_people(&feed, window, topics.requests, limit + 1)?);
                }
                let gaps = reader.gaps()?;
                let ground = Ground {
                    announced: reader.announced(&feed, window)?,
                    other_gap: gaps.iter().any(|other| other.id != number && plan::hides_requests(other, &feed, window)),
                    kept_since,
                };
                Ok((upto, people, ground))
            })
            .await?;
        let asked_about = people.len().min(limit);
        tracing::info!(feed = %self.feed, gap = row.id, identifications = asked_about, "looking up what a gap may have swallowed");
        let (answers, failure) = self.ask(&people[..asked_about]).await;
        let mut found = Vec::new();
        let mut tally = plan::Tally { left_out: (people.len() - asked_about) as u64, ..plan::Tally::default() };
        for (about, answer) in people.into_iter().zip(answers) {
            if let Some(news) = tally.take(about, answer) {
                found.push(news);
            }
        }
        // Some of it may have come by itself while the others were asked.
        let (feed, before) = (self.feed.clone(), upto);
        let (last, outcomes) = self.read(move |reader| Ok((reader.last()?, reader.outcomes(&feed, before)?))).await?;
        upto = last;
        let count = found.len();
        found.retain(|news: &Found| !outcomes.iter().any(|outcome| outcome.is(news)));
        let report = Report {
            asked: tally.asked,
            as_known: tally.as_known + (count - found.len()) as u64,
            open: plan::open(&row.gap, window.0, self.config.reach, &ground, &tally, failure.as_deref()),
            unfinished: failure.is_some(),
        };
        Ok(LookedUp { feed: self.feed.clone(), gap: row.id, upto, found, report, first: row.looked_up.is_none() })
    }

    /// An answer for each, up to the one that can't be had; and why it can't.
    async fn ask(&mut self, people: &[Identification]) -> (Vec<Answer>, Option<String>) {
        let mut answers = Vec::with_capacity(people.len());
        for about in people {
            let mut failures = 0;
            let answer = loop {
                match self.client.ask(about).await {
                    Ok(answer) => break answer,
                    Err(error) => {
                        failures += 1;
                        let text = causes::chain(&error);
                        if failures == TRIES {
                            tracing::warn!(feed = %self.feed, error = text, "looking up is given up for now");
                            return (answers, Some(text));
                        }
                        tracing::info!(feed = %self.feed, error = text, failures, "a look-up failed; trying again");
                        tokio::time::sleep(pause(&error, self.config.spacing.get(), failures)).await;
                    }
                }
            };
            answers.push(answer);
        }
        (answers, None)
    }

    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Reader) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let reader = self.reader.clone();
        tokio::task::spawn_blocking(move || read(&reader)).await.unwrap_or(Err(StoreError::WriterGone))
    }
}

/// As the provider says, else twice as long each time.
fn pause(error: &LookupError, spacing: Duration, failures: u32) -> Duration {
    error.wait().unwrap_or_else(|| spacing.saturating_mul(1 << failures.min(8)))
}
