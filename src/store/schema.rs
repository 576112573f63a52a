//! The schema, by version. A migration runs in its own transaction and is never edited once released: a change is a new one.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior, params};

use super::{StoreError, rows::failed};
use crate::model::time::Timestamp;

/// Marks a database file as ours: "RFlg".
const APPLICATION: i64 = 0x5246_6c67;

/// One step of the schema; its version is its place in the list, from 1.
#[derive(Debug)]
pub(super) struct Migration {
    pub name: &'static str,
    pub sql: &'static str,
}

pub(super) const MIGRATIONS: &[Migration] = &[
    Migration { name: "the alert path", sql: include_str!("schema/0001.sql") },
    Migration { name: "books from independent counts", sql: include_str!("schema/0002.sql") },
    Migration { name: "damaged stores set aside", sql: include_str!("schema/0003.sql") },
    Migration { name: "late deliveries go another way", sql: include_str!("schema/0004.sql") },
    Migration { name: "verdicts that are given later", sql: include_str!("schema/0005.sql") },
    Migration { name: "what people do", sql: include_str!("schema/0006.sql") },
    Migration { name: "late deliveries are counted by an index", sql: include_str!("schema/0007.sql") },
    Migration { name: "templates and configuration are kept", sql: include_str!("schema/0008.sql") },
    Migration { name: "what back-fill compares with", sql: include_str!("schema/0009.sql") },
    Migration { name: "gaps are looked up", sql: include_str!("schema/0010.sql") },
    Migration { name: "what was taken over from a damaged store", sql: include_str!("schema/0011.sql") },
];

/// Whether this redflag may use the file.
///
/// # Errors
/// [`StoreError::NewerSchema`]; [`StoreError::Foreign`].
pub(super) fn inspect(connection: &Connection, path: &Path, migrations: &[Migration]) -> Result<(), StoreError> {
    let known = known(migrations);
    let found = pragma(connection, "user_version")?;
    if found > known {
        return Err(StoreError::NewerSchema { path: path.to_owned(), found, known });
    }
    let application = pragma(connection, "application_id")?;
    let empty = || {
        connection
            .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0))
            .map(|objects| objects == 0)
            .map_err(failed("reading the schema"))
    };
    if application == APPLICATION || (application == 0 && found == 0 && empty()?) {
        return Ok(());
    }
    Err(StoreError::Foreign { path: path.to_owned() })
}

/// Refuses a file that has to be migrated first: that is for the service, and there is no way back.
pub(super) fn up_to_date(connection: &Connection, path: &Path, migrations: &[Migration]) -> Result<(), StoreError> {
    let (found, known) = (pragma(connection, "user_version")?, known(migrations));
    if found < known { Err(StoreError::OlderSchema { path: path.to_owned(), found, known }) } else { Ok(()) }
}

/// Brings the file to the newest version.
///
/// # Errors
/// When a migration failed; those before it stand.
pub(super) fn migrate(connection: &mut Connection, migrations: &[Migration], now: Timestamp) -> Result<(), StoreError> {
    let operation = "migrating the schema";
    let found = pragma(connection, "user_version")?;
    for (version, migration) in (1..).zip(migrations).filter(|(version, _)| *version > found) {
        let step = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed(operation))?;
        step.execute_batch(migration.sql)
            .and_then(|()| {
                step.execute(
                    "INSERT INTO schema_history (version, name, applied_at, sqlite) VALUES (?1, ?2, ?3, ?4)",
                    params![version, migration.name, now.timestamp_micros(), rusqlite::version()],
                )
            })
            .and_then(|_| step.pragma_update(None, "application_id", APPLICATION))
            .and_then(|()| step.pragma_update(None, "user_version", version))
            .map_err(failed(operation))?;
        step.commit().map_err(failed(operation))?;
        if found == 0 {
            tracing::debug!(version, name = migration.name, "a step of a new store's schema");
        } else {
            tracing::info!(version, name = migration.name, "the store's schema was migrated");
        }
    }
    if found == 0 {
        tracing::info!(schema = known(migrations), "a new store was begun");
    }
    Ok(())
}

fn known(migrations: &[Migration]) -> i64 {
    i64::try_from(migrations.len()).unwrap_or(i64::MAX)
}

fn pragma(connection: &Connection, name: &str) -> Result<i64, StoreError> {
    connection.pragma_query_value(None, name, |row| row.get(0)).map_err(failed("reading the schema's version"))
}
