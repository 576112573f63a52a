//! R7: what the store lies on becomes read-only, closed or is gone, at the start or while it runs.
//!
//! It runs without capabilities, so that root's permissions are those of everybody. Whatever happens, within ten seconds it has ended with a last
//! word, or an alarm has come; or else it is unharmed, which is looked at from outside: a fresh event is in the file that lies in the folder.
//! After the cause is mended everything that was obligated arrives.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use redflag::store::DATABASE;

use super::r04::arrive;
use crate::harness::{
    Bench, PATIENCE, Row,
    disk::{Disk, run as tool},
    world::{Plan, World},
};

/// Within this it is loud.
const LOUD: Duration = Duration::from_secs(10);

/// Without it, root reads and writes everything.
const BARE: [&str; 4] = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    Running,
    AtTheStart,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Harm {
    DiskFails,
    ReadOnly,
    Unmounted,
    FolderClosed,
    FolderImmutable,
    FolderRemoved,
    FolderMoved,
    DatabaseClosed,
    DatabaseImmutable,
    DatabaseRemoved,
    LogRemoved,
}

const CASES: [(When, Harm); 12] = [
    (When::Running, Harm::DiskFails),
    (When::AtTheStart, Harm::ReadOnly),
    (When::Running, Harm::Unmounted),
    (When::Running, Harm::FolderClosed),
    (When::AtTheStart, Harm::FolderClosed),
    (When::Running, Harm::FolderImmutable),
    (When::AtTheStart, Harm::DatabaseClosed),
    (When::AtTheStart, Harm::DatabaseImmutable),
    (When::Running, Harm::FolderRemoved),
    (When::Running, Harm::FolderMoved),
    (When::Running, Harm::DatabaseRemoved),
    (When::Running, Harm::LogRemoved),
];

pub async fn run(bench: &Bench) -> anyhow::Result<Row> {
    let mut told = Vec::new();
    let mut slowest = Duration::ZERO;
    let mut failed = Vec::new();
    for (number, (when, harm)) in CASES.into_iter().enumerate() {
        match case(&bench.place(&number.to_string())?, when, harm).await {
            Ok((how, took)) => {
                slowest = slowest.max(took);
                told.push(format!("{harm:?} {when:?}: {how}"));
            }
            Err(error) => failed.push(format!("{harm:?} {when:?}: {error:#}")),
        }
    }
    let measured = format!(
        "{} of {} loud or unharmed, slowest {:.1} s, all recovered ({}){}{}",
        told.len(),
        CASES.len(),
        slowest.as_secs_f64(),
        told.join("; "),
        if failed.is_empty() { "" } else { "; FAILED: " },
        failed.join("; ")
    );
    Ok(Row::new(
        CASES.len(),
        "12/12 cases, alert or last word ≤ 10 s, no silent memory mode, 0 lost",
        measured,
        failed.is_empty(),
    ))
}

async fn case(place: &Path, when: When, harm: Harm) -> anyhow::Result<(&'static str, Duration)> {
    let disk = Disk::ext4(place, 64, &[])?;
    let data = disk.at().join("data");
    let plan = Plan { data: Some(data.clone()), channels: vec!["archive"], ..Plan::default() };
    let world = World::new(place, plan).await?;
    let bare = BARE.map(str::to_owned);
    let mut daemon = world.home.launch(&bare)?;
    daemon.ready(PATIENCE).await?;
    world.connected(&daemon).await?;
    world.send(20).await;
    world.drained(PATIENCE).await?;
    if when == When::AtTheStart {
        daemon.kill().await?;
        harm.doing(&disk, &data)?;
        daemon = world.home.launch(&bare)?;
    } else {
        harm.doing(&disk, &data)?;
    }
    let (log_before, told, begun) = (world.home.log().len(), world.alarms().len(), Instant::now());
    if when == When::Running {
        world.send_alerting().await;
    }
    let how = loop {
        if !daemon.lives() {
            let status = daemon.ended(LOUD).await?;
            ensure!(!status.success(), "it ended as if all were well");
            let log = world.home.log();
            let word = log.get(log_before.min(log.len())..).unwrap_or_default();
            ensure!(
                ["redflag.db", "store", "disk"].iter().any(|name| word.contains(name)),
                "its last word tells nothing: {word}"
            );
            break "ended with a last word";
        }
        if world.alarms().len() > told {
            break "an alarm";
        }
        if begun.elapsed() > LOUD {
            ensure!(when == When::Running && unharmed(&world), "it goes on and nobody is told; the log:\n{}", world.home.tail());
            break "unharmed";
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let took = begun.elapsed();
    daemon.kill().await?;
    harm.mending(&disk, &data).await?;
    let mut daemon = world.home.launch(&bare)?;
    daemon.ready(PATIENCE).await.context("after it was mended")?;
    world.send_alerting().await;
    arrive(&world, &[], PATIENCE).await.context("after it was mended")?;
    let status = daemon.stop().await?;
    ensure!(status.success(), "it stopped with {status}");
    Ok((how, took))
}

/// Whether what was sent is in the files that lie in the folder.
fn unharmed(world: &World) -> bool {
    world.home.reader().is_ok_and(|reader| reader.judged().is_ok_and(|judged| judged.0 >= world.sent()))
}

impl Harm {
    fn doing(self, disk: &Disk, data: &Path) -> anyhow::Result<()> {
        let database = data.join(DATABASE);
        match self {
            Self::DiskFails => disk.cut_power()?,
            Self::ReadOnly => tool(Command::new("mount").args(["-o", "remount,ro"]).arg(disk.at()))?,
            Self::Unmounted => tool(Command::new("umount").arg("--lazy").arg(disk.at()))?,
            Self::FolderClosed => fs::set_permissions(data, fs::Permissions::from_mode(0o000))?,
            Self::FolderImmutable => tool(Command::new("chattr").arg("+i").arg(data))?,
            Self::FolderRemoved => fs::remove_dir_all(data)?,
            Self::FolderMoved => fs::rename(data, data.with_extension("moved"))?,
            Self::DatabaseClosed => fs::set_permissions(database, fs::Permissions::from_mode(0o000))?,
            Self::DatabaseImmutable => tool(Command::new("chattr").arg("+i").arg(database))?,
            Self::DatabaseRemoved => fs::remove_file(database)?,
            Self::LogRemoved => fs::remove_file(data.join(format!("{DATABASE}-wal")))?,
        }
        Ok(())
    }

    async fn mending(self, disk: &Disk, data: &Path) -> anyhow::Result<()> {
        let database = data.join(DATABASE);
        match self {
            Self::DiskFails => disk.reboot().await?,
            Self::ReadOnly => tool(Command::new("mount").args(["-o", "remount,rw"]).arg(disk.at()))?,
            Self::Unmounted => disk.mount()?,
            Self::FolderClosed => fs::set_permissions(data, fs::Permissions::from_mode(0o700))?,
            Self::FolderImmutable => tool(Command::new("chattr").arg("-i").arg(data))?,
            Self::FolderMoved => {
                if data.exists() {
                    bail!("a new folder was made in the moved one's place while it ran");
                }
                fs::rename(data.with_extension("moved"), data)?;
            }
            Self::DatabaseClosed => fs::set_permissions(database, fs::Permissions::from_mode(0o600))?,
            Self::DatabaseImmutable => tool(Command::new("chattr").arg("-i").arg(database))?,
            Self::FolderRemoved | Self::DatabaseRemoved | Self::LogRemoved => {}
        }
        Ok(())
    }
}
