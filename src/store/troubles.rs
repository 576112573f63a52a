//! Deliveries that are late or given up: what the warden reads of them, and what it marks.

use rusqlite::{Connection, Row, params};

use super::{
    Reader, StoreError,
    read::whole,
    rows::{At, Id, Named, Whole, Word, failed},
};
use crate::model::{
    delivery::{Mark, State, Trouble, Untold},
    ids::{DeliveryId, MessageId},
    names::ChannelName,
    severity::Severity,
    time::Timestamp,
};

const TROUBLES: &str = "SELECT id, message, channel, severity, purpose, state, attempts, last_detail, late_at FROM deliveries";

/// Writes what the warden did. A mark of a delivery that was delivered meanwhile changes nothing.
pub(super) fn mark(connection: &Connection, marks: &[Mark]) -> Result<(), StoreError> {
    for mark in marks {
        let marked = match mark {
            // A dead alarm is no alarm; see `/readyz`.
            Mark::Rerouted(delivery) => connection
                .prepare_cached(
                    "UPDATE deliveries SET late_at = NULL, told = CASE WHEN wake_at IS NULL THEN told ELSE 0 END WHERE id = ?1",
                )
                .and_then(|mut mark| mark.execute(params![delivery.0.as_bytes()])),
            Mark::Told { channel, up_to } => connection
                .prepare_cached("UPDATE deliveries SET told = 1 WHERE channel = ?1 AND told = 0 AND n <= ?2")
                .and_then(|mut mark| mark.execute(params![channel.as_str(), up_to])),
        };
        marked.map_err(failed("marking troubled deliveries"))?;
    }
    Ok(())
}

impl Reader {
    /// Up to `limit` deliveries whose message is to go another way by now: late ones, and dead ones.
    pub fn late(&self, now: Timestamp, limit: usize) -> Result<Vec<Trouble>, StoreError> {
        let sql = format!("{TROUBLES} WHERE late_at IS NOT NULL AND late_at <= ?1 ORDER BY late_at LIMIT ?2");
        self.rows("reading late deliveries", &sql, params![now.timestamp_micros(), whole(limit as u64)], trouble)
    }

    /// What the operators have not heard of, all together.
    pub fn untold_counts(&self, channel: &ChannelName) -> Result<Untold, StoreError> {
        let sql = "SELECT state, severity, count(*), max(n) FROM deliveries WHERE channel = ?1 AND told = 0 GROUP BY 1, 2";
        let mut untold = Untold::default();
        let groups = self.rows("counting troubled deliveries", sql, params![channel.as_str()], |row| {
            Ok((row.get::<_, Word<State>>(0)?.0, row.get::<_, Word<Severity>>(1)?.0, row.get::<_, Whole>(2)?.0, row.get(3)?))
        })?;
        for (state, severity, count, up_to) in groups {
            if state == State::Dead {
                untold.dead += count;
            } else {
                untold.late += count;
            }
            untold.worst = untold.worst.max(Some(severity));
            untold.up_to = untold.up_to.max(up_to);
        }
        Ok(untold)
    }

    /// Up to `limit` deliveries of a channel in trouble that the operators have not heard of, oldest first.
    pub fn untold(&self, channel: &ChannelName, limit: usize) -> Result<Vec<Trouble>, StoreError> {
        let sql = format!("{TROUBLES} WHERE channel = ?1 AND told = 0 ORDER BY n LIMIT ?2");
        self.rows("reading troubled deliveries", &sql, params![channel.as_str(), whole(limit as u64)], trouble)
    }

    /// The channels with troubles that the operators have not heard of.
    pub fn troubled_channels(&self) -> Result<Vec<ChannelName>, StoreError> {
        let sql = "SELECT DISTINCT channel FROM deliveries WHERE told = 0";
        self.rows("reading troubled channels", sql, [], |row| Ok(row.get::<_, Named<_>>(0)?.0))
    }

    /// How many deliveries of the channel are owed and late, which was told.
    pub fn overdue(&self, channel: &ChannelName) -> Result<u64, StoreError> {
        self.with("counting late deliveries", |connection| {
            connection
                .prepare_cached("SELECT count(*) FROM deliveries WHERE channel = ?1 AND wake_at IS NOT NULL AND late_at IS NULL")?
                .query_row(params![channel.as_str()], |row| row.get::<_, Whole>(0))
                .map(|count| count.0)
        })
    }

    /// Alarms that were given up and that nobody got by any other way.
    pub fn dead_alarm_count(&self) -> Result<u64, StoreError> {
        self.with("counting dead alarms", |connection| {
            connection
                .prepare_cached(
                    "SELECT count(DISTINCT message) FROM deliveries dead WHERE state = 'dead' AND purpose = 'alarm' AND dropped_at IS NULL AND NOT EXISTS \
                     (SELECT 1 FROM deliveries other WHERE other.message = dead.message AND other.state = 'delivered')",
                )?
                .query_row([], |row| row.get::<_, Whole>(0))
                .map(|count| count.0)
        })
    }
}

fn trouble(row: &Row<'_>) -> rusqlite::Result<Trouble> {
    Ok(Trouble {
        delivery: DeliveryId(row.get::<_, Id>(0)?.0),
        message: MessageId(row.get::<_, Id>(1)?.0),
        channel: row.get::<_, Named<_>>(2)?.0,
        severity: row.get::<_, Word<_>>(3)?.0,
        purpose: row.get::<_, Word<_>>(4)?.0,
        state: row.get::<_, Word<_>>(5)?.0,
        attempts: row.get(6)?,
        detail: row.get(7)?,
        late_at: row.get::<_, Option<At>>(8)?.map(|at| at.0),
    })
}
