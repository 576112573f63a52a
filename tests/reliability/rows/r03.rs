//! R3: the power fails. The store and the archive lie on an ext4 of their own, whose power is cut while events flow; what was not synced
//! is gone. Whatever anybody was told of before must be there after the boot, before the feed can help.

use std::{collections::BTreeSet, path::Path, time::Duration};

use anyhow::ensure;
use redflag::{
    model::{ids::Seq, value::Value},
    store::Reader,
};

use crate::harness::{
    Bench, PATIENCE, Row,
    disk::Disk,
    strace,
    world::{Plan, World},
};

const CUTS: usize = 100;

pub async fn run(bench: &Bench) -> anyhow::Result<Row> {
    let cuts = bench.trials(CUTS);
    let told = cut(bench, cuts).await?;
    let shown = shown(bench).await?;
    let measured = format!("{told}; with a disk that only says that it has synced, {shown} are lost");
    // Else the fault is none, and the row shows nothing.
    Ok(Row::new(cuts, "0 acknowledged events lost; the file system is sound", measured, shown > 0))
}

/// So many power losses; what they came to. Every loss is an error.
pub async fn cut(bench: &Bench, cuts: usize) -> anyhow::Result<String> {
    let disk = Disk::ext4(&bench.place("image")?, 256, &[])?;
    let archive = disk.at().join("archive");
    let plan = Plan { data: Some(disk.at().join("data")), archive: Some(archive.clone()), overlap: "5s", ..Plan::default() };
    let world = World::new(&bench.place("home")?, plan).await?;
    let mut random = fastrand::Rng::with_seed(bench.seed);
    let mut acknowledged = 0;
    for number in 0..cuts {
        let mut daemon = world.home.launch(&[])?;
        daemon.ready(PATIENCE).await?;
        world.connected(&daemon).await?;
        // Half of the cuts come right after something was acknowledged, half at any moment of the load.
        let before = world.heard()?.len();
        for _ in 0..random.u32(1..8) {
            world.send(10).await;
            tokio::time::sleep(Duration::from_millis(random.u64(0..40))).await;
        }
        if number % 2 == 0 {
            world.until("an alert arrives", PATIENCE, async || world.heard().is_ok_and(|heard| heard.len() > before)).await?;
        }
        disk.cut_power()?;
        // What came until here was said before the power went, or by a process that did not know yet.
        daemon.kill().await?;
        let heard = world.heard()?;
        disk.reboot().await?;
        let journaled = journaled(&world.home.reader()?)?;
        let lost: Vec<_> = heard.iter().filter(|one| !journaled.contains(&one.ident)).map(|one| &one.ident).collect();
        ensure!(lost.is_empty(), "cut {number}: told of, but not in the journal after the boot: {lost:?}");
        acknowledged = heard.len();
    }
    let daemon = world.home.start().await?;
    let judgement = world.settle(daemon, PATIENCE * 4).await?;
    whole(&archive)?;
    drop(world);
    disk.check()?;
    Ok(format!("{acknowledged} acknowledged alerts, none lost; {judgement}"))
}

/// The same cut when every fsync is a lie: how many acknowledged alerts are lost then.
async fn shown(bench: &Bench) -> anyhow::Result<usize> {
    let disk = Disk::ext4(&bench.place("lying")?, 256, &[])?;
    let plan = Plan { data: Some(disk.at().join("data")), channels: vec!["mail", "cases"], ..Plan::default() };
    let world = World::new(&bench.place("believer")?, plan).await?;
    let mut daemon = world.home.launch(&strace::inject(&["fsync", "fdatasync"], &[], "retval=0"))?;
    daemon.ready(PATIENCE).await?;
    world.connected(&daemon).await?;
    world.send(20).await;
    world.until("an alert arrives", PATIENCE, async || world.heard().is_ok_and(|heard| heard.len() > 1)).await?;
    disk.cut_power()?;
    daemon.kill().await?;
    let heard = world.heard()?;
    disk.reboot().await?;
    // A store that can't even be opened has lost them all.
    let journaled = world.home.reader().and_then(|reader| journaled(&reader)).unwrap_or_default();
    Ok(heard.iter().filter(|one| !journaled.contains(&one.ident)).count())
}

fn journaled(reader: &Reader) -> anyhow::Result<BTreeSet<String>> {
    let mut idents = BTreeSet::new();
    let mut after = Seq(0);
    loop {
        let events = reader.events_after(after, 1_000)?;
        let Some(last) = events.last() else { return Ok(idents) };
        after = last.seq;
        for event in &events {
            if let Some(Value::Text(ident)) = event.body.get("identId") {
                idents.insert(ident.to_string());
            }
        }
    }
}

/// No file of the archive is empty: a name is only there with its bytes.
fn whole(archive: &Path) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(archive)? {
        let entry = entry?;
        ensure!(entry.metadata()?.len() > 0, "{} is empty", entry.path().display());
    }
    Ok(())
}
