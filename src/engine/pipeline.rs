//! The engine's thread: turn after turn, journal first.
//!
//! A turn commits, in one transaction, batch n of events together with what earlier batches caused. Batch n is judged after that commit, and
//! what it causes is sent only after a later one. While a turn is being committed, what has arrived meanwhile is decoded, and under load the
//! batch before it is judged: writing and judging then share the time instead of adding theirs. When nothing arrives, effects commit at once:
//! there is no timer between an event and its alert.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;

mod again;

pub(super) use again::first_asked;

use again::Again;

use super::{
    intake::{Batch, Intake},
    leak::Leak,
    scout::Found,
    topics::Topics,
};
use crate::{
    alerts::{Alarm, Alarms, Desk, Judged, Routes},
    model::{
        alert::{Message, Purpose, QuietPeriod, Role},
        books::{Books, BooksDelta, Imbalance, Seam},
        card::Card,
        delivery::Next,
        event::Event,
        ids::{Ids, MessageId, Seq},
        names::{ChannelName, FeedName, TopicName},
        severity::Severity,
        signal::{Heard, Latest, Signal},
        time::{Clock, Timestamp},
        turn::{self, Effects, Turn},
        verdict::{Judgement, UndecidedKind, Verdict},
    },
    outbox,
    rules::{evaluate::Evaluator, set::Generation},
    store::{Journal, Space, StoreError},
    telemetry::{
        Metrics, Progress,
        metrics::{ChannelOutcome, Feed, FeedTopic, RuleOutcome},
        progress::{Hand, IDLE_TICK},
    },
};

/// The most frames that one turn takes.
pub const BATCH: usize = 1_024;

/// So many events are judged while the batch behind them is written; fewer, at once: judging them takes less time than a commit would.
const MANY: usize = 64;

/// What the engine is told beside the feeds' signals.
#[derive(Debug)]
pub enum Control {
    /// Judge by this generation from the next batch on. It is kept in the store already.
    Swap(Arc<Generation>),
    /// Somebody asks for the verdicts that are missing, of rules that failed or are parked.
    JudgeAgain,
    Alarm(Alarm),
    /// What the warden did about deliveries in trouble, with the alarms for it; answered once all of it is committed.
    Warned(Box<Effects>, Vec<Alarm>, mpsc::Sender<()>),
    /// What the auditor found, with the words for it: both are committed together.
    Audited(Vec<Imbalance>, Vec<Alarm>),
    Notice(outbox::Notice),
    /// A person wants quarantined bytes judged; which, the store says. Answered once what came of them is on disk.
    Quarantine(mpsc::Sender<()>),
}

/// The engine's surroundings.
pub struct Parts {
    pub journal: Arc<dyn Journal>,
    pub clock: Arc<dyn Clock>,
    pub ids: Ids,
    pub intake: Intake,
    pub desk: Desk,
    pub alarms: Alarms,
    pub routes: Routes,
    pub generation: Arc<Generation>,
    /// What is live, for others to look at.
    pub live: Arc<ArcSwap<Generation>>,
    pub metrics: Arc<Metrics>,
    pub wake: HashMap<ChannelName, Arc<Notify>>,
    /// When the topics of each feed were last received, for its source's next request.
    pub latest: HashMap<FeedName, watch::Sender<Latest>>,
    pub signals: mpsc::Receiver<Heard>,
    pub control: mpsc::Receiver<Control>,
    pub leak: Leak,
    pub progress: Progress,
    pub space: Arc<Space>,
    /// Woken when a delivery was given up.
    /// Changes when gaps are on disk.
    pub gaps: watch::Sender<()>,
    pub trouble: Arc<Notify>,
    /// What the scouts found on the ground that is judged first.
    pub scouted: Found,
}

/// The engine. Runs on one thread with a large stack, in a runtime of its own.
pub struct Pipeline {
    parts: Parts,
    evaluator: Evaluator,
    arrived: VecDeque<Heard>,
    topics: Topics,
    feeds_ended: bool,
    /// What the next turn commits beside its batch.
    effects: Effects,
    judged_books: Books,
    /// Who waits for the alarms among the effects.
    told: Vec<mpsc::Sender<()>>,
    judgements: Vec<Judgement>,
    /// Tick with each commit and each event, and when there is nothing to do.
    committing: Hand,
    judging: Hand,
    again: Again,
    /// Quarantined bytes may wait to be judged after all.
    wanted: bool,
    /// Who waits for them.
    asked: Vec<mpsc::Sender<()>>,
}

impl Pipeline {
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let mut evaluator = Evaluator::new();
        evaluator.withheld.convict(parts.scouted.convicted.iter().cloned());
        Self {
            committing: parts.progress.hand("committing"),
            judging: parts.progress.hand("judging"),
            parts,
            evaluator,
            arrived: VecDeque::with_capacity(BATCH),
            topics: Topics::default(),
            feeds_ended: false,
            effects: Effects::default(),
            judged_books: Books::default(),
            told: Vec::new(),
            judgements: Vec::new(),
            again: Again::default(),
            wanted: true,
            asked: Vec::new(),
        }
    }

    /// Judges what an earlier run journaled and did not judge. Answers how many events that were.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn catch_up(&mut self) -> Result<u64, StoreError> {
        self.resume_parked()?;
        let mut cursor = self.parts.journal.judged()?;
        let mut count = 0;
        loop {
            let events = self.parts.journal.events_after(cursor, BATCH)?;
            let Some(last) = events.last() else { return Ok(count) };
            cursor = last.seq;
            count += events.len() as u64;
            // They may be old: what they cause is due from now on.
            self.judge(&events, Some(self.parts.clock.now()));
            let (turn, sent) = self.turn(Batch::default());
            self.parts.journal.commit(turn).committed().await?;
            self.after_commit(&sent);
        }
    }

    /// Runs until `stop`, then takes what the feeds still hand over until they are gone, and commits it.
    ///
    /// # Errors
    /// When the store fails: nothing can be promised any more.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), StoreError> {
        let mut batch = Batch::default();
        // On disk and not judged yet. There is always a batch behind it, so that it is never waited with.
        let mut unjudged: Option<Arc<Vec<Event>>> = None;
        self.take_wanted(&mut batch)?;
        loop {
            if batch.is_empty() && self.effects.is_empty() && self.judged_books.is_empty() {
                // What a full disk keeps from being taken is not waited for: the provider is asked for it again.
                let taken =
                    (self.feeds_ended && self.arrived.is_empty() && !self.parts.intake.is_busy()) || self.parts.space.is_short();
                if stop.is_cancelled() && taken {
                    // The feeds and the reloader are gone; what they said last is still told.
                    self.obey_all();
                    self.tell_held_back(true);
                    if self.effects.is_empty() {
                        return Ok(());
                    }
                    continue;
                }
                self.judge_again()?;
                if self.effects.is_empty() && !self.again.has_work() {
                    self.wait(&stop).await;
                }
                self.take_arrived(&mut batch, false)?;
                self.parts.intake.look_around(&mut batch)?;
                self.take_wanted(&mut batch)?;
                self.end_quiet_periods();
                continue;
            }
            let began = Instant::now();
            let (turn, sent) = self.turn(batch);
            let events = Arc::clone(&turn.events);
            let pending = self.parts.journal.commit(turn);
            if let Some(before) = unjudged.take() {
                self.judge(&before, None);
            }
            let mut next = Batch::default();
            self.take_arrived(&mut next, !events.is_empty())?;
            pending.committed().await?;
            self.after_commit(&sent);
            self.judge_again()?;
            if events.len() >= MANY && !next.is_empty() {
                unjudged = Some(events);
            } else {
                self.judge(&events, None);
            }
            self.obey_all();
            self.parts.intake.look_around(&mut next)?;
            self.take_wanted(&mut next)?;
            self.end_quiet_periods();
            self.parts.metrics.turn_seconds.observe(began.elapsed().as_secs_f64());
            batch = next;
        }
    }

    /// Waits for a frame, a word from the control side, a quiet period's end, or the stop.
    async fn wait(&mut self, stop: &CancellationToken) {
        self.committing.tick();
        self.judging.tick();
        // On a full disk no frames are taken; the queue fills, and the sockets are not read.
        let short = self.parts.space.is_short();
        if (!self.arrived.is_empty() || self.parts.intake.is_busy()) && !short {
            return;
        }
        let now = self.parts.clock.now();
        let next =
            self.parts.desk.next_end().into_iter().chain(self.again.next_trial()).chain(self.parts.intake.next_look()).min();
        let pause = next.map_or(IDLE_TICK, |end| (end - now).to_std().unwrap_or(Duration::ZERO).min(IDLE_TICK));
        let mut frames = Vec::new();
        tokio::select! {
            count = self.parts.signals.recv_many(&mut frames, BATCH), if !self.feeds_ended && !short => {
                self.feeds_ended = count == 0;
                self.arrived.extend(frames);
            }
            Some(control) = self.parts.control.recv() => self.obey(control),
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled(), if !stop.is_cancelled() => {}
        }
    }

    /// Moves what has arrived into the batch, without waiting.
    fn take_arrived(&mut self, batch: &mut Batch, in_flight: bool) -> Result<(), StoreError> {
        if self.parts.space.is_short() {
            return Ok(());
        }
        self.parts.intake.go_on(batch)?;
        for _ in 0..BATCH {
            let heard = match self.parts.intake.next_waiting().or_else(|| self.arrived.pop_front()) {
                Some(heard) => heard,
                None => match self.parts.signals.try_recv() {
                    Ok(heard) => heard,
                    Err(mpsc::error::TryRecvError::Empty) => return Ok(()),
                    Err(mpsc::error::TryRecvError::Disconnected) => {
                        self.feeds_ended = true;
                        return Ok(());
                    }
                },
            };
            let Some(heard) = self.parts.intake.let_pass(heard) else { continue };
            if Intake::needs_the_journal(&heard.signal) && (in_flight || !batch.events.is_empty()) {
                self.parts.intake.put_back(heard);
                return Ok(());
            }
            if let Signal::Topics { feed, enabled, before, .. } = &heard.signal {
                self.compare_topics(feed, enabled, before.as_deref());
            }
            if matches!(heard.signal, Signal::Frame(_)) && self.parts.leak.drops(Seam::Socket) {
                continue;
            }
            self.parts.intake.take(heard, batch)?;
        }
        Ok(())
    }

    /// What a person wants judged, until nothing more is wanted. Only right after a commit: what is not committed is still wanted.
    fn take_wanted(&mut self, batch: &mut Batch) -> Result<(), StoreError> {
        if self.wanted {
            self.parts.intake.take_wanted(batch)?;
            self.wanted = !batch.retried.is_empty();
        }
        if !self.wanted {
            self.asked.drain(..).for_each(|asked| answer(&asked));
        }
        Ok(())
    }

    fn compare_topics(&mut self, feed: &FeedName, enabled: &[String], before: Option<&[String]>) {
        let rules = self.parts.generation.rules.iter().filter(|rule| rule.card.stage.runs());
        let wanted: BTreeSet<String> = rules.flat_map(|rule| rule.card.on.iter().map(ToString::to_string)).collect();
        for alarm in self.topics.named(feed, enabled, before, &wanted, self.parts.latest.len()) {
            self.alarm(&alarm);
        }
    }

    /// Makes the turn of this batch and of the effects so far.
    fn turn(&mut self, mut batch: Batch) -> (Turn, Sent) {
        for alarm in std::mem::take(&mut batch.alarms) {
            self.alarm(&alarm);
        }
        self.tell_unreached();
        self.begin_horizons();
        if !self.effects.deliveries.is_empty() && self.parts.leak.drops(Seam::Outbox) {
            self.effects.deliveries.pop();
        }
        let mut books = batch.books.take();
        books.extend(self.judged_books.take());
        let turn = Turn {
            events: Arc::new(batch.events),
            quarantined: batch.quarantined,
            retried: batch.retried,
            positions: batch.positions.into_iter().collect(),
            effects: std::mem::take(&mut self.effects),
            books,
            gaps: batch.gaps,
            narrowed: batch.narrowed,
        };
        let sent = Sent {
            channels: turn.effects.deliveries.iter().map(|delivery| delivery.channel.clone()).collect(),
            latest: batch.latest,
            last: turn.events.last().map(|event| event.seq),
            gaps: !turn.gaps.is_empty(),
            judged: turn.effects.judged.map(|judged| judged.to),
            books: turn.books.clone(),
            journaled: topics(&turn.events),
            told: std::mem::take(&mut self.told),
        };
        (turn, sent)
    }

    /// A delivery's horizon begins when it is written by a service that runs, not when its event was received: after a long stop an old
    /// alert has its whole series of tries before it. When it is late is counted from the receipt all the same.
    fn begin_horizons(&mut self) {
        let now = self.parts.clock.now();
        for delivery in &mut self.effects.deliveries {
            let waited = now - delivery.due_at;
            if waited > chrono::TimeDelta::zero() {
                delivery.due_at = now;
                delivery.expires_at = delivery.expires_at.checked_add_signed(waited).unwrap_or(delivery.expires_at);
            }
        }
    }

    /// A message that no recipient and no fallback takes is kept, and goes nowhere: the operators hear of it, and else the log has it.
    fn tell_unreached(&mut self) {
        if self.effects.messages.is_empty() {
            return;
        }
        let reached: HashSet<MessageId> = self.effects.deliveries.iter().map(|delivery| delivery.message).collect();
        let lost = self.effects.messages.iter().filter(|message| !reached.contains(&message.id));
        let lost: Vec<(MessageId, Purpose, String)> =
            lost.map(|message| (message.id, message.purpose, message.send_to.join(" "))).collect();
        for (message, purpose, send_to) in lost {
            tracing::error!(message_id = %message, ?purpose, send_to, "a message has no way out: none of its recipients exists, and there is no fallback");
            if purpose != Purpose::Alarm {
                let alarm = Alarm::new(format!("no way {send_to}"), Severity::Critical, "An alert has no way out")
                    .note(format!("The message {message} is for {send_to}. The configuration has no such name, and [fallback] names no channel."))
                    .note("It is kept in the store and sent to nobody. See to it that its readers learn of it, and mend the configuration.");
                self.alarm(&alarm);
            }
        }
    }

    /// What may be told only once it is on disk.
    fn after_commit(&self, sent: &Sent) {
        self.committing.tick();
        sent.told.iter().for_each(answer);
        for channel in &sent.channels {
            if let Some(wake) = self.parts.wake.get(channel) {
                wake.notify_one();
            }
        }
        for (feed, topics) in &sent.latest {
            if let Some(latest) = self.parts.latest.get(feed) {
                latest.send_modify(|latest| {
                    for (topic, at) in topics {
                        let newest = latest.entry(topic.clone()).or_insert(*at);
                        *newest = (*newest).max(*at);
                    }
                });
            }
        }
        if sent.gaps {
            self.parts.gaps.send_replace(());
        }
        let metrics = &self.parts.metrics;
        if let Some(last) = sent.last {
            metrics.last_sequence.set(i64::try_from(last.0).unwrap_or(i64::MAX));
        }
        if let Some(judged) = sent.judged {
            metrics.judged_sequence.set(i64::try_from(judged.0).unwrap_or(i64::MAX));
        }
        count(metrics, &sent.books);
        for ((feed, topic), count) in &sent.journaled {
            metrics.journaled.get_or_create(&FeedTopic { feed: feed.to_string(), topic: topic.to_string() }).inc_by(*count);
        }
    }

    /// `now`: when what they cause is due, where that is not when they were received.
    fn judge(&mut self, events: &[Event], now: Option<Timestamp>) {
        self.judging.tick();
        let (Some(first), Some(last)) = (events.first(), events.last()) else { return };
        let generation = Arc::clone(&self.parts.generation);
        for event in events {
            if self.parts.leak.drops(Seam::Rules) {
                continue;
            }
            self.judgements.clear();
            let counts = self.judged_books.of(&event.feed, &event.topic, event.received_at);
            counts.evaluated += 1;
            counts.owed += generation.for_topic(&event.topic).len() as u64;
            if self.parts.leak.drops(Seam::Verdicts) {
                continue;
            }
            let tally = self.evaluator.judge(&generation, event, &mut self.judgements);
            counts.decided += tally.decided;
            counts.undecided += tally.undecided;
            counts.matched += tally.matched;
            counts.parked += tally.parked;
            for judgement in std::mem::take(&mut self.judgements) {
                if self.parts.leak.drops(Seam::Alerts) {
                    continue;
                }
                self.conclude(&judgement, event, &generation, now.unwrap_or(event.received_at), false);
            }
            self.park_fresh(event.seq);
            self.judging.tick();
        }
        // Two batches of one turn: no other generation comes in between.
        let from = self.effects.judged.map_or(first.seq, |judged| judged.from);
        self.effects.judged = Some(turn::Judged { from, to: last.seq, generation: generation.hash });
    }

    fn conclude(&mut self, judgement: &Judgement, event: &Event, generation: &Generation, now: Timestamp, late: bool) {
        let parts = &mut self.parts;
        let journal = Arc::clone(&parts.journal);
        let first = |id| first_message(journal.as_ref(), id);
        let judged = Judged { event, generation: generation.hash, now, late };
        let (before, owed) = (self.effects.alerts.len(), self.effects.deliveries.len());
        parts.desk.take(judgement, judged, &parts.routes, &mut parts.ids, &first, &mut self.effects);
        count_due(&mut self.judged_books, &self.effects, owed);
        let card = &judgement.card;
        let outcome = match &judgement.verdict {
            Verdict::Match(_) => {
                parts.metrics.last_alert_unix_seconds.set(event.received_at.timestamp_micros() as f64 / 1e6);
                self.effects.alerts.get(before).map_or("none", |alert| Role::as_str(alert.role))
            }
            Verdict::Undecided(why) if why.kind == UndecidedKind::Parked => "parked",
            Verdict::Undecided(_) => "undecided",
        };
        parts.metrics.verdicts.get_or_create(&RuleOutcome { rule: card.id.to_string(), outcome: outcome.to_owned() }).inc();
        // That it is parked was told; here it would be told for each event.
        if let Verdict::Undecided(why) = &judgement.verdict
            && why.kind != UndecidedKind::Parked
        {
            tracing::warn!(rule = %card.id, event = %event.seq, kind = why.kind.as_str(), line = why.line, detail = why.detail, "a verdict is missing");
            let place = why.line.map_or_else(|| card.file.clone(), |line| format!("{}:{line}", card.file));
            let alarm = match why.kind {
                UndecidedKind::Poison => poisoned(card, event.seq),
                _ => Alarm::new(
                    format!("undecided {}", card.id),
                    card.severity.max(Severity::High),
                    format!("Rule {} could not judge event {}", card.id, event.seq),
                )
                .note(format!("{place}: {}.", why.detail))
                .note("The verdict is recorded as undecided, which is not \"no match\": somebody must look at the event. Other rules judged it."),
            };
            let alarm = alarm.also(card.owner.as_ref());
            self.alarm(&alarm);
        }
        self.tell_untold();
    }

    fn end_quiet_periods(&mut self) {
        let parts = &mut self.parts;
        let now = parts.clock.now();
        let journal = Arc::clone(&parts.journal);
        let first = |id| first_message(journal.as_ref(), id);
        let owed = self.effects.deliveries.len();
        parts.desk.end_due(now, &parts.routes, &mut parts.ids, &first, &mut self.effects);
        count_due(&mut self.judged_books, &self.effects, owed);
        self.tell_untold();
        self.tell_held_back(false);
    }

    /// In the transaction that ends the period.
    fn tell_untold(&mut self) {
        for period in self.parts.desk.untold() {
            self.alarm(&untold(&period));
        }
    }

    /// Alarms that were held back so as not to flood anybody: their number is told at the end of the hour, or of the run.
    fn tell_held_back(&mut self, all: bool) {
        let parts = &mut self.parts;
        let owed = self.effects.deliveries.len();
        parts.alarms.end_due(all, &parts.routes, parts.clock.now(), &mut parts.ids, &mut self.effects);
        count_due(&mut self.judged_books, &self.effects, owed);
    }

    fn obey_all(&mut self) {
        while let Ok(control) = self.parts.control.try_recv() {
            self.obey(control);
        }
    }

    fn obey(&mut self, control: Control) {
        match control {
            Control::Swap(generation) => {
                tracing::info!(generation = %generation.hash.short(), rules = generation.rules.len(), "judging by this generation from here");
                self.parts.live.store(Arc::clone(&generation));
                self.parts.generation = generation;
                self.again.look(false);
            }
            Control::JudgeAgain => self.again.look(true),
            Control::Alarm(alarm) => {
                self.alarm(&alarm);
            }
            Control::Warned(effects, alarms, answer) => {
                self.effects.deliveries.extend(effects.deliveries);
                self.effects.marks.extend(effects.marks);
                for alarm in &alarms {
                    self.alarm(alarm);
                }
                self.told.push(answer);
            }
            Control::Audited(imbalances, alarms) => {
                self.effects.imbalances.extend(imbalances);
                for alarm in &alarms {
                    self.alarm(alarm);
                }
            }
            Control::Notice(notice) => self.notice(&notice),
            Control::Quarantine(asked) => {
                self.wanted = true;
                self.asked.push(asked);
            }
        }
    }

    fn alarm(&mut self, alarm: &Alarm) {
        let parts = &mut self.parts;
        let owed = self.effects.deliveries.len();
        parts.alarms.raise(alarm, &parts.routes, parts.clock.now(), &mut parts.ids, &mut self.effects);
        count_due(&mut self.judged_books, &self.effects, owed);
    }

    fn notice(&mut self, notice: &outbox::Notice) {
        let metrics = &self.parts.metrics;
        let outcome = match notice.next {
            Next::Delivered => "delivered",
            Next::Retry { .. } => "retry",
            Next::Dead => "dead",
        };
        let label = ChannelOutcome { channel: notice.channel.to_string(), outcome: outcome.to_owned() };
        metrics.attempts.get_or_create(&label).inc();
        match &notice.next {
            Next::Delivered => {
                let latency = (notice.finished_at - notice.created_at).as_seconds_f64();
                metrics.delivery_seconds.observe(latency.max(0.0));
            }
            Next::Retry { due_at } => {
                tracing::warn!(channel = %notice.channel, message_id = %notice.message, attempt = notice.attempt, due_at = %due_at.format("%Y-%m-%d %H:%M:%S UTC"), detail = notice.detail, "a delivery did not go through; it is tried again");
            }
            Next::Dead => {
                tracing::error!(channel = %notice.channel, message_id = %notice.message, attempt = notice.attempt, detail = notice.detail, "a delivery was given up");
                self.parts.trouble.notify_one();
            }
        }
    }
}

/// Counts the deliveries that messages have come to owe since there were `before`, at the place of the event that they come from.
fn count_due(books: &mut Books, effects: &Effects, before: usize) {
    for delivery in &effects.deliveries[before..] {
        let message = effects.messages.iter().rfind(|message| message.id == delivery.message);
        match message.map(|message| (&message.event, message.created_at)) {
            Some((Some(event), _)) => books.of(&event.feed, &event.topic, event.received_at).due += 1,
            Some((None, at)) => books.of(&FeedName::new(""), &TopicName::new(""), at).due += 1,
            // Another way for an older message; the store does not count it either.
            None => {}
        }
    }
}

/// Told for each event, to the rule's recipients too: nobody else will tell them of it.
fn poisoned(card: &Card, event: Seq) -> Alarm {
    let alarm = Alarm::new(
        format!("poison {} {event}", card.id),
        card.severity.max(Severity::High),
        format!("Event {event} could not be judged by rule {}", card.id),
    )
    .note(format!("redflag stopped, and two processes of their own died of judging this event by {}.", card.file))
    .note("The verdict is recorded as undecided, which is not \"no match\": look at the event yourself. Other rules judged it.")
    .note(
        "Once the rule is mended, the next start judges the event by it, ahead of everything else and in a process of its own.",
    );
    card.send_to.iter().fold(alarm, |alarm, name| alarm.also(Some(name)))
}

/// The operators' follow-up in the place of one that can't be made. The key may be a person: it is not told.
fn untold(period: &QuietPeriod) -> Alarm {
    Alarm::new(
        format!("untold {} {}", period.rule, period.message),
        period.severity.max(Severity::High),
        format!("Rule {} matched {} more times, and its follow-up can't be made", period.rule, period.repeats),
    )
    .note(format!(
        "The message {} that the follow-up goes back to can't be read from the store; the log has the cause.",
        period.message
    ))
    .note("The repeats are recorded as alerts: `redflag alerts` shows them. Tell the rule's recipients.")
}

/// What a turn made true once it is committed.
struct Sent {
    channels: BTreeSet<ChannelName>,
    latest: BTreeMap<FeedName, Latest>,
    /// Whether there are new ones.
    gaps: bool,
    last: Option<Seq>,
    judged: Option<Seq>,
    books: Vec<BooksDelta>,
    journaled: BTreeMap<(FeedName, TopicName), u64>,
    /// Who waits for the alarms of this turn.
    told: Vec<mpsc::Sender<()>>,
}

/// Each waits for one answer; one that is gone needs none.
fn answer(told: &mpsc::Sender<()>) {
    let _ = told.try_send(());
}

fn first_message(journal: &dyn Journal, id: MessageId) -> Option<Message> {
    journal.message(id).unwrap_or_else(|error| {
        tracing::error!(message_id = %id, error = &error as &dyn std::error::Error, "a message can't be read back");
        None
    })
}

/// How many events of each topic there are.
fn topics(events: &[Event]) -> BTreeMap<(FeedName, TopicName), u64> {
    let mut topics = BTreeMap::new();
    for event in events {
        *topics.entry((event.feed.clone(), event.topic.clone())).or_default() += 1;
    }
    topics
}

/// The metrics count what the books count.
fn count(metrics: &Metrics, books: &[BooksDelta]) {
    for BooksDelta { feed, counts, .. } in books.iter().filter(|delta| !delta.feed.is_empty()) {
        let label = Feed { feed: feed.to_string() };
        metrics.frames.get_or_create(&label).inc_by(counts.frames);
        metrics.method_replies.get_or_create(&label).inc_by(counts.method_replies);
        metrics.already_had.get_or_create(&label).inc_by(counts.already_had);
        metrics.ambiguous.get_or_create(&label).inc_by(counts.ambiguous);
        metrics.judged.inc_by(counts.evaluated);
        metrics.owed.inc_by(counts.owed);
        metrics.decided.inc_by(counts.decided);
        metrics.undecided.inc_by(counts.undecided);
        metrics.parked.inc_by(counts.parked);
        metrics.asked_again.inc_by(counts.asked_again);
        metrics.verdicts_waiting.inc_by((counts.undecided + counts.parked).cast_signed());
        metrics.verdicts_waiting.dec_by(counts.asked_again.cast_signed());
    }
}
