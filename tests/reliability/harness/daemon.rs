//! `redflag run` as a child that may die at any moment: started bare or below a wrapper (strace, faketime, `ip netns exec`), watched over
//! the notify socket as systemd would, ended by signals to its own process group. Nothing here panics: an early end is what rows look for.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, anyhow, bail};
use redflag::store::{DATABASE, Reader, SqliteStore};
use tokio::{
    net::UnixDatagram,
    process::{Child, Command},
    time::timeout,
};

use super::PATIENCE;

/// A folder with configuration, rules and log; the state may lie elsewhere.
#[derive(Clone, Debug)]
pub struct Home {
    folder: PathBuf,
    data: PathBuf,
}

impl Home {
    /// In `folder`, with its state in `data`.
    pub fn new(folder: impl Into<PathBuf>, data: impl Into<PathBuf>) -> anyhow::Result<Self> {
        let home = Self { folder: folder.into(), data: data.into() };
        fs::create_dir_all(home.path("rules"))?;
        Ok(home)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub fn data(&self) -> &Path {
        &self.data
    }

    pub fn database(&self) -> PathBuf {
        self.data.join(DATABASE)
    }

    /// Writes beside and renames, as careful editors do.
    pub fn write(&self, name: &str, text: &str) -> io::Result<()> {
        let path = self.path(name);
        let beside = path.with_extension("part");
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&beside, text)?;
        fs::rename(&beside, &path)
    }

    /// What it wrote on stderr, over all its lives.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.path("log")).unwrap_or_default()).into_owned()
    }

    /// The end of the log, for a failure's text.
    pub fn tail(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().filter(|line| !line.trim().is_empty()).collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    /// The store, whether the service runs or not.
    pub fn reader(&self) -> anyhow::Result<Reader> {
        Ok(SqliteStore::read_only(&self.database())?)
    }

    /// Waits until nobody has the store: below a wrapper redflag's end is not the wrapper's, and its last thread holds the lock.
    pub async fn unlocked(&self) -> anyhow::Result<()> {
        let begun = Instant::now();
        while let Ok(file) = File::open(self.data.join("redflag.lock"))
            && file.try_lock().is_err()
        {
            if begun.elapsed() > PATIENCE {
                bail!("killed, and yet it holds its lock");
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// Starts it below a wrapper (empty: bare), and does not wait.
    pub fn launch(&self, wrapper: &[String]) -> anyhow::Result<Daemon> {
        self.launch_with(wrapper, |_| {})
    }

    /// As [`Home::launch`], with a word about the command (its environment, its user).
    pub fn launch_with(&self, wrapper: &[String], change: impl FnOnce(&mut Command)) -> anyhow::Result<Daemon> {
        let notify = self.path("notify");
        let _ = fs::remove_file(&notify);
        let notices = UnixDatagram::bind(&notify).context("the notify socket")?;
        let log_before = fs::metadata(self.path("log")).map_or(0, |meta| meta.len());
        let log = File::options().create(true).append(true).open(self.path("log"))?;
        let mut words = wrapper.iter().map(String::as_str).chain([env!("CARGO_BIN_EXE_redflag")]);
        let mut command = Command::new(words.next().unwrap_or_default());
        command
            .args(words)
            .args(["run", "--config"])
            .arg(self.path("redflag.toml"))
            .env_remove("JOURNAL_STREAM")
            .env("REDFLAG_LOG", "info")
            .env("NOTIFY_SOCKET", &notify)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .process_group(0)
            .kill_on_drop(true);
        change(&mut command);
        let begun = Instant::now();
        let child = command.spawn().with_context(|| format!("starting {}", command.as_std().get_program().display()))?;
        Ok(Daemon { home: self.clone(), child, notices, begun, log_before, ended: None })
    }

    /// Starts it bare and waits until it is ready.
    pub async fn start(&self) -> anyhow::Result<Daemon> {
        let mut daemon = self.launch(&[])?;
        daemon.ready(PATIENCE).await?;
        Ok(daemon)
    }
}

/// One life of the service. Its whole process group dies with this value.
pub struct Daemon {
    home: Home,
    child: Child,
    /// Open as long as it lives: it goes on telling its supervisor.
    notices: UnixDatagram,
    begun: Instant,
    log_before: u64,
    ended: Option<ExitStatus>,
}

impl Daemon {
    /// Waits for `READY=1`; how long it took since the start. An end before is an error that shows the log.
    pub async fn ready(&mut self, within: Duration) -> anyhow::Result<Duration> {
        let begun = self.begun;
        tokio::select! {
            told = timeout(within, told(&self.notices, "READY=1")) => match told {
                Ok(told) => told.map(|()| begun.elapsed()),
                Err(_) => bail!("not ready within {} s; the log:\n{}", within.as_secs(), self.home.tail()),
            },
            ended = self.child.wait() => {
                let status = ended?;
                self.ended = Some(status);
                bail!("it ended instead of being ready ({status}); the log:\n{}", self.home.tail())
            }
        }
    }

    /// Waits until it has told its supervisor this.
    pub async fn tells(&self, what: &str, within: Duration) -> anyhow::Result<()> {
        timeout(within, told(&self.notices, what)).await.map_err(|_| anyhow!("{what} was not told"))?
    }

    /// Waits for its end by itself.
    pub async fn ended(&mut self, within: Duration) -> anyhow::Result<ExitStatus> {
        if let Some(status) = self.ended {
            return Ok(status);
        }
        let status = timeout(within, self.child.wait())
            .await
            .map_err(|_| anyhow!("it does not end within {} s; the log:\n{}", within.as_secs(), self.home.tail()))??;
        self.ended = Some(status);
        Ok(status)
    }

    /// Whether it still runs.
    pub fn lives(&mut self) -> bool {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().ok().flatten();
        }
        self.ended.is_none()
    }

    /// The process of redflag itself, also below a wrapper.
    pub fn id(&self) -> anyhow::Result<u32> {
        let mut id = self.child.id().context("it has ended")?;
        // A wrapper that does not exec has it as its child.
        while fs::read_link(format!("/proc/{id}/exe")).ok().as_deref() != Some(Path::new(env!("CARGO_BIN_EXE_redflag"))) {
            let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
            id = children.split_whitespace().next().context("the wrapper has no child")?.parse()?;
        }
        Ok(id)
    }

    /// A signal to redflag itself.
    pub fn signal(&self, name: &str) -> anyhow::Result<()> {
        send(name, &self.id()?.to_string())
    }

    /// `kill -9`, the wrapper included.
    pub async fn kill(mut self) -> anyhow::Result<()> {
        if self.ended.is_none() {
            self.kill_group();
            self.child.wait().await?;
        }
        self.home.unlocked().await
    }

    /// SIGTERM, and the end that follows.
    pub async fn stop(mut self) -> anyhow::Result<ExitStatus> {
        self.signal("TERM")?;
        self.ended(PATIENCE * 2).await
    }

    /// `http://host:port` of the health page.
    pub fn http(&self) -> anyhow::Result<String> {
        let log = fs::read(self.home.path("log"))?;
        let text = String::from_utf8_lossy(log.get(usize::try_from(self.log_before)?..).unwrap_or_default()).into_owned();
        let told = text.split_once("health and metrics on ").context("no health page in the log")?.1;
        Ok(told.lines().next().unwrap_or_default().trim().to_owned())
    }

    /// A page of the health server: status and text.
    pub async fn page(&self, path: &str) -> anyhow::Result<(u16, String)> {
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build()?;
        let answer = client.get(format!("{}{path}", self.http()?)).send().await?;
        Ok((answer.status().as_u16(), answer.text().await?))
    }

    /// The sum of a metric's samples whose line holds `label`.
    pub async fn metric(&self, name: &str, label: &str) -> anyhow::Result<f64> {
        let (_, page) = self.page("/metrics").await?;
        let lines = page.lines().filter(|line| line.starts_with(name) && line.contains(label));
        Ok(lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
    }

    fn kill_group(&self) {
        if let Some(id) = self.child.id() {
            let _ = send("KILL", &format!("-{id}"));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.ended.is_none() {
            self.kill_group();
        }
    }
}

/// By the shell's tool, since there is no `unsafe` here. A process that is gone already is no error.
fn send(signal: &str, whom: &str) -> anyhow::Result<()> {
    std::process::Command::new("kill").args(["-s", signal, "--", whom]).stderr(Stdio::null()).status().context("kill")?;
    Ok(())
}

async fn told(notices: &UnixDatagram, what: &str) -> anyhow::Result<()> {
    let mut notice = [0; 4096];
    loop {
        let length = notices.recv(&mut notice).await?;
        if String::from_utf8_lossy(&notice[..length]).lines().any(|line| line == what) {
            return Ok(());
        }
    }
}
