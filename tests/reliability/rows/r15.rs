//! R15: tokens: sockets that end with their token, a clock that is off, and a token endpoint that refuses, limits, breaks, talks HTML or
//! hangs. Nothing is lost, and no more than one request a second goes to it.

use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::outage;
use crate::harness::{
    Bench, PATIENCE, Row,
    world::{Plan, World},
};

/// The documented life is 240 s; what matters is where in it something happens.
const LIFE: &str = "4";
const FAULTS: [&str; 4] = ["429", "500", "html", "hang"];

pub async fn run(bench: &Bench) -> anyhow::Result<Row> {
    let mut outcome = Outcome::default();
    for (name, flags) in [
        ("with the token", vec!["--close-when-expired"]),
        ("before the token", vec!["--close-when-expired", "--expiry-offset=-1"]),
        ("after the token", vec!["--close-when-expired", "--expiry-offset=1"]),
        ("at the handshake", vec!["--close-when-expired", "--expiry-offset=-4"]),
        ("without refresh tokens", vec!["--close-when-expired", "--no-refresh"]),
        ("clock 5 min behind", vec!["--close-when-expired", "--skew=-300"]),
        ("clock 5 min ahead", vec!["--close-when-expired", "--skew=300"]),
    ] {
        expiry(bench, name, &flags, 3, &mut outcome).await.with_context(|| name.to_owned())?;
    }
    for fault in FAULTS {
        endpoint(bench, fault, Duration::from_secs(12), &mut outcome).await.with_context(|| fault.to_owned())?;
    }
    endpoint(bench, "401", Duration::from_secs(5), &mut outcome).await.context("401")?;
    Ok(Row::new(
        outcome.phases,
        "0 lost, at most 1 request a second to the token endpoint, sockets gone for at most 2 s where tokens are to be had",
        format!("{outcome:?}"),
        outcome.lost == 0 && outcome.closest >= 0.95 && outcome.longest_gap <= 2.0,
    ))
}

#[derive(Debug)]
pub struct Outcome {
    pub phases: usize,
    pub lost: usize,
    /// Seconds between two requests to the token endpoint.
    pub closest: f64,
    pub requests: usize,
    /// Seconds without a socket after one ended by itself.
    pub longest_gap: f64,
}

impl Default for Outcome {
    fn default() -> Self {
        Self { phases: 0, lost: 0, closest: f64::INFINITY, requests: 0, longest_gap: 0.0 }
    }
}

/// Sockets end around the end of their token, with events all the while.
pub async fn expiry(bench: &Bench, name: &str, flags: &[&str], ends: u64, outcome: &mut Outcome) -> anyhow::Result<()> {
    let feed = ["--token-life", LIFE].iter().chain(flags).map(|flag| (*flag).to_owned()).collect();
    let world = World::new(&bench.place(&name.replace(' ', "-"))?, plan(feed)).await?;
    let daemon = world.home.start().await?;
    let mut sent = 0;
    let begun = Instant::now();
    while world.feed.stats().await["expired"].as_u64().unwrap_or_default() < ends && begun.elapsed() < PATIENCE {
        world.feed.send(&outage::frame(&sent.to_string(), false)).await;
        sent += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let gaps = world.feed.stats().await["socket_gaps"].clone();
    if !name.starts_with("at the handshake") {
        let longest = gaps.as_array().into_iter().flatten().filter_map(serde_json::Value::as_f64).fold(0.0, f64::max);
        outcome.longest_gap = outcome.longest_gap.max(longest);
    }
    finish(&world, sent, outcome).await?;
    daemon.stop().await?;
    Ok(())
}

/// The endpoint is unwell for a while, and no socket stands.
pub async fn endpoint(bench: &Bench, fault: &str, unwell: Duration, outcome: &mut Outcome) -> anyhow::Result<()> {
    let world = World::new(&bench.place(fault)?, plan(Vec::new())).await?;
    let daemon = world.home.start().await?;
    world.connected(&daemon).await?;
    outage::settled(&world).await?;
    world.feed.set(&format!("token={fault}")).await;
    outage::cut(&world).await;
    world.feed.set("closed=0").await;
    for n in 0..20 {
        world.feed.miss(&outage::frame(&n.to_string(), false)).await;
    }
    tokio::time::sleep(unwell).await;
    world.feed.set("token=ok").await;
    finish(&world, 20, outcome).await?;
    daemon.stop().await?;
    Ok(())
}

fn plan(feed: Vec<String>) -> Plan {
    Plan { overlap: "5s", channels: vec!["archive"], feed, ..Plan::default() }
}

async fn finish(world: &World, sent: usize, outcome: &mut Outcome) -> anyhow::Result<()> {
    // The ladder after a refused login has a step of 30 s.
    let reader = world.home.reader()?;
    let there = async || reader.last().is_ok_and(|last| last.0 >= sent as u64);
    let waited = world.until("everything is journaled", PATIENCE * 3, there).await;
    let journal = outage::journal(world)?;
    let had = outage::multiset(journal.iter().map(|event| event.raw.as_str()));
    let lost = (0..sent).filter(|n| had.get(outage::frame(&n.to_string(), false).as_str()) != Some(&1)).count();
    outcome.lost += lost;
    if lost == 0 {
        waited?;
    }
    let stats = world.feed.stats().await;
    let times: Vec<f64> = stats["token_times"].as_array().into_iter().flatten().filter_map(serde_json::Value::as_f64).collect();
    outcome.closest = times.windows(2).map(|pair| pair[1] - pair[0]).fold(outcome.closest, f64::min);
    outcome.requests += times.len();
    outcome.phases += 1;
    Ok(())
}
