//! Opening: the folder, the lock, whether the files can be trusted, the connections, the schema. Only the look at the files grows with the
//! journal (a quarter of a second a gigabyte that the machine still has in memory).

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use chrono::TimeDelta;
use rusqlite::{Connection, ErrorCode, OpenFlags, config::DbConfig, params};

use super::{
    StoreError, aside,
    guard::{self, Damage, Guard},
    mark::Facts,
    owner::{self, Holder},
    rows::{Whole, failed},
    schema::{self, MIGRATIONS},
    space::Space,
    writer::Marks,
};
use crate::model::{
    ids::Seq,
    time::{Clock, SystemClock, Timestamp},
};

/// The database's name in its folder.
pub const DATABASE: &str = "redflag.db";

/// The first version without the WAL-reset bug, in which a commit that races a checkpoint can be lost.
const OLDEST_SQLITE: (i32, &str) = (3_051_003, "3.51.3");

/// How long a statement waits for another process that holds the file.
const BUSY: Duration = Duration::from_secs(5);

/// A delivery that waits longer than this at the start is tried at once.
const FAR: TimeDelta = TimeDelta::hours(1);

/// Called once, by the writer, when the disk can't be trusted any more. It is to end the process; should it return, nothing more is
/// acknowledged.
pub type OnFatal = Arc<dyn Fn(&StoreError) + Send + Sync>;

/// Called for each portion of the store that a start has checked: somebody waits, and may wait longer while it gets on.
pub type OnChecked = Arc<dyn Fn() + Send + Sync>;

/// How a transaction is made durable: `COMMIT`, or what a test puts in its place.
pub(super) type Durably = Arc<dyn Fn(&Connection) -> rusqlite::Result<()> + Send + Sync>;

/// How the store is opened.
#[derive(Clone)]
pub struct Options {
    pub data_dir: PathBuf,
    pub clock: Arc<dyn Clock>,
    pub on_fatal: OnFatal,
    pub on_checked: OnChecked,
    pub(super) durably: Durably,
    /// Who waits for room when the disk is full; without it a request fails.
    pub space: Option<Arc<Space>>,
    /// How long a start after a clean stop looks at the pages before it leaves the rest to the writer.
    pub(super) patience: Duration,
    /// Which command opens it.
    what: String,
    visiting: bool,
}

impl Options {
    /// In `data_dir`, by the machine's clock; a disk that can't be trusted ends the process with exit code 74 (input/output error).
    #[must_use]
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            clock: Arc::new(SystemClock),
            on_fatal: Arc::new(|_| std::process::exit(74)),
            on_checked: Arc::new(|| ()),
            durably: Arc::new(|connection| connection.execute_batch("COMMIT")),
            space: None,
            patience: Duration::from_millis(500),
            what: "run".to_owned(),
            visiting: false,
        }
    }

    /// For a command that looks or changes something while nothing runs, and leaves: it makes no store and migrates none, and the next start
    /// still learns how the last run ended.
    #[must_use]
    pub fn visiting(self, what: impl Into<String>) -> Self {
        Self { what: what.into(), visiting: true, ..self }
    }

    fn holder(&self) -> Holder {
        let (what, since) = (self.what.clone(), self.clock.now());
        Holder { pid: std::process::id(), what, visiting: self.visiting, since, control: None }
    }

    #[must_use]
    pub fn clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    #[must_use]
    pub fn on_fatal(self, on_fatal: impl Fn(&StoreError) + Send + Sync + 'static) -> Self {
        Self { on_fatal: Arc::new(on_fatal), ..self }
    }

    #[must_use]
    pub fn on_checked(self, on_checked: impl Fn() + Send + Sync + 'static) -> Self {
        Self { on_checked: Arc::new(on_checked), ..self }
    }
}

impl Options {
    /// A full disk is waited for, and its reserve given up.
    #[must_use]
    pub fn space(self, space: Arc<Space>) -> Self {
        Self { space: Some(space), ..self }
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
    /// Where a damaged store was moved; a fresh one was begun.
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
    pub guard: Guard,
    /// Open from before SQLite's own connections until after them: closing any descriptor of a file gives up the process's locks on it.
    pub file: Arc<File>,
    pub visiting: bool,
}

/// Takes the folder and its database.
pub(super) fn own(options: &Options) -> Result<Owned, StoreError> {
    if rusqlite::version_number() < OLDEST_SQLITE.0 {
        return Err(StoreError::OldSqlite { found: rusqlite::version(), needed: OLDEST_SQLITE.1 });
    }
    let path = options.data_dir.join(DATABASE);
    if !options.visiting {
        make_folder(&options.data_dir)?;
    } else if !path.try_exists().map_err(|source| StoreError::File { path: path.clone(), source })? {
        return Err(StoreError::Nothing { path });
    }
    let lock = owner::take(&options.data_dir, &options.holder())?;
    if !options.visiting {
        aside::resume(&options.data_dir)?;
    }
    let taken = match take(options)? {
        Ok(taken) => taken,
        // To set it aside is for the service, which tells it.
        Err((damage, _)) if options.visiting => return Err(StoreError::Damaged { path, detail: damage.what }),
        Err((damage, facts)) => {
            let aside = aside::begin_anew(&options.data_dir, &damage, facts.as_ref(), options.clock.now())?;
            let mut taken = take(options)?.map_err(|(damage, _)| StoreError::Damaged { path, detail: damage.what })?;
            taken.opened.set_aside = Some(aside);
            taken
        }
    };
    // SQLite has made its side files by now, and passes over a folder that can't be synced: after a power loss the log could be gone.
    sync_folder(&options.data_dir).map_err(|source| StoreError::Folder { path: options.data_dir.clone(), source })?;
    let Taken { path, connection, marks, opened, guard, file } = taken;
    Ok(Owned { path, lock, connection, marks, opened, guard, file, visiting: options.visiting })
}

struct Taken {
    path: PathBuf,
    connection: Connection,
    marks: Marks,
    opened: Opened,
    guard: Guard,
    file: Arc<File>,
}

/// Looks at the files and opens them; what is damaged is answered with what the mark beside it says.
fn take(options: &Options) -> Result<Result<Taken, (Damage, Option<Facts>)>, StoreError> {
    let (folder, now) = (options.data_dir.as_path(), options.clock.now());
    let path = folder.join(DATABASE);
    let file = make_file(&path).map(Arc::new).map_err(|source| StoreError::File { path: path.clone(), source })?;
    let mut found = guard::look(folder, &file, options.patience, &*options.on_checked)
        .map_err(|source| StoreError::Guard { operation: "checking the store", source })?;
    if let Some(damage) = found.damage.take() {
        return Ok(Err((damage, found.facts)));
    }
    let (connection, marks, unclean) =
        match take_database(&path, now, found.ask_sqlite, options.visiting).map_err(|error| damaged(error, &path)) {
            Err(StoreError::Damaged { detail, .. }) => return Ok(Err((Damage::somewhere(detail), found.facts))),
            taken => taken?,
        };
    let frames = frames(&connection).map_err(failed("reading the length of the write-ahead log"))?;
    let guard = Guard::begin(folder, Arc::clone(&file), found, marks, &connection, frames)?;
    Ok(Ok(Taken { path, connection, marks, opened: Opened { unclean, set_aside: None }, guard, file }))
}

/// An empty store with the newest schema.
pub(super) fn begin(path: &Path, now: Timestamp) -> Result<Connection, StoreError> {
    let operation = "beginning a store";
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_URI;
    let mut connection = connect(path, flags).map_err(failed(operation))?;
    for_writing(&connection).map_err(failed(operation))?;
    schema::migrate(&mut connection, MIGRATIONS, now)?;
    Ok(connection)
}

fn take_database(path: &Path, now: Timestamp, ask: bool, visiting: bool) -> Result<(Connection, Marks, bool), StoreError> {
    let operation = "opening the store";
    let mut connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(failed(operation))?;
    schema::inspect(&connection, path, MIGRATIONS)?;
    for_writing(&connection).map_err(failed(operation))?;
    if ask && let Some(damage) = guard::asked(&connection)? {
        return Err(StoreError::Damaged { path: path.to_owned(), detail: damage.what });
    }
    if visiting {
        schema::up_to_date(&connection, path, MIGRATIONS)?;
    } else {
        schema::migrate(&mut connection, MIGRATIONS, now)?;
    }
    let clean: bool = connection.query_row("SELECT clean FROM service", [], |row| row.get(0)).map_err(failed(operation))?;
    if !visiting {
        connection
            .execute(
                // The time for which nothing ran, as far as it is known: since the last sign of life.
                "UPDATE service SET clean = 0, opened_at = ?1, alive_at = ?1, \
                 away = away + CASE WHEN alive_at = 0 THEN 0 ELSE max(0, ?1 - alive_at) END",
                params![now.timestamp_micros()],
            )
            .map_err(failed(operation))?;
    }
    // Whoever held a lease held the lock, too, and is gone: what was being sent is due again at once, not when the lease runs out.
    connection
        .execute("UPDATE deliveries SET state = 'waiting', wake_at = due_at WHERE wake_at IS NOT NULL AND state = 'leased'", [])
        .map_err(failed(operation))?;
    // Due far from now: the clock was set back since. Nothing waits for that.
    connection
        .execute(
            "UPDATE deliveries SET wake_at = ?1, due_at = ?1 WHERE wake_at > ?2",
            params![now.timestamp_micros(), (now + FAR).timestamp_micros()],
        )
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

/// Frames in the write-ahead log; none is moved.
fn frames(connection: &Connection) -> rusqlite::Result<u64> {
    connection
        .query_row("PRAGMA wal_checkpoint(noop)", [], |row| row.get::<_, i64>(1))
        .map(|log| u64::try_from(log).unwrap_or_default())
}

/// The last journaled event: the end of a B-tree, not a scan. A store that followed a damaged one goes on from its end, above what it took over.
pub(super) fn last(connection: &Connection) -> rusqlite::Result<Seq> {
    let end = "SELECT max(coalesce((SELECT max(seq) FROM events), 0), coalesce((SELECT max(last) FROM set_aside), 0))";
    connection.query_row(end, [], |row| Ok(Seq(row.get::<_, Whole>(0)?.0)))
}

/// The cursor: the ledger's end.
pub(super) fn judged(connection: &Connection) -> rusqlite::Result<Seq> {
    let end = "SELECT coalesce((SELECT to_seq FROM ledger ORDER BY from_seq DESC LIMIT 1), (SELECT max(last) FROM set_aside), 0)";
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
        .and_then(|made| made.parent().map_or(Ok(()), sync_folder))
        .map_err(|source| StoreError::Folder { path: path.to_owned(), source })
}

/// Makes the names in a folder last.
fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Only the owner may read it; SQLite gives its side files the same mode.
pub(super) fn make_file(path: &Path) -> io::Result<File> {
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
