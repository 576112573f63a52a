//! Opening, owning, closing, and opening again after everything was dropped.

use std::{fs, os::unix::fs::PermissionsExt as _};

use super::*;
use crate::store::{
    DATABASE, Outbox as _, StoreError,
    schema::{self, MIGRATIONS},
};

#[test]
fn a_second_owner_is_refused_until_the_first_is_gone() {
    let (folder, store) = fresh();
    let error = SqliteStore::open(options(&folder)).unwrap_err();
    assert!(matches!(error, StoreError::SecondOwner { .. }), "{error}");
    insta::assert_snapshot!(
        error.to_string().replace(&folder.path().display().to_string(), "DIR").replace(&std::process::id().to_string(), "PID"),
        @"DIR/redflag.lock is in use by another redflag (pid PID, `redflag run` since 2023-11-14 22:13:20 UTC)"
    );
    let clone = store.clone();
    drop(store);
    assert!(SqliteStore::open(options(&folder)).is_err(), "a clone still owns it");
    drop(clone);
    open(&folder);
}

#[test]
fn what_was_answered_is_there_after_everything_was_dropped() {
    let (folder, store) = fresh();
    commit(&store, [turn(1..=3), judged(1, 2, "g"), owes(1, vec![delivery(1, 1, "mail", 0)])]);
    let leased = store.lease(&ChannelName::new("mail"), at(0), at(30), 1).wait().unwrap();
    assert_eq!(leased.len(), 1);
    drop(store);
    let (store, opened) = open(&folder);
    assert!(opened.unclean);
    assert_eq!((store.last().unwrap(), store.judged().unwrap()), (Seq(3), Seq(2)));
    assert_eq!(store.events_after(Seq(2), 10).unwrap(), [event(3)]);
    assert_eq!(store.next_due(&ChannelName::new("mail")).unwrap(), Some(at(0)), "who held the lease is gone");
    commit(&store, [turn(4..=4), judged(3, 4, "g")]);
    assert_eq!(store.reader().ledger().unwrap().len(), 1);
}

#[test]
fn a_copy_taken_while_it_runs_opens_as_after_a_crash() {
    let (folder, store) = fresh();
    commit(&store, [turn(1..=3), judged(1, 1, "g")]);
    let copy = tempfile::tempdir().unwrap();
    for file in [DATABASE, "redflag.db-wal"] {
        fs::copy(folder.path().join(file), copy.path().join(file)).unwrap();
    }
    let (store, opened) = open(&copy);
    assert!(opened.unclean);
    assert_eq!((store.last().unwrap(), store.judged().unwrap()), (Seq(3), Seq(1)));
}

#[test]
fn a_clean_stop_is_told_from_another() {
    let folder = tempfile::tempdir().unwrap();
    let (store, opened) = open(&folder);
    assert_eq!(opened, Opened::default(), "a new store");
    commit(&store, [turn(1..=3)]);
    store.close().wait().unwrap();
    assert!(matches!(store.commit(turn(4..=4)).wait(), Err(StoreError::WriterGone)));
    assert_eq!(fs::metadata(folder.path().join("redflag.db-wal")).unwrap().len(), 0, "the log is empty");
    drop(store);
    let (store, opened) = open(&folder);
    assert!(!opened.unclean);
    assert_eq!(store.last().unwrap(), Seq(3));
    drop(store);
    assert!(open(&folder).1.unclean);
}

#[test]
fn only_the_owner_may_look_into_the_folder() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("a/b");
    let (store, _) = SqliteStore::open(Options::new(&folder)).unwrap();
    commit(&store, [turn(1..=1)]);
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    for file in [DATABASE, "redflag.db-wal", "redflag.db-shm", "redflag.lock"] {
        assert_eq!(mode(&folder.join(file)), 0o600, "{file}");
    }
}

#[test]
fn commands_read_while_another_process_owns() {
    let (folder, store) = fresh();
    commit(&store, [turn(1..=2)]);
    for path in [folder.path().to_owned(), folder.path().join(DATABASE)] {
        let reader = SqliteStore::read_only(&path).unwrap();
        assert_eq!(reader.last().unwrap(), Seq(2));
        let write = reader.with("writing", |connection| connection.execute("DELETE FROM events", []));
        assert!(write.is_err(), "a reader wrote");
    }
    drop(store);
    assert_eq!(SqliteStore::read_only(folder.path()).unwrap().last().unwrap(), Seq(2), "nor does it need an owner");
    let nothing = SqliteStore::read_only(&folder.path().join("none.db")).unwrap_err();
    insta::assert_snapshot!(nothing, @"opening the store for reading failed in the store");
}

#[test]
fn a_file_that_is_no_store_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(DATABASE);
    fs::write(&path, "not a database, but somebody's letter".repeat(100)).unwrap();
    let (store, opened) = open(&folder);
    let aside = opened.set_aside.expect("set aside");
    assert!(fs::read_to_string(aside.join(DATABASE)).unwrap().starts_with("not a database"), "renamed, not changed");
    drop(store);

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(DATABASE);
    rusqlite::Connection::open(&path).unwrap().execute_batch("CREATE TABLE recipes (name TEXT)").unwrap();
    let error = SqliteStore::open(options(&folder)).unwrap_err();
    insta::assert_snapshot!(
        error.to_string().replace(&folder.path().display().to_string(), "DIR"),
        @"DIR/redflag.db is no store of redflag; data_dir must name a folder of redflag's own"
    );
}

#[test]
fn a_visitor_takes_the_lock_and_leaves_how_the_last_run_ended() {
    let (folder, store) = fresh();
    commit(&store, [turn(1..=3)]);
    drop(store);
    let visit = || SqliteStore::open(options(&folder).visiting("alerts ack"));
    for _ in 0..2 {
        let (visitor, opened) = visit().unwrap();
        assert!(opened.unclean, "the run before was not closed");
        visitor.close().wait().unwrap();
    }
    assert!(open(&folder).1.unclean, "and the next run still learns of it");
}

#[test]
fn a_visitor_makes_no_store_and_migrates_none() {
    let folder = tempfile::tempdir().unwrap();
    let visit = || SqliteStore::open(options(&folder).visiting("status"));
    assert!(matches!(visit(), Err(StoreError::Nothing { .. })));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing was left behind");
    let path = std::path::Path::new("redflag.db");
    let mut older = rusqlite::Connection::open_in_memory().unwrap();
    schema::migrate(&mut older, &MIGRATIONS[..1], at(0)).unwrap();
    let error = schema::up_to_date(&older, path, MIGRATIONS).unwrap_err();
    assert!(matches!(error, StoreError::OlderSchema { found: 1, .. }), "{error}");
    schema::migrate(&mut older, MIGRATIONS, at(0)).unwrap();
    schema::up_to_date(&older, path, MIGRATIONS).unwrap();
}

#[test]
fn an_owner_waits_for_a_visitor_to_leave() {
    let (folder, store) = fresh();
    store.close().wait().unwrap();
    drop(store);
    let (visitor, _) = SqliteStore::open(options(&folder).visiting("status")).unwrap();
    std::thread::scope(|scope| {
        let owner = scope.spawn(|| open(&folder).1);
        visitor.close().wait().unwrap();
        drop(visitor);
        assert!(!owner.join().unwrap().unclean);
    });
}

#[test]
fn the_lock_s_file_says_who_holds_it_and_where_it_takes_commands() {
    let (folder, store) = fresh();
    SqliteStore::announce(folder.path(), std::path::Path::new("/run/redflag/control.sock")).unwrap();
    let holder = crate::store::Holder::of(folder.path()).unwrap();
    assert_eq!((holder.pid, holder.visiting, holder.since), (std::process::id(), false, at(0)));
    assert_eq!(holder.control.unwrap(), std::path::Path::new("/run/redflag/control.sock"));
    drop(store);
}
