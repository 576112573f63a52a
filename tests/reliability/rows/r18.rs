//! R18: the books balance, over bad frames, unknown topics and kills; and whatever is lost at a seam is told.

use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use redflag::model::books::{Counts, Seam};

use crate::harness::{
    Bench, PATIENCE, Row,
    daemon::Daemon,
    world::{Plan, World},
};

const EVENTS: usize = 100_000;
/// Of the events so many are sent between two kills.
const LIVES: usize = 10;
const BAD: usize = 1_000;
const UNKNOWN: usize = 100;
/// An imbalance is told within this.
const TOLD: Duration = Duration::from_mins(1);

/// The n-th frame that can't be decoded, in one of five ways. Each is another: one that came before may be taken for a copy of it while a
/// request for past messages is open.
fn damaged(n: u64) -> String {
    match n % 5 {
        0 => format!("no JSON {n}"),
        1 => format!(r#"{{"topic":"identResult","n":{n}"#),
        2 => format!("[{n}]"),
        3 => format!(r#"{{"topic":{n}}}"#),
        _ => format!(r#"{{"topic":"identResult","topic":"{n}"}}"#),
    }
}

pub async fn run(bench: &Bench) -> anyhow::Result<Row> {
    let events = bench.trials(EVENTS);
    let counts = balanced(bench, events).await?;
    let mut slowest = Duration::ZERO;
    for seam in Seam::ALL {
        slowest = slowest.max(told(bench, seam).await?);
    }
    Ok(Row::new(
        events + Seam::ALL.len(),
        "unexplained difference 0; a loss at each of the seams is told in ≤ 60 s",
        format!(
            "difference 0 over {} frames, {} events, {} set aside and {} verdicts in {LIVES} lives; {} of {} losses told, the slowest in {:.0} s",
            counts.frames,
            counts.journaled,
            counts.set_aside,
            counts.decided,
            Seam::ALL.len(),
            Seam::ALL.len(),
            slowest.as_secs_f64()
        ),
        slowest <= TOLD,
    ))
}

/// Events, bad frames and unknown topics, with a kill between them; in the end every sum agrees, with the model too.
pub async fn balanced(bench: &Bench, events: usize) -> anyhow::Result<Counts> {
    let plan = Plan { channels: vec!["archive"], overlap: "5s", ..Plan::default() };
    let world = World::new(&bench.place("balanced")?, plan).await?;
    let lives = LIVES.min(events);
    let (mut daemon, mut bad) = (world.home.start().await?, 0);
    for life in 0..lives {
        world.connected(&daemon).await?;
        // The provider does not keep what came to harm: it arrives before the kill, or never.
        for _ in 0..BAD.min(events) / lives {
            world.feed.send_damaged(&damaged(bad)).await;
            bad += 1;
        }
        for n in 0..UNKNOWN.min(events) / lives {
            let frame = format!(r#"{{"topic":"unheardOf{}","life":{life},"n":{n}}}"#, n % 3);
            world.oracle.handed(&frame);
            world.feed.send(&frame).await;
        }
        let mut left = (events / lives) as u64;
        let until_bad_is_kept =
            async || world.home.reader().is_ok_and(|reader| reader.quarantine_count().is_ok_and(|count| count >= bad));
        world.until("what was bad is set aside", PATIENCE * 2, until_bad_is_kept).await?;
        while left > 0 {
            let part = left.min(500);
            world.send(part).await;
            left -= part;
        }
        if life + 1 < lives {
            daemon.kill().await?;
            daemon = world.home.start().await?;
        }
    }
    let judgement = world.settle(daemon, PATIENCE * 20).await?;
    let reader = world.home.reader()?;
    let mut total = Counts::default();
    for row in reader.books_since(chrono::DateTime::UNIX_EPOCH)? {
        for seam in Seam::ALL {
            let (left, right) = row.sides(seam);
            ensure!(left == right, "{} of {} {} {}: {left} and {right}", seam.as_str(), row.feed, row.topic, row.hour);
        }
        total.add(&row.counts);
    }
    ensure!(reader.imbalances()?.is_empty(), "an imbalance was told: {:?}", reader.imbalances()?);
    ensure!(total.journaled == world.sent(), "{} events were sent, {} are booked ({judgement})", world.sent(), total.journaled);
    ensure!(total.set_aside == bad, "{bad} bad frames were sent, {} are booked", total.set_aside);
    Ok(total)
}

/// How long until the operators know that something was lost there.
pub async fn told(bench: &Bench, seam: Seam) -> anyhow::Result<Duration> {
    let plan = Plan { channels: vec!["archive"], ..Plan::default() };
    let world = World::new(&bench.place(seam.as_str())?, plan).await?;
    let mut daemon: Daemon = world.home.launch_with(&[], |command| {
        command.env("REDFLAG_TEST_LEAK", format!("{}:1", seam.as_str()));
    })?;
    daemon.ready(PATIENCE).await?;
    world.connected(&daemon).await?;
    let begun = Instant::now();
    world.feed.send_damaged(&damaged(0)).await;
    world.send(10).await;
    let about = format!("({})", seam.as_str());
    let told = async || world.alarms().iter().any(|alarm| alarm.contains("do not balance") && alarm.contains(&about));
    world.until(&format!("the loss at {} is told", seam.as_str()), TOLD + PATIENCE, told).await?;
    let took = begun.elapsed();
    if !daemon.stop().await?.success() {
        bail!("it did not stop in order; the log:\n{}", world.home.tail());
    }
    Ok(took)
}
