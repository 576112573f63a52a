//! A store that can't be trusted is set aside, never deleted, and a fresh one begun in its place that knows where to go on: sequence numbers
//! above all that were ever given, the time from which feeds are asked again, and of what the old one held whatever is proven sound (what was
//! owed to channels, the events that are owed a verdict, quiet periods, the rule sets, the positions in files).
//!
//! The fresh store is made whole in a folder of its own first. A crash at any moment leaves either the old store, which is found damaged again,
//! or a finished fresh one, which [`resume`] puts in its place.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use rusqlite::{Connection, OpenFlags, params};

use super::{
    StoreError,
    guard::{Damage, LOG, MARK, SUMS},
    mark::Facts,
    open::{self, DATABASE},
    rows::{Whole, failed},
};
use crate::model::time::Timestamp;

/// Where the fresh store is made, and where it waits until the old one is out of its way.
const MAKING: &str = "fresh.part";
const WAITING: &str = "fresh";

/// When what was owed can't be carried over, feeds are asked again from this long before the last judged event: a day's alerts twice are
/// better than one lost.
const AGAIN: i64 = 24 * 60 * 60 * 1_000_000;

/// No journal comes near it.
const ABSURD: u64 = 1 << 50;

/// What is copied when no page of its table is damaged, in an order in which nothing refers to what comes later.
const CARRIED: &[(&str, &str)] = &[
    ("positions", "1"),
    ("contents", "1"),
    ("generations", "1"),
    ("generation_files", "1"),
    ("gaps", "1"),
    ("audit", "1"),
    ("set_aside", "1"),
    ("carried_receipts", "1"),
];

/// As [`CARRIED`], but only together: deliveries that are owed, their messages and attempts.
const OWED: &[(&str, &str)] = &[
    ("messages", "id IN (SELECT message FROM old.deliveries NOT INDEXED WHERE state IN ('waiting', 'leased'))"),
    ("deliveries", "state IN ('waiting', 'leased')"),
    ("attempts", "delivery IN (SELECT n FROM main.deliveries)"),
];

/// Only where what was owed was carried: in a quiet period that knows of an alert that is lost, its repetition would be silent.
const QUIET: &[(&str, &str)] =
    &[("messages", "id IN (SELECT message FROM old.quiet_periods NOT INDEXED)"), ("quiet_periods", "1")];

/// Events that are owed a verdict stay owed it.
const VERDICTS: &[(&str, &str)] = &[
    ("events", "seq IN (SELECT seq FROM old.undecided NOT INDEXED WHERE settled_at IS NULL)"),
    ("undecided", "settled_at IS NULL"),
];

/// What was proven sound and taken over.
#[derive(Debug, Default)]
struct Carried {
    rows: u64,
    owed: bool,
    quiet: bool,
    verdicts: bool,
}

/// Finishes what a crash interrupted.
pub(super) fn resume(folder: &Path) -> Result<(), StoreError> {
    let wrap = |source| StoreError::Aside { path: folder.to_owned(), source };
    let (making, waiting) = (folder.join(MAKING), folder.join(WAITING));
    if making.exists() {
        fs::remove_dir_all(&making).map_err(wrap)?;
    }
    if waiting.join(DATABASE).exists() {
        let connection = Connection::open_with_flags(waiting.join(DATABASE), OpenFlags::SQLITE_OPEN_READ_ONLY)
            .map_err(failed("reading the fresh store"))?;
        let name: String = connection
            .query_row("SELECT folder FROM set_aside ORDER BY n DESC LIMIT 1", [], |row| row.get(0))
            .map_err(failed("reading the fresh store"))?;
        drop(connection);
        return exchange(folder, &name).map_err(wrap);
    }
    if waiting.exists() { fs::remove_dir_all(&waiting).map_err(wrap) } else { Ok(()) }
}

/// Sets the folder's store aside and begins a fresh one.
pub(super) fn begin_anew(folder: &Path, damage: &Damage, facts: Option<&Facts>, now: Timestamp) -> Result<PathBuf, StoreError> {
    let wrap = |source| StoreError::Aside { path: folder.to_owned(), source };
    let name = free_name(folder, now);
    tracing::error!(found = damage.what, folder = name, "the store is damaged: it is set aside, and a fresh one is begun");
    let making = folder.join(MAKING);
    fs::create_dir(&making).map_err(wrap)?;
    let carried = fill(&making, folder, &name, damage, facts, now)?;
    tracing::warn!(?carried, "what of the damaged store is sound and still needed is in the fresh one");
    File::open(&making).and_then(|made| made.sync_all()).map_err(wrap)?;
    fs::rename(&making, folder.join(WAITING)).map_err(wrap)?;
    exchange(folder, &name).map_err(wrap)?;
    Ok(folder.join(name))
}

/// Makes the fresh store. Answers what was carried over.
fn fill(
    making: &Path,
    folder: &Path,
    name: &str,
    damage: &Damage,
    facts: Option<&Facts>,
    now: Timestamp,
) -> Result<Carried, StoreError> {
    let operation = "beginning a fresh store";
    let path = making.join(DATABASE);
    drop(open::make_file(&path).map_err(|source| StoreError::File { path: path.clone(), source })?);
    let fresh = open::begin(&path, now)?;
    fresh.pragma_update(None, "foreign_keys", false).map_err(failed(operation))?;
    let attached = attach(&fresh, &folder.join(DATABASE));
    let carried = if attached { carry(&fresh, damage.pages.as_ref()) } else { Carried::default() };
    let mut facts = facts.cloned().unwrap_or_default();
    if attached && damage.pages.as_ref().is_some_and(BTreeSet::is_empty) {
        // Only the log's end is lost: what stands is sound, and ends earlier than the mark says. What was owed behind that end is lost with it,
        // so that feeds are asked from there.
        if let Ok((judged, received)) = earlier(&fresh) {
            (facts.judged, facts.received) = (judged, received);
        }
    }
    let last = facts.last.max(if attached { end(&fresh) } else { 0 });
    if attached {
        drop(fresh.execute_batch("DETACH old"));
    }
    let judged = facts.judged;
    let before = if carried.owed { 0 } else { AGAIN };
    transaction(&fresh, || {
        for (feed, at) in &facts.received {
            fresh.execute(
                "INSERT OR REPLACE INTO carried_receipts (feed, received_at) VALUES (?1, ?2)",
                params![feed, at - before],
            )?;
        }
        fresh.execute(
            "INSERT INTO set_aside (at, folder, found, last, judged, owed_carried, receipts_known, verdicts_carried, quiet_carried) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            params![
                now.timestamp_micros(),
                name,
                damage.what,
                i64::try_from(last).unwrap_or(i64::MAX),
                i64::try_from(judged).unwrap_or(i64::MAX),
                carried.owed,
                !facts.received.is_empty(),
                carried.verdicts,
                carried.quiet
            ],
        )
    })
    .map_err(failed(operation))?;
    // Whole in one file, so that one rename brings all of it.
    fresh.query_row("PRAGMA wal_checkpoint(truncate)", [], |_| Ok(())).map_err(failed(operation))?;
    Ok(carried)
}

/// Copies what is sound and still needed out of the old store.
fn carry(fresh: &Connection, bad: Option<&BTreeSet<u32>>) -> Carried {
    let mut carried = Carried::default();
    let sound = |table: &str| sound(fresh, table, bad);
    if !sound("sqlite_schema") {
        return carried;
    }
    for (table, which) in CARRIED.iter().chain(&[("parked", "1")]) {
        if sound(table) {
            carried.rows += copy(fresh, table, which).unwrap_or_default();
        }
    }
    let mut together = |tables: &[(&str, &str)]| {
        tables.iter().all(|(table, _)| sound(table))
            && transaction(fresh, || tables.iter().map(|(table, which)| copy(fresh, table, which)).sum())
                .inspect(|more: &u64| carried.rows += more)
                .is_ok()
    };
    carried.owed = together(OWED);
    carried.quiet = carried.owed && together(QUIET);
    // Where no verdict is missing, it is no matter whether the journal is sound.
    let missing = "SELECT EXISTS (SELECT 1 FROM old.undecided NOT INDEXED WHERE settled_at IS NULL)";
    let missing = fresh.query_row(missing, [], |row| row.get(0));
    carried.verdicts = if matches!(missing, Ok(false)) { sound("undecided") } else { together(VERDICTS) };
    if carried.owed {
        // Their horizons are counted from it. A store from before has none, which is as good.
        drop(fresh.execute("UPDATE service SET away = (SELECT away FROM old.service)", []));
    }
    carried
}

/// The old store, to be read only. A store that SQLite refuses carries nothing.
fn attach(fresh: &Connection, old: &Path) -> bool {
    let Some(text) = old.to_str() else { return false };
    let escaped: String = text
        .chars()
        .flat_map(|c| match c {
            '%' => "%25".chars().collect::<Vec<_>>(),
            '?' => "%3f".chars().collect(),
            '#' => "%23".chars().collect(),
            c => vec![c],
        })
        .collect();
    let attached = fresh.execute("ATTACH ?1 AS old", params![format!("file:{escaped}?mode=ro")]);
    attached.is_ok() && fresh.query_row("SELECT count(*) FROM old.sqlite_schema", [], |_| Ok(())).is_ok()
}

/// Whether every page of the old store's table is as it was written.
fn sound(fresh: &Connection, table: &str, bad: Option<&BTreeSet<u32>>) -> bool {
    let Some(bad) = bad else { return false };
    if bad.is_empty() {
        return true;
    }
    let pages = || {
        fresh
            .prepare("SELECT pageno FROM dbstat('old') WHERE name = ?1")?
            .query_map(params![table], |row| row.get::<_, u32>(0))?
            .collect::<rusqlite::Result<Vec<_>>>()
    };
    pages().is_ok_and(|pages| !pages.iter().any(|page| bad.contains(page)))
}

/// Copies rows by the columns that both stores know.
fn copy(fresh: &Connection, table: &str, which: &str) -> rusqlite::Result<u64> {
    let columns: Vec<String> = fresh
        .prepare("SELECT name FROM pragma_table_info(?1, 'main') WHERE name IN (SELECT name FROM pragma_table_info(?1, 'old'))")?
        .query_map(params![table], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    if columns.is_empty() {
        return Ok(0);
    }
    let columns = columns.join(", ");
    let sql =
        format!("INSERT OR REPLACE INTO main.{table} ({columns}) SELECT {columns} FROM old.{table} NOT INDEXED WHERE {which}");
    fresh.execute(&sql, []).map(|rows| rows as u64)
}

fn transaction<T>(connection: &Connection, work: impl FnOnce() -> rusqlite::Result<T>) -> rusqlite::Result<T> {
    connection.execute_batch("BEGIN")?;
    match work() {
        Ok(done) => connection.execute_batch("COMMIT").map(|()| done),
        Err(error) => {
            connection.execute_batch("ROLLBACK")?;
            Err(error)
        }
    }
}

/// The highest number that the old store names. A flipped bit may have made it absurd; numbers must only never come twice.
fn end(fresh: &Connection) -> u64 {
    let end = fresh.query_row("SELECT coalesce(max(seq), 0) FROM old.events", [], |row| row.get::<_, Whole>(0));
    end.map_or(0, |end| if end.0 < ABSURD { end.0 } else { 0 })
}

/// The old store's cursor, and when the events up to it were received.
fn earlier(fresh: &Connection) -> rusqlite::Result<(u64, BTreeMap<String, i64>)> {
    let judged = fresh.query_row("SELECT coalesce(max(to_seq), 0) FROM old.ledger", [], |row| row.get::<_, Whole>(0))?.0;
    let received = fresh
        .prepare("SELECT feed, max(received_at) FROM old.events WHERE seq <= ?1 GROUP BY feed")?
        .query_map(params![i64::try_from(judged).unwrap_or(i64::MAX)], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    Ok((judged, received))
}

/// Moves the old store out of the way and the fresh one in. Can be interrupted and done again.
fn exchange(folder: &Path, name: &str) -> io::Result<()> {
    let (aside, waiting) = (folder.join(name), folder.join(WAITING));
    if !aside.exists() {
        fs::create_dir(&aside)?;
    }
    // As long as the fresh database waits, what stands in its place is old.
    for file in [DATABASE, LOG, "redflag.db-shm", SUMS, MARK] {
        match fs::rename(folder.join(file), aside.join(file)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    File::open(&aside)?.sync_all()?;
    fs::rename(waiting.join(DATABASE), folder.join(DATABASE))?;
    File::open(folder)?.sync_all()?;
    // Its side files are empty.
    fs::remove_dir_all(&waiting)
}

fn free_name(folder: &Path, now: Timestamp) -> String {
    let stamp = format!("damaged-{}", now.format("%Y%m%dT%H%M%SZ"));
    let names = std::iter::once(stamp.clone()).chain((2..).map(|n| format!("{stamp}-{n}")));
    names.into_iter().find(|name| !folder.join(name).exists()).unwrap_or(stamp)
}
