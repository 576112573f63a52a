//! R1: `kill -9` at a random moment under load.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use crate::harness::{
    Bench, PATIENCE, Row,
    world::{Plan, World},
};

const KILLS: usize = 200;
const MOMENTS: std::ops::Range<u64> = 50..2_000;
/// Events in a tick of 50 ms: 200 a second.
const BURST: u64 = 10;
pub async fn run(bench: &Bench) -> anyhow::Result<Row> {
    let trials = bench.trials(KILLS);
    let world = World::new(bench.folder(), Plan { overlap: "5s", ..Plan::default() }).await?;
    let mut random = fastrand::Rng::with_seed(bench.seed);
    let mut daemon = world.home.start().await?;
    world.connected(&daemon).await?;
    let stop = AtomicBool::new(false);
    let load = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(50));
        while !stop.load(Ordering::SeqCst) {
            ticks.tick().await;
            world.send(BURST).await;
        }
    };
    let mut ready = Vec::with_capacity(trials);
    let kills = async {
        for _ in 0..trials {
            tokio::time::sleep(Duration::from_millis(random.u64(MOMENTS))).await;
            daemon.kill().await?;
            daemon = world.home.launch(&[])?;
            ready.push(daemon.ready(PATIENCE).await?);
        }
        stop.store(true, Ordering::SeqCst);
        anyhow::Ok(daemon)
    };
    let (killed, ()) = tokio::join!(
        async {
            let killed = kills.await;
            stop.store(true, Ordering::SeqCst);
            killed
        },
        load
    );
    let judgement = world.settle(killed?, PATIENCE * 4).await?;
    ready.sort();
    let slowest = ready[ready.len() - 1 - ready.len() / 100];
    let pass = judgement.duplicates.values().all(|count| *count <= trials);
    Ok(Row::new(
        trials,
        "0 lost; at most 1 duplicate a channel and kill, under the same identity; ready p99 ≤ 1 s",
        format!("{judgement}; ready p99 {:.0} ms", slowest.as_secs_f64() * 1e3),
        pass && slowest <= Duration::from_secs(1),
    ))
}
