//! A full disk: the reserve is given up, room is waited for, and nothing is lost or done twice.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Instant,
};

use rusqlite::{Connection, ffi};

use super::*;
use crate::store::{RESERVE, Space, breaks_trust};

/// A store on a disk that is full as long as `full` says so of the folder.
fn on_a_disk(full: impl Fn(&std::path::Path) -> bool + Send + Sync + 'static) -> (TempDir, SqliteStore, Arc<Space>) {
    let folder = tempfile::tempdir().unwrap();
    let space = Arc::new(Space::new(folder.path(), 1 << 20));
    let mut options = options(&folder).space(Arc::clone(&space));
    let path = folder.path().to_owned();
    options.durably = Arc::new(move |connection: &Connection| {
        if full(&path) {
            return Err(rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_FULL), None));
        }
        connection.execute_batch("COMMIT")
    });
    let (store, _) = SqliteStore::open(options).unwrap();
    assert!(space.set_up().unwrap(), "this machine's disk is full");
    (folder, store, space)
}

/// Looks until it is so.
fn until(so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !so() {
        assert!(begun.elapsed().as_secs() < 20, "waited in vain");
        thread::yield_now();
    }
}

#[test]
fn a_full_disk_takes_the_reserve_and_what_is_under_way_ends_well() {
    let (folder, store, space) = on_a_disk(|folder| folder.join(RESERVE).exists());
    commit(&store, [turn(1..=3), owes(1, vec![delivery(1, 1, "mail", 0)])]);
    assert_eq!(store.last().unwrap(), Seq(3));
    assert!(space.is_short() && !space.is_waiting(), "whoever reads sockets is to stop");
    assert!(!folder.path().join(RESERVE).exists());
    assert!(space.set_up().unwrap(), "there is room again");
    assert!(!space.is_short() && folder.path().join(RESERVE).exists());
}

#[test]
fn without_any_room_the_writer_waits_and_then_goes_on_where_it_was() {
    let tries = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&tries);
    let (_folder, store, space) = on_a_disk(move |_| counted.fetch_add(1, Ordering::SeqCst) < 3);
    let pending = store.commit(turn(1..=3));
    until(|| space.is_waiting());
    assert_eq!(store.last().unwrap(), Seq(0), "nothing is acknowledged");
    pending.wait().unwrap();
    assert!(!space.is_waiting());
    assert_eq!((store.last().unwrap(), store.reader().last().unwrap()), (Seq(3), Seq(3)));
    commit(&store, [turn(4..=4)]);
}

#[test]
fn a_stop_on_a_full_disk_is_no_endless_wait() {
    let (_folder, store, space) = on_a_disk(|_| true);
    let pending = store.commit(turn(1..=1));
    until(|| space.is_waiting());
    let closed = store.close();
    assert!(pending.wait().unwrap_err().is_full());
    drop(closed.wait());
    drop(store);
}

#[test]
fn an_input_output_error_breaks_the_trust_in_the_disk_and_a_full_disk_does_not() {
    let of = |error: rustix::io::Errno| breaks_trust(&error.into());
    assert!(of(rustix::io::Errno::IO));
    assert!(!of(rustix::io::Errno::NOSPC) && !of(rustix::io::Errno::ACCESS));
}
