//! The alert path in fair weather: what it sustains, how fast a mail is out, how fast it starts, and what memory it takes.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::ensure;
use redflag::{
    config::{
        ChannelConfig, EmailConfig,
        channels::{MailTls, RetryConfig},
    },
    model::rendered::Clearance,
};

use crate::{
    child::{Feed, Load, Process, Sent},
    figures::{Figure, median, quantile},
    mta::{self, Mta},
    rules,
    setup::{MEBIBYTE, config, count, engine, feed, fsync, open, reader, secret, webhook},
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

/// The shipped rules and a connected feed on which nothing happens.
pub async fn idle(dir: &Path) -> anyhow::Result<Vec<Figure>> {
    let (_feed, address) = feed(Load::quiet())?;
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
pub struct LoadRun {
    dir: PathBuf,
    rules: PathBuf,
}

impl LoadRun {
    pub fn new(dir: &Path) -> anyhow::Result<Self> {
        // Beside the store, whose folder changes all the time.
        let rules = dir.with_extension("rules");
        rules::write(&rules, 1)?;
        Ok(Self { dir: dir.to_owned(), rules })
    }

    /// The engine's configuration for a feed at this address.
    fn config(&self, address: &Feed) -> anyhow::Result<PathBuf> {
        config(&self.dir, address, &self.rules, webhook(&self.dir, address)?)
    }

    /// A feed under load and the engine on it.
    fn start(&self) -> anyhow::Result<(Process, Process)> {
        let (feed, address) = feed(Load::steady(None, ALERTING))?;
        Ok((feed, engine(&self.config(&address)?)?))
    }

    pub async fn sustained(&self) -> anyhow::Result<Vec<Figure>> {
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
            judged == journaled && journaled <= sent.told,
            "{} events told, {journaled} journaled, {judged} judged",
            sent.told
        );
        let alerts = count(&self.dir, "SELECT count(*) FROM alerts")?;
        // Two rules, each alerting event.
        let expected = 2 * (journaled as f64 * ALERTING) as u64;
        ensure!(alerts.abs_diff(expected) <= 2, "{alerts} alerts, {expected} were due");
        println!(
            "books: {journaled} events journaled and judged, {} more in flight when the feed was stopped; {alerts} alerts committed; deliveries: {} made, {} waiting",
            sent.told - journaled,
            count(&self.dir, "SELECT count(*) FROM deliveries WHERE state = 'delivered'")?,
            count(&self.dir, "SELECT count(*) FROM deliveries WHERE wake_at IS NOT NULL")?,
        );
        engine.kill()?;
        Ok(vec![
            Figure::at_least("sustained: socket, journal, 100 rules, alerts committed", median(&rates), "events/s", 30_000.0),
            Figure::at_most("resident memory under that load, at most", memory, "MiB", 150.0),
        ])
    }

    pub async fn starts(&self) -> anyhow::Result<Vec<Figure>> {
        {
            let (_feed, engine) = self.start()?;
            let reader = reader(&self.dir)?;
            while reader.judged()?.0 < JOURNALED {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            engine.stop::<()>()?;
        }
        let (_quiet, address) = feed(Load::quiet())?;
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

pub async fn latency(dir: &Path) -> anyhow::Result<Vec<Figure>> {
    let mta = Mta::start().await;
    let rules = dir.with_extension("rules");
    rules::write(&rules, 1)?;
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
    let (feed, address) = feed(Load::steady(Some(RATE), MAILING))?;
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
