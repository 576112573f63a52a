//! Bytes that change by themselves, ends that get lost, and what the fresh store knows of the old one.

use std::{
    fs,
    path::Path,
    sync::{
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    time::Duration,
};

use rusqlite::{Connection, types::Value as Sql};

use super::*;
use crate::model::{
    alert::QuietPeriod,
    turn::{Outcome, Parked, Settled, UndecidedRow},
    verdict::{Undecided, UndecidedKind},
};
use crate::store::{
    DATABASE, Outbox as _, StoreError,
    guard::{LOG, MARK, SUMS},
};

const FILES: [&str; 4] = [DATABASE, LOG, SUMS, MARK];

/// Thirty events, all but two judged, two deliveries of which one went out. `Some` closes it, `None` leaves it as a kill would.
fn worked(clean: bool) -> TempDir {
    let (folder, store) = fresh();
    commit(&store, [turn(1..=20), judged(1, 20, "g"), owes(1, vec![delivery(1, 1, "mail", 0), delivery(2, 1, "chat", 0)])]);
    store.lease(&ChannelName::new("chat"), at(0), at(30), 1).wait().unwrap();
    let copy = tempfile::tempdir().unwrap();
    if clean {
        commit(&store, [turn(21..=30), judged(21, 28, "g")]);
        store.close().wait().unwrap();
        drop(store);
    } else {
        // So that there is something in the database as well as in the log.
        store.close().wait().unwrap();
        drop(store);
        let (store, _) = open(&folder);
        commit(&store, [turn(21..=30), judged(21, 28, "g")]);
        copy_files(folder.path(), copy.path());
        return copy;
    }
    copy_files(folder.path(), copy.path());
    copy
}

fn copy_files(from: &Path, to: &Path) {
    for file in FILES {
        fs::copy(from.join(file), to.join(file)).unwrap();
    }
}

/// All that a store says, but for what an opening itself changes.
fn content(folder: &Path) -> Vec<Vec<Sql>> {
    let connection = Connection::open(folder.join(DATABASE)).unwrap();
    let mut rows = Vec::new();
    let mut tables = connection.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name").unwrap();
    let tables: Vec<String> = tables.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap();
    for table in tables.iter().filter(|table| *table != "service") {
        let columns = if table == "deliveries" { "n, id, message, channel, recipient, identity, due_at, attempts" } else { "*" };
        let mut select = connection.prepare(&format!("SELECT '{table}', {columns} FROM {table} NOT INDEXED")).unwrap();
        let width = select.column_count();
        let table =
            select.query_map([], |row| (0..width).map(|column| row.get(column)).collect::<Result<Vec<Sql>, _>>()).unwrap();
        rows.extend(table.map(Result::unwrap));
    }
    rows
}

#[test]
fn no_changed_byte_and_no_lost_end_is_believed() {
    let mut random = fastrand::Rng::with_seed(4);
    let (mut aside, mut harmless) = (0, 0);
    for clean in [true, false] {
        let sound = worked(clean);
        let before = content(tempfile_copy(&sound).path());
        for round in 0..60 {
            let folder = tempfile_copy(&sound);
            let file = [DATABASE, DATABASE, LOG, SUMS, MARK][round % 5];
            let path = folder.path().join(file);
            let mut bytes = fs::read(&path).unwrap();
            if bytes.is_empty() {
                continue;
            }
            let place = random.usize(..bytes.len());
            if random.bool() {
                bytes.truncate(place);
            } else {
                bytes[place] ^= 1 << random.u32(..8);
            }
            fs::write(&path, bytes).unwrap();
            let (store, opened) = open(&folder);
            drop(store);
            let Some(moved) = opened.set_aside else {
                assert_eq!(content(folder.path()), before, "byte {place} of {file}");
                harmless += 1;
                continue;
            };
            aside += 1;
            assert!(moved.join(DATABASE).exists(), "never deleted");
            let (store, opened) = open(&folder);
            assert_eq!(opened.set_aside, None, "once is enough: byte {place} of {file}");
            assert_eq!(store.last().unwrap(), Seq(30), "numbers go on above: byte {place} of {file}");
        }
    }
    println!("{aside} set aside, {harmless} without effect");
    assert!(aside > 40 && harmless > 0, "{aside} set aside, {harmless} without effect");
}

fn tempfile_copy(from: &TempDir) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    copy_files(from.path(), folder.path());
    folder
}

/// Flips a bit where the database holds this text.
fn flip(folder: &TempDir, text: &str) {
    let path = folder.path().join(DATABASE);
    let mut bytes = fs::read(&path).unwrap();
    let place = bytes.windows(text.len()).position(|window| window == text.as_bytes()).expect("the text");
    bytes[place] ^= 1;
    fs::write(&path, bytes).unwrap();
}

#[test]
fn a_fresh_store_goes_on_where_the_damaged_one_ended_and_owes_what_it_owed() {
    let folder = worked(true);
    flip(&folder, "PER_7\",");
    let (store, opened) = open(&folder);
    assert!(opened.set_aside.is_some_and(|aside| aside.starts_with(folder.path())));
    assert_eq!((store.last().unwrap(), store.judged().unwrap()), (Seq(30), Seq(30)));
    let feed = FeedName::new("concedus");
    assert_eq!(
        store.latest(&feed).unwrap().into_values().max(),
        Some(at(20)),
        "from the last batch on whose events were all judged, feeds are asked again"
    );
    let leased = store.lease(&ChannelName::new("mail"), at(0), at(9), 9).wait().unwrap();
    assert_eq!(leased.len(), 1, "what was owed is owed");
    assert_eq!((leased[0].delivery.clone(), &*leased[0].message), (delivery(1, 1, "mail", 0), &message(1)));
    assert_eq!(store.reader().untold_set_aside(at(-1)).unwrap()[0].judged, Seq(28));
    commit(&store, [turn(31..=31), judged(31, 31, "g")]);
    assert_eq!(store.latest(&feed).unwrap().into_values().max(), Some(at(31)));
}

#[test]
fn what_is_owed_but_damaged_is_not_sent_and_feeds_are_asked_from_a_day_before() {
    let folder = worked(true);
    flip(&folder, "PER_1 failed");
    let (store, _) = open(&folder);
    assert!(store.lease(&ChannelName::new("mail"), at(0), at(9), 9).wait().unwrap().is_empty());
    assert_eq!(store.latest(&FeedName::new("concedus")).unwrap().into_values().max(), Some(at(20 - 86_400)));
    let row = store.reader().untold_set_aside(at(-1)).unwrap().remove(0);
    assert!(!row.owed_carried && row.receipts_known, "{row:?}");
}

/// Two missing verdicts of which one was settled, a parked rule, and a quiet period whose message went out.
fn owed_verdicts() -> TempDir {
    let folder = worked(true);
    let (store, _) = open(&folder);
    let missing = |seq| UndecidedRow {
        seq: Seq(seq),
        rule: RuleId::new("ident-failed"),
        rule_hash: Digest::of(b"rule"),
        at: at(1),
        why: Undecided { kind: UndecidedKind::Budget, line: Some(12), detail: "200,000 operations".to_owned() },
    };
    let settled =
        Settled { seq: Seq(4), rule: RuleId::new("ident-failed"), at: at(2), outcome: Outcome::NoMatch, by: Digest::of(b"new") };
    let parked = Parked {
        rule: RuleId::new("ident-failed"),
        rule_hash: Digest::of(b"rule"),
        at: at(1),
        seq: Seq(5),
        why: "line 12: 200,000 operations".to_owned(),
        tries: 0,
        next_try: at(600),
    };
    let quiet = QuietPeriod {
        rule: RuleId::new("ident-failed"),
        key: vec!["PER_1".to_owned()],
        severity: Severity::High,
        message: message_id(2),
        from: at(0),
        until: at(60),
        repeats: 4,
    };
    let before = Effects { undecided: vec![missing(4), missing(5)], parked: vec![parked], ..Effects::default() };
    let quiet = Effects { settled: vec![settled], messages: vec![message(2)], quiet: vec![quiet], ..Effects::default() };
    commit(&store, [caused(before), caused(quiet)]);
    store.close().wait().unwrap();
    folder
}

#[test]
fn verdicts_that_were_owed_and_quiet_periods_go_on_in_the_fresh_store() {
    let folder = owed_verdicts();
    // A page that neither needs.
    flip(&folder, "aml@example.test");
    let (store, opened) = open(&folder);
    assert!(opened.set_aside.is_some());
    let reader = store.reader();
    let row = reader.untold_set_aside(at(-1)).unwrap().remove(0);
    assert!(row.verdicts_carried && !row.owed_carried && !row.quiet_carried, "{row:?}");
    let open: Vec<Seq> = reader.undecided(9).unwrap().iter().map(|row| row.seq).collect();
    assert_eq!(open, [Seq(5)]);
    assert_eq!(reader.event(Seq(5)).unwrap().unwrap().element, event(5).element, "there is something to judge");
    assert_eq!(store.parked().unwrap().len(), 1);
    assert_eq!(store.quiet_periods().unwrap(), [], "an alert that is lost must not keep its repetition silent");
    assert_eq!((store.last().unwrap(), store.judged().unwrap()), (Seq(30), Seq(30)), "numbers go on above");
    commit(&store, [turn(31..=31), judged(31, 31, "g")]);
    assert_eq!(store.last().unwrap(), Seq(31));
}

#[test]
fn of_a_damaged_journal_no_verdict_stays_owed_and_that_is_told() {
    let folder = owed_verdicts();
    flip(&folder, "PER_7\",");
    let (store, _) = open(&folder);
    let row = store.reader().untold_set_aside(at(-1)).unwrap().remove(0);
    assert!(!row.verdicts_carried && row.owed_carried && row.quiet_carried, "{row:?}");
    assert!(store.reader().undecided(9).unwrap().is_empty());
    let quiet = store.quiet_periods().unwrap();
    assert_eq!((quiet.len(), quiet[0].repeats), (1, 4));
    assert!(store.reader().message(quiet[0].message).unwrap().is_some(), "its follow-up can be told");
}

#[test]
fn a_lost_end_of_the_log_goes_on_from_what_stands_before_it() {
    let folder = worked(false);
    let log = folder.path().join(LOG);
    let bytes = fs::read(&log).unwrap();
    fs::write(&log, &bytes[..bytes.len() - 1]).unwrap();
    let (store, opened) = open(&folder);
    assert!(opened.set_aside.is_some());
    assert_eq!(store.last().unwrap(), Seq(30), "30 was given");
    assert_eq!(
        store.latest(&FeedName::new("concedus")).unwrap().into_values().max(),
        Some(at(20)),
        "20 was the last whose judging stands"
    );
}

#[test]
fn an_interrupted_exchange_is_finished() {
    let folder = worked(true);
    flip(&folder, "PER_7\",");
    let (store, opened) = open(&folder);
    store.close().wait().unwrap();
    drop(store);
    let aside = opened.set_aside.unwrap();
    // As it was when the fresh store was whole and only a part of the old one out of its way.
    let waiting = folder.path().join("fresh");
    fs::create_dir(&waiting).unwrap();
    fs::rename(folder.path().join(DATABASE), waiting.join(DATABASE)).unwrap();
    fs::rename(aside.join(MARK), folder.path().join(MARK)).unwrap();
    fs::rename(aside.join(DATABASE), folder.path().join(DATABASE)).unwrap();
    let (store, opened) = open(&folder);
    assert_eq!((opened.set_aside, store.last().unwrap()), (None, Seq(30)));
    assert!(aside.join(DATABASE).exists() && aside.join(MARK).exists() && !waiting.exists());
}

#[test]
fn a_long_life_with_many_moves_of_the_log_stays_sound() {
    let (folder, store) = fresh();
    for seq in 1..=40 {
        let mut big = event(seq);
        big.element.raw = format!("{seq} {}", "x".repeat(1 << 20));
        commit(&store, [Turn { events: Arc::new(vec![big]), ..Turn::default() }]);
    }
    drop(store);
    for unclean in [true, false] {
        let (store, opened) = open(&folder);
        assert_eq!(opened, Opened { unclean, set_aside: None });
        store.close().wait().unwrap();
        drop(store);
    }
}

#[test]
fn a_start_that_reads_every_page_says_that_it_gets_on() {
    let (folder, store) = fresh();
    let mut big = event(1);
    big.element.raw = "x".repeat(4 << 20);
    commit(&store, [Turn { events: Arc::new(vec![big]), ..Turn::default() }]);
    store.close().wait().unwrap();
    drop(store);
    let opened = || {
        let portions = Arc::new(AtomicU32::new(0));
        let seen = Arc::clone(&portions);
        let options = options(&folder).on_checked(move || {
            seen.fetch_add(1, Ordering::Relaxed);
        });
        drop(SqliteStore::open(options).unwrap());
        portions.load(Ordering::Relaxed)
    };
    opened();
    assert!(opened() > 8, "after an unclean stop, a portion for each quarter of a megabyte");
}

#[test]
fn damage_that_a_quick_start_left_to_the_writer_ends_the_process() {
    let (folder, store) = fresh();
    let mut big = event(1);
    big.element.raw = "x".repeat(4 << 20);
    commit(&store, [Turn { events: Arc::new(vec![big]), ..Turn::default() }]);
    store.close().wait().unwrap();
    drop(store);
    let path = folder.path().join(DATABASE);
    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.len() - 2_000;
    bytes[last] ^= 4;
    fs::write(&path, bytes).unwrap();
    let (told, fatal) = mpsc::channel();
    let mut quick = options(&folder).on_fatal(move |error| told.send(matches!(error, StoreError::Damaged { .. })).unwrap());
    quick.patience = Duration::ZERO;
    let (store, opened) = SqliteStore::open(quick).unwrap();
    assert_eq!(opened.set_aside, None);
    assert!(fatal.recv_timeout(Duration::from_secs(30)).unwrap());
    drop(store);
    assert!(open(&folder).1.set_aside.is_some(), "and the next start sets it aside");
}
