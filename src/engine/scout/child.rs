//! The scout itself: judges, says where it is, and throws the verdicts away.

use std::{
    io::{self, BufRead as _, Write as _},
    process::ExitCode,
    sync::{Arc, Once},
    time::Duration,
};

use anyhow::Context as _;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{Errand, Leg, Pair, Said};
use crate::{
    engine::{pipeline::BATCH, reload},
    model::{event::Event, ids::Seq, names::RuleId},
    rules::{
        evaluate::{self, Evaluator},
        rule::CompiledRule,
        set::Generation,
    },
    store::{Reader, SqliteStore},
};

/// Memory that it may write to. A rule can't hold anything near it.
const MEMORY: u64 = 384 << 20;

/// Processor time for one step, and for each rule of it: far more than the fuse lets pass.
const STEP: Duration = Duration::from_secs(1);
const RULE: Duration = Duration::from_millis(100);

/// The whole life of the child.
#[must_use]
pub fn main() -> ExitCode {
    match errand().and_then(go) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody may be reading any more.
            let _ = writeln!(io::stderr(), "redflag: the scout: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn errand() -> anyhow::Result<Errand> {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).context("no errand")?;
    serde_json::from_str(&line).context("an errand that can't be read")
}

fn go(errand: Errand) -> anyhow::Result<()> {
    // Data of persons never goes into a core file.
    limit(Resource::Core, 0);
    limit(Resource::Data, MEMORY);
    let thread = evaluate::thread().spawn(move || explore(&errand)).context("no thread")?;
    thread.join().unwrap_or_else(|_| Err(anyhow::anyhow!("it broke")))
}

/// A unit's filter of system calls may forbid it; then the unit's own limits have to do.
fn limit(resource: Resource, most: u64) {
    static TOLD: Once = Once::new();
    let maximum = getrlimit(resource).maximum;
    let current = Some(maximum.map_or(most, |maximum| maximum.min(most)));
    if let Err(error) = setrlimit(resource, Rlimit { current, maximum }) {
        TOLD.call_once(|| {
            // Nobody may be reading any more.
            let _ = writeln!(io::stderr(), "redflag: the scout: no limit of {resource:?}: {error}");
        });
    }
}

fn explore(errand: &Errand) -> anyhow::Result<()> {
    let reader = SqliteStore::read_only(&errand.data_dir)?;
    let kept = reader.last_generation()?.context("no rule set is kept")?;
    let generation = reload::revive(kept, &errand.declared).generation;
    let mut scout = Scout { generation, evaluator: Evaluator::new(), skip: &errand.skip, reader };
    scout.evaluator.withheld.convict(errand.skip.iter().cloned());
    match &errand.leg {
        Leg::Events { after, to } => scout.events(*after, *to)?,
        Leg::Rules { event } => scout.rules(*event)?,
        Leg::Pairs(pairs) => scout.pairs(pairs)?,
    }
    say(&Said::Survived)
}

struct Scout<'a> {
    generation: Arc<Generation>,
    evaluator: Evaluator,
    skip: &'a [Pair],
    reader: Reader,
}

impl Scout<'_> {
    fn events(&mut self, mut after: Seq, to: Seq) -> anyhow::Result<()> {
        let mut verdicts = Vec::new();
        while after < to {
            let events = self.reader.events_after(after, BATCH)?;
            let Some(last) = events.last() else { break };
            after = last.seq;
            for event in events.iter().filter(|event| event.seq <= to) {
                say(&Said::Event(event.seq))?;
                allow(self.generation.rules.len());
                self.evaluator.judge(&self.generation, event, &mut verdicts);
                verdicts.clear();
            }
        }
        Ok(())
    }

    fn rules(&mut self, event: Seq) -> anyhow::Result<()> {
        let event = self.reader.event(event)?.context("the event is gone")?;
        for rule in self.generation.rules.clone().iter().filter(|rule| rule.card.stage.runs()) {
            self.pair(rule, &event)?;
        }
        Ok(())
    }

    fn pairs(&mut self, pairs: &[Pair]) -> anyhow::Result<()> {
        for (seq, rule) in pairs {
            let rule = self.generation.rule(rule).cloned();
            if let (Some(rule), Some(event)) = (rule, self.reader.event(*seq)?) {
                self.pair(&rule, &event)?;
            }
        }
        Ok(())
    }

    fn pair(&mut self, rule: &CompiledRule, event: &Event) -> anyhow::Result<()> {
        let is = |(seq, id): &(Seq, RuleId)| *seq == event.seq && *id == rule.card.id;
        if !rule.card.on.contains(&event.topic) || self.skip.iter().any(is) {
            return Ok(());
        }
        say(&Said::Pair(event.seq, rule.card.id.clone()))?;
        allow(1);
        self.evaluator.judge_one(&self.generation, rule, event, None, None);
        Ok(())
    }
}

/// Straight to the pipe: it must be out before what may kill.
fn say(said: &Said) -> anyhow::Result<()> {
    let mut line = serde_json::to_vec(said)?;
    line.push(b'\n');
    let mut output = io::stdout().lock();
    output.write_all(&line)?;
    Ok(output.flush()?)
}

/// Processor time for the next step; beyond it the kernel ends the process.
fn allow(rules: usize) {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime).tv_sec as u64;
    let span = STEP + RULE * u32::try_from(rules).unwrap_or(u32::MAX);
    limit(Resource::Cpu, used + span.as_secs() + 1);
}
