//! R14: answers that bring again what is there, in any order, with equal events that are not the same: the journal ends up with exactly
//! what was sent, by a reference model that knows nothing but what was handed to the feed.

use super::outage;
use crate::harness::{
    Bench, Row,
    world::{Plan, World},
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

pub async fn run(bench: &Bench) -> anyhow::Result<Row> {
    let rounds = bench.trials(ROUNDS);
    let wrapped = reconcile(bench, "array", rounds, HEARD, MISSED).await?;
    let plain_rounds = bench.trials(PLAIN_ROUNDS);
    let plain = reconcile(bench, "unwrapped", plain_rounds, PLAIN, PLAIN).await?;
    let pass = wrapped.exact() && wrapped.marked == 0 && plain.swallowed == 0 && plain.ambiguous > 0.0;
    Ok(Row::new(
        rounds + plain_rounds,
        "equal to the reference model; wrapped: 0 twins swallowed, 0 replays alerted again; unwrapped: ambiguous merges counted and marked",
        format!("wrapped: {wrapped}; unwrapped: {plain}"),
        pass,
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
    /// Alerts owed by the model, and alerts that there are.
    pub alerts: (usize, usize),
    pub marked: usize,
    pub ambiguous: f64,
}

impl Outcome {
    pub fn exact(&self) -> bool {
        self.swallowed == 0 && self.repeated == 0 && self.alerts.0 == self.alerts.1
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} events with {} equal twins, {} replayed; {} swallowed, {} again; {} of {} alerts; {} ambiguous, {} marked",
            self.events,
            self.twins,
            self.replayed,
            self.swallowed,
            self.repeated,
            self.alerts.1,
            self.alerts.0,
            self.ambiguous,
            self.marked
        )
    }
}

/// So many rounds: some events are heard, the socket is cut, some are missed, and the answer brings both, shuffled.
pub async fn reconcile(bench: &Bench, reply: &str, rounds: usize, heard: usize, missed: usize) -> anyhow::Result<Outcome> {
    let mut random = fastrand::Rng::with_seed(bench.seed);
    let plan = Plan {
        overlap: "2s",
        channels: vec!["archive"],
        feed: ["--shuffle", "--reply", reply].map(str::to_owned).to_vec(),
        ..Plan::default()
    };
    let world = World::new(&bench.place(reply)?, plan).await?;
    if reply == "unwrapped" {
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
                outage::frame(&number.to_string(), number.is_multiple_of(ALERTING))
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
    outcome.events = sent.len();
    outcome.replayed = daemon.metric("redflag_elements_already_had_total", "concedus").await?;
    outcome.ambiguous = daemon.metric("redflag_elements_ambiguous_total", "concedus").await?;
    let journal = outage::journal(&world)?;
    let model = outage::multiset(sent.iter().map(String::as_str));
    let had = outage::multiset(journal.iter().map(|event| event.raw.as_str()));
    let beyond = |a: &std::collections::BTreeMap<&str, u64>, b: &std::collections::BTreeMap<&str, u64>| -> u64 {
        a.iter().map(|(text, count)| count.saturating_sub(b.get(text).copied().unwrap_or_default())).sum()
    };
    outcome.swallowed = beyond(&model, &had);
    outcome.repeated = beyond(&had, &model);
    outcome.marked = journal.iter().filter(|event| event.maybe_repeat).count();
    let owed = sent.iter().filter(|text| text.contains(r#""status":"failed""#)).count();
    let reader = world.home.reader()?;
    let judged = journal.last().map(|event| event.seq);
    world
        .until("everything is judged", crate::harness::PATIENCE, async || reader.judged().is_ok_and(|seq| Some(seq) >= judged))
        .await?;
    outcome.alerts = (owed, reader.alerts_after(0, usize::MAX >> 1)?.len());
    daemon.stop().await?;
    Ok(outcome)
}
