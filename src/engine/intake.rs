//! From signals to a batch of sequenced events: decoding, reconciling what a request brought, quarantine, books.

mod lookups;
mod requests;
mod retry;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use self::requests::Requests;
use crate::{
    alerts::Alarm,
    decode::{Decoded, Decoder},
    engine::{absence::Absence, leak::Leak, rhythm::Rhythm},
    model::{
        books::{Books, Seam},
        event::{Element, Event, Frame, Origin, Quarantined},
        ids::{Ids, Seq},
        lookup::Narrowed,
        names::{FeedName, TopicName},
        severity::Severity,
        signal::{Connection, Heard, LastTry, Latest, Meter, Signal},
        time::{Clock, Timestamp},
        topic,
        turn::{Gap, Retried},
    },
    store::{Journal, StoreError},
    telemetry::{
        Metrics,
        metrics::{Feed, FeedReason},
    },
};

/// What one turn appends, and what it found on the way.
#[derive(Debug, Default)]
pub struct Batch {
    pub events: Vec<Event>,
    pub quarantined: Vec<Quarantined>,
    pub retried: Vec<Retried>,
    pub positions: BTreeMap<FeedName, String>,
    /// When the topics of each feed were received in this batch.
    pub latest: BTreeMap<FeedName, Latest>,
    pub books: Books,
    pub gaps: Vec<Gap>,
    pub narrowed: Vec<Narrowed>,
    pub alarms: Vec<Alarm>,
}

impl Batch {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
            && self.quarantined.is_empty()
            && self.retried.is_empty()
            && self.positions.is_empty()
            && self.books.is_empty()
            && self.gaps.is_empty()
            && self.narrowed.is_empty()
            && self.alarms.is_empty()
    }
}

/// Decodes and sequences. It owns the next sequence number: there is one engine.
pub struct Intake {
    journal: Arc<dyn Journal>,
    decoders: HashMap<FeedName, Decoder>,
    /// Topics beyond the known ones that the configuration names.
    declared: BTreeSet<String>,
    /// Topics that nobody knows and that were told already.
    strange: BTreeSet<TopicName>,
    requests: Requests,
    absence: Absence,
    rhythm: Rhythm,
    last: Seq,
    clock: Arc<dyn Clock>,
    ids: Ids,
    metrics: Arc<Metrics>,
    nothing: TopicName,
    /// What each source reads, and how much of it was counted here.
    meters: HashMap<FeedName, (Meter, u64)>,
    leak: Leak,
}

impl Intake {
    #[expect(clippy::too_many_arguments, reason = "one call site; a struct would only rename them")]
    pub fn new(
        journal: Arc<dyn Journal>,
        decoders: HashMap<FeedName, Decoder>,
        declared: BTreeSet<String>,
        last: Seq,
        clock: Arc<dyn Clock>,
        ids: Ids,
        metrics: Arc<Metrics>,
        meters: HashMap<FeedName, Meter>,
        leak: Leak,
    ) -> Self {
        Self {
            journal,
            decoders,
            declared,
            strange: BTreeSet::new(),
            requests: Requests::default(),
            absence: Absence::default(),
            rhythm: Rhythm::default(),
            last,
            clock,
            ids,
            metrics,
            nothing: TopicName::new(""),
            meters: meters.into_iter().map(|(feed, meter)| (feed, (meter, 0))).collect(),
            leak,
        }
    }

    /// Whether the signal needs everything before it on disk: what a request or a look-up brings is compared with the journal.
    #[must_use]
    pub fn needs_the_journal(signal: &Signal) -> bool {
        matches!(signal, Signal::RequestOpened { .. } | Signal::Answered { .. } | Signal::LookedUp(_))
    }

    /// Which feeds are expected to be heard.
    #[must_use]
    pub fn listening(self, rhythm: Rhythm) -> Self {
        Self { rhythm, ..self }
    }

    /// Whose tries to connect say why they fail.
    #[must_use]
    pub fn trying(self, tries: BTreeMap<FeedName, LastTry>) -> Self {
        Self { absence: Absence::new(tries), ..self }
    }

    /// Alarms that fall due by the clock alone, or end with what has come.
    ///
    /// # Errors
    /// When the journal can't be read.
    pub fn look_around(&mut self, batch: &mut Batch) -> Result<(), StoreError> {
        let now = self.clock.now();
        for (feed, topics) in &batch.latest {
            if let Some(at) = topics.values().max() {
                batch.alarms.extend(self.rhythm.heard(feed, *at));
            }
        }
        for (feed, alarm) in self.absence.due(now) {
            batch.alarms.push(alarm);
            self.show_connected(&feed);
        }
        batch.alarms.extend(self.rhythm.due(now, self.journal.as_ref())?);
        Ok(())
    }

    /// When something falls due by the clock alone, if that is known.
    #[must_use]
    pub fn next_look(&self) -> Option<Timestamp> {
        self.rhythm.next_look()
    }

    /// Takes one signal into the batch.
    ///
    /// # Errors
    /// When the journal can't be read.
    pub fn take(&mut self, heard: Heard, batch: &mut Batch) -> Result<(), StoreError> {
        self.count_read(&heard, batch);
        let signal = heard.signal;
        match signal {
            Signal::Frame(frame) => self.frame(&frame, batch)?,
            Signal::Refused(quarantined) => {
                let counts = batch.books.of(&quarantined.feed, &self.nothing, quarantined.received_at);
                counts.refused += 1;
                self.quarantine(quarantined, batch);
            }
            Signal::MethodReply { feed } => {
                let counts = batch.books.of(&feed, &self.nothing, self.clock.now());
                counts.method_replies += 1;
            }
            Signal::Connection { feed, at, state } => self.connection(&feed, at, &state, batch),
            Signal::RequestOpened { feed, request, frames } => self.opened(feed, request, frames),
            Signal::Answered { request, frame } => self.answered(request, &frame, batch)?,
            Signal::RequestClosed { feed, request, answer, ground } => {
                let found = self.closed(&feed, &request, &answer, batch)?;
                if let Some(ground) = ground {
                    // A connection that is gone asks again.
                    let _ = ground.send(found);
                }
            }
            Signal::Unproven { feed, topics, since, until, reason } => {
                let found_at = self.clock.now();
                requests::unproven(Gap { feed, topics, from: since, until, found_at, reason }, batch);
            }
            Signal::LookedUp(looked) => self.looked_up(looked, batch)?,
            Signal::Position { feed, position } => drop(batch.positions.insert(feed, position)),
            Signal::Topics { feed, available, enabled, .. } => {
                tracing::info!(%feed, available = available.join(" "), enabled = enabled.join(" "), "the provider named its topics");
            }
            Signal::Ended { feed } => tracing::info!(%feed, "the feed has ended"),
        }
        Ok(())
    }

    /// What was read off the socket up to this signal, but for what waits. Whatever was lost on the way is in the number and nowhere else.
    fn count_read(&mut self, heard: &Heard, batch: &mut Batch) {
        let feed = heard.signal.feed();
        let (meter, counted) = self.meters.entry(feed.clone()).or_default();
        if heard.read > meter.taken() {
            meter.take_to(heard.read);
        }
        let arrived = meter.taken().saturating_sub(self.requests.deferred(feed));
        if arrived > *counted {
            let new = arrived - *counted;
            *counted = arrived;
            let at = match &heard.signal {
                Signal::Frame(frame) | Signal::Answered { frame, .. } => frame.received_at,
                Signal::Refused(refused) => refused.received_at,
                _ => self.clock.now(),
            };
            batch.books.of(feed, &self.nothing, at).frames += new;
        }
    }

    fn frame(&mut self, frame: &Frame, batch: &mut Batch) -> Result<(), StoreError> {
        let Some(decoded) = self.decode(frame, batch) else { return Ok(()) };
        let may_answer = self.frames_may_answer(&frame.feed);
        for quarantined in decoded.quarantined {
            if may_answer {
                self.quarantine_unless_known(quarantined, batch)?;
            } else {
                self.quarantine(quarantined, batch);
            }
        }
        for element in &decoded.elements {
            batch.books.of(&frame.feed, &element.topic, element.received_at).elements += 1;
        }
        for mut element in decoded.elements {
            if !self.already_had(&mut element, batch)? {
                self.append(element, batch);
            }
        }
        Ok(())
    }

    /// Decodes a frame and counts it, but not what it holds.
    fn decode(&mut self, frame: &Frame, batch: &mut Batch) -> Option<Decoded> {
        let feed = &frame.feed;
        let Some(decoder) = self.decoders.get(feed) else {
            tracing::error!(%feed, "a frame of a feed without a decoder");
            return None;
        };
        let decoded = decoder.decode(frame, &mut self.ids);
        if let Some(position) = &frame.position {
            batch.positions.insert(feed.clone(), position.clone());
        }
        let counts = batch.books.of(feed, &self.nothing, frame.received_at);
        if decoded.method_reply {
            counts.method_replies += 1;
        } else if decoded.elements.is_empty() && !decoded.quarantined.is_empty() {
            counts.refused += 1;
        } else {
            counts.decoded += 1;
        }
        Some(decoded)
    }

    /// A topic that neither redflag nor the configuration knows is kept, and said once: no rule can be watching it.
    fn notice_topic(&mut self, feed: &FeedName, name: &TopicName, batch: &mut Batch) {
        const REMEMBERED: usize = 1_000;
        if topic::find(name).is_some() || self.declared.contains(name.as_str()) || self.strange.contains(name) {
            return;
        }
        if self.strange.len() < REMEMBERED {
            self.strange.insert(name.clone());
        }
        let shown: String = name.chars().filter(|c| !c.is_control()).take(80).collect();
        tracing::warn!(%feed, topic = shown, "an unknown topic: its events are journaled, and no rule watches them");
        batch.alarms.push(
            Alarm::new(format!("topic {feed} {shown}"), Severity::Medium, format!("Feed {feed}: unknown topic {shown}"))
                .note("Its events are journaled, and no rule can be watching them.")
                .note("If it is right, name it in the feed's topics, so that rules may use it. If it is a mistake, tell whoever sends it."),
        );
    }

    fn append(&mut self, element: Element, batch: &mut Batch) {
        self.notice_topic(&element.feed, &element.topic, batch);
        if self.leak.drops(Seam::Journal) {
            return;
        }
        self.last = self.last.next();
        // What was looked up was not heard: the next connect asks since the last message.
        if element.origin != Origin::Rest {
            note_received(&mut batch.latest, &element);
            if let Some(back) = self.absence.heard(&element.feed, element.received_at) {
                batch.alarms.push(back);
                self.show_connected(&element.feed);
            }
        }
        batch.events.push(Event { seq: self.last, element });
    }

    fn quarantine(&self, quarantined: Quarantined, batch: &mut Batch) {
        let (feed, reason) = (quarantined.feed.clone(), quarantined.reason.as_str());
        batch.books.of(&feed, &self.nothing, quarantined.received_at).quarantined += 1;
        self.metrics.quarantined.get_or_create(&FeedReason { feed: feed.to_string(), reason: reason.to_owned() }).inc();
        tracing::warn!(%feed, reason, size = quarantined.size, digest = %quarantined.digest.short(), detail = quarantined.detail, "set aside in quarantine");
        batch.alarms.push(
            Alarm::new(
                format!("quarantine {feed} {reason}"),
                Severity::Medium,
                format!("Feed {feed}: a message was set aside ({reason})"),
            )
            .note(format!("{}.", quarantined.detail))
            .note(format!(
                "It has {} bytes, SHA-256 {}, and is kept with its bytes in the store's quarantine.",
                quarantined.size, quarantined.digest
            ))
            .note("No rule has seen it. Look at it, and ask the provider or mend the cause."),
        );
        if !self.leak.drops(Seam::Quarantine) {
            batch.quarantined.push(quarantined);
        }
    }

    fn connection(&mut self, feed: &FeedName, at: Timestamp, state: &Connection, batch: &mut Batch) {
        match state {
            // The source has logged these with all that it knows.
            Connection::Connected => {
                self.rhythm.connected(feed, at);
                batch.alarms.extend(self.absence.connected(feed, at));
            }
            Connection::Lost { reason } => {
                self.rhythm.lost(feed, at);
                batch.alarms.extend(self.absence.lost(feed, at, reason));
            }
            Connection::LoginRefused { status } => {
                self.rhythm.lost(feed, at);
                batch.alarms.extend(self.absence.refused(feed, at, *status));
            }
        }
        self.show_connected(feed);
    }

    /// For `/metrics`, `/readyz` and `status`.
    fn show_connected(&self, feed: &FeedName) {
        let connected = self.absence.is_connected(feed);
        self.metrics.connected.get_or_create(&Feed { feed: feed.to_string() }).set(i64::from(connected));
    }
}

/// Names are cloned only when they are new.
fn note_received(feeds: &mut BTreeMap<FeedName, Latest>, element: &Element) {
    let topics = match feeds.get_mut(&element.feed) {
        Some(topics) => topics,
        None => feeds.entry(element.feed.clone()).or_default(),
    };
    match topics.get_mut(&element.topic) {
        Some(newest) => *newest = element.received_at.max(*newest),
        None => drop(topics.insert(element.topic.clone(), element.received_at)),
    }
}
