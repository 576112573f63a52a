//! R26: the shipped unit in a real systemd, in a machine of its own (`systemd-nspawn`) without network and with little memory.
//!
//! Inside, `sandbox/attack.py` kills the service again and again, stops it with SIGSTOP until the watchdog bites, lets a neighbour eat the
//! memory, gives it a credential that is empty and one that is missing, and has `sandbox/probes.py` try to get out of the unit's sandbox.
//! Outside, one loop of the path hangs (a slow fsync), and the watchdog must not be fed although the process answers.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use serde::Deserialize;

use crate::harness::{
    Bench, Row, strace,
    world::{Plan, World},
};

const KILLS: usize = 50;
/// As the unit has it.
const WATCHDOG: u64 = 30;
/// Enough for systemd, redflag and the attack; not for a neighbour that eats.
const MEMORY: u64 = 512 << 20;

const SETTINGS: &str = r#"
data_dir = "/var/lib/redflag"

[feeds.concedus]
kind = "concedus"
socket = "ws://127.0.0.1:8787/ws/connect"
auth = "http://127.0.0.1:8787/v2/auth"
username = "partner"
password = { credential = "feed-password" }

[channels.archive]
kind = "file"
path = "/var/lib/redflag/out"
format = "json"

[operators]
send_to = ["archive"]

[http]
listen = "127.0.0.1:0"
"#;

const RULE: &str = r#"//! An identification failed.

const RULE = #{
    id: "E2E-200", title: "An identification failed", on: ["identResult"], where: #{ status: "failed" },
    severity: "high", send_to: ["archive"], subject: "failed {identId}",
};

const TESTS = [
    #{ name: "failed alerts", like: "identResult", set: #{ status: "failed" }, expect: #{ alerts: 1 } },
    #{ name: "success does not", like: "identResult", expect: #{ alerts: 0 } },
];
"#;

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Found {
    started: bool,
    status: String,
    kills: Vec<Option<f64>>,
    reloaded: bool,
    hang: Option<f64>,
    #[serde(rename = "after hang")]
    after_hang: Option<f64>,
    starved: Option<f64>,
    #[serde(rename = "after starving")]
    after_starving: Option<f64>,
    stopped: (f64, String, String),
    #[serde(rename = "redflag-empty.service")]
    empty: BTreeMap<String, String>,
    #[serde(rename = "redflag-missing.service")]
    missing: BTreeMap<String, String>,
    probes: BTreeMap<String, Option<bool>>,
    control: BTreeMap<String, Option<bool>>,
    broke: Option<String>,
    finished: bool,
}

pub async fn run(bench: &Bench) -> anyhow::Result<Row> {
    let found = machine(&bench.place("machine")?).await.context("the machine")?;
    let hang = hung_loop(&bench.place("hung")?).await.context("a loop that hangs")?;
    let exposure = exposure()?;

    let mut kills: Vec<f64> = found.kills.iter().map(|took| took.unwrap_or(f64::INFINITY)).collect();
    kills.sort_by(f64::total_cmp);
    let slowest = kills.last().copied().unwrap_or(f64::INFINITY);
    let open: Vec<&str> =
        found.probes.iter().filter(|(_, denied)| **denied != Some(true)).map(|(name, _)| name.as_str()).collect();
    let real = found.probes.iter().filter(|(name, _)| found.control.get(*name) == Some(&Some(false))).count();
    let told = |unit: &BTreeMap<String, String>, why: &str| {
        let is = |name: &str, value: &str| unit.get(name).is_some_and(|found| found == value);
        is("ActiveState", "failed")
            && is("ExecMainStatus", "78")
            && unit.get("log").is_some_and(|log| log.contains("feed-password") && log.contains(why))
            && unit.get("StatusText").is_some_and(|status| status.contains("feed-password"))
    };
    let limit = WATCHDOG as f64 + 2.0;
    let checks = [
        ("started", found.started && found.status.contains("1 rule")),
        ("killed", kills.len() == KILLS && slowest <= 1.0),
        ("reloaded", found.reloaded),
        (
            "stopped with SIGSTOP",
            found.hang.is_some_and(|took| took <= limit) && found.after_hang.is_some_and(|took| took <= 1.0),
        ),
        ("one loop hung", hang <= Duration::from_secs(WATCHDOG + 2)),
        ("starved", found.starved.is_some() && found.after_starving.is_some_and(|took| took <= 1.0)),
        ("stopped in order", found.stopped.1 == "inactive" && found.stopped.2 == "success"),
        ("empty credential", told(&found.empty, "is empty")),
        ("missing credential", told(&found.missing, "$CREDENTIALS_DIRECTORY is not set")),
        ("probes", found.probes.len() >= 25 && open.is_empty() && real >= 20),
        ("exposure", exposure <= 1.2),
        ("finished", found.finished && found.broke.is_none()),
    ];
    let failed: Vec<&str> = checks.iter().filter(|(_, fine)| !fine).map(|(name, _)| *name).collect();
    let seconds = |took: Option<f64>| took.map_or_else(|| "never".to_owned(), |took| format!("{took:.2} s"));
    let measured = format!(
        "{} kills, restarted after {:.2} s (median), {slowest:.2} s (longest); SIGSTOP ended after {}, back after {}; one hung loop asked to be \
         ended after {:.1} s; out of memory: back after {}; {} of {} probes denied ({real} of them succeed without the unit); exposure {exposure}; \
         both bad credentials fail with 78; failed: {}{}",
        kills.len(),
        kills.get(kills.len() / 2).copied().unwrap_or(f64::INFINITY),
        seconds(found.hang),
        seconds(found.after_hang),
        hang.as_secs_f64(),
        seconds(found.after_starving),
        found.probes.len() - open.len(),
        found.probes.len(),
        if failed.is_empty() { "nothing".to_owned() } else { failed.join(", ") },
        if failed.is_empty() { String::new() } else { format!("\n{found:#?}") },
    );
    let bar = format!("restart ≤ 1 s; hang ≤ {WATCHDOG} + 2 s; all of ≥ 25 probes denied; exposure ≤ 1.2");
    Ok(Row::new(KILLS + 6 + found.probes.len(), bar, measured, failed.is_empty()))
}

/// Boots the machine, and reads what the attack found.
async fn machine(place: &Path) -> anyhow::Result<Found> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let unit =
        fs::read_to_string(root.join("packaging/systemd/redflag.service"))?.replace("/usr/bin/redflag", "/opt/redflag/redflag");
    let write = |name: &str, text: &str| {
        let path = place.join(name);
        path.parent().map_or(Ok(()), fs::create_dir_all)?;
        fs::write(path, text)
    };
    write("etc/redflag.toml", SETTINGS)?;
    write("etc/rules/failed.rhai", RULE)?;
    write("etc/secrets/feed", "secret\n")?;
    write("etc/secrets/empty", "")?;
    write("mnt/plan.json", &format!(r#"{{"kills": {KILLS}, "watchdog": {WATCHDOG}}}"#))?;
    for script in ["attack.py", "probes.py"] {
        write(&format!("opt/{script}"), &fs::read_to_string(root.join("tests/reliability/sandbox").join(script))?)?;
    }
    fs::copy(env!("CARGO_BIN_EXE_redflag"), place.join("opt/redflag"))?;
    let credential = |file: &str| format!("LoadCredential=feed-password:/etc/redflag/secrets/{file}\n");
    for (name, credential) in
        [("redflag", credential("feed")), ("redflag-empty", credential("empty")), ("redflag-missing", String::new())]
    {
        write(&format!("units/{name}.service"), &unit)?;
        // The kernel takes redflag first when memory ends, and not the machine's own systemd.
        let more = format!("[Service]\n{credential}OOMScoreAdjust=1000\nStandardError=append:/mnt/{name}.service.log\n");
        write(&format!("units/{name}.service.d/test.conf"), &more)?;
    }
    write("units/redflag-probes.service", &probing(&unit))?;
    write("units/feed.service", "[Service]\nExecStart=/opt/redflag/redflag simulate --listen 127.0.0.1:8787 --rate 20\n")?;
    write(
        "units/attack.service",
        "[Unit]\nAfter=feed.service basic.target\n[Service]\nType=oneshot\nTimeoutStartSec=infinity\n\
         ExecStart=/usr/bin/python3 /opt/redflag/attack.py\nStandardOutput=append:/mnt/log\nStandardError=append:/mnt/log\n",
    )?;
    write("units/redflag-test.target", "[Unit]\nRequires=basic.target feed.service attack.service\nAfter=basic.target\n")?;
    let memory = Memory::limited()?;
    boot(place, &memory).await?;
    let found = fs::read(place.join("mnt/found.json")).context("the attack found nothing")?;
    Ok(serde_json::from_slice(&found)?)
}

/// The unit with the probes in redflag's place.
fn probing(unit: &str) -> String {
    const ITS_OWN: [&str; 8] =
        ["Type", "NotifyAccess", "ExecStart", "ExecReload", "Restart", "RestartSec", "RestartPreventExitStatus", "WatchdogSec"];
    let kept = unit.lines().filter(|line| !line.split_once('=').is_some_and(|(name, _)| ITS_OWN.contains(&name)));
    let kept = kept.collect::<Vec<_>>().join("\n").replace("\n[Service]", "\n[Service]\nType=oneshot\nStandardOutput=truncate:/mnt/probes.json\nStandardError=append:/mnt/log\nExecStart=/usr/bin/python3 /opt/redflag/probes.py");
    kept.replace("User=redflag", "User=redflag-probes")
        .replace("Directory=redflag", "Directory=redflag-probes")
        .replace("%S/redflag", "%S/redflag-probes")
}

async fn boot(place: &Path, memory: &Memory) -> anyhow::Result<()> {
    let bind = |how: &str, name: &str, at: &str| format!("--bind{how}={}:{at}", place.join(name).display());
    let mut machine = Command::new("sh")
        .args(["-c", r#"echo $$ > "$0/cgroup.procs" && exec systemd-nspawn "$@""#])
        .arg(&memory.0)
        .args(["-q", "--register=no", "--keep-unit", "-D", "/", "--volatile=yes", "--private-network", "--console=pipe"])
        .args(["--bind-ro=/etc/ssl".to_owned(), bind("-ro", "units", "/etc/systemd/system"), bind("-ro", "etc", "/etc/redflag")])
        .args([bind("-ro", "opt", "/opt/redflag"), bind("", "mnt", "/mnt")])
        .args(["--boot", "systemd.unit=redflag-test.target"])
        .stdin(Stdio::null())
        .stdout(fs::File::create(place.join("console"))?)
        .stderr(fs::File::options().append(true).open(place.join("console"))?)
        .spawn()
        .context("systemd-nspawn; `make reliability` installs it")?;
    let begun = Instant::now();
    loop {
        if machine.try_wait()?.is_some() {
            return Ok(());
        }
        if begun.elapsed() > Duration::from_mins(10) {
            let _ = machine.kill();
            let _ = machine.wait();
            bail!("it does not end; found so far: {}", fs::read_to_string(place.join("mnt/found.json")).unwrap_or_default());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// A group with little memory, of either version of the kernel's groups. It goes with this value.
struct Memory(PathBuf);

impl Memory {
    fn limited() -> anyhow::Result<Self> {
        let name = format!("redflag-{}", std::process::id());
        let old = Path::new("/sys/fs/cgroup/memory");
        let (group, file) = if old.is_dir() {
            (old.join(name), "memory.limit_in_bytes")
        } else {
            // Fails where it is on already, or is not ours to turn on: then the next line says so.
            let _ = fs::write("/sys/fs/cgroup/cgroup.subtree_control", "+memory");
            (Path::new("/sys/fs/cgroup").join(name), "memory.max")
        };
        fs::create_dir_all(&group).with_context(|| group.display().to_string())?;
        fs::write(group.join(file), MEMORY.to_string()).with_context(|| group.join(file).display().to_string())?;
        Ok(Self(group))
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

/// The process answers, and its commits hang: how long until it asks the watchdog to end it.
async fn hung_loop(place: &Path) -> anyhow::Result<Duration> {
    let world = World::new(place, Plan { channels: vec!["archive"], ..Plan::default() }).await?;
    // Settled, so that the slow fsync comes after it is ready.
    let daemon = world.home.start().await?;
    world.connected(&daemon).await?;
    daemon.stop().await?;
    let wrapper =
        strace::inject(&["fdatasync", "fsync"], &[&world.home.data().join("redflag.db-wal")], "delay_enter=300s:when=12+");
    let mut daemon = world.home.launch_with(&wrapper, |command| {
        command.env("WATCHDOG_USEC", (WATCHDOG * 1_000_000).to_string());
    })?;
    daemon.ready(Duration::from_mins(1)).await?;
    daemon.tells("WATCHDOG=1", Duration::from_secs(5)).await?;
    // One of these meets the slow disk: a time that is a few seconds too long.
    let begun = Instant::now();
    let mut told = false;
    while !told && begun.elapsed() < Duration::from_secs(WATCHDOG + 30) {
        if world.sent() < 40 {
            world.send(1).await;
        }
        told = daemon.tells("WATCHDOG=trigger", Duration::from_millis(250)).await.is_ok();
    }
    if !told {
        bail!("the watchdog is fed on; the log:\n{}", world.home.tail());
    }
    let took = begun.elapsed();
    daemon.kill().await?;
    Ok(took)
}

fn exposure() -> anyhow::Result<f64> {
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/systemd/redflag.service");
    let output = Command::new("systemd-analyze").args(["security", "--offline=true", "--no-pager"]).arg(unit).output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let (_, rest) = said.split_once("exposure level for redflag.service: ").with_context(|| said.clone())?;
    rest.split_whitespace().next().unwrap_or_default().parse().context("the exposure")
}
