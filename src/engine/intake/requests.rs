//! Requests for past messages: what they bring is compared with the journal, and taken in portions, so that live events never wait long
//! for a large answer.
//!
//! While an answer is being taken, what else is said about requests waits behind it; live frames pass.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    vec,
};

use chrono::TimeDelta;

use super::{Batch, Intake};
use crate::{
    alerts::Alarm,
    engine::reconcile::{Reconciler, Taken},
    model::{
        event::{Element, Frame, Quarantined},
        hash::Digest,
        ids::Seq,
        names::{FeedName, TopicName},
        severity::Severity,
        signal::{Answer, Ground, Heard, PastMessages, Signal},
        time::Timestamp,
        topic,
        turn::Gap,
    },
    store::{KNOWN_RUNS, StoreError},
};

/// The most entries of an answer that one turn takes.
const PORTION: usize = 4_096;
/// The fewest, however large the journal is.
const SMALLEST_PORTION: usize = 64;
/// How long after an answer one of its entries may still be under way as a live frame.
const UNDER_WAY: TimeDelta = TimeDelta::seconds(10);
/// So many entries are remembered for that.
const REMEMBERED: usize = 200_000;

/// Requests that are open, and answers that are being taken.
#[derive(Default)]
pub(super) struct Requests {
    open: HashMap<FeedName, Open>,
    taking: Option<Taking>,
    /// What waits until the answer is taken.
    waiting: VecDeque<Heard>,
    /// How many of them are frames, by feed.
    deferred: HashMap<FeedName, u64>,
    /// Feeds of which everything waits: their frames may be an answer to a request that waits.
    held: HashSet<FeedName>,
    /// What the last answers brought.
    brought: HashMap<FeedName, Brought>,
}

/// A request for past messages that is open.
struct Open {
    reconciler: Reconciler,
    /// The journal's end when it was opened.
    upto: Seq,
}

/// An answer, in the midst of being taken.
struct Taking {
    feed: FeedName,
    elements: vec::IntoIter<Element>,
    /// Of an answer that came after its request was closed.
    late: Option<Open>,
}

struct Brought {
    until: Timestamp,
    copies: HashMap<Digest, u64>,
}

impl Requests {
    /// Frames that wait: read off the socket, and not yet taken up.
    pub(super) fn deferred(&self, feed: &FeedName) -> u64 {
        self.deferred.get(feed).copied().unwrap_or_default()
    }

    fn defer(&mut self, signal: &Signal) {
        if is_frame(signal) {
            *self.deferred.entry(signal.feed().clone()).or_default() += 1;
        }
    }
}

fn is_frame(signal: &Signal) -> bool {
    matches!(signal, Signal::Frame(_) | Signal::Answered { .. })
}

impl Intake {
    /// Whether something waits that no new signal is needed for.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.requests.taking.is_some() || !self.requests.waiting.is_empty()
    }

    /// What waited behind an answer that is taken now.
    pub fn next_waiting(&mut self) -> Option<Heard> {
        let requests = &mut self.requests;
        if requests.taking.is_some() {
            return None;
        }
        let next = requests.waiting.pop_front();
        match &next {
            Some(heard) if is_frame(&heard.signal) => {
                let deferred = requests.deferred.entry(heard.signal.feed().clone()).or_default();
                *deferred = deferred.saturating_sub(1);
            }
            Some(_) => {}
            None => requests.held.clear(),
        }
        next
    }

    /// Comes next, before everything else.
    pub fn put_back(&mut self, heard: Heard) {
        self.requests.defer(&heard.signal);
        self.requests.waiting.push_front(heard);
    }

    /// Gives the signal back unless it has to wait.
    pub fn let_pass(&mut self, heard: Heard) -> Option<Heard> {
        let requests = &mut self.requests;
        if requests.taking.is_none() {
            return Some(heard);
        }
        let waits = match &heard.signal {
            Signal::Frame(frame) => requests.held.contains(&frame.feed),
            Signal::RequestOpened { feed, frames, .. } => {
                if *frames {
                    requests.held.insert(feed.clone());
                }
                true
            }
            Signal::Answered { .. }
            | Signal::RequestClosed { .. }
            | Signal::Unproven { .. }
            | Signal::LookedUp(_)
            | Signal::Position { .. } => true,
            Signal::Refused(_)
            | Signal::MethodReply { .. }
            | Signal::Connection { .. }
            | Signal::Topics { .. }
            | Signal::Ended { .. } => false,
        };
        if !waits {
            return Some(heard);
        }
        requests.defer(&heard.signal);
        requests.waiting.push_back(heard);
        None
    }

    pub(super) fn opened(&mut self, feed: FeedName, request: PastMessages, frames: bool) {
        let open = Open { reconciler: Reconciler::open(request, frames), upto: self.last };
        self.requests.open.insert(feed, open);
    }

    /// An answer in one frame. It is taken from the next turn on.
    pub(super) fn answered(&mut self, request: PastMessages, frame: &Frame, batch: &mut Batch) -> Result<(), StoreError> {
        let feed = &frame.feed;
        let Some(decoded) = self.decode(frame, batch) else { return Ok(()) };
        for quarantined in decoded.quarantined {
            self.quarantine_unless_known(quarantined, batch)?;
        }
        let mut late = None;
        let open = match self.requests.open.get_mut(feed) {
            Some(open) if *open.reconciler.request() == request => open,
            _ => late.insert(Open { reconciler: Reconciler::open(request, false), upto: self.last }),
        };
        let hashes: Vec<Digest> = decoded.elements.iter().map(|element| element.hash).collect();
        let found = self.journal.copies(feed, open.reconciler.request().since, open.upto, &hashes)?;
        open.reconciler.load(&hashes, &found);
        self.requests.taking = Some(Taking { feed: feed.clone(), elements: decoded.elements.into_iter(), late });
        Ok(())
    }

    /// Takes the next portion of an answer.
    ///
    /// # Errors
    /// When the journal can't be read.
    pub fn go_on(&mut self, batch: &mut Batch) -> Result<(), StoreError> {
        let Some(mut taking) = self.requests.taking.take() else { return Ok(()) };
        // What the journal does not have within the window is looked for in all runs before it.
        let runs = usize::try_from((self.last.0 >> 14).min(KNOWN_RUNS)).unwrap_or(1) + 1;
        let portion = (PORTION * 64 / runs).clamp(SMALLEST_PORTION, PORTION);
        let feed = taking.feed.clone();
        let mut new = Vec::new();
        if let Some(open) = taking.late.as_mut().or_else(|| self.requests.open.get_mut(&feed)) {
            for mut element in taking.elements.by_ref().take(portion) {
                let counts = batch.books.of(&feed, &element.topic, element.received_at);
                counts.elements += 1;
                match open.reconciler.take(&mut element, true) {
                    Taken::AlreadyHad => counts.already_had += 1,
                    taken => new.push((element, taken)),
                }
            }
            let unknown: Vec<Digest> =
                new.iter().filter(|(_, taken)| *taken == Taken::AppendUnlessKnown).map(|(element, _)| element.hash).collect();
            if !unknown.is_empty() {
                let known = self.journal.known_before(&feed, &unknown, open.reconciler.request().since)?;
                let repeats = new.iter_mut().filter(|(element, _)| known.contains(&element.hash));
                repeats.for_each(|(element, _)| open.reconciler.mark_repeat(element));
            }
        }
        for (element, _) in new {
            self.append(element, batch);
        }
        if taking.elements.len() > 0 {
            self.requests.taking = Some(taking);
        } else if let Some(open) = taking.late {
            let closed = open.reconciler.close(&Answer::Wrapped { messages: 0 });
            tracing::info!(%feed, "past messages that came late: {}", closed.stats);
            self.remember(&feed, closed.surplus);
        }
        Ok(())
    }

    /// Whether an ordinary frame's element is one that the journal has, as far as anybody can tell.
    pub(super) fn already_had(&mut self, element: &mut Element, batch: &mut Batch) -> Result<bool, StoreError> {
        let Some(open) = self.requests.open.get_mut(&element.feed) else {
            self.mark_if_brought(element, batch);
            return Ok(false);
        };
        let (since, hash) = (open.reconciler.request().since, element.hash);
        if open.reconciler.needs(element, false) {
            let found = self.journal.copies(&element.feed, since, open.upto, &[hash])?;
            open.reconciler.load(&[hash], &found);
        }
        match open.reconciler.take(element, false) {
            Taken::AlreadyHad => {
                batch.books.of(&element.feed, &element.topic, element.received_at).already_had += 1;
                return Ok(true);
            }
            Taken::AppendUnlessKnown => {
                if !self.journal.known_before(&element.feed, &[hash], since)?.is_empty() {
                    open.reconciler.mark_repeat(element);
                }
            }
            Taken::Append => {}
        }
        self.mark_if_brought(element, batch);
        Ok(false)
    }

    /// The last answer brought the same: it may be the one event, which was under way while the answer was made.
    fn mark_if_brought(&mut self, element: &mut Element, batch: &mut Batch) {
        if self.requests.brought.is_empty() {
            return;
        }
        let Some(brought) = self.requests.brought.get_mut(&element.feed) else { return };
        if brought.until < element.received_at {
            self.requests.brought.remove(&element.feed);
            return;
        }
        let Some(copies) = brought.copies.get_mut(&element.hash).filter(|copies| **copies > 0) else { return };
        *copies -= 1;
        element.maybe_repeat = true;
        batch.books.of(&element.feed, &element.topic, element.received_at).ambiguous += 1;
    }

    fn remember(&mut self, feed: &FeedName, surplus: HashMap<Digest, u64>) {
        if surplus.is_empty() || surplus.len() > REMEMBERED {
            return;
        }
        let until = self.clock.now() + UNDER_WAY;
        match self.requests.brought.get_mut(feed) {
            Some(brought) if brought.copies.len() + surplus.len() <= REMEMBERED => {
                brought.until = until;
                brought.copies.extend(surplus);
            }
            _ => drop(self.requests.brought.insert(feed.clone(), Brought { until, copies: surplus })),
        }
    }

    /// Answers how far back the answer reached.
    pub(super) fn closed(
        &mut self,
        feed: &FeedName,
        request: &PastMessages,
        answer: &Answer,
        batch: &mut Batch,
    ) -> Result<Ground, StoreError> {
        let Some(open) = self.requests.open.remove(feed) else { return Ok(Ground::None) };
        let closed = open.reconciler.close(answer);
        let topics = if request.topics.is_empty() { "all".to_owned() } else { request.topics.join(" ") };
        let since = request.since.format("%Y-%m-%d %H:%M:%S UTC");
        // One a topic and connect: only what brought something, or came to nothing, is worth a line of everybody's.
        if closed.stats.is_news() || matches!(answer, Answer::None | Answer::Broken) {
            tracing::info!(%feed, topics, %since, %answer, "past messages: {}", closed.stats);
        } else {
            tracing::debug!(%feed, topics, %since, %answer, "past messages: {}", closed.stats);
        }
        for element in closed.given_back {
            batch.books.of(feed, &element.topic, element.received_at).given_back += 1;
            self.append(element, batch);
        }
        let now = self.clock.now();
        if closed.stats.ambiguous > 0 {
            let topic = match request.topics.as_slice() {
                [one] => TopicName::new(canonical(one)),
                _ => self.nothing.clone(),
            };
            batch.books.of(feed, &topic, now).ambiguous += closed.stats.ambiguous;
        }
        self.remember(feed, closed.surplus);
        if closed.met {
            return Ok(Ground::Met);
        }
        let topics: Vec<&str> = request.topics.iter().map(|topic| canonical(topic)).collect();
        let ground = match request.known {
            Some(known) => self.journal.has_live(feed, &topics, request.since, known)?,
            None => false,
        };
        Ok(if ground { Ground::Missed } else { Ground::None })
    }

    /// A bad entry that an answer brings once more is no news.
    pub(super) fn quarantine_unless_known(&mut self, quarantined: Quarantined, batch: &mut Batch) -> Result<(), StoreError> {
        if self.journal.quarantined_before(&quarantined.feed, &quarantined.digest)? {
            let counts = batch.books.of(&quarantined.feed, &self.nothing, quarantined.received_at);
            counts.elements += 1;
            counts.already_had += 1;
        } else {
            self.quarantine(quarantined, batch);
        }
        Ok(())
    }

    /// Whether ordinary frames of the feed may be an answer now.
    pub(super) fn frames_may_answer(&self, feed: &FeedName) -> bool {
        self.requests.open.get(feed).is_some_and(|open| open.reconciler.frames_may_answer())
    }
}

/// A gap that can't be ruled out: kept with its interval, and told.
pub(super) fn unproven(gap: Gap, batch: &mut Batch) {
    let Gap { feed, topics, from, until, reason, .. } = &gap;
    let named = if topics.is_empty() { "all topics".to_owned() } else { topics.join(", ") };
    tracing::error!(%feed, topics = named, %from, %until, reason, "a gap can't be ruled out");
    let utc = |at: &Timestamp| at.format("%Y-%m-%d %H:%M:%S").to_string();
    batch.alarms.push(
        // Another interval is news.
        Alarm::new(format!("gap {feed} {named} {from}"), Severity::High, format!("Feed {feed}: a gap can't be ruled out"))
            .note(format!("It lies between {} and {} (UTC), in {named}: {reason}.", utc(from), utc(until)))
            .note("What the provider sent in between may be missing. Compare with the provider's own records."),
    );
    batch.gaps.push(gap);
}

fn canonical(name: &str) -> &str {
    topic::find(name).map_or(name, |topic| topic.name)
}
