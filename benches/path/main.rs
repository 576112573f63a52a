//! The figures of the alert path, end to end: what it sustains, how fast a mail is out, how fast it starts, and what memory it takes.
//!
//! The engine has a process of its own, the feed another; both are this binary again. Everything is measured from outside: by the store's
//! cursor, by the attempts' rows, by /proc. The real disk, real sockets, and Debian's Postfix for the mails.
//!
//! `cargo bench --bench path [-- sustained|latency|start|idle ...]` measures all or some; only all writes the file.

// A bench that can't measure ends with the reason.
#[path = "../../tests/integration/support/mta.rs"]
#[expect(
    dead_code,
    clippy::unwrap_used,
    reason = "the tests' mail server, of which this needs a part; it is no part of what is measured"
)]
mod mta;

mod child;
mod figures;
mod rules;

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Write as _,
    net::SocketAddr,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use redflag::{
    config::{
        ChannelConfig, ConcedusConfig, Config, EmailConfig, Environment, FeedConfig, Language, Secret, WebhookConfig,
        channels::{MailTls, RetryConfig},
        feeds::{BackfillConfig, ByteSize, zone::ZoneName},
        service::{HttpConfig, RulesConfig, SendTo, TemplatesConfig},
    },
    model::{
        names::{ChannelName, FeedName},
        rendered::Clearance,
        time::Span,
    },
    store::{Reader, SqliteStore},
};
use rusqlite::{Connection, OpenFlags};

use crate::{
    child::{Feed, Load, Process, Ready, Sent},
    figures::{Figure, median, quantile},
    mta::Mta,
};

/// The load's share of alerting events.
const ALERTING: f64 = 0.01;
const WARM_UP: Duration = Duration::from_secs(3);
const ROUND: Duration = Duration::from_secs(10);
const ROUNDS: usize = 3;
/// The journal that a start meets, at least.
const JOURNALED: u64 = 1_000_000;
const STARTS: usize = 5;
/// The latency's run, at this rate; a tenth of it mails.
const RATE: f64 = 100.0;
const MAILING: f64 = 0.1;
const MAILED_FOR: Duration = Duration::from_secs(40);
/// How long after its start a service counts as idle.
const SETTLED: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_mins(2);
const MEBIBYTE: f64 = (1 << 20) as f64;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["feed", load] => child::feed(load).await,
        ["engine", config] => child::engine(config).await,
        ref parts => measure(parts).await,
    }
}

async fn measure(parts: &[&str]) -> anyhow::Result<()> {
    let bench = target()?.join("bench");
    let dir = bench.join("path");
    if dir.exists() {
        fs::remove_dir_all(&dir)?;
    }
    fs::create_dir_all(&dir)?;
    let wanted = |part: &str| parts.is_empty() || parts.contains(&part);
    println!("{}", machine()?);
    let fsync = median(&(0..200).map(|_| fsync(&dir)).collect::<anyhow::Result<Vec<_>>>()?);
    println!("append and fdatasync of 4 KiB: median {:.0} µs\n", fsync * 1e6);

    let mut figures = Vec::new();
    if wanted("idle") {
        figures.extend(idle(&dir.join("idle")).await?);
    }
    if wanted("sustained") || wanted("start") {
        let load = LoadRun::new(&dir.join("load"))?;
        if wanted("sustained") {
            figures.extend(load.sustained().await?);
        }
        if wanted("start") {
            figures.extend(load.starts().await?);
        }
    }
    if wanted("latency") {
        figures.extend(latency(&dir.join("latency")).await?);
    }
    figures::tell(&figures, &bench.join(if parts.is_empty() { "path.json" } else { "path-part.json" }))?;
    fs::remove_dir_all(&dir)?;
    Ok(())
}

/// Where this binary was built.
fn target() -> anyhow::Result<PathBuf> {
    let binary = std::env::current_exe()?;
    binary.ancestors().nth(3).map(Path::to_owned).context("this binary lies nowhere below a target folder")
}

/// The processor, and what else it is busy with.
fn machine() -> anyhow::Result<String> {
    let cpu = fs::read_to_string("/proc/cpuinfo")?;
    let model =
        cpu.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1)).unwrap_or("an unknown processor");
    let cores = std::thread::available_parallelism()?;
    let load = fs::read_to_string("/proc/loadavg")?;
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    Ok(format!("{cores} × {model}, Linux {}, load before the run {}", kernel.trim(), load.split(' ').next().unwrap_or("?")))
}

/// Seconds that a 4 KiB append takes to be on disk.
fn fsync(dir: &Path) -> anyhow::Result<f64> {
    let mut file = File::options().create(true).append(true).open(dir.join("fsync"))?;
    let began = Instant::now();
    file.write_all(&[0x5a; 4_096])?;
    file.sync_data()?;
    Ok(began.elapsed().as_secs_f64())
}

/// The shipped rules and a connected feed on which nothing happens.
async fn idle(dir: &Path) -> anyhow::Result<Vec<Figure>> {
    let (_feed, address) = feed(Load { rate: Some(0.0), alerting: 0.0 })?;
    let config = config(dir, &address, &Path::new(env!("CARGO_MANIFEST_DIR")).join("rules"), webhook(dir, &address)?)?;
    let engine = engine(&config)?;
    tokio::time::sleep(SETTLED).await;
    let memory = engine.memory("VmRSS")? as f64 / MEBIBYTE;
    println!(
        "idle with the shipped rules: {memory:.1} MiB resident, {:.1} MiB at most",
        engine.memory("VmHWM")? as f64 / MEBIBYTE
    );
    engine.stop::<()>()?;
    Ok(vec![Figure::at_most("resident memory, idle with the shipped rules", memory, "MiB", 40.0)])
}

/// A folder whose journal grows by what the feed can give.
struct LoadRun {
    dir: PathBuf,
    rules: PathBuf,
}

impl LoadRun {
    fn new(dir: &Path) -> anyhow::Result<Self> {
        // Beside the store, whose folder changes all the time.
        let rules = dir.with_extension("rules");
        rules::write(&rules)?;
        Ok(Self { dir: dir.to_owned(), rules })
    }

    /// The engine's configuration for a feed at this address.
    fn config(&self, address: &Feed) -> anyhow::Result<PathBuf> {
        config(&self.dir, address, &self.rules, webhook(&self.dir, address)?)
    }

    /// A feed under load and the engine on it.
    fn start(&self) -> anyhow::Result<(Process, Process)> {
        let (feed, address) = feed(Load { rate: None, alerting: ALERTING })?;
        Ok((feed, engine(&self.config(&address)?)?))
    }

    async fn sustained(&self) -> anyhow::Result<Vec<Figure>> {
        let (feed, engine) = self.start()?;
        let reader = reader(&self.dir)?;
        tokio::time::sleep(WARM_UP).await;
        let mut rates = Vec::new();
        for round in 1..=ROUNDS {
            let (began, before, cpu) = (Instant::now(), reader.judged()?.0, (engine.cpu()?, feed.cpu()?));
            tokio::time::sleep(ROUND).await;
            let seconds = began.elapsed().as_secs_f64();
            let events = (reader.judged()?.0 - before) as f64;
            rates.push(events / seconds);
            println!(
                "round {round}: {:.0} events/s; processor time per event: engine {:.1} µs, feed {:.1} µs; resident {:.1} MiB; write-ahead log {:.0} MiB",
                events / seconds,
                engine.cpu()?.saturating_sub(cpu.0).as_secs_f64() * 1e6 / events,
                feed.cpu()?.saturating_sub(cpu.1).as_secs_f64() * 1e6 / events,
                engine.memory("VmRSS")? as f64 / MEBIBYTE,
                fs::metadata(self.dir.join("redflag.db-wal"))?.len() as f64 / MEBIBYTE,
            );
        }
        let memory = engine.memory("VmHWM")? as f64 / MEBIBYTE;
        let sent: Sent = feed.stop()?;
        // Everything that arrived is judged, each once. What the dying feed had written and the engine had not read is gone with its socket: it is
        // shown, not counted as lost.
        let limit = Instant::now() + PATIENCE;
        while reader.judged()? != reader.last()? && Instant::now() < limit {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let (judged, journaled) = (reader.judged()?.0, reader.last()?.0);
        ensure!(
            judged == journaled && journaled <= sent.elements,
            "{} events sent, {journaled} journaled, {judged} judged",
            sent.elements
        );
        let alerts = count(&self.dir, "SELECT count(*) FROM alerts")?;
        // Two rules, each alerting event.
        let expected = 2 * (journaled as f64 * ALERTING) as u64;
        ensure!(alerts.abs_diff(expected) <= 2, "{alerts} alerts, {expected} were due");
        println!(
            "books: {journaled} events journaled and judged, {} more in flight when the feed was stopped; {alerts} alerts committed; deliveries: {} made, {} waiting",
            sent.elements - journaled,
            count(&self.dir, "SELECT count(*) FROM deliveries WHERE state = 'delivered'")?,
            count(&self.dir, "SELECT count(*) FROM deliveries WHERE wake_at IS NOT NULL")?,
        );
        engine.kill()?;
        Ok(vec![
            Figure::at_least("sustained: socket, journal, 100 rules, alerts committed", median(&rates), "events/s", 30_000.0),
            Figure::at_most("resident memory under that load, at most", memory, "MiB", 150.0),
        ])
    }

    async fn starts(&self) -> anyhow::Result<Vec<Figure>> {
        {
            let (_feed, engine) = self.start()?;
            let reader = reader(&self.dir)?;
            while reader.judged()?.0 < JOURNALED {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            engine.stop::<()>()?;
        }
        let (_quiet, address) = feed(Load { rate: Some(0.0), alerting: 0.0 })?;
        let config = self.config(&address)?;
        let mut clean = Vec::new();
        for _ in 0..STARTS {
            let engine = engine(&config)?;
            clean.push(engine.took.as_secs_f64());
            engine.stop::<()>()?;
        }
        let mut killed = Vec::new();
        for _ in 0..STARTS {
            let (_feed, under_load) = self.start()?;
            tokio::time::sleep(Duration::from_secs(2)).await;
            under_load.kill()?;
            let config = self.config(&address)?;
            let engine = engine(&config)?;
            killed.push(engine.took.as_secs_f64());
            engine.stop::<()>()?;
        }
        println!(
            "starts on {} events, {:.0} MiB: after a stop {clean:.3?} s, after a kill under load {killed:.3?} s",
            reader(&self.dir)?.last()?,
            fs::metadata(self.dir.join("redflag.db"))?.len() as f64 / MEBIBYTE,
        );
        Ok(vec![
            Figure::at_most("start to ready, 1,000,000 events, after a stop", median(&clean), "s", 1.0),
            Figure::at_most("start to ready, 1,000,000 events, after a kill under load", median(&killed), "s", 1.0),
        ])
    }
}

async fn latency(dir: &Path) -> anyhow::Result<Vec<Figure>> {
    let mta = Mta::start().await;
    let rules = dir.with_extension("rules");
    rules::write(&rules)?;
    let mail = EmailConfig {
        server: mta.submission(),
        tls: MailTls::Required,
        ca_file: Some(mta.authority()),
        username: Some(mta::USERNAME.to_owned()),
        password: Some(secret(dir, "mail-password", mta::PASSWORD)?),
        from: "redflag@redflag.test".to_owned(),
        to: vec![mta::MAILBOX.to_owned()],
        clearance: Clearance::Personal,
        connections: 2,
        retry: RetryConfig::default(),
    };
    let (feed, address) = feed(Load { rate: Some(RATE), alerting: MAILING })?;
    let engine = engine(&config(dir, &address, &rules, ChannelConfig::Email(mail))?)?;
    let began = Instant::now();
    let mut fsyncs = Vec::new();
    while began.elapsed() < MAILED_FOR {
        fsyncs.push(fsync(dir)?);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    feed.stop::<Sent>()?;
    let limit = Instant::now() + PATIENCE;
    while count(dir, "SELECT count(*) FROM deliveries WHERE wake_at IS NOT NULL")? > 0 && Instant::now() < limit {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    engine.stop::<()>()?;
    let latencies = latencies(dir)?;
    ensure!(!latencies.is_empty(), "no mail was sent");
    let mails = mta.mails(latencies.len()).await.len();
    ensure!(mails == latencies.len(), "{} deliveries, {mails} mails in the mailbox", latencies.len());
    let (p50, p99, most) = (median(&latencies), quantile(&latencies, 0.99), quantile(&latencies, 1.0));
    let fsync = median(&fsyncs);
    println!(
        "latency over {mails} mails: p50 {:.1} ms, p99 {:.1} ms, most {:.1} ms; fsync median of the run {:.0} µs",
        p50 * 1e3,
        p99 * 1e3,
        most * 1e3,
        fsync * 1e6
    );
    Ok(vec![Figure::at_most(
        "latency p99 at 100 events/s: frame received, DATA accepted",
        p99 * 1e3,
        "ms",
        25.0 + 4.0 * fsync * 1e3,
    )])
}

/// Seconds from a frame's receipt to the server's word for its mail.
fn latencies(dir: &Path) -> anyhow::Result<Vec<f64>> {
    let database = open(dir)?;
    let mut rows = database.prepare(
        "SELECT a.finished_at - m.created_at FROM attempts a JOIN deliveries d ON d.n = a.delivery JOIN messages m ON m.id = d.message \
         WHERE a.outcome = 'delivered'",
    )?;
    let micros = rows.query_map([], |row| row.get::<_, i64>(0))?;
    Ok(micros.map(|micros| micros.map(|micros| micros as f64 / 1e6)).collect::<Result<_, _>>()?)
}

fn open(dir: &Path) -> anyhow::Result<Connection> {
    Ok(Connection::open_with_flags(dir.join("redflag.db"), OpenFlags::SQLITE_OPEN_READ_ONLY)?)
}

fn count(dir: &Path, sql: &str) -> anyhow::Result<u64> {
    Ok(open(dir)?.query_row(sql, [], |row| row.get::<_, i64>(0))?.unsigned_abs())
}

fn reader(dir: &Path) -> anyhow::Result<Reader> {
    Ok(SqliteStore::read_only(dir)?)
}

fn feed(load: Load) -> anyhow::Result<(Process, Feed)> {
    Process::start("feed", &serde_json::to_string(&load)?)
}

/// Starts an engine whose rules must all be live.
fn engine(config: &Path) -> anyhow::Result<Process> {
    let (engine, ready): (_, Ready) = Process::start("engine", &config.to_string_lossy())?;
    ensure!(ready.diagnostics.is_empty(), "the rules are not as they should be:\n{}", ready.diagnostics.join("\n"));
    Ok(engine)
}

/// Posts to what takes everything.
fn webhook(dir: &Path, address: &Feed) -> anyhow::Result<ChannelConfig> {
    Ok(ChannelConfig::Webhook(WebhookConfig {
        url: secret(dir, "webhook-url", &address.sink)?,
        secret: secret(dir, "webhook-key", "a key for the bench and nothing else")?,
        clearance: Clearance::Masked,
        retry: RetryConfig::default(),
    }))
}

/// A file that only its owner reads.
fn secret(dir: &Path, name: &str, text: &str) -> anyhow::Result<Secret> {
    fs::create_dir_all(dir)?;
    let path = dir.join(name);
    File::options().write(true).create(true).truncate(true).mode(0o600).open(&path)?.write_all(text.as_bytes())?;
    Ok(Secret::File(path))
}

/// Writes the configuration of an engine whose recipients all are this channel.
fn config(dir: &Path, address: &Feed, rules: &Path, way: ChannelConfig) -> anyhow::Result<PathBuf> {
    let feed = ConcedusConfig {
        socket: address.socket.clone(),
        auth: address.auth.clone(),
        username: "bench".to_owned(),
        password: secret(dir, "feed-password", "bench")?,
        username_field: "username".to_owned(),
        naive_time_zone: Some(ZoneName(chrono_tz::Europe::Berlin)),
        success_words: vec!["success".to_owned()],
        backfill: BackfillConfig::default(),
        max_message: ByteSize::default(),
        attachment_limit: ByteSize(4_096),
        ping_every: Span::from_secs(5),
        dead_after: Span::from_secs(15),
        reconnect_cap: Span::from_secs(30),
        topics: Vec::new(),
        fields: BTreeMap::new(),
    };
    let channel = ChannelName::new(rules::CHANNEL);
    let also = |name: &str| (name.to_owned(), vec![channel.clone()]);
    let config = Config {
        environment: Environment::Test,
        data_dir: dir.to_owned(),
        time_zone: ZoneName(chrono_tz::Europe::Berlin),
        language: Language::En,
        feeds: BTreeMap::from([(FeedName::new("concedus"), FeedConfig::Concedus(feed))]),
        rules: RulesConfig { directory: rules.to_owned(), ..RulesConfig::default() },
        templates: TemplatesConfig::default(),
        groups: BTreeMap::from([also("mlro"), also("compliance-chat")]),
        operators: SendTo { send_to: vec![channel.to_string()] },
        fallback: SendTo { send_to: vec![channel.to_string()] },
        channels: BTreeMap::from([(channel.clone(), way)]),
        http: HttpConfig { listen: SocketAddr::from(([127, 0, 0, 1], 0)) },
    };
    let path = dir.join("config.json");
    fs::write(&path, serde_json::to_vec(&config)?)?;
    Ok(path)
}
