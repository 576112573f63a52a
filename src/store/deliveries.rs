//! Deliveries owed: leases and reports, inside the writer's transaction. Nothing is held in memory between them.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use rusqlite::{Connection, OptionalExtension as _, params};

use super::{
    StoreError,
    rows::{At, Id, Json, Named, Whole, Word, failed},
};
use crate::model::{
    alert::Message,
    delivery::{AttemptReport, Leased, NewDelivery, Next},
    ids::{DeliveryId, MessageId},
    names::ChannelName,
    time::Timestamp,
};

/// Hands out what is due, and writes each attempt's row. An attempt whose lease ran out keeps its row without an end.
pub(super) fn lease(
    connection: &Connection,
    channel: &ChannelName,
    now: Timestamp,
    until: Timestamp,
    limit: usize,
) -> Result<Vec<Leased>, StoreError> {
    let operation = "leasing deliveries";
    let due = due(connection, channel, now, limit).map_err(failed(operation))?;
    let mut messages: HashMap<MessageId, Arc<Message>> = HashMap::new();
    due.into_iter()
        .map(|(n, attempt, delivery)| {
            let message = match messages.entry(delivery.message) {
                Entry::Occupied(known) => Arc::clone(known.get()),
                Entry::Vacant(place) => {
                    let message = facts(connection, delivery.message).map_err(failed(operation))?;
                    Arc::clone(place.insert(Arc::new(message)))
                }
            };
            connection
                .prepare_cached("UPDATE deliveries SET state = 'leased', wake_at = ?2, attempts = ?3 WHERE n = ?1")
                .and_then(|mut update| update.execute(params![n, until.timestamp_micros(), attempt]))
                .map_err(failed(operation))?;
            connection
                .prepare_cached("INSERT INTO attempts (delivery, attempt, started_at) VALUES (?1, ?2, ?3)")
                .and_then(|mut insert| insert.execute(params![n, attempt, now.timestamp_micros()]))
                .map_err(failed(operation))?;
            Ok(Leased { delivery, attempt, message })
        })
        .collect()
}

fn due(
    connection: &Connection,
    channel: &ChannelName,
    now: Timestamp,
    limit: usize,
) -> rusqlite::Result<Vec<(i64, u32, NewDelivery)>> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    connection
        .prepare_cached(
            "SELECT n, attempts + 1, id, message, recipient, identity, due_at, \
             expires_at + (SELECT away FROM service) - away, severity, purpose, late_at \
             FROM deliveries INDEXED BY deliveries_owed WHERE channel = ?1 AND wake_at <= ?2 ORDER BY wake_at LIMIT ?3",
        )?
        .query_map(params![channel.as_str(), now.timestamp_micros(), limit], |row| {
            let delivery = NewDelivery {
                id: DeliveryId(row.get::<_, Id>(2)?.0),
                message: MessageId(row.get::<_, Id>(3)?.0),
                channel: channel.clone(),
                recipient: row.get(4)?,
                identity: row.get(5)?,
                due_at: row.get::<_, At>(6)?.0,
                expires_at: row.get::<_, At>(7)?.0,
                severity: row.get::<_, Word<_>>(8)?.0,
                purpose: row.get::<_, Word<_>>(9)?.0,
                late_at: row.get::<_, Option<At>>(10)?.map(|at| at.0),
            };
            Ok((row.get(0)?, row.get(1)?, delivery))
        })?
        .collect()
}

/// The message that a delivery brings.
pub(super) fn facts(connection: &Connection, message: MessageId) -> rusqlite::Result<Message> {
    connection
        .prepare_cached("SELECT facts FROM messages WHERE id = ?1")?
        .query_row(params![message.0.as_bytes()], |row| row.get::<_, Json<Message>>(0).map(|facts| facts.0))
}

/// Ends attempts. "Delivered" is a fact whoever reports it and however late; "retry" and "dead" count only from the attempt that holds
/// the lease, so that a worker that was thought lost can't undo what its successor did.
pub(super) fn report(connection: &Connection, reports: &[AttemptReport]) -> Result<(), StoreError> {
    let operation = "recording attempts";
    for report in reports {
        let outcome = match report.next {
            Next::Delivered => "delivered",
            Next::Retry { .. } => "retry",
            Next::Dead => "dead",
        };
        let ended = connection
            .prepare_cached(
                "UPDATE attempts SET finished_at = ?3, outcome = ?4, detail = ?5 \
                 WHERE delivery = (SELECT n FROM deliveries WHERE id = ?1) AND attempt = ?2 RETURNING delivery",
            )
            .and_then(|mut end| {
                let finished_at = report.finished_at.timestamp_micros();
                let values = params![report.delivery.0.as_bytes(), report.attempt, finished_at, outcome, report.detail];
                end.query_row(values, |row| row.get::<_, i64>(0)).optional()
            })
            .map_err(failed(operation))?;
        let Some(n) = ended else {
            let detail = format!("delivery {} has no attempt {}", report.delivery, report.attempt);
            return Err(StoreError::Refused { operation, detail });
        };
        proceed(connection, n, report).map_err(failed(operation))?;
    }
    Ok(())
}

fn proceed(connection: &Connection, n: i64, report: &AttemptReport) -> rusqlite::Result<usize> {
    match report.next {
        Next::Delivered => connection
            .prepare_cached("UPDATE deliveries SET state = 'delivered', wake_at = NULL, last_detail = ?2, late_at = NULL, told = 1 WHERE n = ?1")?
            .execute(params![n, report.detail]),
        Next::Retry { due_at } => connection
            .prepare_cached(
                "UPDATE deliveries SET state = 'waiting', wake_at = ?4, due_at = ?4, last_detail = ?2 \
                 WHERE n = ?1 AND state = 'leased' AND attempts = ?3",
            )?
            .execute(params![n, report.detail, report.attempt, due_at.timestamp_micros()]),
        Next::Dead => connection
            .prepare_cached(
                "UPDATE deliveries SET state = 'dead', wake_at = NULL, last_detail = ?2, told = (purpose = 'alarm'), \
                 late_at = CASE WHEN late_at IS NULL THEN NULL ELSE min(late_at, ?4) END \
                 WHERE n = ?1 AND state = 'leased' AND attempts = ?3",
            )?
            .execute(params![n, report.detail, report.attempt, report.finished_at.timestamp_micros()]),
    }
}

/// When the channel's next delivery falls due: one look into the index.
pub(super) fn next_due(connection: &Connection, channel: &ChannelName) -> rusqlite::Result<Option<Timestamp>> {
    connection
        .prepare_cached("SELECT min(wake_at) FROM deliveries WHERE channel = ?1 AND wake_at IS NOT NULL")?
        .query_row(params![channel.as_str()], |row| row.get::<_, Option<At>>(0).map(|at| at.map(|at| at.0)))
}

/// What is owed, a channel: deliveries that are not ended. Reads the index of what is owed, not what was delivered.
pub(super) fn owed(connection: &Connection) -> rusqlite::Result<Vec<(ChannelName, u64)>> {
    connection
        .prepare_cached("SELECT channel, count(*) FROM deliveries WHERE wake_at IS NOT NULL GROUP BY channel")?
        .query_map([], |row| Ok((row.get::<_, Named<ChannelName>>(0)?.0, row.get::<_, Whole>(1)?.0)))?
        .collect()
}
