//! `redflag run` as a process of its own, supervised as systemd would: ready when it says so on the notify socket, told by signals,
//! its log in a file.

use std::{
    fmt::Write,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::{Duration, Instant},
};

use redflag::store::{Reader, SqliteStore};
use tempfile::TempDir;
use tokio::{
    net::UnixDatagram,
    process::{Child, Command},
    time::{MissedTickBehavior, interval, timeout},
};

/// How long anything may take on a machine that is busy with other things.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Looks until there is something to see; `missing` says what was waited for in vain.
pub async fn until<T>(missing: impl Fn() -> String, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    let mut ticks = interval(Duration::from_millis(20));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Some(found) = look().await {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "waited {} s in vain: {}", PATIENCE.as_secs(), missing());
    }
}

/// A folder with a configuration, rules and a store, in which the service is started again and again.
pub struct Place {
    folder: TempDir,
    /// `$REDFLAG_LOG`.
    pub log_level: &'static str,
    /// Further variables of the service.
    pub variables: Vec<(&'static str, String)>,
}

impl Place {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("rules")).unwrap();
        Self { folder, log_level: "info", variables: Vec::new() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes as careful editors do: beside, then renamed over.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let beside = path.with_file_name(format!(".{}.part", path.file_name().unwrap().to_str().unwrap()));
        fs::write(&beside, text).unwrap();
        fs::rename(&beside, &path).unwrap();
    }

    pub fn remove(&self, name: &str) {
        fs::remove_file(self.path(name)).unwrap();
    }

    /// A folder of the repository, with everything below it.
    pub fn copy(&self, from: &str, to: &str) {
        copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join(from), &self.path(to));
    }

    /// What the service wrote on stderr, over all its lives.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// The store, whether the service runs or not.
    pub fn reader(&self) -> Reader {
        SqliteStore::read_only(&self.path("data").join(redflag::store::DATABASE)).unwrap()
    }

    /// Every file below the store's folder.
    pub fn data(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let entries = fs::read_dir(self.path("data")).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.is_file()).map(|path| (path.clone(), fs::read(path).unwrap())).collect()
    }

    /// A command on `redflag.toml`: exit code, stdout, stderr.
    pub async fn command(&self, args: &[&str]) -> (i32, String, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_redflag"))
            .args(args)
            .arg("--config")
            .arg(self.path("redflag.toml"))
            .env_remove("SUDO_USER")
            .envs(self.variables.iter().cloned())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output =
            timeout(PATIENCE, output).await.unwrap_or_else(|_| panic!("{args:?} does not end; the log:\n{}", self.tail()));
        let output = output.unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    /// Starts `redflag run` on `redflag.toml` and waits until it is ready.
    pub async fn start(&self) -> Service<'_> {
        let begun = Instant::now();
        let notify = self.path("notify");
        let _ = fs::remove_file(&notify);
        let notices = UnixDatagram::bind(&notify).unwrap();
        let before = self.log().len();
        let log = File::options().create(true).append(true).open(self.path("log")).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_redflag"))
            .args(["run", "--config"])
            .arg(self.path("redflag.toml"))
            .env_remove("JOURNAL_STREAM")
            .env("REDFLAG_LOG", self.log_level)
            .envs(self.variables.iter().cloned())
            .env("NOTIFY_SOCKET", &notify)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        tokio::select! {
            ready = timeout(PATIENCE, told(&notices, "READY=1")) => assert!(ready.is_ok(), "not ready in time; the log:\n{}", self.tail()),
            ended = child.wait() => panic!("ended instead of being ready: {}; the log:\n{}", ended.unwrap(), self.tail()),
        }
        let ready_after = begun.elapsed();
        let log = self.log();
        let told = log[before..].split_once("health and metrics on ").unwrap_or_else(|| panic!("no health page in:\n{log}")).1;
        let http = told.lines().next().unwrap().to_owned();
        Service { place: self, child, notices, http, ready_after }
    }

    /// The end of the log, for a failure's text.
    pub fn tail(&self) -> String {
        let log = self.log();
        let lines: Vec<_> =
            log.lines().filter(|line| !line.contains("TRACE") && !line.contains("DEBUG") && !line.trim().is_empty()).collect();
        lines[lines.len().saturating_sub(60)..].iter().fold(String::new(), |mut text, line| {
            let _ = writeln!(text, "  {line}");
            text
        })
    }
}

/// Reads what the service tells until this comes.
async fn told(notices: &UnixDatagram, what: &str) {
    let mut notice = [0; 4096];
    loop {
        let length = notices.recv(&mut notice).await.unwrap();
        if String::from_utf8_lossy(&notice[..length]).lines().any(|line| line == what) {
            return;
        }
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// One life of the service. It dies with this value.
pub struct Service<'a> {
    place: &'a Place,
    child: Child,
    /// Open as long as the service lives: it goes on telling its supervisor.
    notices: UnixDatagram,
    http: String,
    pub ready_after: Duration,
}

impl Service<'_> {
    /// A page of the health server: status and text.
    pub async fn page(&self, path: &str) -> (u16, String) {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let answer = client.get(format!("{}{path}", self.http)).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// The sum of a metric's samples whose line holds `label`.
    pub async fn metric(&self, name: &str, label: &str) -> f64 {
        let (_, page) = self.page("/metrics").await;
        let lines = page.lines().filter(|line| line.starts_with(name) && line.contains(label));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    }

    pub async fn signal(&self, name: &str) {
        let id = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().await.unwrap().success());
    }

    /// Waits until it has told its supervisor this.
    pub async fn tells(&self, what: &str) {
        let told = timeout(PATIENCE, told(&self.notices, what)).await;
        assert!(told.is_ok(), "{what} was not told; the log:\n{}", self.place.tail());
    }

    /// SIGTERM, and the end that follows.
    pub async fn stop(self) -> (ExitStatus, Duration) {
        let begun = Instant::now();
        self.signal("TERM").await;
        (self.ended().await, begun.elapsed())
    }

    /// Waits for the end.
    pub async fn ended(mut self) -> ExitStatus {
        let Ok(ended) = timeout(PATIENCE, self.child.wait()).await else {
            panic!("it does not end; its threads:\n{}the log:\n{}", self.threads(), self.place.tail());
        };
        ended.unwrap()
    }

    /// What each of its threads waits in.
    fn threads(&self) -> String {
        let tasks = format!("/proc/{}/task", self.child.id().unwrap());
        let mut text = String::new();
        for task in fs::read_dir(tasks).unwrap() {
            let read = |name| fs::read_to_string(task.as_ref().unwrap().path().join(name)).unwrap_or_default();
            let _ = writeln!(text, "  {} {} {}", read("comm").trim(), read("wchan").trim(), read("syscall").trim());
        }
        text
    }

    /// `kill -9`.
    pub async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }
}
