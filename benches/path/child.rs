//! The processes beside the one that measures: the feed and the engine, each this binary again. What they say on their first line is that
//! they are ready; they stop when their standard input ends.

use std::{
    fs,
    io::{self, BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use redflag::{
    config::Config,
    engine,
    simulator::{self, Mix, Options},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// What the feed is to send.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Load {
    /// Frames a second; none: as fast as they are taken.
    pub rate: Option<f64>,
    /// The share that alerts.
    pub alerting: f64,
    /// So many identifications happened before anybody listened.
    pub past: u32,
    /// Identifications a second that carry the moment they were sent as their `identId`, in microseconds.
    pub stamped: Option<f64>,
}

impl Load {
    /// Nothing happens.
    pub fn quiet() -> Self {
        Self { rate: Some(0.0), ..Self::default() }
    }

    pub fn steady(rate: Option<f64>, alerting: f64) -> Self {
        Self { rate, alerting, ..Self::default() }
    }
}

/// Where the feed is, and something that takes every webhook.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Feed {
    pub socket: String,
    pub auth: String,
    pub sink: String,
}

/// The engine is ready.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ready {
    pub rules: usize,
    pub caught_up: u64,
    /// What the first load said of the rules.
    pub diagnostics: Vec<String>,
}

/// What the feed told until it was stopped: sent, or about to be.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Sent {
    pub told: u64,
}

/// A child, which is killed when it is dropped.
pub struct Process {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    /// From the start to the first line.
    pub took: Duration,
}

impl Process {
    /// Starts this binary in a role and waits for its first line.
    pub fn start<T: DeserializeOwned>(role: &str, argument: &str) -> anyhow::Result<(Self, T)> {
        let began = Instant::now();
        let mut child = Command::new(std::env::current_exe()?)
            .args([role, argument])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("the {role} can't be started"))?;
        let input = child.stdin.take();
        let Some(output) = child.stdout.take() else { bail!("the {role} has no output") };
        let mut process = Self { child, input, output: BufReader::new(output), took: Duration::ZERO };
        let ready = process.line().with_context(|| format!("the {role} did not come up"))?;
        process.took = began.elapsed();
        Ok((process, ready))
    }

    fn line<T: DeserializeOwned>(&mut self) -> anyhow::Result<T> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        Ok(serde_json::from_str(&line)?)
    }

    /// Lets it end by itself, and reads its last word.
    pub fn stop<T: DeserializeOwned>(mut self) -> anyhow::Result<T> {
        drop(self.input.take());
        let last = self.line()?;
        self.child.wait()?;
        Ok(last)
    }

    /// As a power cut would.
    pub fn kill(mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }

    /// A size in bytes out of its status: `VmRSS`, or `VmHWM` for the most there ever was.
    pub fn memory(&self, name: &str) -> anyhow::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let kilobytes = line.and_then(|line| line.split_whitespace().next()).and_then(|number| number.parse::<u64>().ok());
        kilobytes.map(|number| number * 1_024).with_context(|| format!("no {name}"))
    }

    /// Processor time so far, user and system.
    pub fn cpu(&self) -> anyhow::Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks: u64 = fields.get(11..13).context("no times")?.iter().filter_map(|field| field.parse::<u64>().ok()).sum();
        // USER_HZ is 100 wherever Linux runs.
        Ok(Duration::from_millis(ticks * 10))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails when it has ended, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Says one line to whoever started this process.
fn say(word: &impl Serialize) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, word)?;
    writeln!(out)?;
    Ok(out.flush()?)
}

/// Waits for the end of standard input.
async fn until_told() -> anyhow::Result<()> {
    tokio::io::copy(&mut tokio::io::stdin(), &mut tokio::io::sink()).await?;
    Ok(())
}

/// The feed's process.
pub async fn feed(load: &str) -> anyhow::Result<()> {
    let load: Load = serde_json::from_str(load)?;
    let options = Options {
        rate: load.rate.unwrap_or(f64::INFINITY),
        mix: Mix::Load { alerting: load.alerting },
        history: load.past as usize + 10_000,
        ..Options::default()
    };
    let simulator = simulator::start(options).await?;
    for number in 0..load.past {
        simulator.push(ident(&format!("past-{number}"), number)).await;
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let sink = format!("http://{}/", listener.local_addr()?);
    tokio::spawn(axum::serve(listener, axum::Router::new().fallback(async || "")).into_future());
    say(&Feed { socket: simulator.socket_url(), auth: simulator.auth_url(), sink })?;
    tokio::select! {
        told = until_told() => told?,
        () = stamp(&simulator, load.stamped) => {}
    }
    let stats = simulator.stop().await;
    say(&Sent { told: stats.told_elements })
}

/// Sends stamped identifications at their pace, without an end.
async fn stamp(simulator: &simulator::Simulator, rate: Option<f64>) {
    let Some(rate) = rate else { return std::future::pending().await };
    let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / rate));
    for number in 0.. {
        ticks.tick().await;
        simulator.push(ident(&chrono::Utc::now().timestamp_micros().to_string(), number)).await;
    }
}

fn ident(id: &str, number: u32) -> String {
    format!(
        r#"{{"topic":"identResult","kyc":"WEBID","identId":"{id}","personKey":"PERS_{:05}","reason":null,"status":"success"}}"#,
        number % 10_000
    )
}

/// The engine's process.
pub async fn engine(config: &str) -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_env_filter("warn").with_writer(io::stderr).init();
    let config: Config = serde_json::from_slice(&fs::read(Path::new(config))?)?;
    let running = engine::start(&config).await?;
    say(&Ready {
        rules: running.live.load().rules.len(),
        caught_up: running.caught_up,
        diagnostics: running.first_load.diagnostics.iter().map(|finding| finding.render(None, "rules", false)).collect(),
    })?;
    until_told().await?;
    running.stop().await?;
    say(&())
}
