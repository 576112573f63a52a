//! Events, effects, books, rule sets.

use std::{collections::BTreeMap, thread};

use proptest::prelude::*;

use super::*;
use crate::{
    model::{
        alert::QuietPeriod,
        books::{BooksDelta, Counts},
        event::{QuarantineReason, Quarantined},
        turn::{Gap, GenerationRecord, Kept, KeptSet, Outcome, Parked, Settled, UndecidedRow},
        verdict::{Undecided, UndecidedKind},
    },
    store::{GapRow, Note, StoreError},
};

#[test]
fn an_event_comes_back_as_it_was() {
    let (_folder, store) = fresh();
    let events = vec![event(1), full_event(2)];
    commit(&store, [Turn { events: Arc::new(events.clone()), ..Turn::default() }]);
    assert_eq!(store.events_after(Seq(0), 10).unwrap(), events);
    assert_eq!(store.reader().event(Seq(2)).unwrap(), Some(events[1].clone()));
    assert_eq!(store.reader().event(Seq(3)).unwrap(), None);
}

#[test]
fn events_are_read_in_order_and_in_pieces() {
    let (_folder, store) = fresh();
    commit(&store, [turn(1..=5), turn(6..=9)]);
    let seqs = |after, limit| store.events_after(Seq(after), limit).unwrap().iter().map(|event| event.seq.0).collect::<Vec<_>>();
    assert_eq!(seqs(0, 3), [1, 2, 3]);
    assert_eq!(seqs(3, 100), [4, 5, 6, 7, 8, 9]);
    assert_eq!(seqs(9, 100), [0; 0]);
    assert_eq!(store.last().unwrap(), Seq(9));
    assert_eq!(store.reader().last().unwrap(), Seq(9));
}

#[test]
fn a_hole_in_the_sequence_is_refused_and_nothing_of_the_turn_is_kept() {
    let (_folder, store) = fresh();
    commit(&store, [turn(1..=2)]);
    let mut bad = turn(4..=5);
    bad.positions = vec![(FeedName::new("concedus"), "5".to_owned())];
    let error = store.commit(bad).wait().unwrap_err();
    insta::assert_snapshot!(error, @"appending events: 3 is next, 4 came");
    assert_eq!(store.last().unwrap(), Seq(2));
    assert_eq!(store.position(&FeedName::new("concedus")).unwrap(), None);
    commit(&store, [turn(3..=3)]);
}

#[test]
fn the_ledger_merges_neighbours_of_one_generation_and_has_no_holes() {
    let (_folder, store) = fresh();
    commit(&store, [turn(1..=10), judged(1, 3, "a"), judged(4, 5, "a"), judged(6, 6, "b"), judged(7, 8, "a")]);
    let ledger: Vec<_> = store.reader().ledger().unwrap().iter().map(|range| (range.from.0, range.to.0)).collect();
    assert_eq!(ledger, [(1, 5), (6, 6), (7, 8)]);
    assert_eq!(store.judged().unwrap(), Seq(8));
    assert_eq!(store.reader().judged().unwrap(), Seq(8));
    for (from, to) in [(8, 9), (10, 10), (9, 11)] {
        let error = store.commit(judged(from, to, "a")).wait().unwrap_err();
        assert!(matches!(error, StoreError::OutOfOrder { operation: "moving the cursor", .. }), "{from}..{to}: {error}");
    }
    assert_eq!(store.judged().unwrap(), Seq(8));
}

#[test]
fn a_turn_brings_all_that_it_holds() {
    let (_folder, store) = fresh();
    let feed = FeedName::new("concedus");
    let gap = Gap {
        feed: feed.clone(),
        topics: vec!["identResult".to_owned()],
        from: at(0),
        until: at(10),
        found_at: at(20),
        reason: "the answer was cut".to_owned(),
    };
    let set_aside = Quarantined {
        feed: feed.clone(),
        received_at: at(1),
        origin: Origin::Live,
        reason: QuarantineReason::InvalidJson,
        detail: "line 1, column 1".to_owned(),
        bytes: vec![0xff, 0],
        size: 2,
        digest: Digest::of(&[0xff, 0]),
    };
    let missing = UndecidedRow {
        seq: Seq(1),
        rule: RuleId::new("ident-failed"),
        rule_hash: Digest::of(b"rule"),
        at: at(1),
        why: Undecided { kind: UndecidedKind::Budget, line: Some(12), detail: "200,000 operations".to_owned() },
    };
    let parked = Parked {
        rule: missing.rule.clone(),
        rule_hash: missing.rule_hash,
        at: at(1),
        seq: Seq(1),
        why: "line 12: 200,000 operations".to_owned(),
        tries: 0,
        next_try: at(600),
    };
    let quiet = QuietPeriod {
        rule: RuleId::new("ident-failed"),
        key: vec!["PER_1".to_owned(), "\"".to_owned()],
        severity: Severity::High,
        message: message_id(1),
        from: at(0),
        until: at(60),
        repeats: 4,
    };
    let mut all = turn(1..=1);
    all.quarantined = vec![set_aside.clone()];
    all.positions = vec![(feed.clone(), "a.jsonl:1".to_owned()), (feed.clone(), "a.jsonl:2".to_owned())];
    all.gaps = vec![gap.clone()];
    all.effects = Effects {
        judged: Some(Judged { from: Seq(1), to: Seq(1), generation: Digest::of(b"g") }),
        alerts: vec![alert(1, Some(1)), Alert { id: Ids::seeded(9).alert(at(0)), ..alert(1, None) }],
        messages: vec![message(1)],
        deliveries: vec![delivery(1, 1, "mail", 0)],
        quiet: vec![quiet.clone()],
        quiet_ended: Vec::new(),
        undecided: vec![missing.clone()],
        imbalances: Vec::new(),
        marks: Vec::new(),
        settled: Vec::new(),
        parked: vec![parked.clone()],
        unparked: Vec::new(),
    };
    commit(&store, [all]);

    let reader = store.reader();
    let quarantined = reader.quarantined(10).unwrap();
    assert_eq!((quarantined.len(), quarantined[0].reason), (1, QuarantineReason::InvalidJson));
    assert_eq!(reader.quarantined_bytes(quarantined[0].id).unwrap(), Some(set_aside.bytes));
    assert_eq!(reader.quarantine_count().unwrap(), 1);
    assert_eq!(store.position(&feed).unwrap().as_deref(), Some("a.jsonl:2"));
    assert_eq!(reader.gaps().unwrap(), [GapRow { id: 1, gap, closed_at: None, closed_by: None, looked_up: None }]);
    assert_eq!(store.quiet_periods().unwrap(), std::slice::from_ref(&quiet));
    let undecided = reader.undecided(10).unwrap();
    assert_eq!((undecided[0].why.kind, undecided[0].why.line), (UndecidedKind::Budget, Some(12)));
    assert_eq!(reader.parked().unwrap(), [parked]);
    let alerts = reader.alerts_after(0, 10).unwrap();
    assert_eq!(
        alerts.iter().map(|alert| (alert.role, alert.message)).collect::<Vec<_>>(),
        [(Role::First, Some(message_id(1))), (Role::Shadow, None)]
    );
    assert_eq!(reader.alerts_after(alerts[0].n, 10).unwrap(), alerts[1..]);
    assert_eq!(reader.alerts_of(Seq(1)).unwrap(), alerts);
    assert_eq!(reader.message(message_id(1)).unwrap(), Some(message(1)));
    assert_eq!(reader.message(message_id(2)).unwrap(), None);

    let anew = QuietPeriod { repeats: 0, from: at(70), ..quiet.clone() };
    let ended = vec![(quiet.rule.clone(), quiet.key.clone())];
    commit(&store, [caused(Effects { quiet_ended: ended.clone(), quiet: vec![anew.clone()], ..Effects::default() })]);
    assert_eq!(store.quiet_periods().unwrap(), [anew]);
    commit(&store, [caused(Effects { quiet_ended: ended, ..Effects::default() })]);
    assert_eq!(store.quiet_periods().unwrap(), []);
}

#[test]
fn what_else_was_live_is_kept_by_kind_and_the_last_is_found() {
    let (_folder, store) = fresh();
    let set = |kind, text: &str| KeptSet { kind, live_from: at(1), files: vec![("a".to_owned(), text.as_bytes().to_vec())] };
    for text in ["one", "two", "one"] {
        store.keep_set(set(Kept::Templates, text)).wait().unwrap();
    }
    store.keep_set(set(Kept::Configuration, "three")).wait().unwrap();
    assert_eq!(store.reader().last_kept(Kept::Templates).unwrap(), Some(set(Kept::Templates, "one")));
    assert_eq!(store.reader().last_kept(Kept::Configuration).unwrap(), Some(set(Kept::Configuration, "three")));
}

#[test]
fn a_missing_verdict_is_open_until_it_is_settled_and_again_when_the_rule_fails_anew() {
    let (_folder, store) = fresh();
    commit(&store, [turn(1..=3)]);
    let rule = RuleId::new("slow");
    let row = |seq: u64, hash: &[u8], kind| UndecidedRow {
        seq: Seq(seq),
        rule: rule.clone(),
        rule_hash: Digest::of(hash),
        at: at(1),
        why: Undecided { kind, line: None, detail: String::new() },
    };
    let settled = |seq: u64, outcome| Settled { seq: Seq(seq), rule: rule.clone(), at: at(9), outcome, by: Digest::of(b"new") };
    let open = || -> Vec<(u64, UndecidedKind)> {
        let rows = store.open_verdicts_of(&rule, Seq(0), 10).unwrap();
        rows.into_iter().map(|row| (row.seq.0, row.why.kind)).collect()
    };
    let undecided =
        vec![row(1, b"old", UndecidedKind::Fuse), row(2, b"old", UndecidedKind::Parked), row(3, b"old", UndecidedKind::Parked)];
    commit(&store, [caused(Effects { undecided, ..Effects::default() })]);
    assert_eq!(open(), [(1, UndecidedKind::Fuse), (2, UndecidedKind::Parked), (3, UndecidedKind::Parked)]);
    let counts = store.open_verdicts().unwrap();
    assert_eq!(
        counts.iter().map(|open| (open.kind, open.count)).collect::<Vec<_>>(),
        [(UndecidedKind::Fuse, 1), (UndecidedKind::Parked, 2)]
    );

    // The new rule decides one, and fails at another in its own way.
    let effects = Effects {
        settled: vec![settled(1, Outcome::NoMatch), settled(2, Outcome::Again)],
        undecided: vec![row(2, b"new", UndecidedKind::Error)],
        ..Effects::default()
    };
    commit(&store, [caused(effects)]);
    assert_eq!(open(), [(2, UndecidedKind::Error), (3, UndecidedKind::Parked)]);
    assert_eq!(store.open_verdicts_of(&rule, Seq(2), 10).unwrap().len(), 1);
    // The old one comes back, and fails as it did.
    commit(&store, [caused(Effects { undecided: vec![row(1, b"old", UndecidedKind::Fuse)], ..Effects::default() })]);
    assert_eq!(open()[0], (1, UndecidedKind::Fuse));
}

#[test]
fn an_alert_of_an_event_or_message_that_is_not_kept_is_refused() {
    let (_folder, store) = fresh();
    commit(&store, [turn(1..=1)]);
    for orphan in [alert(2, None), alert(1, Some(1))] {
        let error = store.commit(caused(Effects { alerts: vec![orphan], ..Effects::default() })).wait().unwrap_err();
        assert!(matches!(error, StoreError::Sqlite { operation: "writing alerts", .. }), "{error}");
    }
    assert_eq!(store.reader().alerts_after(0, 10).unwrap(), []);
}

#[test]
fn a_rule_set_is_kept_once_and_can_become_the_last_one_again() {
    let (_folder, store) = fresh();
    let record = |name: &str, live: i64| GenerationRecord {
        hash: Digest::of(name.as_bytes()),
        live_from: at(live),
        cards: vec![card()],
        files: vec![("b.rhai".to_owned(), name.as_bytes().to_vec()), ("a.rhai".to_owned(), b"same".to_vec())],
    };
    for (name, live) in [("one", 1), ("one", 2), ("two", 3)] {
        store.keep_generation(record(name, live)).wait().unwrap();
    }
    let reader = store.reader();
    let one = reader.generation(&Digest::of(b"one")).unwrap().unwrap();
    assert_eq!((one.live_from, one.cards), (at(1), vec![card()]));
    assert_eq!(one.files, [("a.rhai".to_owned(), b"same".to_vec()), ("b.rhai".to_owned(), b"one".to_vec())]);
    assert_eq!(reader.last_generation().unwrap().unwrap().hash, Digest::of(b"two"));
    store.keep_generation(record("one", 4)).wait().unwrap();
    assert_eq!(reader.last_generation().unwrap().unwrap().hash, Digest::of(b"one"));
    assert!(reader.generation(&Digest::of(b"three")).unwrap().is_none());
    let contents: i64 =
        reader.with("", |connection| connection.query_row("SELECT count(*) FROM contents", [], |row| row.get(0))).unwrap();
    assert_eq!(contents, 3, "`same` is there once");
}

#[test]
fn a_note_lands_in_the_audit_record() {
    let (_folder, store) = fresh();
    let note = Note {
        actor: Actor { claims: Some("anna".to_owned()), pid: Some(7), ..user("root", 0) },
        action: "reload".to_owned(),
        object: "rules".to_owned(),
        detail: "12 rules".to_owned(),
        before: Some("a".to_owned()),
        after: Some("b".to_owned()),
    };
    store.note(note.clone()).wait().unwrap();
    let rows = store.reader().audit(10).unwrap();
    assert_eq!((rows.len(), rows[0].at), (1, at(0)));
    let row = rows[0].clone();
    assert_eq!((row.actor, row.action, row.object), (note.actor, note.action, note.object));
    assert_eq!((row.detail, row.before, row.after), (note.detail, note.before, note.after));
}

#[test]
fn readers_see_whole_turns_while_the_writer_writes() {
    let (_folder, store) = fresh();
    thread::scope(|scope| {
        let readers: Vec<_> = (0..4)
            .map(|_| {
                let reader = store.reader().clone();
                scope.spawn(move || {
                    let mut looks = 0;
                    loop {
                        let seen = reader.events_after(Seq(0), usize::MAX).unwrap();
                        assert_eq!(seen.len() % 10, 0, "half a turn");
                        assert!(seen.iter().map(|event| event.seq.0).eq(1..=seen.len() as u64), "a hole");
                        looks += 1;
                        if seen.len() == 500 {
                            return looks;
                        }
                    }
                })
            })
            .collect();
        let pending: Vec<_> = (0..50).map(|batch| store.commit(turn(batch * 10 + 1..=batch * 10 + 10))).collect();
        for pending in pending {
            pending.wait().unwrap();
        }
        for reader in readers {
            assert!(reader.join().unwrap() >= 1);
        }
    });
}

prop_compose! {
    fn delta()(feed in 0..2_u8, topic in 0..3_u8, hour in 0..3_i64, numbers in prop::array::uniform22(0..1_000_u64)) -> BooksDelta {
        BooksDelta {
            feed: FeedName::new(format!("feed{feed}")),
            topic: TopicName::new(["", "identResult", "mismatches"][usize::from(topic)]),
            hour: at(hour * 3_600),
            counts: Counts::from_values(numbers),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_books_are_the_sum_of_their_changes(turns in prop::collection::vec(prop::collection::vec(delta(), 0..6), 1..6)) {
        let (_folder, store) = fresh();
        let mut expected: BTreeMap<FeedName, Counts> = BTreeMap::new();
        for delta in turns.iter().flatten() {
            expected.entry(delta.feed.clone()).or_default().add(&delta.counts);
        }
        let pending: Vec<_> = turns.into_iter().map(|books| store.commit(Turn { books, ..Turn::default() })).collect();
        for pending in pending {
            pending.wait().unwrap();
        }
        prop_assert_eq!(store.reader().books().unwrap(), expected.into_iter().collect::<Vec<_>>());
    }
}
