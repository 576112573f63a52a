//! The path in bad weather: a large reload, catching up what was missed, a million deliveries that can't go out.

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use redflag::config::feeds::StartFrom;

use crate::{
    child::{Load, Sent},
    figures::{Figure, median, quantile},
    rules,
    setup::{self, MEBIBYTE, config, count, engine, feed, open, reader, webhook},
};

/// Sets of a hundred rules that a reload changes at once.
const SETS: usize = 10;
const RELOADS: usize = 5;
/// Events a second while rules are reloaded.
const FLOWING: f64 = 500.0;
/// What happened while the engine was away.
const MISSED: u32 = 100_000;
/// Events a second while it catches up.
const LIVE: f64 = 100.0;
/// Deliveries that can't go out.
const QUEUED: u64 = 1_000_000;
/// How long the engine lives with them before its memory is read.
const BEARING: Duration = Duration::from_secs(20);
const PATIENCE: Duration = Duration::from_mins(10);
const GLANCE: Duration = Duration::from_millis(10);

/// From the last byte of a thousand changed rules to the first event that is judged by them: it holds the 300 ms for which a folder must be
/// quiet. No event is on anything but the old and the new set.
pub async fn reload(dir: &Path) -> anyhow::Result<Figure> {
    let folder = dir.with_extension("rules");
    rules::write(&folder, SETS)?;
    let (feed, address) = feed(Load::steady(Some(FLOWING), 0.0))?;
    let engine = engine(&config(dir, &address, &folder, webhook(dir, &address)?)?)?;
    let began = Instant::now();
    while count(dir, "SELECT count(*) FROM ledger")? == 0 {
        ensure!(began.elapsed() < PATIENCE, "no event was judged by the first rules");
        tokio::time::sleep(GLANCE).await;
    }
    let mut took = Vec::new();
    for _ in 0..RELOADS {
        let before = count(dir, "SELECT count(*) FROM ledger")?;
        for entry in fs::read_dir(folder.join("load"))? {
            OpenOptions::new().append(true).open(entry?.path())?.write_all(b"// changed\n")?;
        }
        let saved = Instant::now();
        while count(dir, "SELECT count(*) FROM ledger")? == before {
            ensure!(saved.elapsed() < PATIENCE, "the changed rules never judged an event");
            tokio::time::sleep(GLANCE).await;
        }
        took.push(saved.elapsed().as_secs_f64());
    }
    feed.stop::<Sent>()?;
    engine.stop::<()>()?;
    let sets = count(dir, "SELECT count(DISTINCT generation) FROM ledger")?;
    ensure!(sets == RELOADS as u64 + 1, "events were judged by {sets} sets of rules, there were {}", RELOADS + 1);
    println!("reload of {} changed rules with their tests: {took:.3?} s, {sets} sets in the ledger", SETS * rules::COUNT);
    Ok(Figure::at_most("reload of 1,000 rules with tests, of which 0.3 s wait for the folder", median(&took), "s", 1.0))
}

/// What was missed is asked for and judged, while identifications go on that carry their moment.
pub async fn catch_up(dir: &Path) -> anyhow::Result<Vec<Figure>> {
    let folder = dir.with_extension("rules");
    rules::write(&folder, 1)?;
    let (feed, address) = feed(Load { past: MISSED, stamped: Some(LIVE), ..Load::quiet() })?;
    let path = config(dir, &address, &folder, webhook(dir, &address)?)?;
    setup::change(&path, |config| config.backfill.start_from = StartFrom::At(chrono::Utc::now() - chrono::TimeDelta::hours(1)))?;
    let began = Instant::now();
    let engine = engine(&path)?;
    let reader = reader(dir)?;
    let mut glances = Vec::new();
    let mut first = None;
    let caught_up = loop {
        let judged = reader.judged()?.0;
        glances.push((judged, chrono::Utc::now().timestamp_micros()));
        if judged > 0 && first.is_none() {
            first = Some(Instant::now());
        }
        if judged >= u64::from(MISSED)
            && count(dir, "SELECT count(*) FROM events WHERE json_extract(body, '$.identId') LIKE 'past-%'")? >= u64::from(MISSED)
        {
            break first.context("nothing was judged")?.elapsed();
        }
        ensure!(began.elapsed() < PATIENCE, "only {judged} events were judged");
        tokio::time::sleep(GLANCE).await;
    };
    feed.stop::<Sent>()?;
    engine.stop::<()>()?;
    let delays = delays(dir, &glances)?;
    let rate = f64::from(MISSED) / caught_up.as_secs_f64();
    println!(
        "caught up {MISSED} events in {caught_up:.2?} ({:.2?} with start, login and request); {} live events meanwhile, delayed p50 {:.0} ms, most {:.0} ms",
        began.elapsed(),
        delays.len(),
        median(&delays) * 1e3,
        quantile(&delays, 1.0) * 1e3
    );
    Ok(vec![
        Figure::at_least("catching up 100,000 events of back-fill", rate, "events/s", 20_000.0),
        Figure::at_most("delay of live events meanwhile, sent to judged, at most", quantile(&delays, 1.0), "s", 1.0),
    ])
}

/// Seconds from sending a stamped event to the first glance that saw it judged.
fn delays(dir: &Path, glances: &[(u64, i64)]) -> anyhow::Result<Vec<f64>> {
    let database = open(dir)?;
    let mut rows = database.prepare(
        "SELECT seq, json_extract(body, '$.identId') FROM events WHERE origin = 'live' AND json_extract(body, '$.identId') NOT LIKE 'past-%'",
    )?;
    let live = rows.query_map([], |row| Ok((row.get::<_, i64>(0)?.unsigned_abs(), row.get::<_, String>(1)?)))?;
    let mut delays = Vec::new();
    for event in live {
        let (seq, sent) = event?;
        let sent: i64 = sent.parse()?;
        let seen = glances.get(glances.partition_point(|(judged, _)| *judged < seq));
        delays.extend(seen.map(|(_, at)| (at - sent) as f64 / 1e6));
    }
    ensure!(!delays.is_empty(), "no live event came while it caught up");
    Ok(delays)
}

/// Every event alerts, and nothing takes the messages.
pub async fn queued(dir: &Path) -> anyhow::Result<Figure> {
    let folder = dir.with_extension("rules");
    rules::write(&folder, 1)?;
    let (feed, mut address) = feed(Load::steady(None, 1.0))?;
    // Nobody listens there: every attempt is refused at once.
    "http://127.0.0.1:9/".clone_into(&mut address.sink);
    let engine = engine(&config(dir, &address, &folder, webhook(dir, &address)?)?)?;
    let began = Instant::now();
    let owed = "SELECT count(*) FROM deliveries WHERE wake_at IS NOT NULL";
    while count(dir, owed)? < QUEUED {
        ensure!(began.elapsed() < PATIENCE, "only {} deliveries are queued", count(dir, owed)?);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    feed.stop::<Sent>()?;
    tokio::time::sleep(BEARING).await;
    let (most, now) = (engine.memory("VmHWM")? as f64 / MEBIBYTE, engine.memory("VmRSS")? as f64 / MEBIBYTE);
    println!("{} deliveries queued: {now:.1} MiB resident, {most:.1} MiB at most", count(dir, owed)?);
    engine.kill()?;
    Ok(Figure::at_most("resident memory with 1,000,000 queued deliveries, at most", most, "MiB", 150.0))
}
