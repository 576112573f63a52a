//! The rules' folder: read whole into a [`Snapshot`], and watched for changes.
//!
//! A snapshot holds the bytes that are hashed *and* compiled, so nothing can be edited between check and use. Whatever can't be read
//! is named with the reason, never skipped in silence; editors' droppings are no files of ours.
//!
//! [`watch`] says "something may have changed", debounced; it never says what. Who is told reads a snapshot and compares digests. The
//! kernel's word is taken where it comes, and never relied upon: overflowing queues, network shares and folders that are swapped or
//! made again are found by comparing metadata every other second, and whatever metadata hides by comparing contents every minute.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, Metadata},
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use notify::{EventKind, RecursiveMode, Watcher as _, event::AccessKind};
use tokio::{
    sync::{Notify, mpsc},
    time::{Instant, MissedTickBehavior, interval, timeout},
};
use tokio_util::sync::CancellationToken;

use super::source::proposal;
use crate::{config::service::Watch, model::hash::Digest};

/// Longest rule file that is read: beyond what compiles, so that the compiler can complain with a place.
pub const RULE_CAP: u64 = 1024 * 1024;
/// Longest list that is read.
pub const LIST_CAP: u64 = 64 * 1024 * 1024;
/// How deep folders may nest.
const DEPTH: usize = 8;
/// Files and folders looked at.
const ENTRIES: usize = 20_000;
/// How often metadata is compared behind the kernel's back, and where the kernel is not asked. With the time until it is quiet, what is wrong
/// with a folder that was swapped is told within five seconds.
const SLOW_CHECK: Duration = Duration::from_secs(2);
const POLL_CHECK: Duration = Duration::from_secs(1);
/// How often contents are compared: metadata can be forged or too coarse.
const FULL_CHECK: Duration = Duration::from_mins(1);

/// A rules' folder as it stood: relative names with `/`.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// `*.rhai` anywhere, `lists/*.txt|csv`, `exceptions/*`.
    pub files: BTreeMap<String, Arc<[u8]>>,
    /// What is there and could not be read, and why.
    pub unreadable: Vec<(String, String)>,
}

/// The folder itself can't be read.
#[derive(Debug, thiserror::Error)]
#[error("could not read the folder {}", directory.display())]
pub struct WatchError {
    pub directory: PathBuf,
    #[source]
    pub source: io::Error,
}

impl Snapshot {
    /// Reads every file of the folder that is a rule, a list or an exception. Blocks; FIFOs, devices and what lies outside of the folder are
    /// never opened.
    ///
    /// # Errors
    /// The folder itself can't be listed. A single file that can't be read is in [`Snapshot::unreadable`].
    pub fn read(directory: &Path) -> Result<Self, WatchError> {
        let walk = Walk::of(directory).map_err(|source| WatchError { directory: directory.to_owned(), source })?;
        let mut snapshot = Self { files: BTreeMap::new(), unreadable: walk.refused };
        for found in walk.files {
            let cap = match Ours::tell(&found.relative) {
                Ours::Rule | Ours::Exception => RULE_CAP,
                Ours::List => LIST_CAP,
                Ours::Misnamed(why) => {
                    snapshot.unreadable.push((found.relative, why.to_owned()));
                    continue;
                }
                Ours::Nothing => continue,
            };
            match read_capped(&found.path, cap) {
                Ok(bytes) => drop(snapshot.files.insert(found.relative, bytes.into())),
                Err(why) => snapshot.unreadable.push((found.relative, why)),
            }
        }
        snapshot.unreadable.sort();
        Ok(snapshot)
    }

    /// Of all names and bytes, and of what could not be read.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let files = self.files.iter().flat_map(|(name, bytes)| [name.as_bytes(), bytes]);
        let unreadable = self.unreadable.iter().flat_map(|(name, why)| [name.as_bytes(), why.as_bytes()]);
        let count = (self.files.len() as u64).to_le_bytes();
        Digest::of_parts(std::iter::once(count.as_slice()).chain(files).chain(unreadable))
    }
}

/// What a file of the rules' folder is to us.
enum Ours {
    Rule,
    List,
    Exception,
    /// It looks as if somebody meant it to count, and it doesn't.
    Misnamed(&'static str),
    Nothing,
}

impl Ours {
    fn tell(relative: &str) -> Self {
        let (folder, name) = relative.rsplit_once('/').unwrap_or(("", relative));
        let ending = name.rsplit_once('.').map(|(_, ending)| ending);
        match (folder, ending) {
            ("lists", Some("txt" | "csv")) => Self::List,
            ("lists", Some("md")) => Self::Nothing,
            ("lists", _) => Self::Misnamed("a list is a .txt or a .csv file"),
            ("exceptions", _) => Self::Exception,
            (_, Some("rhai")) => Self::Rule,
            // `a.RHAI`, `a.rahi`, and `a.rhai.txt`, which some editors make of it.
            (_, Some(ending)) if name.to_lowercase().contains(".rhai") || proposal(ending, ["rhai"]).is_some() => {
                Self::Misnamed("a rule's file ends in .rhai, in small letters")
            }
            _ => Self::Nothing,
        }
    }
}

/// What editors and copying tools leave: backups, swap files, locks, half-copied files.
fn dropping(name: &str) -> bool {
    const ENDINGS: [&str; 7] = ["~", ".swp", ".swo", ".swx", ".tmp", ".part", ".bak"];
    name.starts_with('.')
        || name == "4913"
        || (name.starts_with('#') && name.ends_with('#'))
        || ENDINGS.iter().any(|ending| name.ends_with(ending))
}

/// A folder's files, links followed as long as they stay inside.
#[derive(Default)]
struct Walk {
    files: Vec<Found>,
    /// Canonical paths and identities of the folders, to notice that one was replaced.
    folders: BTreeSet<(PathBuf, u64)>,
    refused: Vec<(String, String)>,
}

struct Found {
    relative: String,
    path: PathBuf,
    metadata: Metadata,
}

impl Walk {
    fn of(directory: &Path) -> io::Result<Self> {
        let root = directory.canonicalize()?;
        let mut walk = Self::default();
        walk.folder(&root, &root, "", 0)?;
        walk.files.sort_by(|a, b| a.relative.cmp(&b.relative));
        Ok(walk)
    }

    fn folder(&mut self, root: &Path, path: &Path, relative: &str, depth: usize) -> io::Result<()> {
        let identity = identity(&fs::metadata(path)?);
        if !self.folders.insert((path.to_owned(), identity)) {
            return Ok(()); // A link back: its files are known under their other name.
        }
        let mut names = fs::read_dir(path)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()?;
        names.sort_unstable();
        for name in names {
            let Some(name) = name.to_str() else {
                self.refused.push((join(relative, &name.to_string_lossy()), "its name is not UTF-8".to_owned()));
                continue;
            };
            if dropping(name) {
                continue;
            }
            let relative = join(relative, name);
            if let Err(why) = self.entry(root, path.join(name), &relative, depth) {
                self.refused.push((relative, why));
            }
        }
        Ok(())
    }

    /// One entry of a folder whose path holds no link; the error is why it is refused.
    fn entry(&mut self, root: &Path, mut path: PathBuf, relative: &str, depth: usize) -> Result<(), String> {
        if self.files.len() + self.folders.len() >= ENTRIES {
            return Err(format!("the folder holds more than {ENTRIES} files"));
        }
        let mut metadata = fs::symlink_metadata(&path).map_err(|error| error.to_string())?;
        if metadata.is_symlink() {
            path = path.canonicalize().map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => "a link to nothing".to_owned(),
                _ => error.to_string(),
            })?;
            if !path.starts_with(root) {
                return Err("a link out of the rules' folder".to_owned());
            }
            metadata = fs::metadata(&path).map_err(|error| error.to_string())?;
        }
        if metadata.is_dir() {
            if depth + 1 >= DEPTH {
                return Err(format!("folders nest deeper than {DEPTH}"));
            }
            return self.folder(root, &path, relative, depth + 1).map_err(|error| error.to_string());
        }
        if !metadata.is_file() {
            return Err("neither a file nor a folder".to_owned());
        }
        self.files.push(Found { relative: relative.to_owned(), path, metadata });
        Ok(())
    }

    /// Of names and metadata, of the folders, and of contents if asked.
    fn fingerprint(&self, contents: bool) -> Digest {
        let mut parts: Vec<Vec<u8>> = Vec::new();
        for found in &self.files {
            parts.push(found.relative.clone().into_bytes());
            parts.push(stamp(&found.metadata).into_bytes());
            if contents && let Ok(bytes) = read_capped(&found.path, LIST_CAP) {
                parts.push(Digest::of(&bytes).as_bytes().to_vec());
            }
        }
        for (path, identity) in &self.folders {
            parts.push(format!("{}\n{identity}", path.display()).into_bytes());
        }
        parts.extend(self.refused.iter().map(|(name, why)| format!("{name}\n{why}").into_bytes()));
        Digest::of_parts(parts.iter().map(Vec::as_slice))
    }
}

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

#[cfg(unix)]
fn identity(metadata: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}

#[cfg(not(unix))]
fn identity(_: &Metadata) -> u64 {
    0
}

/// Whatever changes when a file does. The time of change can't be set back by copying tools, unlike the time of modification.
#[cfg(unix)]
fn stamp(metadata: &Metadata) -> String {
    use std::os::unix::fs::MetadataExt as _;
    format!(
        "{} {} {} {} {} {} {}",
        metadata.len(),
        metadata.ino(),
        metadata.mtime(),
        metadata.mtime_nsec(),
        metadata.ctime(),
        metadata.ctime_nsec(),
        metadata.mode()
    )
}

#[cfg(not(unix))]
fn stamp(metadata: &Metadata) -> String {
    format!("{} {:?}", metadata.len(), metadata.modified().ok())
}

/// Reads a plain file; the error is why not.
fn read_capped(path: &Path, cap: u64) -> Result<Vec<u8>, String> {
    // Asked again right before opening: opening a FIFO would wait for its writer.
    let metadata = fs::symlink_metadata(path).map_err(|error| error.to_string())?;
    if !metadata.is_file() {
        return Err("neither a file nor a folder".to_owned());
    }
    let mut bytes = Vec::with_capacity(metadata.len().min(cap) as usize + 1);
    let file = fs::File::open(path).map_err(|error| error.to_string())?;
    file.take(cap + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > cap {
        return Err(format!("larger than {} KiB", cap / 1024));
    }
    Ok(bytes)
}

/// Watches folders until `stop`, and says `()` once at the start (what changed between the first load and the first watch must not be missed)
/// and whenever something may have changed: when no change came for `quiet`, at most `at_most` after the first one. A folder may be
/// missing and come later. A signal that still waits to be taken stands for all that follow.
pub async fn watch(
    directories: Vec<PathBuf>,
    how: Watch,
    quiet: Duration,
    at_most: Duration,
    changed: mpsc::Sender<()>,
    stop: CancellationToken,
) {
    let directories: Vec<PathBuf> =
        directories.into_iter().map(|directory| std::path::absolute(&directory).unwrap_or(directory)).collect();
    let touched = Arc::new(Notify::new());
    let mut state = State { directories: directories.into(), touched: Arc::clone(&touched), watcher: None, seen: None };
    let mut told = state.look(false).await;
    state.arm(how, &told);
    let mut contents = told.contents;
    let check = if how == Watch::Poll { POLL_CHECK } else { SLOW_CHECK };
    let mut slow = interval(check);
    slow.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut next_full = Instant::now() + FULL_CHECK;
    let mut tell = true;
    loop {
        if tell && matches!(changed.try_send(()), Err(mpsc::error::TrySendError::Closed(()))) {
            return;
        }
        let kernel = tokio::select! {
            () = stop.cancelled() => return,
            () = touched.notified() => true,
            _ = slow.tick() => false,
        };
        if !kernel {
            let full = Instant::now() >= next_full;
            if full {
                next_full = Instant::now() + FULL_CHECK;
            }
            let now = state.look(full).await;
            let differs = now.metadata != told.metadata || (full && contents.is_some() && now.contents != contents);
            if full {
                contents = now.contents;
            }
            if !differs {
                tell = false;
                continue;
            }
        }
        told = tokio::select! {
            () = stop.cancelled() => return,
            settled = state.settle(quiet, at_most) => settled,
        };
        if state.seen != Some(told.folders) {
            // New folders are watched before they are looked at again, so that nothing falls between.
            state.arm(how, &told);
            told = state.look(false).await;
        }
        tell = true;
    }
}

/// How the folders look.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Look {
    metadata: Digest,
    folders: Digest,
    contents: Option<Digest>,
}

struct State {
    directories: Arc<[PathBuf]>,
    touched: Arc<Notify>,
    watcher: Option<notify::RecommendedWatcher>,
    /// The folders that the watcher was set up for.
    seen: Option<Digest>,
}

impl State {
    /// Walks the folders, off the async threads.
    async fn look(&self, contents: bool) -> Look {
        let directories = Arc::clone(&self.directories);
        let look = move || {
            let walks: Vec<_> = directories.iter().map(|directory| Walk::of(directory)).collect();
            let whole = |contents: bool| {
                let parts: Vec<Vec<u8>> = walks
                    .iter()
                    .map(|walk| match walk {
                        Ok(walk) => walk.fingerprint(contents).as_bytes().to_vec(),
                        Err(error) => error.kind().to_string().into_bytes(),
                    })
                    .collect();
                Digest::of_parts(parts.iter().map(Vec::as_slice))
            };
            let folders: Vec<Vec<u8>> = walks
                .iter()
                .map(|walk| walk.as_ref().map_or_else(|_| Vec::new(), |walk| format!("{:?}", walk.folders).into_bytes()))
                .collect();
            let folders = Digest::of_parts(folders.iter().map(Vec::as_slice));
            Look { metadata: whole(false), folders, contents: contents.then(|| whole(true)) }
        };
        tokio::task::spawn_blocking(look).await.unwrap_or_else(|error| {
            tracing::error!(%error, "could not look at the watched folders");
            Look { metadata: Digest::default(), folders: Digest::default(), contents: None }
        })
    }

    /// Waits until nothing moved for `quiet`, at most for `at_most`.
    async fn settle(&self, quiet: Duration, at_most: Duration) -> Look {
        let end = Instant::now() + at_most;
        let mut last = self.look(false).await;
        loop {
            let moved = timeout(quiet.min(end.saturating_duration_since(Instant::now())), self.touched.notified()).await.is_ok();
            let now = self.look(false).await;
            if (!moved && now == last) || Instant::now() >= end {
                return now;
            }
            last = now;
        }
    }

    /// Asks the kernel about the folders as they stand, the new watcher before the old one goes. Failing that, the slow check remains.
    fn arm(&mut self, how: Watch, look: &Look) {
        self.seen = Some(look.folders);
        if how == Watch::Poll {
            return;
        }
        let touched = Arc::clone(&self.touched);
        let directories = Arc::clone(&self.directories);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| !matters(&event, &directories)) {
                return;
            }
            touched.notify_one();
        });
        let mut watcher = match watcher {
            Ok(watcher) => watcher,
            Err(error) => {
                tracing::warn!(%error, "the kernel can't watch folders; changes are found by looking every few seconds");
                self.watcher = None;
                return;
            }
        };
        for directory in &*self.directories {
            // The folder above tells when the folder itself is swapped, removed or made again.
            let above = directory.parent().map(|above| watcher.watch(above, RecursiveMode::NonRecursive));
            let inside = watcher.watch(directory, RecursiveMode::Recursive);
            for error in [above, Some(inside)].into_iter().flatten().filter_map(Result::err) {
                tracing::warn!(%error, directory = %directory.display(), "a folder can't be watched; its changes are found by looking every few seconds");
            }
        }
        self.watcher = Some(watcher);
    }
}

/// Whether an event may mean a change of ours: reading is none (we read ourselves), nor are droppings, nor the folder above.
fn matters(event: &notify::Event, directories: &[PathBuf]) -> bool {
    if event.need_rescan() {
        return true;
    }
    if matches!(event.kind, EventKind::Access(kind) if !matches!(kind, AccessKind::Close(notify::event::AccessMode::Write))) {
        return false;
    }
    event.paths.is_empty()
        || event.paths.iter().any(|path| {
            directories.iter().any(|directory| {
                path.strip_prefix(directory).is_ok_and(|inner| {
                    // `..data` links are how mounted configuration is swapped.
                    inner.iter().all(|part| part.to_str().is_none_or(|name| name == "..data" || !dropping(name)))
                })
            })
        })
}

#[cfg(test)]
mod tests;
