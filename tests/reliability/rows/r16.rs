//! R16: outages longer than back-fill can prove, at a provider that cuts its answers: every message that is missing lies in a gap that was
//! told, with its interval, and nothing is called whole that is not.

use std::{collections::BTreeSet, time::Duration};

use chrono::TimeDelta;
use redflag::model::{time::Timestamp, turn::Gap};

use super::outage;
use crate::harness::{
    Bench, Row,
    world::{Plan, World},
};

const TRIALS: usize = 40;
/// A gap ends so long after the oldest message that came, at most.
const EXACT: TimeDelta = TimeDelta::seconds(2);

pub async fn run(bench: &Bench) -> anyhow::Result<Row> {
    let trials = bench.trials(TRIALS);
    let mut random = fastrand::Rng::with_seed(bench.seed);
    let caps: Vec<(usize, usize)> = (0..trials).map(|_| (random.usize(10..400), random.usize(0..500))).collect();
    let outcome = outages(bench, &caps).await?;
    Ok(Row::new(
        trials,
        "100 % of unprovable gaps reported with their interval, 0 false all clear",
        format!(
            "{} outages: {} with messages missing, {} of them told; {} messages missing, {} outside of every told gap; \
             {} gaps longer than what is missing by over {} s; {} told though nothing was missing",
            trials,
            outcome.missing,
            outcome.told,
            outcome.lost,
            outcome.untold,
            outcome.inexact,
            EXACT.num_seconds(),
            outcome.cautious
        ),
        outcome.untold == 0 && outcome.told == outcome.missing && outcome.inexact == 0 && outcome.alarms >= outcome.told,
    ))
}

#[derive(Debug, Default)]
pub struct Outcome {
    /// Outages after which messages are missing for ever, and those of them that were told.
    pub missing: usize,
    pub told: usize,
    pub lost: usize,
    pub untold: usize,
    pub inexact: usize,
    pub cautious: usize,
    pub alarms: usize,
}

/// One outage for each cap and number of messages that nobody hears.
pub async fn outages(bench: &Bench, caps: &[(usize, usize)]) -> anyhow::Result<Outcome> {
    let plan = Plan { overlap: "1s", channels: vec!["archive"], ..Plan::default() };
    let world = World::new(bench.folder(), plan).await?;
    let daemon = world.home.start().await?;
    world.connected(&daemon).await?;
    let mut outcome = Outcome::default();
    for (trial, (cap, unheard)) in caps.iter().enumerate() {
        let before = world.home.reader()?.last()?.0;
        let live: Vec<_> = (0..12).map(|n| outage::frame(&format!("L{trial}-{n}"), false)).collect();
        world.feed.send_lines(&live.join("\n")).await;
        outage::journaled(&world, before + 12).await?;
        let gaps = world.home.reader()?.gaps()?.len();

        outage::cut(&world).await;
        world.feed.set(&format!("cap={cap}")).await;
        let idents: Vec<String> = (0..*unheard).map(|n| format!("M{trial}-{n}")).collect();
        for some in idents.chunks(10) {
            let frames: Vec<_> = some.iter().map(|ident| outage::frame(ident, false)).collect();
            world.feed.miss_lines(&frames.join("\n")).await;
            tokio::time::sleep(Duration::from_millis(60)).await;
        }
        outage::mend(&world).await?;
        let told: Vec<Gap> = world.home.reader()?.gaps()?.split_off(gaps).into_iter().map(|row| row.gap).collect();
        judge(&world, &idents, &told, &mut outcome).await?;
    }
    outcome.alarms = world.alarms().iter().filter(|alarm| alarm.contains("a gap can't be ruled out")).count();
    daemon.stop().await?;
    Ok(outcome)
}

async fn judge(world: &World, idents: &[String], told: &[Gap], outcome: &mut Outcome) -> anyhow::Result<()> {
    let journal: BTreeSet<String> = outage::journal(world)?.into_iter().map(|event| event.element.raw).collect();
    let kept = world.feed.kept().await;
    let moment = |ident: &String| -> Option<Timestamp> {
        let frame = outage::frame(ident, false);
        let (at, _) = kept.iter().rev().find(|(_, text)| *text == frame)?;
        Timestamp::from_timestamp_micros((at * 1e6) as i64)
    };
    let missing: Vec<Timestamp> =
        idents.iter().filter(|ident| !journal.contains(&outage::frame(ident, false))).filter_map(moment).collect();
    let oldest = idents.iter().filter(|ident| journal.contains(&outage::frame(ident, false))).filter_map(moment).min();
    let inside = |at: &Timestamp| told.iter().any(|gap| gap.from <= *at && *at <= gap.until);
    outcome.lost += missing.len();
    outcome.untold += missing.iter().filter(|at| !inside(at)).count();
    if missing.is_empty() {
        outcome.cautious += usize::from(!told.is_empty());
    } else {
        outcome.missing += 1;
        outcome.told += usize::from(missing.iter().all(inside));
        outcome.inexact += told.iter().filter(|gap| oldest.is_some_and(|oldest| gap.until > oldest + EXACT)).count();
    }
    Ok(())
}
