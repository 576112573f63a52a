//! Requests that fail alone, and disks that can't be trusted.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, AtomicUsize, Ordering},
    mpsc,
};

use rusqlite::{Connection, ffi};

use super::*;
use crate::store::{Outbox as _, StoreError};

/// A store whose writer waits at its first commit until told, so that what is sent meanwhile becomes one group.
fn held() -> (TempDir, SqliteStore, mpsc::Sender<()>) {
    let folder = tempfile::tempdir().unwrap();
    let (go, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let mut options = options(&folder);
    options.durably = Arc::new(move |connection| {
        gate.lock().unwrap_or_else(PoisonError::into_inner).recv().ok();
        connection.execute_batch("COMMIT")
    });
    let (store, _) = SqliteStore::open(options).unwrap();
    (folder, store, go)
}

#[test]
fn what_waits_together_is_one_transaction() {
    let folder = tempfile::tempdir().unwrap();
    let commits = Arc::new(AtomicUsize::new(0));
    let (go, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let mut options = options(&folder);
    let counted = Arc::clone(&commits);
    options.durably = Arc::new(move |connection| {
        gate.lock().unwrap_or_else(PoisonError::into_inner).recv().ok();
        counted.fetch_add(1, Ordering::SeqCst);
        connection.execute_batch("COMMIT")
    });
    let (store, _) = SqliteStore::open(options).unwrap();
    let first = store.commit(turn(1..=1));
    let rest: Vec<_> = (2..=20).map(|seq| store.commit(turn([seq]))).collect();
    drop(go);
    first.wait().unwrap();
    for pending in rest {
        pending.wait().unwrap();
    }
    assert!(commits.load(Ordering::SeqCst) <= 2 + 1, "20 requests took {} transactions", commits.load(Ordering::SeqCst));
    assert_eq!(store.last().unwrap(), Seq(20));
}

#[test]
fn a_request_that_fails_does_not_take_its_neighbours_along() {
    let (_folder, store, go) = held();
    let first = store.commit(turn([1]));
    let good = store.commit(owes(1, vec![delivery(1, 1, "mail", 0)]));
    let twin = store.commit(owes(2, vec![delivery(1, 2, "mail", 0)]));
    let hole = store.commit(turn([7]));
    let next = store.commit(turn([2]));
    let leased = store.lease(&ChannelName::new("mail"), at(0), at(9), 5);
    drop(go);
    first.wait().unwrap();
    good.wait().unwrap();
    assert!(matches!(twin.wait(), Err(StoreError::Sqlite { .. })));
    assert!(matches!(hole.wait(), Err(StoreError::OutOfOrder { .. })));
    next.wait().unwrap();
    assert_eq!(leased.wait().unwrap().len(), 1);
    assert_eq!(store.last().unwrap(), Seq(2));
    assert_eq!(store.reader().message(message_id(2)).unwrap(), None, "the failed turn's message is gone with it");
}

#[test]
fn a_failed_fsync_stops_everything_and_nothing_is_acknowledged_afterwards() {
    let folder = tempfile::tempdir().unwrap();
    let (told, fatal) = mpsc::channel();
    let broken = Arc::new(AtomicBool::new(false));
    let tries = Arc::new(AtomicUsize::new(0));
    let mut options = options(&folder).on_fatal(move |error| told.send(error.to_string()).unwrap());
    let (now_broken, counted) = (Arc::clone(&broken), Arc::clone(&tries));
    options.durably = Arc::new(move |connection: &Connection| {
        if now_broken.load(Ordering::SeqCst) {
            counted.fetch_add(1, Ordering::SeqCst);
            return Err(rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_IOERR_FSYNC), None));
        }
        connection.execute_batch("COMMIT")
    });
    let (store, _) = SqliteStore::open(options).unwrap();
    commit(&store, [turn(1..=3)]);

    broken.store(true, Ordering::SeqCst);
    let lost: Vec<_> = (4..=9).map(|seq| store.commit(turn([seq]))).collect();
    for pending in lost {
        assert!(matches!(pending.wait(), Err(StoreError::WriterGone)));
    }
    assert!(matches!(store.lease(&ChannelName::new("mail"), at(0), at(9), 5).wait(), Err(StoreError::WriterGone)));
    assert!(matches!(store.close().wait(), Err(StoreError::WriterGone)));
    insta::assert_snapshot!(fatal.recv().unwrap(), @"the store's transaction failed in the store");
    assert!(fatal.recv().is_err(), "told once, and the writer is gone");
    assert_eq!(tries.load(Ordering::SeqCst), 1, "a failed fsync was tried again");
    assert_eq!(store.last().unwrap(), Seq(3));
    drop(store);
    let (store, opened) = open(&folder);
    assert!(opened.unclean);
    assert_eq!(store.last().unwrap(), Seq(3));
}

#[test]
fn a_full_disk_fails_the_request_and_not_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let full = Arc::new(AtomicBool::new(true));
    let mut options = options(&folder);
    let still_full = Arc::clone(&full);
    options.durably = Arc::new(move |connection: &Connection| {
        if still_full.load(Ordering::SeqCst) {
            return Err(rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_FULL), None));
        }
        connection.execute_batch("COMMIT")
    });
    let (store, _) = SqliteStore::open(options).unwrap();
    assert!(matches!(store.commit(turn([1])).wait(), Err(StoreError::Sqlite { .. })));
    assert_eq!((store.last().unwrap(), store.reader().last().unwrap()), (Seq(0), Seq(0)));
    full.store(false, Ordering::SeqCst);
    commit(&store, [turn([1])]);
    assert_eq!(store.last().unwrap(), Seq(1));
}

#[test]
fn the_log_does_not_grow_for_ever() {
    let (folder, store) = fresh();
    for seq in 1..=60 {
        let mut big = event(seq);
        big.element.raw = "x".repeat(1 << 20);
        commit(&store, [Turn { events: Arc::new(vec![big]), ..Turn::default() }]);
    }
    let log = std::fs::metadata(folder.path().join("redflag.db-wal")).unwrap().len();
    assert!((1 << 20..24 << 20).contains(&log), "60 MiB of events left a log of {log} bytes");
}

#[tokio::test]
async fn an_answer_can_be_awaited() {
    let (_folder, store) = fresh();
    store.commit(turn(1..=2)).committed().await.unwrap();
    assert_eq!(store.last().unwrap(), Seq(2));
}
