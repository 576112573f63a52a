//! Versions of the schema.

use rusqlite::Connection;

use super::*;
use crate::store::{
    DATABASE, StoreError,
    guard::{MARK, SUMS},
    schema::{MIGRATIONS, Migration, inspect, migrate},
};

const NEXT: Migration = Migration { name: "a test's", sql: "ALTER TABLE events ADD COLUMN seen INTEGER NOT NULL DEFAULT 0" };
const BROKEN: Migration = Migration { name: "broken", sql: "CREATE TABLE half (a TEXT); ALTER TABLE nothing ADD COLUMN b TEXT" };

fn with(more: Vec<Migration>) -> Vec<Migration> {
    MIGRATIONS.iter().map(|known| Migration { name: known.name, sql: known.sql }).chain(more).collect()
}

/// The version that this redflag writes.
fn newest() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap()
}

fn version(connection: &Connection) -> i64 {
    connection.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap()
}

#[test]
fn a_store_of_an_older_version_migrates_and_keeps_what_it_holds() {
    let (folder, store) = fresh();
    commit(&store, [turn(1..=3)]);
    drop(store);
    let mut connection = Connection::open(folder.path().join(DATABASE)).unwrap();
    assert_eq!(version(&connection), newest());
    migrate(&mut connection, &with(vec![NEXT]), at(9)).unwrap();
    assert_eq!(version(&connection), newest() + 1);
    let events: i64 = connection.query_row("SELECT count(*) FROM events WHERE seen = 0", [], |row| row.get(0)).unwrap();
    assert_eq!(events, 3);
    let history: Vec<(i64, String)> = connection
        .prepare("SELECT version, name FROM schema_history")
        .unwrap()
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    let expected = (1..).zip(with(vec![NEXT])).map(|(version, migration)| (version, migration.name.to_owned()));
    assert_eq!(history, expected.collect::<Vec<_>>());
    migrate(&mut connection, &with(vec![NEXT]), at(10)).unwrap();
    assert_eq!(version(&connection), newest() + 1, "once is enough");
}

#[test]
fn a_migration_that_fails_leaves_those_before_it() {
    let mut connection = Connection::open_in_memory().unwrap();
    assert!(migrate(&mut connection, &with(vec![NEXT, BROKEN]), at(0)).is_err());
    assert_eq!(version(&connection), newest() + 1);
    assert!(!connection.table_exists(None, "half").unwrap());
    inspect(&connection, std::path::Path::new("x"), &with(vec![NEXT])).unwrap();
}

#[test]
fn a_newer_schema_is_refused_and_left_alone() {
    let (folder, store) = fresh();
    drop(store);
    let path = folder.path().join(DATABASE);
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    // A newer redflag would have kept these.
    for beside in [SUMS, MARK] {
        std::fs::remove_file(folder.path().join(beside)).unwrap();
    }
    for error in [SqliteStore::open(options(&folder)).unwrap_err(), SqliteStore::read_only(&path).unwrap_err()] {
        assert!(matches!(error, StoreError::NewerSchema { found: 99, .. }), "{error}");
    }
    assert_eq!(version(&Connection::open(&path).unwrap()), 99);
}
