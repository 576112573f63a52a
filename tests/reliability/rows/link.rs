//! R13 below the proxy: packets that vanish, are refused or get lost, and a link that is down, by the kernel itself. The part runs in a
//! process of its own that has a network to itself (`unshare -n`), so that no other row and no other process notices.

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use tokio::process::Command;

use super::{
    outage,
    r13::{Outcome, Proxy, replace, unheard},
};
use crate::harness::{
    Bench, PATIENCE, Row,
    world::{Plan, World},
};

/// What the process is called for.
pub const LINK: &str = "R13:link";
pub const TRIALS: usize = 40;

/// How many tries there may be while every one of them fails at once, and the same for a busy machine.
const DOWN: Duration = Duration::from_secs(5);
const TRIES_DOWN: usize = 6;

/// Runs [`link`] where it can do no harm.
pub async fn in_a_namespace(bench: &Bench) -> anyhow::Result<Row> {
    let place = bench.place("link")?;
    let result = place.join("result.json");
    let status = Command::new("unshare")
        .args(["-n", "sh", "-c", r#"ip link set lo up && exec "$@""#, "sh"])
        .arg(std::env::current_exe()?)
        .args(["--row", LINK])
        .args([&place, &result])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .status()
        .await
        .context("a network of its own")?;
    ensure!(status.success(), "the link's part ended with {status}");
    Ok(serde_json::from_slice(&std::fs::read(&result)?)?)
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    /// Nothing passes, nothing is said: what stood is half-open, and who connects waits.
    Vanish,
    /// Every packet is answered with a reset.
    Refuse,
    /// The interface itself.
    Down,
    /// Three packets in ten.
    Loss,
}

pub async fn link(bench: &Bench) -> anyhow::Result<Row> {
    let trials = bench.trials(TRIALS);
    let world = World::new(&bench.place("world")?, Plan { overlap: "5s", channels: vec!["archive"], ..Plan::default() }).await?;
    let proxy = Proxy::start(&world.feed.socket()).await?;
    replace(&world, &world.feed.socket(), &proxy.url("127.0.0.1"))?;
    let daemon = world.home.start().await?;
    world.connected(&daemon).await?;
    outage::settled(&world).await?;
    let mut random = fastrand::Rng::with_seed(bench.seed);
    let mut outcome = Outcome { trials, ..Outcome::default() };
    let mut most_down = 0;
    for trial in 0..trials {
        world.send(1).await;
        outage::journaled(&world, world.sent()).await?;
        let fault = [Fault::Vanish, Fault::Refuse, Fault::Down, Fault::Loss][trial % 4];
        // The way to the feed's own controls is the same interface.
        if matches!(fault, Fault::Down) {
            world.miss().await;
        }
        let (ends, fails) = (ends(&world), fails(&world));
        let begun = Instant::now();
        harm(fault, proxy.port(), true).await?;
        match fault {
            Fault::Down => {
                found(&world, ends).await?;
                outcome.slowest = outcome.slowest.max(begun.elapsed());
                tokio::time::sleep(DOWN).await;
                most_down = most_down.max(self::fails(&world) - fails);
            }
            Fault::Loss => {
                // TCP repairs this, and nobody asks for past messages: what is lost on the way is sent again by the kernel.
                for _ in 0..10 {
                    world.send(1).await;
                    tokio::time::sleep(Duration::from_millis(random.u64(500..1_000))).await;
                }
            }
            Fault::Vanish | Fault::Refuse => {
                unheard(&world, trial / 4).await;
                found(&world, ends).await?;
                outcome.slowest = outcome.slowest.max(begun.elapsed());
                // Now who connects is held up as well, for up to a whole attempt.
                tokio::time::sleep(Duration::from_millis(random.u64(0..8_000))).await;
            }
        }
        harm(fault, proxy.port(), false).await?;
        outage::journaled(&world, world.sent()).await?;
        outage::settled(&world).await?;
    }
    outcome.tries(&proxy.tries());
    let judgement = world.settle(daemon, PATIENCE).await?;
    (outcome.events, outcome.alerts) = (judgement.events, judgement.alerts);
    let measured = format!("{outcome:?}; at most {most_down} tries in {} s with the link down", DOWN.as_secs());
    Ok(Row::new(trials, "as R13", measured, outcome.holds() && most_down <= TRIES_DOWN))
}

/// Begins or ends a fault. `lo` is this process's own.
async fn harm(fault: Fault, port: u16, begins: bool) -> anyhow::Result<()> {
    let what = if begins { "-A" } else { "-D" };
    match fault {
        Fault::Down => run(&format!("ip link set lo {}", if begins { "down" } else { "up" })).await,
        Fault::Refuse => {
            run(&format!("iptables-legacy {what} INPUT -p tcp --dport {port} -j REJECT --reject-with tcp-reset")).await
        }
        Fault::Vanish | Fault::Loss => {
            let some = if matches!(fault, Fault::Loss) { "-m statistic --mode random --probability 0.3 " } else { "" };
            run(&format!("iptables-legacy {what} INPUT -p tcp --dport {port} {some}-j DROP")).await?;
            run(&format!("iptables-legacy {what} INPUT -p tcp --sport {port} {some}-j DROP")).await
        }
    }
}

async fn run(line: &str) -> anyhow::Result<()> {
    let mut words = line.split_whitespace();
    let output = Command::new(words.next().unwrap_or_default()).args(words).output().await.context(line.to_owned())?;
    ensure!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// So many connections have ended so far.
fn ends(world: &World) -> usize {
    world.home.log().matches("the connection ended").count()
}

/// So many tries came to nothing.
fn fails(world: &World) -> usize {
    world.home.log().matches("not connected; trying again").count()
}

async fn found(world: &World, before: usize) -> anyhow::Result<()> {
    world.until("the bad line is found", PATIENCE, async || ends(world) > before).await.map(drop)
}
