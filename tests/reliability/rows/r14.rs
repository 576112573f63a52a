//! R14: answers that bring again what is there, in any order, with equal events that are not the same: the journal and the alerts end up as
//! what was sent, by a reference model that knows nothing but what was handed to the feed. Ordinary frames may repeat an event from before
//! the window; such a repeat, and nothing else, is journaled again, and says so.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, ensure};

use redflag::model::event::Event;
use serde_json::Value as Json;

use super::outage;
use crate::harness::{
    Bench, PATIENCE, Row,
    oracle::text,
    world::{ALIVE, Plan, World},
};

/// Events of a round: so many are heard, and come again in the answer; so many are missed.
const HEARD: usize = 1_500;
const MISSED: usize = 3_500;
const ROUNDS: usize = 200;
/// With answers of ordinary frames.
const PLAIN_ROUNDS: usize = 10;
const PLAIN: usize = 300;
/// One in so many is the equal of another.
const TWINS: usize = 20;
const ALERTING: usize = 1_000;
/// The same of the few.
const PLAIN_ALERTING: usize = 50;

/// How the feed answers.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    pub reply: &'static str,
    /// Answers begin so many seconds before what was asked for.
    pub lead: &'static str,
    /// One event in so many alerts.
    pub alerting: usize,
}

pub const WRAPPED: Way = Way { reply: "array", lead: "0", alerting: ALERTING };
pub const PLAINLY: Way = Way { reply: "unwrapped", lead: "0", alerting: PLAIN_ALERTING };
pub const TOO_EARLY: Way = Way { reply: "unwrapped", lead: "30", alerting: PLAIN_ALERTING };

pub async fn run(bench: &Bench) -> anyhow::Result<Row> {
    let (rounds, plain_rounds) = (bench.trials(ROUNDS), bench.trials(PLAIN_ROUNDS));
    let wrapped = reconcile(bench, WRAPPED, rounds, HEARD, MISSED).await.context("wrapped")?;
    let plain = reconcile(bench, PLAINLY, plain_rounds, PLAIN, PLAIN).await.context("unwrapped")?;
    let early = reconcile(bench, TOO_EARLY, plain_rounds, PLAIN, PLAIN).await.context("unwrapped, too early")?;
    Ok(Row::new(
        rounds + 2 * plain_rounds,
        "journal and alerts equal to the reference model; wrapped: 0 twins swallowed, 0 replays alerted again; unwrapped: ambiguous merges \
         counted, every repeat marked; a fresh event passes in ≤ 10 s",
        format!("wrapped: {wrapped}; unwrapped: {plain}; unwrapped, from before the window: {early}"),
        wrapped.exact()
            && wrapped.marked == 0
            && plain.marked_exactly()
            && plain.ambiguous > 0.0
            && early.marked_exactly()
            && early.marked > 0,
    ))
}

#[derive(Debug, Default)]
pub struct Outcome {
    pub events: usize,
    pub twins: usize,
    pub replayed: f64,
    /// Events of the model that the journal lacks.
    pub swallowed: u64,
    /// Events that the journal has beyond the model.
    pub repeated: u64,
    /// Alerts of the model that did not arrive.
    pub alerts_lost: u64,
    /// Alerts that arrived beyond the model.
    pub alerts_again: u64,
    pub alerts: usize,
    /// Events that may be repeats, as the journal says.
    pub marked: usize,
    /// Repeats that it does not mark.
    pub unmarked: u64,
    pub ambiguous: f64,
}

impl Outcome {
    /// Equal to the model, and nothing is in doubt.
    pub fn exact(&self) -> bool {
        self.marked_exactly() && self.repeated == 0 && self.alerts_again == 0
    }

    /// Nothing is missing, and whatever is there beyond the model says so.
    pub fn marked_exactly(&self) -> bool {
        self.swallowed == 0 && self.alerts_lost == 0 && self.unmarked == 0
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { events, twins, replayed, swallowed, repeated, alerts, alerts_lost, alerts_again, marked, unmarked, ambiguous } =
            self;
        write!(
            f,
            "{events} events with {twins} equal twins, {replayed} replayed; {swallowed} swallowed, {repeated} again, {marked} marked, {unmarked} not; \
             {alerts} alerts, {alerts_lost} lost, {alerts_again} again; {ambiguous} ambiguous"
        )
    }
}

/// How much of `a` is not in `b`.
fn beyond<K: Ord>(a: &BTreeMap<K, u64>, b: &BTreeMap<K, u64>) -> u64 {
    a.iter().map(|(text, count)| count.saturating_sub(b.get(text).copied().unwrap_or_default())).sum()
}

/// So many rounds: some events are heard, the socket is cut, some are missed, and the answer brings both, shuffled.
pub async fn reconcile(bench: &Bench, way: Way, rounds: usize, heard: usize, missed: usize) -> anyhow::Result<Outcome> {
    let mut random = fastrand::Rng::with_seed(bench.seed);
    let plan = Plan {
        overlap: "2s",
        channels: vec!["archive"],
        feed: ["--shuffle", "--reply", way.reply, "--lead", way.lead].map(str::to_owned).to_vec(),
        ..Plan::default()
    };
    let world = World::new(&bench.place(&format!("{}-{}", way.reply, way.lead))?, plan).await?;
    if way.reply == "unwrapped" {
        // An empty answer of ordinary frames is nothing, and waited for in vain with each topic.
        let text = std::fs::read_to_string(world.home.path("redflag.toml"))?;
        world.home.write("redflag.toml", &text.replace("backfill = { ", r#"backfill = { timeout = "2s", "#))?;
    }
    let daemon = world.home.start().await?;
    world.connected(&daemon).await?;
    outage::settled(&world).await?;
    let mut outcome = Outcome::default();
    let mut sent: Vec<String> = Vec::new();
    for _ in 0..rounds {
        let begin = sent.len();
        for n in 0..heard + missed {
            let twin = n > 0 && random.usize(..TWINS) == 0;
            outcome.twins += usize::from(twin);
            let text = if twin {
                sent[random.usize(begin..sent.len())].clone()
            } else {
                let number = sent.len();
                outage::frame(&number.to_string(), number.is_multiple_of(way.alerting))
            };
            sent.push(text);
        }
        let (live, later) = sent[begin..].split_at(heard);
        world.feed.send_lines(&live.join("\n")).await;
        outage::journaled(&world, (begin + heard) as u64).await?;
        outage::cut(&world).await;
        world.feed.miss_lines(&later.join("\n")).await;
        outage::mend(&world).await?;
        outage::journaled(&world, sent.len() as u64).await?;
    }
    let fresh = outage::frame("fresh", true);
    world.feed.send(&fresh).await;
    sent.push(fresh);
    let fresh = async || world.received().is_ok_and(|received| received.iter().any(|one| one.ident == "fresh"));
    world.until("liveness: a fresh event passes", ALIVE, fresh).await?;
    outcome.events = sent.len();
    outcome.replayed = daemon.metric("redflag_elements_already_had_total", "concedus").await?;
    outcome.ambiguous = daemon.metric("redflag_elements_ambiguous_total", "concedus").await?;
    let journal = outage::journal(&world)?;
    let model = outage::multiset(sent.iter().map(String::as_str));
    let had = outage::multiset(journal.iter().map(|event| event.raw.as_str()));
    outcome.swallowed = beyond(&model, &had);
    outcome.repeated = beyond(&had, &model);
    let sure = outage::multiset(journal.iter().filter(|event| !event.maybe_repeat).map(|event| event.raw.as_str()));
    outcome.marked = journal.iter().filter(|event| event.maybe_repeat).count();
    outcome.unmarked = beyond(&sure, &model);
    let reader = world.home.reader()?;
    let judged = journal.last().map(|event| event.seq);
    let done = async || reader.judged().is_ok_and(|seq| Some(seq) >= judged) && reader.owed().is_ok_and(|owed| owed.is_empty());
    world.until("everything is judged and sent", PATIENCE * 4, done).await?;
    tally_alerts(&world, &sent, &journal, &mut outcome)?;
    daemon.stop().await?;
    Ok(outcome)
}

/// What arrived against what the model and the marked repeats owe.
fn tally_alerts(world: &World, sent: &[String], journal: &[Event], outcome: &mut Outcome) -> anyhow::Result<()> {
    let failed = |text: &&str| text.contains(r#""status":"failed""#);
    let owed = outage::multiset(sent.iter().map(String::as_str).filter(failed));
    let marked = journal.iter().filter(|event| event.maybe_repeat).map(|event| event.raw.as_str());
    let repeats = outage::multiset(marked.filter(failed));
    let received = world.received()?;
    let frames: Vec<String> = received.iter().map(|one| outage::frame(&one.ident, true)).collect();
    let mut identities = BTreeSet::new();
    for (one, frame) in received.iter().zip(&frames) {
        ensure!(identities.insert(&one.identity), "{} came twice", one.identity);
        let frame: Json = serde_json::from_str(frame)?;
        ensure!(one.shown.iter().all(|(name, value)| text(&frame, name) == *value), "{} was altered", one.ident);
    }
    let arrived = outage::multiset(frames.iter().map(String::as_str));
    outcome.alerts = received.len();
    outcome.alerts_lost = beyond(&owed, &arrived);
    outcome.alerts_again = beyond(&arrived, &owed);
    let doubtful = received.iter().filter(|one| one.may_be_a_repeat()).count();
    ensure!(
        doubtful as u64 == repeats.values().sum::<u64>(),
        "{doubtful} alerts say that they may be repeats, {repeats:?} should"
    );
    ensure!(outcome.alerts_again <= doubtful as u64, "{} alerts came again and do not say so", outcome.alerts_again);
    Ok(())
}
