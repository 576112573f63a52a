//! Reading the journal: a few read connections, each used by one thread at a time, none of which ever waits for the writer.

use std::{
    fs::File,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::{
    StoreError, deliveries, open,
    rows::{At, Hash, Id, Json, Named, Whole, Word, failed},
};
use crate::model::{
    alert::QuietPeriod,
    event::{Batch, Element, Event},
    ids::{BatchId, MessageId, Seq},
    names::{ChannelName, FeedName},
    time::Timestamp,
};

/// A query for whole events, in the order that [`event`] reads.
macro_rules! select_events {
    ($condition:literal) => {
        concat!(
            "SELECT seq, feed, topic, spelled, origin, received_at, own_time, zone_assumed, late, maybe_repeat, ",
            "batch, batch_position, batch_size, hash, warnings, body, raw FROM events ",
            $condition
        )
    };
}

/// Connections that stay open while nobody reads.
const KEPT: usize = 2;

/// Reads a store, its own process's or another's.
#[derive(Clone, Debug)]
pub struct Reader(Arc<Pool>);

#[derive(Debug)]
struct Pool {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    /// See [`open::Owned::file`]; goes after the connections.
    _file: Option<Arc<File>>,
}

impl Reader {
    pub(super) fn new(path: PathBuf, file: Arc<File>) -> Self {
        Self(Arc::new(Pool { path, idle: Mutex::new(Vec::new()), _file: Some(file) }))
    }

    pub(super) fn of_stranger(path: PathBuf) -> Result<Self, StoreError> {
        let first = open::connect_stranger(&path)?;
        Ok(Self(Arc::new(Pool { path, idle: Mutex::new(vec![first]), _file: None })))
    }

    /// Lends a connection.
    pub(super) fn with<T>(
        &self,
        operation: &'static str,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let idle = self.0.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = match idle {
            Some(connection) => connection,
            None => open::connect_reader(&self.0.path)?,
        };
        let result = read(&connection).map_err(failed(operation));
        let mut idle = self.0.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < KEPT {
            idle.push(connection);
        }
        result
    }

    /// The last journaled event's sequence; `Seq(0)` for an empty journal.
    pub fn last(&self) -> Result<Seq, StoreError> {
        self.with("reading the journal's end", open::last)
    }

    /// Events up to here are judged.
    pub fn judged(&self) -> Result<Seq, StoreError> {
        self.with("reading the cursor", open::judged)
    }

    /// Up to `limit` events behind `after`, in order.
    pub fn events_after(&self, after: Seq, limit: usize) -> Result<Vec<Event>, StoreError> {
        self.with("reading events", |connection| {
            connection
                .prepare_cached(select_events!("WHERE seq > ?1 ORDER BY seq LIMIT ?2"))?
                .query_map(params![whole(after.0), whole(limit as u64)], event)?
                .collect()
        })
    }

    /// The event at that place in the journal.
    pub fn event(&self, seq: Seq) -> Result<Option<Event>, StoreError> {
        self.with("reading an event", |connection| {
            connection.prepare_cached(select_events!("WHERE seq = ?1"))?.query_row(params![whole(seq.0)], event).optional()
        })
    }

    /// Not after `now`: what was received while the clock was ahead is asked for again and compared.
    pub(super) fn last_received(&self, feed: &FeedName, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        self.with("reading when a feed was last heard", |connection| {
            connection
                .prepare_cached(
                    "SELECT coalesce((SELECT received_at FROM events WHERE feed = ?1 AND received_at <= ?2 AND origin <> 'rest' ORDER BY received_at DESC LIMIT 1), \
                     (SELECT min(received_at) FROM events WHERE feed = ?1), (SELECT received_at FROM carried_receipts WHERE feed = ?1))",
                )?
                .query_row(params![feed.as_str(), now.timestamp_micros()], |row| row.get::<_, Option<At>>(0).map(|at| at.map(|at| at.0)))
        })
    }

    pub(super) fn position(&self, feed: &FeedName) -> Result<Option<String>, StoreError> {
        self.with("reading a feed's position", |connection| {
            connection
                .prepare_cached("SELECT position FROM positions WHERE feed = ?1")?
                .query_row(params![feed.as_str()], |row| row.get(0))
                .optional()
        })
    }

    /// The quiet periods that are running.
    pub fn quiet_periods(&self) -> Result<Vec<QuietPeriod>, StoreError> {
        self.with("reading quiet periods", |connection| {
            connection
                .prepare_cached(
                    "SELECT rule, key, severity, message, from_at, until_at, repeats FROM quiet_periods ORDER BY rule, key",
                )?
                .query_map([], |row| {
                    Ok(QuietPeriod {
                        rule: row.get::<_, Named<_>>(0)?.0,
                        key: row.get::<_, Json<_>>(1)?.0,
                        severity: row.get::<_, Word<_>>(2)?.0,
                        message: MessageId(row.get::<_, Id>(3)?.0),
                        from: row.get::<_, At>(4)?.0,
                        until: row.get::<_, At>(5)?.0,
                        repeats: row.get::<_, Whole>(6)?.0,
                    })
                })?
                .collect()
        })
    }

    pub(super) fn next_due(&self, channel: &ChannelName) -> Result<Option<Timestamp>, StoreError> {
        self.with("reading when a delivery falls due", |connection| deliveries::next_due(connection, channel))
    }
}

fn event(row: &Row<'_>) -> rusqlite::Result<Event> {
    let batch = match row.get::<_, Option<Id>>(10)? {
        Some(id) => Some(Batch { id: BatchId(id.0), position: row.get(11)?, size: row.get(12)? }),
        None => None,
    };
    let element = Element {
        feed: row.get::<_, Named<_>>(1)?.0,
        topic: row.get::<_, Named<_>>(2)?.0,
        spelled: row.get(3)?,
        origin: row.get::<_, Word<_>>(4)?.0,
        received_at: row.get::<_, At>(5)?.0,
        own_time: row.get::<_, Option<At>>(6)?.map(|at| at.0),
        zone_assumed: row.get(7)?,
        late: row.get(8)?,
        maybe_repeat: row.get(9)?,
        batch,
        hash: row.get::<_, Hash>(13)?.0,
        warnings: row.get::<_, Option<Json<Vec<String>>>>(14)?.map_or_else(Vec::new, |warnings| warnings.0),
        body: row.get::<_, Json<_>>(15)?.0,
        raw: row.get(16)?,
    };
    Ok(Event { seq: Seq(row.get::<_, Whole>(0)?.0), element })
}

/// SQLite's whole numbers end at 2^63.
pub(super) fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
