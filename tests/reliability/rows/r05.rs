//! R5: the disk of the store fills up, or has no inode left, at a random moment under load; after a while there is room again. The
//! operators must hear of it by a channel that still works, and the service must go on by itself. A store that is open needs no inode, and
//! at times no room: then a fresh event must pass instead. Started again after a quarter of a second when it ends, as its unit does.

use std::{
    fs::{self, File},
    io::Write as _,
    path::Path,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};

use crate::harness::{
    Bench, PATIENCE, Row,
    daemon::Daemon,
    disk::Disk,
    world::{Plan, World},
};

const TRIALS: usize = 50;
const AT_ONCE: usize = 2;
const MEBIBYTES: u64 = 96;
const SETTINGS: &str = "[disk]\nlow = \"1MiB\"\nreserve = \"8MiB\"";
/// From the full disk to the alarm.
const ALARM: Duration = Duration::from_secs(10);
/// From room on the disk to a fresh event's alert.
const RECOVERY: Duration = Duration::from_secs(5);

/// One trial.
#[derive(Clone, Copy, Debug)]
struct Filled {
    inodes: bool,
    /// Until the alarm came, or without inodes an alert.
    alarm: Option<Duration>,
    recovery: Duration,
    restarts: usize,
}

pub async fn run(bench: &Bench) -> anyhow::Result<Row> {
    let trials = bench.trials(TRIALS);
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    let work = async |worker: usize| {
        let mut world =
            World::new(&bench.place(&format!("world-{worker}"))?, Plan { settings: SETTINGS.to_owned(), ..Plan::default() })
                .await?;
        loop {
            let number = next.fetch_add(1, Ordering::SeqCst);
            if number >= trials {
                return anyhow::Ok(());
            }
            let folder = bench.place(&format!("trial-{number}"))?;
            let filled = trial(&mut world, &folder, bench.seed + number as u64, number % 2 == 1).await;
            done.lock().unwrap_or_else(PoisonError::into_inner).push(filled.with_context(|| format!("trial {number}"))?);
            let _ = fs::remove_dir_all(&folder);
        }
    };
    let walks = futures_util::future::join_all((0..AT_ONCE).map(&work)).await;
    walks.into_iter().collect::<anyhow::Result<Vec<()>>>()?;
    let done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    let told = done.iter().filter(|filled| filled.alarm.is_some_and(|alarm| alarm <= ALARM)).count();
    let slowest = done.iter().map(|filled| filled.recovery).max().unwrap_or_default();
    let late = done.iter().filter_map(|filled| filled.alarm).max().unwrap_or_default();
    let restarts: usize = done.iter().map(|filled| filled.restarts).sum();
    let inodes = done.iter().filter(|filled| filled.inodes).count();
    Ok(Row::new(
        done.len(),
        "0 lost; alarm ≤ 10 s by a channel that still works (or it goes on meanwhile); recovery ≤ 5 s",
        format!(
            "0 lost; {told} of {} told in time (slowest {:.1} s; {inodes} without inodes); slowest recovery {:.1} s; {restarts} restarts",
            done.len(),
            late.as_secs_f64(),
            slowest.as_secs_f64()
        ),
        told == done.len() && slowest <= RECOVERY,
    ))
}

async fn trial(world: &mut World, folder: &Path, seed: u64, inodes: bool) -> anyhow::Result<Filled> {
    let mut random = fastrand::Rng::with_seed(seed);
    let disk = Disk::ext4(folder, MEBIBYTES, if inodes { &["-N", "64"] } else { &[] })?;
    world.renew_on(folder, &disk.at().join("data")).await?;
    let daemon = world.home.start().await?;
    world.connected(&daemon).await?;
    let over = AtomicBool::new(false);
    let load = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(50));
        while !over.load(Ordering::SeqCst) {
            ticks.tick().await;
            world.send(5).await;
        }
    };
    let fault = async {
        tokio::time::sleep(Duration::from_millis(random.u64(100..1_500))).await;
        let told = |world: &World| world.alarms().iter().filter(|alarm| alarm.contains("The disk is full")).count();
        let before = told(world);
        let filler = fill(disk.at(), inodes)?;
        let full = Instant::now();
        let mut keeper = Keeper { world, daemon, restarts: 0 };
        let passing = if inodes { Some(world.send_alerting().await) } else { None };
        let mut alarm = None;
        while full.elapsed() < ALARM + Duration::from_secs(1) && alarm.is_none() {
            keeper.keep().await?;
            let mut passed = told(world) > before;
            if let Some(ident) = &passing {
                passed = passed || world.heard()?.iter().any(|one| one.ident == *ident);
            }
            alarm = passed.then(|| full.elapsed());
        }
        if alarm.is_none() && passing.is_none() {
            // A log that is used again needs no room, either: then nothing is to be told, as long as it goes on.
            let ident = world.send_alerting().await;
            let asked = Instant::now();
            while asked.elapsed() < RECOVERY && alarm.is_none() {
                keeper.keep().await?;
                alarm = world.heard()?.iter().any(|one| one.ident == ident).then(|| asked.elapsed());
            }
        }
        // Full for a while longer: the load goes on.
        let until = Instant::now() + Duration::from_millis(random.u64(200..2_000));
        while Instant::now() < until {
            keeper.keep().await?;
        }
        free(&filler)?;
        let room = Instant::now();
        let fresh = world.send_alerting().await;
        while !world.received()?.iter().any(|one| one.ident == fresh) {
            keeper.keep().await?;
            if room.elapsed() > PATIENCE * 2 {
                bail!("it does not go on though there is room; the log:\n{}", world.home.tail());
            }
        }
        let recovery = room.elapsed();
        over.store(true, Ordering::SeqCst);
        let restarts = keeper.restarts;
        anyhow::Ok((keeper.daemon, Filled { inodes, alarm, recovery, restarts }))
    };
    let (faulted, ()) = tokio::join!(
        async {
            let faulted = fault.await;
            over.store(true, Ordering::SeqCst);
            faulted
        },
        load
    );
    let (mut daemon, filled) = faulted?;
    if !daemon.lives() {
        daemon = world.home.start().await?;
    }
    world.settle(daemon, PATIENCE * 2).await?;
    Ok(filled)
}

/// Starts it again when it has ended, as the unit says.
struct Keeper<'a> {
    world: &'a World,
    daemon: Daemon,
    restarts: usize,
}

impl Keeper<'_> {
    /// A short while.
    async fn keep(&mut self) -> anyhow::Result<()> {
        tokio::time::sleep(Duration::from_millis(20)).await;
        if !self.daemon.lives() {
            tokio::time::sleep(Duration::from_millis(250)).await;
            self.daemon = self.world.home.launch(&[])?;
            self.restarts += 1;
        }
        Ok(())
    }
}

/// What took the room.
fn fill(disk: &Path, inodes: bool) -> anyhow::Result<Vec<std::path::PathBuf>> {
    let mut made = Vec::new();
    if inodes {
        for number in 0.. {
            let path = disk.join(format!("filler-{number}"));
            if File::create(&path).is_err() {
                break;
            }
            made.push(path);
        }
    } else {
        let path = disk.join("filler");
        let mut file = File::create(&path)?;
        let (large, small) = (vec![1_u8; 1 << 20], [1_u8; 512]);
        while file.write_all(&large).is_ok() {}
        while file.write_all(&small).is_ok() {}
        made.push(path);
    }
    Ok(made)
}

fn free(filler: &[std::path::PathBuf]) -> anyhow::Result<()> {
    for path in filler {
        fs::remove_file(path)?;
    }
    Ok(())
}
