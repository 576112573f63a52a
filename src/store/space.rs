//! Room on the store's disk: how much there is, and a reserve for the moment when there is none.
//!
//! The reserve is a file of zeros beside the database. When the disk is full the writer gives it up and goes on in its room: what is under
//! way ends well, and the alarm can be written and sent. Without any room left the writer waits; nothing is answered, nothing is lost.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

/// The reserve's name in the store's folder.
pub const RESERVE: &str = "redflag.reserve";

/// On a small disk the reserve takes no more than this part of it.
const PART: u64 = 16;

/// The disk of one folder.
#[derive(Debug)]
pub struct Space {
    folder: PathBuf,
    reserve: u64,
    /// The reserve was given up.
    short: AtomicBool,
    /// The writer waits for room.
    waiting: AtomicBool,
    closing: AtomicBool,
}

/// What the file system says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    pub free: u64,
    pub total: u64,
}

impl Space {
    /// Looks at the folder's disk; touches nothing. A reserve of 0 is none.
    #[must_use]
    pub fn new(folder: &Path, reserve: u64) -> Self {
        let no = || AtomicBool::new(false);
        Self { folder: folder.to_owned(), reserve, short: no(), waiting: no(), closing: no() }
    }

    /// # Errors
    /// When the folder can't be looked at.
    pub fn room(&self) -> io::Result<Room> {
        let found = rustix::fs::statvfs(&self.folder)?;
        Ok(Room { free: found.f_bavail.saturating_mul(found.f_frsize), total: found.f_blocks.saturating_mul(found.f_frsize) })
    }

    /// What the store's files take up.
    #[must_use]
    pub fn used(&self) -> u64 {
        let files = [super::DATABASE.to_owned(), format!("{}-wal", super::DATABASE)];
        files.iter().filter_map(|file| fs::metadata(self.folder.join(file)).ok()).map(|found| found.len()).sum()
    }

    /// Whether the disk was full, and the reserve is in use.
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.short.load(Ordering::SeqCst)
    }

    /// Whether not even the reserve was enough.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.waiting.load(Ordering::SeqCst)
    }

    /// Makes the reserve, where it is missing and there is room for it. Answers whether it is there: then there is room.
    ///
    /// # Errors
    /// When it can't be written; see [`breaks_trust`].
    pub fn set_up(&self) -> io::Result<bool> {
        let path = self.folder.join(RESERVE);
        let has = fs::metadata(&path).map_or(0, |found| found.len());
        let Room { free, total } = self.room()?;
        let size = self.reserve.min(total / PART);
        // A little more than the reserve must be free, else it would be given up again at once.
        let whole = has >= size && size > 0 || free >= size.saturating_sub(has) + (size / 4).max(64 << 10);
        if has < size && whole {
            fill(&path, size).inspect_err(|_| drop(fs::remove_file(&path)))?;
        }
        if whole {
            self.short.store(false, Ordering::SeqCst);
        }
        Ok(whole)
    }

    /// The disk is full: gives up the reserve. Answers whether that was news; then it is worth another try at once.
    pub fn ran_out(&self) -> bool {
        let news = !self.short.swap(true, Ordering::SeqCst);
        let freed = match fs::remove_file(self.folder.join(RESERVE)) {
            Ok(()) => true,
            Err(error) => {
                if news {
                    tracing::error!(%error, "the disk is full, and there is no reserve to give up");
                }
                false
            }
        };
        if freed {
            tracing::error!(bytes = self.reserve, "the disk is full: the reserve is given up");
        }
        news || freed
    }

    pub(super) fn wait(&self, waiting: bool) {
        self.waiting.store(waiting, Ordering::SeqCst);
    }

    /// Whoever waits for room is to give up.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::SeqCst)
    }
}

/// Whether the disk can't be trusted any more: it answered with an input/output error.
#[must_use]
pub fn breaks_trust(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error())
}

/// Zeros, written, so that no file system only promises the room.
fn fill(path: &Path, size: u64) -> io::Result<()> {
    let mut file: File = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    let block = vec![0; 1 << 20];
    let mut left = size;
    while left > 0 {
        let part = usize::try_from(left).unwrap_or(usize::MAX).min(block.len());
        file.write_all(&block[..part])?;
        left -= part as u64;
    }
    file.sync_all()
}
