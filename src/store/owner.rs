//! One owner: the lock on the store's folder, and the word in it about who holds it.
//!
//! The lock is what counts. The text in its file is for whoever finds it taken: who that is, and where its control socket lies.

use std::{
    fmt, fs,
    fs::{File, OpenOptions, TryLockError},
    io,
    io::{Seek as _, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::mpsc,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{StoreError, open::make_file};
use crate::model::time::Timestamp;

/// The lock's name in the store's folder.
const LOCK: &str = "redflag.lock";

/// How long an owner waits for a command that opened the store itself: such a one is done in a moment.
const VISIT: Duration = Duration::from_secs(10);

/// Who holds the lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    pub pid: u32,
    /// The command: `run`, or what opened the store itself while nothing ran.
    pub what: String,
    /// A command that opened the store itself, and leaves in a moment.
    pub visiting: bool,
    pub since: Timestamp,
    /// Where it takes commands.
    pub control: Option<PathBuf>,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pid {}, `redflag {}` since {}", self.pid, self.what, self.since.format("%Y-%m-%d %H:%M:%S UTC"))
    }
}

impl Holder {
    /// Who holds the store of that folder, or held it last.
    #[must_use]
    pub fn of(data_dir: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(data_dir.join(LOCK)).ok()?).ok()
    }

    fn write(&self, lock: &mut File) -> io::Result<()> {
        lock.set_len(0)?;
        lock.rewind()?;
        lock.write_all(format!("{}\n", serde_json::to_string(self)?).as_bytes())
    }
}

/// Writes where the owner takes commands. Only for whoever holds the lock.
pub(super) fn announce(data_dir: &Path, control: &Path) -> io::Result<()> {
    let Some(holder) = Holder::of(data_dir) else { return Ok(()) };
    let holder = Holder { control: Some(control.to_owned()), ..holder };
    holder.write(&mut OpenOptions::new().write(true).open(data_dir.join(LOCK))?)
}

/// Takes the lock; waits a while for one who is about to leave.
pub(super) fn take(data_dir: &Path, holder: &Holder) -> Result<File, StoreError> {
    let path = data_dir.join(LOCK);
    let refused = |source| StoreError::Lock { path: path.clone(), source };
    let lock = make_file(&path).map_err(refused)?;
    belong(&lock, data_dir);
    let mut lock = match lock.try_lock() {
        Ok(()) => lock,
        Err(TryLockError::WouldBlock) if Holder::of(data_dir).is_some_and(|holder| holder.visiting) => {
            wait(lock).map_err(refused)?.ok_or_else(|| second(data_dir, &path))?
        }
        Err(TryLockError::WouldBlock) => return Err(second(data_dir, &path)),
        Err(TryLockError::Error(source)) => return Err(refused(source)),
    };
    holder.write(&mut lock).map_err(refused)?;
    Ok(lock)
}

fn second(data_dir: &Path, path: &Path) -> StoreError {
    StoreError::SecondOwner { path: path.to_owned(), holder: Holder::of(data_dir).map(Box::new) }
}

/// A lock that is asked for has no time limit of its own: a thread waits for it. One that comes too late is let go at once.
fn wait(lock: File) -> io::Result<Option<File>> {
    let (taken, comes) = mpsc::channel();
    std::thread::Builder::new().name("redflag-lock".to_owned()).spawn(move || {
        let result = lock.lock().map(|()| lock);
        drop(taken.send(result));
    })?;
    comes.recv_timeout(VISIT).ok().transpose()
}

/// What root makes in another's folder is the other's: else the service could not open it. Who may not do this needs not.
fn belong(file: &File, folder: &Path) {
    if let (Ok(file_of), Ok(folder_of)) = (file.metadata(), fs::metadata(folder))
        && file_of.uid() != folder_of.uid()
    {
        drop(std::os::unix::fs::fchown(file, Some(folder_of.uid()), Some(folder_of.gid())));
    }
}
