//! Opening: the folder, the lock, the connections, the schema. Reads nothing that grows with the journal.

use std::{
    fmt,
    fs::{self, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rusqlite::{Connection, ErrorCode, OpenFlags, config::DbConfig, params};

use super::{
    StoreError,
    rows::{Whole, failed},
    schema::{self, MIGRATIONS},
    writer::Marks,
};
use crate::model::{
    ids::Seq,
    time::{Clock, SystemClock, Timestamp},
};

/// The database's name in its folder.
pub const DATABASE: &str = "redflag.db";
const LOCK: &str = "redflag.lock";

/// The first version without the WAL-reset bug, in which a commit that races a checkpoint can be lost.
const OLDEST_SQLITE: (i32, &str) = (3_051_003, "3.51.3");

/// How long a statement waits for another process that holds the file.
const BUSY: Duration = Duration::from_secs(5);

/// Called once, by the writer, when the disk can't be trusted any more. It is to end the process; should it return, nothing more is
/// acknowledged.
pub type OnFatal = Arc<dyn Fn(&StoreError) + Send + Sync>;

/// How a transaction is made durable: `COMMIT`, or what a test puts in its place.
pub(super) type Durably = Arc<dyn Fn(&Connection) -> rusqlite::Result<()> + Send + Sync>;

/// How the store is opened.
#[derive(Clone)]
pub struct Options {
    pub data_dir: PathBuf,
    pub clock: Arc<dyn Clock>,
    pub on_fatal: OnFatal,
    pub(super) durably: Durably,
}

impl Options {
    /// In `data_dir`, by the machine's clock; a disk that can't be trusted ends the process with exit code 74 (input/output error).
    #[must_use]
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            clock: Arc::new(SystemClock),
            on_fatal: Arc::new(|_| std::process::exit(74)),
            durably: Arc::new(|connection| connection.execute_batch("COMMIT")),
        }
    }

    #[must_use]
    pub fn clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    #[must_use]
    pub fn on_fatal(self, on_fatal: impl Fn(&StoreError) + Send + Sync + 'static) -> Self {
        Self { on_fatal: Arc::new(on_fatal), ..self }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options").field("data_dir", &self.data_dir).finish_non_exhaustive()
    }
}

/// What opening found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// The last owner did not close the store: events above the cursor may hold what stopped it.
    pub unclean: bool,
    /// Where a damaged store was moved; a fresh one was begun. (Not done yet: a damaged store is an error.)
    pub set_aside: Option<PathBuf>,
}

/// An owned database: what the writer starts with.
#[derive(Debug)]
pub(super) struct Owned {
    pub path: PathBuf,
    pub lock: File,
    pub connection: Connection,
    pub marks: Marks,
    pub opened: Opened,
}

/// Takes the folder and its database.
pub(super) fn own(options: &Options) -> Result<Owned, StoreError> {
    if rusqlite::version_number() < OLDEST_SQLITE.0 {
        return Err(StoreError::OldSqlite { found: rusqlite::version(), needed: OLDEST_SQLITE.1 });
    }
    make_folder(&options.data_dir)?;
    let lock = take_lock(&options.data_dir.join(LOCK))?;
    let path = options.data_dir.join(DATABASE);
    make_file(&path).map_err(|source| StoreError::File { path: path.clone(), source })?;
    let (connection, marks, unclean) = take_database(&path, options.clock.now()).map_err(|error| damaged(error, &path))?;
    Ok(Owned { path, lock, connection, marks, opened: Opened { unclean, set_aside: None } })
}

fn take_database(path: &Path, now: Timestamp) -> Result<(Connection, Marks, bool), StoreError> {
    let operation = "opening the store";
    let mut connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(failed(operation))?;
    schema::inspect(&connection, path, MIGRATIONS)?;
    for_writing(&connection).map_err(failed(operation))?;
    schema::migrate(&mut connection, MIGRATIONS, now)?;
    let clean: bool = connection.query_row("SELECT clean FROM service", [], |row| row.get(0)).map_err(failed(operation))?;
    connection
        .execute("UPDATE service SET clean = 0, opened_at = ?1", params![now.timestamp_micros()])
        .map_err(failed(operation))?;
    // Whoever held a lease held the lock, too, and is gone: what was being sent is due again at once, not when the lease runs out.
    connection
        .execute("UPDATE deliveries SET state = 'waiting', wake_at = due_at WHERE wake_at IS NOT NULL AND state = 'leased'", [])
        .map_err(failed(operation))?;
    let last = last(&connection).map_err(failed(operation))?;
    let judged = judged(&connection).map_err(failed(operation))?;
    Ok((connection, Marks { last, judged }, !clean))
}

/// A connection that only reads. The schema must be one that this redflag knows.
pub(super) fn connect_reader(path: &Path) -> Result<Connection, StoreError> {
    let operation = "opening the store for reading";
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(failed(operation))?;
    connection.pragma_update(None, "query_only", true).map_err(failed(operation))?;
    connection.pragma_update(None, "cache_size", -2_048).map_err(failed(operation))?;
    Ok(connection)
}

/// As [`connect_reader`], for a file that nobody has looked at yet.
pub(super) fn connect_stranger(path: &Path) -> Result<Connection, StoreError> {
    let look = || {
        let connection = connect_reader(path)?;
        schema::inspect(&connection, path, MIGRATIONS)?;
        Ok(connection)
    };
    look().map_err(|error| damaged(error, path))
}

/// The last journaled event: the end of a B-tree, not a scan.
pub(super) fn last(connection: &Connection) -> rusqlite::Result<Seq> {
    connection.query_row("SELECT coalesce(max(seq), 0) FROM events", [], |row| Ok(Seq(row.get::<_, Whole>(0)?.0)))
}

/// The cursor: the ledger's end.
pub(super) fn judged(connection: &Connection) -> rusqlite::Result<Seq> {
    let end = "SELECT coalesce((SELECT to_seq FROM ledger ORDER BY from_seq DESC LIMIT 1), 0)";
    connection.query_row(end, [], |row| Ok(Seq(row.get::<_, Whole>(0)?.0)))
}

fn connect(path: &Path, access: OpenFlags) -> rusqlite::Result<Connection> {
    // Each connection is used by one thread at a time, so that SQLite's own mutex is not needed.
    let connection = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(64);
    // Closing must not write: the writer checkpoints by its own decision, and sees how that ends.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    connection.pragma_update(None, "temp_store", "memory")?;
    // Mapped pages count as resident memory and turn a read error into a signal.
    connection.pragma_update(None, "mmap_size", 0)?;
    Ok(connection)
}

fn for_writing(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "cache_size", -16_384)?;
    // SQLite's own checkpoint after a commit swallows its errors, a failed fsync among them.
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    connection.pragma_update(None, "journal_size_limit", 64 << 20)
}

fn make_folder(path: &Path) -> Result<(), StoreError> {
    if path.is_dir() {
        return Ok(());
    }
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .and_then(|()| path.canonicalize())
        .and_then(|made| made.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all()))
        .map_err(|source| StoreError::Folder { path: path.to_owned(), source })
}

fn take_lock(path: &Path) -> Result<File, StoreError> {
    let lock = make_file(path).map_err(|source| StoreError::Lock { path: path.to_owned(), source })?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(StoreError::SecondOwner { path: path.to_owned() }),
        Err(TryLockError::Error(source)) => Err(StoreError::Lock { path: path.to_owned(), source }),
    }
}

/// Only the owner may read it; SQLite gives its side files the same mode.
fn make_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

fn damaged(error: StoreError, path: &Path) -> StoreError {
    match error {
        StoreError::Sqlite { source, .. }
            if matches!(source.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)) =>
        {
            StoreError::Damaged { path: path.to_owned(), detail: source.to_string() }
        }
        other => other,
    }
}
