//! JSON lines: a file, a folder of files, or standard input; one frame a line.
//!
//! Every frame carries the place behind its line, so that after a restart nothing is read twice and nothing is left out. A followed
//! file's last line waits for its newline. A file that was cut or replaced is read from its beginning, and the log says so. Followed
//! paths are looked at twice a second: that also works on network shares, where notifications don't.

use std::{
    collections::BTreeMap,
    io::{self, SeekFrom},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    fs::{self, File},
    io::{AsyncRead, AsyncReadExt as _, AsyncSeekExt as _},
    sync::mpsc::Sender,
};
use tokio_util::sync::CancellationToken;

use self::lines::{Line, Lines};
use super::Resume;
use crate::{
    config::feeds::JsonlConfig,
    model::{
        event::{Frame, Origin, QuarantineReason, Quarantined},
        names::FeedName,
        signal::{Connection, Heard, LastTry, Meter, Signal},
        time::Clock,
    },
};

mod lines;
#[cfg(test)]
mod tests;

/// How often a followed path is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);

const CHUNK: usize = 64 * 1024;

/// What a followed folder's files are called; others are none of ours.
const EXTENSIONS: [&str; 2] = ["jsonl", "ndjson"];

/// Why a source gave up.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("reading {path:?} of feed {feed}")]
    Read {
        feed: FeedName,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the journal's position of feed {feed} can't be read back")]
    Position {
        feed: FeedName,
        #[source]
        source: serde_json::Error,
    },
}

/// Reads JSON lines as one feed.
#[derive(Debug)]
pub struct Source {
    feed: FeedName,
    config: JsonlConfig,
    clock: Arc<dyn Clock>,
    look_every: Duration,
}

/// How far each file was read, by its name: its inode and the place behind the last whole line.
type Position = BTreeMap<String, (u64, u64)>;

impl Source {
    #[must_use]
    pub fn new(feed: FeedName, config: JsonlConfig, clock: Arc<dyn Clock>) -> Self {
        Self { feed, config, clock, look_every: LOOK_EVERY }
    }

    /// Reads until the end, or until `stop` where a path is followed. Ends quietly when nobody takes the signals any more.
    ///
    /// # Errors
    /// When the path can't be read and is not followed, or `resume.position` was not written by this source.
    pub async fn run(self, resume: Resume, signals: Sender<Heard>, stop: CancellationToken) -> Result<(), SourceError> {
        let position: Position = match &resume.position {
            None => Position::new(),
            Some(text) => {
                serde_json::from_str(text).map_err(|source| SourceError::Position { feed: self.feed.clone(), source })?
            }
        };
        let limit = usize::try_from(self.config.max_message.0).unwrap_or(usize::MAX);
        let tails = position
            .into_iter()
            .map(|(name, (inode, at))| (name, Tail { inode, lines: Lines::from(at, limit), missed: false }))
            .collect();
        let path = self.config.path.clone();
        let feed = self.feed.clone();
        let Resume { meter, last_try, .. } = resume;
        let mut reading = Reading { source: self, limit, signals, meter, last_try, tails, lost: None };
        match stop.run_until_cancelled(reading.all()).await {
            None | Some(Ok(()) | Err(Halt::NobodyListens)) => Ok(()),
            Some(Err(Halt::Failed(source))) => Err(SourceError::Read { feed, path, source }),
        }
    }
}

/// A file that is read on from where it was left. It is not held open: a folder may have many.
#[derive(Debug)]
struct Tail {
    inode: u64,
    lines: Lines,
    /// The last look at the folder did not find it.
    missed: bool,
}

enum Halt {
    NobodyListens,
    Failed(io::Error),
}

impl From<io::Error> for Halt {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

struct Reading {
    source: Source,
    limit: usize,
    signals: Sender<Heard>,
    meter: Meter,
    last_try: LastTry,
    tails: BTreeMap<String, Tail>,
    /// None before the first look; then whether the path could not be read.
    lost: Option<bool>,
}

impl Reading {
    async fn all(&mut self) -> Result<(), Halt> {
        let path = self.source.config.path.clone();
        if path.as_os_str() == "-" {
            self.state(None).await?;
            return self.stream(tokio::io::stdin()).await;
        }
        let kind = fs::metadata(&path).await;
        if kind.as_ref().is_ok_and(|kind| !kind.is_dir() && !kind.is_file()) {
            let pipe = File::open(&path).await?;
            self.state(None).await?;
            return self.stream(pipe).await;
        }
        if !self.source.config.follow && !kind?.is_dir() {
            self.state(None).await?;
            let name = file_name(&path);
            self.file(&path, &name, true).await?;
            return self.send(Signal::Ended { feed: self.source.feed.clone() }).await;
        }
        loop {
            match self.look(&path).await {
                Err(Halt::Failed(error)) => self.state(Some(error)).await?,
                other => {
                    other?;
                    self.state(None).await?;
                }
            }
            tokio::time::sleep(self.source.look_every).await;
        }
    }

    /// Reads what is new at a followed path.
    async fn look(&mut self, path: &Path) -> Result<(), Halt> {
        if !fs::metadata(path).await?.is_dir() {
            File::open(path).await?;
            self.state(None).await?;
            return self.file(path, &file_name(path), false).await;
        }
        let mut found = BTreeMap::new();
        let mut entries = fs::read_dir(path).await?;
        while let Some(entry) = entries.next_entry().await? {
            let file = entry.path();
            let ours =
                file.extension().is_some_and(|extension| EXTENSIONS.iter().any(|ours| extension.eq_ignore_ascii_case(ours)));
            if ours
                && let Ok(kind) = fs::metadata(&file).await
                && kind.is_file()
            {
                found.insert(file_name(&file), (file, kind.ino()));
            }
        }
        if self.lost.is_none() {
            self.state(None).await?;
        }
        self.follow_renames(&mut found);
        let mut failed = Ok(());
        for (name, (file, _)) in found {
            match self.file(&file, &name, false).await {
                // Gone since the folder was listed: the next look will see.
                Err(Halt::Failed(error)) if error.kind() == io::ErrorKind::NotFound => {}
                // One file that can't be read holds the others up no longer than this.
                Err(Halt::Failed(error)) => failed = Err(Halt::Failed(error)),
                other => other?,
            }
        }
        failed
    }

    /// A file that was renamed keeps its place. A second name for a file that is known is left out: the first may be on its way out.
    /// The place of a file that is gone is dropped at the second look, since a listing may miss a file that is being renamed.
    fn follow_renames(&mut self, found: &mut BTreeMap<String, (PathBuf, u64)>) {
        let known: BTreeMap<u64, String> = self.tails.iter().map(|(name, tail)| (tail.inode, name.clone())).collect();
        let strangers: Vec<(String, u64)> = found
            .iter()
            .filter(|(name, _)| !self.tails.contains_key(*name))
            .map(|(name, (_, inode))| (name.clone(), *inode))
            .collect();
        for (name, inode) in strangers {
            let Some(old) = known.get(&inode) else { continue };
            if found.contains_key(old) {
                found.remove(&name);
            } else if let Some(tail) = self.tails.remove(old) {
                tracing::info!(feed = %self.source.feed, from = old, to = name, "a file was renamed; it is read on");
                self.tails.insert(name, tail);
            }
        }
        self.tails.retain(|name, tail| {
            let stays = found.contains_key(name) || !tail.missed;
            tail.missed = !found.contains_key(name);
            stays
        });
    }

    /// Reads one file from where it was left. `to_the_end`: a last line without newline counts.
    async fn file(&mut self, path: &Path, name: &str, to_the_end: bool) -> Result<(), Halt> {
        let mut file = File::open(path).await?;
        let now = file.metadata().await?;
        let mut tail = match self.tails.remove(name) {
            None => Tail { inode: now.ino(), lines: Lines::from(0, self.limit), missed: false },
            Some(tail) if tail.inode == now.ino() && tail.lines.read() <= now.len() => tail,
            Some(tail) => {
                let what = if tail.inode == now.ino() { "cut" } else { "replaced" };
                let unread = tail.lines.unfinished();
                tracing::warn!(feed = %self.source.feed, file = name, what, unread, "a file was cut or replaced; it is read from its beginning");
                Tail { inode: now.ino(), lines: Lines::from(0, self.limit), missed: false }
            }
        };
        let read = if tail.lines.read() < now.len() || to_the_end {
            file.seek(SeekFrom::Start(tail.lines.read())).await?;
            self.drain(file, &mut tail.lines, Some((name, now.ino())), to_the_end).await
        } else {
            Ok(())
        };
        self.tails.insert(name.to_owned(), tail);
        read
    }

    /// Reads something without a place: standard input, a pipe.
    async fn stream(&mut self, reader: impl AsyncRead + Unpin) -> Result<(), Halt> {
        let mut lines = Lines::from(0, self.limit);
        self.drain(reader, &mut lines, None, true).await?;
        self.send(Signal::Ended { feed: self.source.feed.clone() }).await
    }

    async fn drain(
        &mut self,
        mut reader: impl AsyncRead + Unpin,
        lines: &mut Lines,
        file: Option<(&str, u64)>,
        to_the_end: bool,
    ) -> Result<(), Halt> {
        let mut chunk = vec![0; CHUNK];
        loop {
            let size = reader.read(&mut chunk).await?;
            if size == 0 {
                break;
            }
            let mut rest = &chunk[..size];
            while let Some(line) = lines.next(&mut rest) {
                self.line(line, lines, file).await?;
            }
        }
        if to_the_end && let Some(line) = lines.last() {
            self.line(line, lines, file).await?;
        }
        Ok(())
    }

    async fn line(&mut self, line: Line, lines: &Lines, file: Option<(&str, u64)>) -> Result<(), Halt> {
        let received_at = self.source.clock.now();
        let feed = self.source.feed.clone();
        if matches!(&line, Line::Whole(bytes) if bytes.trim_ascii().is_empty()) {
            return Ok(());
        }
        self.meter.count();
        let signal = match line {
            Line::Whole(bytes) => {
                let position = file.map(|(name, inode)| self.position(name, inode, lines.behind()));
                Signal::Frame(Frame { feed, received_at, origin: Origin::File, bytes, position })
            }
            Line::TooLong { size, digest } => Signal::Refused(Quarantined {
                feed,
                received_at,
                origin: Origin::File,
                reason: QuarantineReason::TooLarge,
                detail: format!("a line of {size} bytes that ends at byte {}; {} are allowed", lines.behind(), self.limit),
                bytes: Vec::new(),
                size,
                digest,
            }),
        };
        self.send(signal).await
    }

    /// Where to go on after a line of this file; the other files stay where they are.
    fn position(&self, name: &str, inode: u64, behind: u64) -> String {
        let mut all: BTreeMap<&str, (u64, u64)> =
            self.tails.iter().map(|(name, tail)| (name.as_str(), (tail.inode, tail.lines.behind()))).collect();
        all.insert(name, (inode, behind));
        serde_json::json!(all).to_string()
    }

    /// Tells when the path can be read and when it can't, each time that changes.
    async fn state(&mut self, error: Option<io::Error>) -> Result<(), Halt> {
        match &error {
            Some(error) => self.last_try.failed(error.to_string(), None),
            None => self.last_try.succeeded(),
        }
        if self.lost == Some(error.is_some()) {
            return Ok(());
        }
        self.lost = Some(error.is_some());
        let state = error.map_or(Connection::Connected, |error| Connection::Lost { reason: error.to_string() });
        self.send(Signal::Connection { feed: self.source.feed.clone(), at: self.source.clock.now(), state }).await
    }

    async fn send(&self, signal: Signal) -> Result<(), Halt> {
        self.signals.send(Heard { signal, read: self.meter.read() }).await.map_err(|_| Halt::NobodyListens)
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}
