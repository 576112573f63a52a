//! R8: clocks that are wrong, jump, or cross a change of daylight saving time. By faketime, whose wall clock redflag sees; the monotonic one stays.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use redflag::model::ids::Seq;

use super::r04::arrive;
use crate::harness::{
    Bench, PATIENCE, Row,
    daemon::Daemon,
    oracle::text,
    smtp::{Act, Step},
    world::{Plan, World},
};

/// Lives in which the clock is off, each between two with the right one.
const OFF: [(&str, &str); 5] = [
    ("a day behind", "-1d"),
    ("ten days ahead", "+10d"),
    ("into summer time", "@2026-03-29 01:59:57"),
    ("out of summer time", "@2026-10-25 02:59:57"),
    ("across a leap second", "@2017-01-01 00:59:57"),
];

/// How long retries are counted.
const COUNTED: Duration = Duration::from_secs(40);

pub async fn run(bench: &Bench) -> anyhow::Result<Row> {
    let mut repeats = 0;
    for (number, (what, off)) in OFF.iter().enumerate() {
        repeats += wrong(&bench.place(&number.to_string())?, off).await.with_context(|| (*what).to_owned())?;
    }
    // At the same time, so that a busy machine holds up both.
    let (steady, thrown) = (bench.place("steady")?, bench.place("thrown")?);
    let (steady, thrown) = tokio::join!(retries(&steady, false), retries(&thrown, true));
    let steady = steady.context("retries with a good clock")?;
    let thrown = thrown.context("retries with a clock that is thrown about")?;
    let drift = (thrown as f64 / steady as f64 - 1.0).abs();
    Ok(Row::new(
        OFF.len() + 1,
        "0 lost, order by sequence, retry drift ≤ 5 %",
        format!(
            "{} clocks that were off: 0 lost, {repeats} events journaled again and marked as possible repeats; ±5 min every 2 s: {thrown} attempts in {} s, {steady} with a good clock, drift {:.1} %, 0 lost",
            OFF.len(),
            COUNTED.as_secs(),
            drift * 100.0
        ),
        drift <= 0.05,
    ))
}

/// Right, wrong, right: in each life events come over the socket, and some that only back-fill brings.
async fn wrong(place: &Path, off: &str) -> anyhow::Result<usize> {
    let world = World::new(place, Plan { channels: vec!["archive"], ..Plan::default() }).await?;
    for off in [None, Some(off), None] {
        let mut daemon = launch(&world, off, None)?;
        daemon.ready(PATIENCE).await?;
        world.connected(&daemon).await?;
        // Long enough to cross what is to be crossed.
        for _ in 0..12 {
            world.send(10).await;
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        world.drained(PATIENCE).await?;
        daemon.kill().await?;
        for _ in 0..10 {
            world.miss().await;
        }
    }
    let mut daemon = launch(&world, None, None)?;
    daemon.ready(PATIENCE).await?;
    world.send_alerting().await;
    world.drained(PATIENCE).await?;
    arrive(&world, &[], PATIENCE).await?;
    ensure!(daemon.stop().await?.success(), "it did not stop in order");
    let events = world.home.reader()?.events_after(Seq(0), 10_000)?;
    ensure!(events.windows(2).all(|pair| pair[0].seq.next() == pair[1].seq), "the order has holes");
    // What stands in the journal under a wrong time may be asked for again: then it says that it may be a repeat.
    let mut copies: BTreeMap<String, usize> = world.oracle.elements().iter().map(|sent| (text(sent, "identId"), 0)).collect();
    let mut repeats = 0;
    for event in &events {
        let raw: serde_json::Value = serde_json::from_str(&event.raw)?;
        let count = copies.get_mut(&text(&raw, "identId")).with_context(|| format!("event {} was invented", event.seq))?;
        if event.maybe_repeat {
            repeats += 1;
        } else {
            *count += 1;
        }
    }
    let wrong: Vec<_> = copies.iter().filter(|(_, count)| **count != 1).take(8).collect();
    ensure!(wrong.is_empty(), "not once each: {wrong:?}");
    // And so do the alerts: each came once, and whatever came besides says what it may be.
    let mut alerts: BTreeMap<String, usize> = world.oracle.obligated().into_keys().map(|ident| (ident, 0)).collect();
    for one in world.received()?.iter().filter(|one| !one.may_be_a_repeat()) {
        *alerts.entry(one.ident.clone()).or_default() += 1;
    }
    let wrong: Vec<_> = alerts.iter().filter(|(_, count)| **count != 1).take(8).collect();
    ensure!(wrong.is_empty(), "alerts that do not say that they may be repeats: {wrong:?}");
    Ok(repeats)
}

/// How many attempts are made while the mail server says "later"; then everything has to arrive.
async fn retries(place: &Path, thrown: bool) -> anyhow::Result<usize> {
    let world = World::new(place, Plan { channels: vec!["mail"], ..Plan::default() }).await?;
    let clock = place.join("clock");
    fs::write(&clock, "+0\n")?;
    let mut daemon = launch(&world, None, Some(&clock))?;
    daemon.ready(PATIENCE).await?;
    world.connected(&daemon).await?;
    let attempts = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&attempts);
    world.smtp.follow(Arc::new(move |visit| {
        if visit.step == Step::Rcpt {
            counted.fetch_add(1, Ordering::SeqCst);
            return Act::Say("451 4.3.0 later");
        }
        Act::Usual
    }));
    world.send(200).await;
    let begun = Instant::now();
    let mut jumps = 0;
    while begun.elapsed() < COUNTED {
        if thrown {
            jumps += 1;
            let beside = place.join("clock.part");
            fs::write(&beside, if jumps % 2 == 0 { "-300\n" } else { "+300\n" })?;
            fs::rename(&beside, &clock)?;
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    let made = attempts.load(Ordering::SeqCst);
    world.smtp.follow(Arc::new(|_| Act::Usual));
    world.drained(PATIENCE).await?;
    arrive(&world, &[], PATIENCE).await?;
    ensure!(daemon.stop().await?.success(), "it did not stop in order");
    Ok(made)
}

/// With a clock that is off from the beginning, or that follows a file.
fn launch(world: &World, off: Option<&str>, file: Option<&Path>) -> anyhow::Result<Daemon> {
    let wrapper: Vec<String> = match (off, file) {
        (Some(off), _) => ["faketime", "-f", off].map(str::to_owned).to_vec(),
        (None, Some(_)) => ["faketime", "-f", "+0"].map(str::to_owned).to_vec(),
        (None, None) => Vec::new(),
    };
    world.home.launch_with(&wrapper, |command| {
        command.env("TZ", "Europe/Berlin").env("DONT_FAKE_MONOTONIC", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        if let Some(file) = file {
            command.env("FAKETIME_TIMESTAMP_FILE", file).env("FAKETIME_NO_CACHE", "1");
        }
    })
}
