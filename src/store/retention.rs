//! Deleting what is older than its time, a small step at a time; each step that deletes leaves a line in the audit record.
//!
//! Never deleted: what is not judged yet, what is owed, an event with an alert or a missing verdict, a message that something refers to, and
//! the newest event of each feed, from which sequences and back-fill go on.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::{
    StoreError, open,
    read::whole,
    rows::failed,
    write::{self, Note},
};
use crate::model::{actor::Actor, time::Timestamp};

/// What a step deletes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shelf {
    Journal,
    Deliveries,
    Quarantine,
}

impl Shelf {
    pub const ALL: [Self; 3] = [Self::Journal, Self::Deliveries, Self::Quarantine];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Journal => "journal",
            Self::Deliveries => "deliveries",
            Self::Quarantine => "quarantine",
        }
    }
}

/// One step's place and size: it looks at the next `limit` rows behind `after`.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    pub shelf: Shelf,
    /// Younger rows stay.
    pub before: Timestamp,
    /// 0 to begin with, then [`Cleared::next`].
    pub after: i64,
    pub limit: usize,
}

/// What a step came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cleared {
    pub deleted: u64,
    /// Where to go on; none when only young rows follow. Rows stand in the order in which they came, so nobody looks further.
    pub next: Option<i64>,
}

pub(super) fn step(connection: &Connection, step: &Step, now: Timestamp) -> Result<Cleared, StoreError> {
    let operation = "deleting what is older than its time";
    let Step { shelf, before, after, limit } = *step;
    let sql = match shelf {
        Shelf::Journal => "SELECT seq, received_at FROM events WHERE seq > ?1 ORDER BY seq LIMIT ?2",
        Shelf::Deliveries => "SELECT n, due_at FROM deliveries WHERE n > ?1 ORDER BY n LIMIT ?2",
        Shelf::Quarantine => "SELECT id, received_at FROM quarantine WHERE id > ?1 ORDER BY id LIMIT ?2",
    };
    let rows: Vec<(i64, i64)> = connection
        .prepare_cached(sql)
        .and_then(|mut look| look.query_map(params![after, whole(limit as u64)], |row| Ok((row.get(0)?, row.get(1)?)))?.collect())
        .map_err(failed(operation))?;
    let old = rows.iter().filter(|(_, at)| *at < before.timestamp_micros()).map(|(n, _)| *n);
    let old: Vec<i64> = old.collect();
    let Some((last, _)) = rows.last().filter(|_| !old.is_empty()) else { return Ok(Cleared::default()) };
    let delete = match shelf {
        Shelf::Journal => event,
        Shelf::Deliveries => delivery,
        Shelf::Quarantine => quarantined,
    };
    let mut deleted = 0;
    for n in old {
        deleted += u64::from(delete(connection, n).map_err(failed(operation))?);
    }
    if deleted > 0 {
        let note = Note {
            actor: Actor::service(),
            action: "retention".to_owned(),
            object: shelf.as_str().to_owned(),
            detail: format!("{deleted} rows from before {} were deleted", before.format("%Y-%m-%dT%H:%M:%SZ")),
            before: None,
            after: None,
        };
        write::note(connection, &note, now)?;
    }
    Ok(Cleared { deleted, next: Some(*last) })
}

/// Answers whether it went.
fn event(connection: &Connection, seq: i64) -> rusqlite::Result<bool> {
    let judged = open::judged(connection)?;
    connection
        .prepare_cached(
            "DELETE FROM events WHERE seq = ?1 AND seq <= ?2 AND NOT EXISTS (SELECT 1 FROM alerts WHERE alerts.seq = ?1) \
             AND NOT EXISTS (SELECT 1 FROM undecided WHERE undecided.seq = ?1) AND seq < (SELECT max(seq) FROM events) \
             AND received_at < (SELECT max(received_at) FROM events newer WHERE newer.feed = events.feed)",
        )?
        .execute(params![seq, whole(judged.0)])
        .map(|rows| rows > 0)
}

/// An ended delivery is as old as its last due time. What it alone needed goes with it.
fn delivery(connection: &Connection, n: i64) -> rusqlite::Result<bool> {
    let ended: Option<Vec<u8>> = connection
        .prepare_cached("SELECT message FROM deliveries WHERE n = ?1 AND wake_at IS NULL AND told = 1 AND late_at IS NULL")?
        .query_row(params![n], |row| row.get(0))
        .optional()?;
    let Some(message) = ended else { return Ok(false) };
    connection.prepare_cached("DELETE FROM attempts WHERE delivery = ?1")?.execute(params![n])?;
    connection.prepare_cached("DELETE FROM deliveries WHERE n = ?1")?.execute(params![n])?;
    connection
        .prepare_cached(
            "DELETE FROM messages WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM deliveries WHERE message = ?1) \
             AND NOT EXISTS (SELECT 1 FROM alerts WHERE message = ?1) AND NOT EXISTS (SELECT 1 FROM quiet_periods WHERE message = ?1)",
        )?
        .execute(params![message])?;
    Ok(true)
}

fn quarantined(connection: &Connection, id: i64) -> rusqlite::Result<bool> {
    connection
        .prepare_cached("DELETE FROM quarantine WHERE id = ?1 AND state <> 'wanted'")?
        .execute(params![id])
        .map(|rows| rows > 0)
}
