//! What is older than its time goes, and nothing that is needed.

use super::*;
use crate::{
    model::{
        delivery::{AttemptReport, Next},
        event::{QuarantineReason, Quarantined},
        turn::UndecidedRow,
        verdict::{Undecided, UndecidedKind},
    },
    store::{Outbox as _, Shelf, Step},
};

fn seqs(store: &SqliteStore) -> Vec<u64> {
    store.reader().events_after(Seq(0), 100).unwrap().iter().map(|event| event.seq.0).collect()
}

/// Clears the shelf in steps of three rows. How many rows went.
fn clear(store: &SqliteStore, shelf: Shelf, before: i64) -> u64 {
    let (mut deleted, mut after) = (0, 0);
    loop {
        let cleared = store.prune(Step { shelf, before: at(before), after, limit: 3 }).wait().unwrap();
        assert!(cleared.deleted <= 3, "a step is small");
        deleted += cleared.deleted;
        let Some(next) = cleared.next else { return deleted };
        after = next;
    }
}

#[test]
fn old_events_go_in_small_steps_but_none_that_is_needed() {
    let (_folder, store) = fresh();
    commit(&store, [turn(1..=10), judged(1, 8, "g")]);
    let missing = UndecidedRow {
        seq: Seq(2),
        rule: RuleId::new("r"),
        rule_hash: Digest::of(b"r"),
        at: at(2),
        why: Undecided { kind: UndecidedKind::Budget, line: None, detail: String::new() },
    };
    let effects =
        Effects { messages: vec![message(1)], alerts: vec![alert(3, Some(1))], undecided: vec![missing], ..Effects::default() };
    commit(&store, [caused(effects)]);

    assert_eq!(clear(&store, Shelf::Journal, 1), 0, "nothing is older");
    assert_eq!(clear(&store, Shelf::Journal, 7), 4);
    assert_eq!(seqs(&store), [2, 3, 7, 8, 9, 10], "a missing verdict and an alert keep their events");
    assert_eq!(clear(&store, Shelf::Journal, 1_000), 2, "what is not judged stays");
    assert_eq!(seqs(&store), [2, 3, 9, 10]);
    commit(&store, [judged(9, 10, "g")]);
    assert_eq!(clear(&store, Shelf::Journal, 1_000), 1);
    assert_eq!(seqs(&store), [2, 3, 10], "the newest stays: sequences and back-fill go on from it");
    commit(&store, [turn(11..=11)]);

    let audit = store.reader().audit(10).unwrap();
    assert!(audit.iter().all(|line| (line.action.as_str(), line.object.as_str()) == ("retention", "journal")), "{audit:?}");
    assert!(audit.last().unwrap().detail.starts_with("1 rows from before"), "{audit:?}");
}

#[test]
fn ended_deliveries_go_with_their_attempts_and_messages_and_none_that_is_owed_or_untold() {
    let (_folder, store) = fresh();
    let mail = ChannelName::new("mail");
    for number in 1..=4 {
        commit(&store, [owes(number, vec![delivery(number, number, "mail", i64::try_from(number).unwrap())])]);
    }
    commit(&store, [turn(1..=1), caused(Effects { alerts: vec![alert(1, Some(2))], ..Effects::default() })]);
    let leased = store.lease(&mail, at(10), at(70), 10).wait().unwrap();
    let next = [Next::Delivered, Next::Delivered, Next::Dead, Next::Retry { due_at: at(20) }];
    let reports = leased.iter().zip(next).map(|(leased, next)| AttemptReport {
        delivery: leased.delivery.id,
        attempt: 1,
        finished_at: at(11),
        detail: String::new(),
        next,
    });
    store.report(reports.collect()).wait().unwrap();

    assert_eq!(clear(&store, Shelf::Deliveries, 2), 1);
    assert_eq!(clear(&store, Shelf::Deliveries, 1_000), 1, "a dead letter nobody was told of, and what is owed, stay");
    let reader = store.reader();
    assert_eq!(reader.message(message_id(1)).unwrap(), None);
    assert_eq!(reader.attempts_of(leased[0].delivery.id).unwrap(), []);
    assert!(reader.message(message_id(2)).unwrap().is_some(), "an alert refers to it");
    assert_eq!((reader.deliveries_of(message_id(3)).unwrap().len(), reader.deliveries_of(message_id(4)).unwrap().len()), (1, 1));
}

#[test]
fn old_quarantine_goes() {
    let (_folder, store) = fresh();
    let one = |second| Quarantined {
        feed: FeedName::new("concedus"),
        received_at: at(second),
        origin: Origin::Live,
        reason: QuarantineReason::InvalidJson,
        detail: String::new(),
        bytes: vec![0],
        size: 1,
        digest: Digest::of(&[0]),
    };
    commit(&store, [Turn { quarantined: vec![one(1), one(2), one(30)], ..Turn::default() }]);
    assert_eq!(clear(&store, Shelf::Quarantine, 10), 2);
    assert_eq!(store.reader().quarantine_count().unwrap(), 1);
}
