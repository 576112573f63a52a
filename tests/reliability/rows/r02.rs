//! R2: a crash at every system call that makes something durable, in a scenario through event, alert, mail, reload and back-fill.
//!
//! Each point is (system call, N): redflag is killed as it enters its Nth such call, started again, and must lose nothing. N grows until
//! the scenario no longer gets that far.

use std::{
    collections::BTreeMap,
    os::unix::process::ExitStatusExt as _,
    path::Path,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, bail};

use crate::harness::{
    Bench, PATIENCE, Row,
    daemon::Daemon,
    strace,
    world::{Plan, World},
};

/// Every call by which redflag or SQLite makes something last. `write` is narrowed to the store's files by [`narrowed`].
pub const CALLS: [&str; 7] = ["fsync", "fdatasync", "pwrite64", "write", "rename", "ftruncate", "unlink"];

/// So many trials at once: most of their time is waiting.
const AT_ONCE: usize = 4;

/// A call that is not reached any more, so many times running, ends its walk.
const MISSES: usize = 3;

/// A point: the call, and which one.
pub type Point = (&'static str, usize);

/// What became of a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Came {
    /// It was killed there and lost nothing.
    Crashed,
    /// The scenario ended before.
    NotReached,
}

pub async fn run(bench: &Bench) -> anyhow::Result<Row> {
    let most = bench.trials(usize::MAX);
    let mut crashed: BTreeMap<&'static str, usize> = BTreeMap::new();
    let mut failed = Vec::new();
    let mut world = World::new(&bench.place("undisturbed")?, plan()).await?;
    let counts = counted(&mut world, &bench.place("counted")?).await?;
    eprintln!("R2: an undisturbed run: {counts:?}");
    for call in CALLS {
        let (next, misses) = (AtomicUsize::new(1), AtomicUsize::new(0));
        let found = Mutex::new(Vec::new());
        let walk = async |worker: usize| {
            let mut world = World::new(&bench.place(&format!("{call}-{worker}"))?, plan()).await?;
            loop {
                let n = next.fetch_add(1, Ordering::SeqCst);
                if misses.load(Ordering::SeqCst) >= MISSES || n > most {
                    return anyhow::Ok(());
                }
                let came = trial(&mut world, &bench.place(&format!("{call}-{worker}-{n}"))?, (call, n)).await;
                if matches!(came, Ok(Came::NotReached)) {
                    misses.fetch_add(1, Ordering::SeqCst);
                }
                found.lock().unwrap_or_else(PoisonError::into_inner).push((n, came));
            }
        };
        let walks = futures_util::future::join_all((0..AT_ONCE).map(&walk)).await;
        walks.into_iter().collect::<anyhow::Result<Vec<()>>>()?;
        for (n, came) in found.into_inner().unwrap_or_else(PoisonError::into_inner) {
            match came {
                Ok(Came::Crashed) => *crashed.entry(call).or_default() += 1,
                Ok(Came::NotReached) => {}
                Err(error) => failed.push(format!("{call} {n}: {error:#}")),
            }
        }
        eprintln!("R2: {call}: {} points", crashed.get(call).copied().unwrap_or_default());
    }
    let points: usize = crashed.values().sum();
    let by_call: Vec<_> = crashed.iter().map(|(call, count)| format!("{call} {count}")).collect();
    let total = points + failed.len();
    let undisturbed: Vec<_> = counts.iter().map(|(call, count)| format!("{call} {count}")).collect();
    let failures = failed.first().map(|first| format!("; {} failed, the first: {first}", failed.len())).unwrap_or_default();
    let measured = format!(
        "{points} of {total} points ({}; an undisturbed run has {}){failures}",
        by_call.join(", "),
        undisturbed.join(", ")
    );
    let each = counts.keys().all(|call| crashed.contains_key(call.as_str()));
    Ok(Row::new(total, "N of N points: 0 lost, 0 failed starts", measured, failed.is_empty() && points > 0 && each))
}

pub fn plan() -> Plan {
    Plan { overlap: "5m", ..Plan::default() }
}

/// The calls of a run that nobody disturbs, by the thread that makes them most.
pub async fn counted(world: &mut World, folder: &Path) -> anyhow::Result<BTreeMap<String, usize>> {
    world.renew(folder).await?;
    let output = folder.join("calls");
    // The store and the archive write in no other way; `write` itself goes to sockets, pipes and the log as well, and is left out here.
    let calls: Vec<_> = CALLS.into_iter().filter(|call| *call != "write").collect();
    let mut daemon = world.home.launch(&strace::record(&output, &calls))?;
    scenario(world, &mut daemon).await?;
    drop(daemon);
    world.judge()?.assert().context("of a run that nobody disturbed")?;
    strace::counted(&output)
}

/// One crash and what follows.
pub async fn trial(world: &mut World, folder: &Path, (call, n): Point) -> anyhow::Result<Came> {
    world.renew(folder).await?;
    let paths = narrowed(world, call);
    let paths: Vec<_> = paths.iter().map(std::path::PathBuf::as_path).collect();
    let mut daemon = world.home.launch(&strace::inject(&[call], &paths, &format!("signal=SIGKILL:when={n}")))?;
    let came = match scenario(world, &mut daemon).await {
        Ok(()) => Came::NotReached,
        // Dead by the signal; anything else is a fault of the scenario, and is told.
        Err(error) => match daemon.ended(Duration::from_secs(1)).await {
            // By the signal, which strace passes on; another end is a fault of redflag or of the scenario.
            Ok(status) if status.signal() == Some(9) => Came::Crashed,
            _ => return Err(error),
        },
    };
    daemon.kill().await?;
    if came == Came::NotReached {
        world.judge()?.assert()?;
        return Ok(came);
    }
    let daemon = world.home.start().await.context("a start that failed")?;
    world.settle(daemon, PATIENCE).await?;
    // Room for the next: a store takes megabytes.
    std::fs::remove_dir_all(folder)?;
    Ok(came)
}

/// `write` goes to sockets, pipes and the log as well: only the store's own files count. Other calls are the store's and the archive's.
fn narrowed(world: &World, call: &str) -> Vec<std::path::PathBuf> {
    if call != "write" {
        return Vec::new();
    }
    let files =
        ["redflag.db", "redflag.db-wal", "redflag.db-shm", "redflag.db-journal", "redflag.lock", "redflag.sums", "redflag.mark"];
    files.map(|name| world.home.data().join(name)).to_vec()
}

/// Twenty events: live, while a rule changes, missed during a drop, and live again; then an orderly stop. Ends early with an error when
/// redflag does; then every event is where back-fill finds it.
async fn scenario(world: &World, daemon: &mut Daemon) -> anyhow::Result<()> {
    let steps = steps(world, daemon).await;
    if steps.is_err() {
        while world.sent() < 20 {
            world.miss().await;
        }
    }
    steps
}

async fn steps(world: &World, daemon: &mut Daemon) -> anyhow::Result<()> {
    daemon.ready(PATIENCE).await?;
    alive(world, daemon, "the feed is connected", async |daemon| {
        daemon.metric("redflag_feed_connected", "concedus").await.is_ok_and(|on| on > 0.0)
    })
    .await?;
    world.send(1).await;
    drained(world, daemon).await?;
    world.send(6).await;
    world.change_rule()?;
    world.send(3).await;
    drained(world, daemon).await?;
    for _ in 0..5 {
        world.miss().await;
    }
    world.feed.drop_sockets().await;
    drained(world, daemon).await?;
    world.send(5).await;
    drained(world, daemon).await?;
    alive(world, daemon, "the changed rule is live", async |_| world.rule_changed()).await?;
    daemon.signal("TERM")?;
    let status = daemon.ended(PATIENCE).await?;
    if !status.success() {
        bail!("it stopped with {status}");
    }
    Ok(())
}

async fn drained(world: &World, daemon: &mut Daemon) -> anyhow::Result<()> {
    let reader = world.home.reader()?;
    let sent = redflag::model::ids::Seq(world.sent());
    alive(world, daemon, "everything is judged and sent", async |_| {
        reader.judged().is_ok_and(|judged| judged >= sent) && reader.owed().is_ok_and(|owed| owed.is_empty())
    })
    .await
}

/// Waits as long as it lives.
async fn alive(world: &World, daemon: &mut Daemon, what: &str, mut look: impl AsyncFnMut(&Daemon) -> bool) -> anyhow::Result<()> {
    let begun = std::time::Instant::now();
    while !look(daemon).await {
        if !daemon.lives() {
            bail!("it ended while waiting: {what}");
        }
        if begun.elapsed() > PATIENCE {
            bail!("waited in vain: {what}; the log:\n{}", world.home.tail());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}
