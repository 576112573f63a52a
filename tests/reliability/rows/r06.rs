//! R6: an fsync fails. From the Nth on, for every N: the process ends at once with 74, asks the disk for nothing more, acknowledges nothing
//! more, and its next life goes on from the journal. And a disk that takes five seconds: late, but nothing is lost.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use tokio::process::Command;

use crate::harness::{
    Bench, PATIENCE, Row,
    daemon::Daemon,
    strace,
    world::{Plan, World},
};

const CALLS: [&str; 2] = ["fsync", "fdatasync"];
const WATCHED: &str = "fsync,fdatasync,exit_group";
const MISSES: usize = 3;
/// From the failed call to the end of the process.
const EXIT: Duration = Duration::from_secs(1);
const SLOW: Duration = Duration::from_secs(5);

/// One trial.
#[derive(Clone, Copy, Debug)]
struct Failed {
    exit: Duration,
    acknowledged: usize,
}

pub async fn run(bench: &Bench) -> anyhow::Result<Row> {
    let mut world = World::new(&bench.place("world")?, plan()).await?;
    let mut trials = Vec::new();
    let mut points = BTreeMap::new();
    for call in CALLS {
        let mut misses = 0;
        for n in 1..=bench.trials(10_000) {
            let folder = bench.place(&format!("{call}-{n}"))?;
            match trial(&mut world, &folder, call, n).await.with_context(|| format!("{call} {n}"))? {
                Some(failed) => {
                    trials.push(failed);
                    *points.entry(call).or_insert(0) += 1;
                }
                None if misses + 1 == MISSES => break,
                None => misses += 1,
            }
            std::fs::remove_dir_all(&folder)?;
        }
    }
    let slow = slow(&mut world, &bench.place("slow")?).await?;
    let longest = trials.iter().map(|failed| failed.exit).max().unwrap_or_default();
    let quiet = trials.iter().filter(|failed| failed.acknowledged == 0).count();
    let measured = format!(
        "{quiet} of {} acknowledge nothing after the failure ({points:?}); longest to the exit {:.0} ms; with {} s an fsync: {slow}",
        trials.len(),
        longest.as_secs_f64() * 1e3,
        SLOW.as_secs(),
    );
    let pass = !trials.is_empty() && quiet == trials.len() && longest <= EXIT;
    Ok(Row::new(
        trials.len() + 1,
        "0 acknowledgements after a failed fsync for 100 % of N; exit ≤ 1 s; a slow disk loses nothing",
        measured,
        pass,
    ))
}

fn plan() -> Plan {
    // Only the store calls fsync then: the archive would fail, too, and wait.
    Plan { channels: vec!["mail", "cases"], overlap: "5m", ..Plan::default() }
}

/// None when the run has no Nth such call.
async fn trial(world: &mut World, folder: &Path, call: &str, n: usize) -> anyhow::Result<Option<Failed>> {
    world.renew(folder).await?;
    let output = folder.join("calls");
    let mut wrapper: Vec<String> = ["strace", "-f", "-qq", "-ttt", "-T", "-o"].map(str::to_owned).to_vec();
    wrapper.extend([output.display().to_string(), "-e".to_owned(), format!("trace={WATCHED}"), "-e".to_owned()]);
    wrapper.push(format!("inject={call}:error=EIO:when={n}+"));
    let mut daemon = world.home.launch(&wrapper)?;
    let went = flow(world, &mut daemon).await;
    while world.sent() < 10 {
        world.miss().await;
    }
    let ended = daemon.ended(PATIENCE).await;
    daemon.kill().await?;
    let Some(Traced { exit, durable }) = traced(&output).with_context(|| format!("{}", output.display()))? else {
        went.context("nothing failed, and yet it did not go on")?;
        return Ok(None);
    };
    let status = ended?;
    ensure!(status.code() == Some(74) || status.code() == Some(1), "it ended with {status}; the log:\n{}", world.home.tail());
    // Without a store nothing was ever acknowledged.
    let acknowledged =
        if world.home.database().exists() { acknowledged(world, durable).unwrap_or(world.heard()?.len()) } else { 0 };
    let daemon = world.home.start().await.context("the start after it")?;
    world.settle(daemon, PATIENCE).await?;
    Ok(Some(Failed { exit, acknowledged }))
}

/// Ten events in a few turns, and the stop.
async fn flow(world: &World, daemon: &mut Daemon) -> anyhow::Result<()> {
    daemon.ready(PATIENCE).await?;
    for burst in [1, 4, 5] {
        world.send(burst).await;
        let reader = world.home.reader()?;
        let sent = redflag::model::ids::Seq(world.sent());
        let begun = Instant::now();
        while !(reader.judged().is_ok_and(|judged| judged >= sent) && reader.owed().is_ok_and(|owed| owed.is_empty())) {
            if !daemon.lives() {
                bail!("it ended");
            }
            ensure!(begun.elapsed() < PATIENCE, "waited in vain; the log:\n{}", world.home.tail());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    daemon.signal("TERM")
}

/// What the trace tells of the failure.
#[derive(Clone, Copy, Debug)]
struct Traced {
    /// From the first failed call to the last that was made, `exit_group`.
    exit: Duration,
    /// When the last transaction was on disk, in microseconds since 1970.
    durable: i64,
}

fn traced(output: &Path) -> anyhow::Result<Option<Traced>> {
    let text = std::fs::read_to_string(output)?;
    let (mut failed_at, mut durable, mut last) = (None, 0.0, 0.0);
    for line in text.lines() {
        // Thread (padded), moment, call, and how long it took.
        let Some((_, rest)) = line.trim_start().split_once(' ') else { continue };
        let Some((at, call)) = rest.trim_start().split_once(' ') else { continue };
        let Ok(at) = at.parse::<f64>() else { continue };
        last = at;
        if call.contains("(INJECTED)") {
            failed_at = failed_at.or(Some(at));
        } else if failed_at.is_none() && CALLS.iter().any(|name| call.contains(name)) && call.contains(" = 0 <") {
            let took = call.rsplit_once('<').and_then(|(_, took)| took.strip_suffix('>')?.parse::<f64>().ok());
            let resumed = call.starts_with("<...");
            durable = if resumed { at } else { at + took.unwrap_or_default() };
        }
    }
    let traced = |failed_at: f64| Traced { exit: Duration::from_secs_f64(last - failed_at), durable: (durable * 1e6) as i64 };
    Ok(failed_at.map(traced))
}

/// What somebody was told in an attempt that was not on disk yet when the last fsync went well. (One that was under way then was.)
fn acknowledged(world: &World, durable: i64) -> anyhow::Result<usize> {
    let reader = world.home.reader()?;
    let heard: BTreeSet<String> = world.heard()?.into_iter().map(|one| one.identity).collect();
    let mut durably = BTreeSet::new();
    for message in reader.alerts_after(0, 1_000)?.into_iter().filter_map(|alert| alert.message) {
        for delivery in reader.deliveries_of(message)? {
            let attempts = reader.attempts_of(delivery.id)?;
            if attempts.iter().any(|attempt| attempt.started_at.timestamp_micros() <= durable) {
                durably.insert(delivery.identity);
            }
        }
    }
    Ok(heard.difference(&durably).count())
}

/// Every fsync takes five seconds from now on.
async fn slow(world: &mut World, folder: &Path) -> anyhow::Result<String> {
    world.renew(folder).await?;
    let daemon = world.home.start().await?;
    world.connected(&daemon).await?;
    let calls = CALLS.join(",");
    let mut words = strace::inject(&CALLS, &[], &format!("delay_enter={}s", SLOW.as_secs()));
    words.extend(["-p".to_owned(), daemon.id()?.to_string()]);
    let mut brake = Command::new(&words[0]).args(&words[1..]).stdin(Stdio::null()).kill_on_drop(true).spawn().context(calls)?;
    // It holds every thread once before it lets it go on.
    let held = format!("/proc/{}/status", daemon.id()?);
    let traced = async || std::fs::read_to_string(&held).is_ok_and(|status| !status.contains("TracerPid:\t0\n"));
    world.until("strace has taken hold", PATIENCE, traced).await?;
    let begun = Instant::now();
    world.send(6).await;
    world.drained(PATIENCE * 4).await?;
    let took = begun.elapsed();
    ensure!(took >= SLOW, "the disk was not slow: {took:?}");
    let id = brake.id().context("strace has ended")?;
    ensure!(
        Command::new("kill").args(["-s", "INT", &id.to_string()]).status().await?.success(),
        "strace can't be told to let go"
    );
    brake.wait().await?;
    let judgement = world.settle(daemon, PATIENCE * 2).await?;
    Ok(format!("through after {:.0} s, {judgement}", took.as_secs_f64()))
}
