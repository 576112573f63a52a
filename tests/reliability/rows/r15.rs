//! R15: tokens: sockets that end with their token, a clock that is off, and a token endpoint that refuses, limits, breaks, talks HTML or
//! hangs. The four properties hold, and no more than one request a second goes to it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use super::{outage, r13::replace};
use crate::harness::{
    Bench, PATIENCE, Row,
    daemon::Daemon,
    world::{Plan, World},
};

/// The documented life is 240 s; what matters is where in it something happens. Longer than a connection needs to prove itself, as that is.
const LIFE: &str = "12";
const ENDS: u64 = 3;
const FAULTS: [&str; 4] = ["429", "500", "html", "hang"];
/// A socket that ends with its token has a successor within so many seconds.
const GAP: f64 = 2.0;

pub async fn run(bench: &Bench) -> anyhow::Result<Row> {
    let mut outcome = Outcome::default();
    let phases = [
        ("with the token", ""),
        ("before the token", "--expiry-offset=-1"),
        ("after the token", "--expiry-offset=1"),
        ("in the middle of back-fill", "--answer-after=5"),
        ("at the handshake", AT_THE_HANDSHAKE),
        ("without refresh tokens", "--no-refresh"),
        ("with refresh tokens that are not taken", "--refuse-refresh"),
        ("clock 5 min behind", "--skew=-300"),
        ("clock 5 min ahead", "--skew=300"),
    ];
    for (name, flag) in phases {
        expiry(bench, name, LIFE, flag, ENDS, &mut outcome).await.with_context(|| name.to_owned())?;
    }
    for fault in FAULTS {
        endpoint(bench, fault, Duration::from_secs(12), &mut outcome).await.with_context(|| fault.to_owned())?;
    }
    endpoint(bench, "401", Duration::from_secs(5), &mut outcome).await.context("401")?;
    Ok(Row::new(
        outcome.phases,
        "0 lost, altered or invented, a fresh event passes in ≤ 10 s; at most 1 request a second to the token endpoint; sockets gone for at most \
         2 s where tokens are to be had",
        format!("{outcome:.3?}"),
        outcome.closest >= 0.95 && outcome.longest_gap <= GAP,
    ))
}

/// No socket lasts: a new one each second would be a storm, so the gaps grow and are none of the bar.
const AT_THE_HANDSHAKE: &str = "--expiry-offset=-12";

#[derive(Debug)]
pub struct Outcome {
    pub phases: usize,
    pub events: usize,
    pub alerts: usize,
    /// Sockets that ended with their token.
    pub ends: u64,
    /// Seconds between two requests to the token endpoint.
    pub closest: f64,
    pub requests: usize,
    /// Seconds without a socket after one ended by itself.
    pub longest_gap: f64,
}

impl Default for Outcome {
    fn default() -> Self {
        Self { phases: 0, events: 0, alerts: 0, ends: 0, closest: f64::INFINITY, requests: 0, longest_gap: 0.0 }
    }
}

/// Sockets end around the end of their token, with events all the while.
pub async fn expiry(bench: &Bench, name: &str, life: &str, flag: &str, ends: u64, outcome: &mut Outcome) -> anyhow::Result<()> {
    let flags = ["--close-when-expired", "--token-life", life, flag];
    let feed = flags.iter().filter(|flag| !flag.is_empty()).map(|flag| (*flag).to_owned()).collect();
    let world = World::new(&bench.place(&name.replace(' ', "-"))?, plan(feed)).await?;
    if flag != AT_THE_HANDSHAKE {
        // The gaps are those of the usual waits.
        replace(&world, r#"reconnect_cap = "200ms""#, "")?;
    }
    let daemon = world.home.start().await?;
    let begun = Instant::now();
    let ended = async || world.feed.stats().await["expired"].as_u64().unwrap_or_default();
    while ended().await < ends {
        ensure!(begun.elapsed() < PATIENCE * 4, "the sockets do not end; the log:\n{}", world.home.tail());
        world.send(1).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // The last end has its gap, too.
    world.connected(&daemon).await?;
    let stats = world.feed.stats().await;
    outcome.ends += stats["expired"].as_u64().unwrap_or_default();
    if flag != AT_THE_HANDSHAKE {
        let gaps = stats["socket_gaps"].as_array().into_iter().flatten().filter_map(serde_json::Value::as_f64);
        outcome.longest_gap = gaps.fold(outcome.longest_gap, f64::max);
    }
    // The faults are over; sockets still end with their tokens.
    world.feed.set("expiry_offset=0&answer_after=0").await;
    finish(&world, daemon, outcome).await
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
    for _ in 0..20 {
        world.miss().await;
    }
    tokio::time::sleep(unwell).await;
    world.feed.set("token=ok").await;
    finish(&world, daemon, outcome).await
}

fn plan(feed: Vec<String>) -> Plan {
    Plan { overlap: "5s", channels: vec!["archive"], feed, ..Plan::default() }
}

async fn finish(world: &World, daemon: Daemon, outcome: &mut Outcome) -> anyhow::Result<()> {
    // The ladder after a refused login has a step of 30 s.
    let sent = world.sent();
    let reader = world.home.reader()?;
    let there = async || reader.last().is_ok_and(|last| last.0 >= sent);
    world.until("everything is journaled", PATIENCE * 3, there).await?;
    let judgement = world.settle(daemon, PATIENCE).await?;
    let stats = world.feed.stats().await;
    let times: Vec<f64> = stats["token_times"].as_array().into_iter().flatten().filter_map(serde_json::Value::as_f64).collect();
    outcome.closest = times.windows(2).map(|pair| pair[1] - pair[0]).fold(outcome.closest, f64::min);
    outcome.requests += times.len();
    outcome.events += judgement.events;
    outcome.alerts += judgement.alerts;
    outcome.phases += 1;
    Ok(())
}
