//! R4: bytes of the closed store change, or its files end early.
//!
//! Two stores are prepared, one closed in order and one left by a kill, both with alerts that are owed. Most mutations are opened in this
//! process: either the store is set aside and what the fresh one owes is what was owed, byte for byte; or nothing that it says has changed.
//! Some are given to the real service, with a feed that has kept everything: it gets ready, tells the operators, and every alert arrives.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use redflag::store::{DATABASE, Options, SqliteStore};
use rusqlite::{Connection, OpenFlags, types::Value as Sql};

use crate::harness::{
    Bench, PATIENCE, Row,
    oracle::{Received, text},
    world::{ALIVE, Plan, World},
};

const IN_PROCESS: usize = 19_800;
const SERVED: usize = 200;
const FILES: [&str; 4] = [DATABASE, "redflag.db-wal", "redflag.sums", "redflag.mark"];

/// A closed store and what it says.
#[derive(Clone)]
struct Template {
    files: Vec<(&'static str, Vec<u8>)>,
    content: Vec<Vec<Sql>>,
    /// What it ever owed, and what it owes.
    ever: BTreeMap<String, String>,
    owed: BTreeMap<String, String>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    set_aside: usize,
    harmless: usize,
    carried: usize,
}

pub async fn run(bench: &Bench) -> anyhow::Result<Row> {
    let world = World::new(&bench.place("world")?, Plan { channels: vec!["archive"], ..Plan::default() }).await?;
    let (templates, [before_clean, before_killed]) = prepare(&world).await.context("preparing the stores")?;
    let memory = tempfile::Builder::new().prefix("redflag-r04-").tempdir_in("/dev/shm")?;
    let halves: Vec<_> = (0..2_u64)
        .map(|half| {
            let (templates, place) = (templates.clone(), memory.path().join(half.to_string()));
            let seed = bench.seed + half;
            tokio::task::spawn_blocking(move || in_process(&templates, &place, seed, IN_PROCESS / 2))
        })
        .collect();
    let mut tally = Tally::default();
    for half in halves {
        let half = half.await??;
        tally.set_aside += half.set_aside;
        tally.harmless += half.harmless;
        tally.carried += half.carried;
    }
    let mut random = fastrand::Rng::with_seed(bench.seed ^ 4);
    let mut told = 0;
    for number in 0..SERVED {
        let template = &templates[number % 2];
        let (mutated, what) = mutate(template, &mut random);
        let before = if number % 2 == 0 { &before_clean } else { &before_killed };
        told += usize::from(served(&world, &mutated, before).await.with_context(|| format!("trial {number}: {what}"))?);
    }
    Ok(Row::new(
        IN_PROCESS + SERVED,
        "100 % detected or without effect, 0 altered alerts, 0 crash loops",
        format!(
            "{} set aside ({} carried what was owed), {} without effect, 0 undetected, 0 altered, 0 set aside twice; of {SERVED} with the real \
             service {told} set aside and told, 0 alerts lost or altered, all ready at the first start",
            tally.set_aside, tally.carried, tally.harmless
        ),
        true,
    ))
}

/// A store closed in order, one left by a kill; and what had arrived by then of each.
async fn prepare(world: &World) -> anyhow::Result<(Vec<Template>, [Vec<Received>; 2])> {
    let daemon = world.home.start().await?;
    world.connected(&daemon).await?;
    world.send(60).await;
    world.drained(PATIENCE).await?;
    let before_clean = world.received()?;
    // From here on the way out is blocked.
    let archive = world.home.path("archive");
    fs::rename(&archive, world.home.path("archive-of-before"))?;
    fs::write(&archive, "")?;
    world.send(60).await;
    judged(world, 120).await?;
    daemon.stop().await?;
    let clean = tokio::task::block_in_place(|| template(world.home.data()))?;
    fs::remove_file(&archive)?;
    fs::create_dir(&archive)?;
    let daemon = world.home.start().await?;
    world.connected(&daemon).await?;
    // What was owed goes out now.
    world.drained(PATIENCE).await?;
    let before_killed: Vec<Received> = before_clean.iter().cloned().chain(world.received()?).collect();
    fs::rename(&archive, world.home.path("archive-unused"))?;
    fs::write(&archive, "")?;
    world.send(40).await;
    judged(world, 160).await?;
    daemon.kill().await?;
    let killed = tokio::task::block_in_place(|| template(world.home.data()))?;
    fs::remove_file(&archive)?;
    ensure!(!before_clean.is_empty() && !clean.owed.is_empty() && !killed.owed.is_empty(), "nothing is owed");
    Ok((vec![clean, killed], [before_clean, before_killed]))
}

async fn judged(world: &World, count: u64) -> anyhow::Result<()> {
    let reader = world.home.reader()?;
    world.until("everything is judged", PATIENCE, async || reader.judged().is_ok_and(|judged| judged.0 >= count)).await.map(drop)
}

fn template(data: &Path) -> anyhow::Result<Template> {
    let files = FILES.iter().map(|name| Ok((*name, fs::read(data.join(name))?))).collect::<anyhow::Result<Vec<_>>>()?;
    let copy = tempfile::tempdir()?;
    lay(&files, copy.path())?;
    let (ever, owed) = (owed(copy.path(), true)?, owed(copy.path(), false)?);
    let content = content(copy.path())?;
    Ok(Template { files, content, ever, owed })
}

fn lay(files: &[(&'static str, Vec<u8>)], folder: &Path) -> anyhow::Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    fs::create_dir_all(folder)?;
    for (name, bytes) in files {
        fs::write(folder.join(name), bytes)?;
    }
    Ok(())
}

/// All that a store says, but for what an opening itself changes.
fn content(folder: &Path) -> anyhow::Result<Vec<Vec<Sql>>> {
    let connection = Connection::open(folder.join(DATABASE))?;
    let mut select =
        connection.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name <> 'service' ORDER BY name")?;
    let tables = select.query_map([], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
    let mut rows = Vec::new();
    for table in tables {
        let columns = if table == "deliveries" { "n, id, message, channel, recipient, identity, due_at, attempts" } else { "*" };
        let mut select = connection.prepare(&format!("SELECT '{table}', {columns} FROM {table} NOT INDEXED"))?;
        let width = select.column_count();
        let found = select.query_map([], |row| (0..width).map(|column| row.get(column)).collect())?;
        rows.extend(found.collect::<Result<Vec<Vec<Sql>>, _>>()?);
    }
    Ok(rows)
}

/// What a store owes, or ever owed: identity → recipient and message. Only read, so that nothing is moved.
fn owed(folder: &Path, ever: bool) -> anyhow::Result<BTreeMap<String, String>> {
    let connection = Connection::open_with_flags(folder.join(DATABASE), OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let sql = "SELECT identity, recipient || hex(deliveries.id) || expires_at || facts FROM deliveries \
               JOIN messages ON messages.id = deliveries.message WHERE ?1 OR wake_at IS NOT NULL";
    let mut select = connection.prepare(sql)?;
    let rows = select.query_map([ever], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// A bit flipped, a sector zeroed, an end cut off, or two pieces exchanged, in one of the files.
fn mutate(template: &Template, random: &mut fastrand::Rng) -> (Vec<(&'static str, Vec<u8>)>, String) {
    let mut files = template.files.clone();
    loop {
        let which = match random.u8(..100) {
            0..50 => 0,
            50..88 => 1,
            88..94 => 2,
            _ => 3,
        };
        let (name, bytes) = &mut files[which];
        if bytes.is_empty() {
            continue;
        }
        let place = random.usize(..bytes.len());
        let before = bytes.clone();
        let kind = match random.u8(..100) {
            0..50 => {
                bytes[place] ^= 1 << random.u32(..8);
                "a bit flipped"
            }
            50..65 => {
                bytes[place] = random.u8(..);
                "a byte changed"
            }
            65..85 => {
                bytes.truncate(place);
                "cut off"
            }
            85..95 => {
                let end = bytes.len().min(place + 512);
                bytes[place..end].fill(0);
                "a sector zeroed"
            }
            _ => {
                let size = 512.min(bytes.len() / 2);
                let (a, b) = (place.min(bytes.len() - size), random.usize(..=bytes.len() - size));
                let piece = bytes[a..a + size].to_vec();
                let other = bytes[b..b + size].to_vec();
                bytes[a..a + size].copy_from_slice(&other);
                bytes[b..b + size].copy_from_slice(&piece);
                "two pieces exchanged"
            }
        };
        if *bytes != before {
            let what = format!("{name}: {kind} at {place} of {}", before.len());
            return (files, what);
        }
    }
}

fn in_process(templates: &[Template], place: &Path, seed: u64, trials: usize) -> anyhow::Result<Tally> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut tally = Tally::default();
    for number in 0..trials {
        let template = &templates[number % templates.len()];
        let (files, what) = mutate(template, &mut random);
        lay(&files, place)?;
        let trial = || -> anyhow::Result<()> {
            let fatal = Arc::new(AtomicBool::new(false));
            let told = Arc::clone(&fatal);
            let options = Options::new(place).on_fatal(move |_| told.store(true, Ordering::SeqCst));
            let (store, opened) = SqliteStore::open(options.clone())?;
            drop(store);
            ensure!(!fatal.load(Ordering::SeqCst), "it gave up at once");
            let Some(aside) = opened.set_aside else {
                ensure!(content(place)? == template.content, "undetected");
                tally.harmless += 1;
                return Ok(());
            };
            tally.set_aside += 1;
            ensure!(aside.read_dir()?.next().is_some(), "what was set aside is gone");
            let now = owed(place, false)?;
            ensure!(
                now.iter().all(|(identity, facts)| template.ever.get(identity) == Some(facts)),
                "an altered alert would be sent"
            );
            tally.carried += usize::from(now == template.owed);
            let (_, opened) = SqliteStore::open(options)?;
            ensure!(opened.set_aside.is_none(), "set aside again");
            Ok(())
        };
        let mut trial = trial;
        trial().with_context(|| format!("trial {number} of seed {seed}: {what}"))?;
    }
    Ok(tally)
}

/// The real service on the mutated store. Answers whether it was set aside.
async fn served(world: &World, files: &[(&'static str, Vec<u8>)], before: &[Received]) -> anyhow::Result<bool> {
    lay(files, world.home.data())?;
    for folder in ["archive", "alarms"] {
        let folder = world.home.path(folder);
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
    }
    let mut daemon = world.home.launch(&[])?;
    daemon.ready(PATIENCE).await?;
    let fresh = world.send_alerting().await;
    let passed = async || world.received().is_ok_and(|received| received.iter().any(|one| one.ident == fresh));
    world.until("liveness: a fresh event passes", ALIVE, passed).await?;
    arrive(world, before, ALIVE * 2).await?;
    let aside: Vec<PathBuf> =
        fs::read_dir(world.home.data())?.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.is_dir()).collect();
    for folder in &aside {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        world.until("the operators are told", ALIVE, async || world.alarms().iter().any(|alarm| alarm.contains(&name))).await?;
    }
    let status = daemon.stop().await?;
    ensure!(status.success(), "it stopped with {status}");
    Ok(!aside.is_empty())
}

/// Every alert that is obligated has arrived (some of them before), and none is altered or invented. Copies may come under another identity:
/// a store that was begun anew can't know the first one's.
pub async fn arrive(world: &World, before: &[Received], within: Duration) -> anyhow::Result<()> {
    let obligated = world.oracle.obligated();
    let arrived = || -> anyhow::Result<BTreeSet<String>> {
        Ok(before.iter().cloned().chain(world.received()?).map(|one| one.ident).collect())
    };
    world
        .until("every alert arrives", within, async || {
            arrived().is_ok_and(|there| obligated.keys().all(|ident| there.contains(ident)))
        })
        .await
        .with_context(|| {
            let there = arrived().unwrap_or_default();
            let missing: Vec<_> = obligated.keys().filter(|ident| !there.contains(*ident)).take(8).collect();
            format!("of {} alerts these are missing, among others: {missing:?}", obligated.len())
        })?;
    for one in world.received()? {
        let Some(sent) = obligated.get(&one.ident) else { bail!("{} was invented", one.ident) };
        ensure!(one.shown.iter().all(|(name, value)| text(sent, name) == *value), "{} was altered", one.ident);
    }
    Ok(())
}
