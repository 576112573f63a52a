//! What people change, and the audit record of it.

use super::*;
use crate::{
    model::{
        alert::AlertState,
        delivery::{AttemptReport, Next},
        event::{QuarantineReason, Quarantined},
        turn::{Gap, Retried},
    },
    store::{Act, AlertFilter, Change, DeliveryFilter, Outbox as _, QuarantineFilter, StoreError},
};

fn act(action: &str, change: Change) -> Act {
    Act { actor: user("anna", 1_000), action: action.to_owned(), note: "because".to_owned(), change }
}

/// A store with two alerts of one message, owed on two channels.
fn scene() -> (TempDir, SqliteStore) {
    let (folder, store) = fresh();
    let alerts = vec![alert(1, Some(1)), alert(2, Some(1))];
    let effects = Effects { alerts, ..Effects::default() };
    commit(&store, [turn(1..=2), owes(1, vec![delivery(1, 1, "mail", 0), delivery(2, 1, "chat", 0)]), caused(effects)]);
    (folder, store)
}

fn dead(store: &SqliteStore, channel: &str) {
    let leased = store.lease(&ChannelName::new(channel), at(0), at(30), 1).wait().unwrap();
    let report = AttemptReport {
        delivery: leased[0].delivery.id,
        attempt: 1,
        finished_at: at(1),
        detail: "no".to_owned(),
        next: Next::Dead,
    };
    store.report(vec![report]).wait().unwrap();
}

#[test]
fn a_change_and_its_line_in_the_audit_record_are_one_transaction() {
    let (_folder, store) = scene();
    let change = Change::Alerts { alerts: vec![1, 2], to: Some(AlertState::Acknowledged) };
    let changed = store.act(act("alerts ack", change)).wait().unwrap();
    assert_eq!(changed.iter().map(|changed| &*changed.object).collect::<Vec<_>>(), ["alert 1", "alert 2"]);
    let line = store.reader().history("alert 1").unwrap().pop().unwrap();
    assert_eq!((&*line.action, &line.actor, &*line.detail), ("alerts ack", &user("anna", 1_000), "because"));
    assert_eq!((line.before.as_deref(), line.after.as_deref()), (Some("open"), Some("acknowledged")));

    // One of them is not there: neither is changed, and nothing is recorded.
    let change = Change::Alerts { alerts: vec![1, 99], to: Some(AlertState::Closed) };
    let error = store.act(act("alerts close", change)).wait().unwrap_err();
    assert!(matches!(error, StoreError::Refused { .. }), "{error}");
    assert_eq!(store.reader().alert(1).unwrap().unwrap().state, AlertState::Acknowledged);
    assert_eq!(store.reader().history("alert 1").unwrap().len(), 1);
}

#[test]
fn what_was_so_already_is_recorded_only_with_a_note() {
    let (_folder, store) = scene();
    let ack = |note: &str| {
        let change = Change::Alerts { alerts: vec![1], to: Some(AlertState::Acknowledged) };
        store.act(Act { note: note.to_owned(), ..act("alerts ack", change) }).wait().unwrap()
    };
    assert_eq!((ack("")[0].before.as_str(), ack("")[0].before.as_str()), ("open", "acknowledged"));
    ack("once more");
    let history: Vec<_> = store.reader().history("alert 1").unwrap().into_iter().map(|line| line.detail).collect();
    assert_eq!(history, ["", "once more"]);
}

#[test]
fn the_audit_record_is_append_only() {
    let (folder, store) = scene();
    store.act(act("reload", Change::Done { object: "rules".to_owned() })).wait().unwrap();
    let connection = rusqlite::Connection::open(folder.path().join(crate::store::DATABASE)).unwrap();
    for sql in ["UPDATE audit SET actor = 'nobody'", "DELETE FROM audit"] {
        let error = connection.execute(sql, []).unwrap_err();
        assert!(error.to_string().contains("append-only"), "{error}");
    }
    assert_eq!(store.reader().audit(10).unwrap().len(), 1);
}

#[test]
fn a_dead_letter_is_sent_again_under_its_identity_and_not_given_up_at_once() {
    let (_folder, store) = scene();
    dead(&store, "mail");
    assert_eq!(store.reader().dead_letter_count().unwrap(), 1);
    store.act(act("outbox retry", Change::Retry { deliveries: vec![(1, at(500_000))] })).wait().unwrap();
    let leased = store.lease(&ChannelName::new("mail"), at(0), at(30), 1).wait().unwrap().pop().unwrap();
    assert_eq!((leased.attempt, &*leased.delivery.identity), (2, "<1.mail@example.test>"));
    assert_eq!(leased.delivery.expires_at, at(500_000));
    // While it is being sent, nobody changes it.
    for change in [Change::Retry { deliveries: vec![(1, at(1))] }, Change::Drop { deliveries: vec![1] }] {
        assert!(store.act(act("outbox", change)).wait().unwrap_err().to_string().contains("is being sent just now"));
    }
}

#[test]
fn a_dropped_delivery_is_no_dead_letter_and_is_never_sent() {
    let (_folder, store) = scene();
    dead(&store, "mail");
    store.act(act("outbox drop", Change::Drop { deliveries: vec![1, 2] })).wait().unwrap();
    let reader = store.reader();
    assert_eq!((reader.dead_letter_count().unwrap(), reader.owed().unwrap().len()), (0, 0));
    assert_eq!(store.lease(&ChannelName::new("chat"), at(9), at(30), 9).wait().unwrap().len(), 0);
    let history: Vec<_> = (1..=2)
        .flat_map(|n| reader.history(&format!("delivery {n}")).unwrap())
        .map(|line| (line.before.unwrap(), line.after.unwrap()))
        .collect();
    let dropped = |before: &str| (before.to_owned(), "dropped".to_owned());
    assert_eq!(history, [dropped("dead"), dropped("waiting")]);
    let filter = DeliveryFilter { dropped: true, limit: 9, ..DeliveryFilter::default() };
    assert_eq!(reader.find_deliveries(&filter).unwrap().len(), 2);
    assert_eq!(reader.find_deliveries(&DeliveryFilter { limit: 9, ..DeliveryFilter::default() }).unwrap().len(), 0);
}

#[test]
fn a_wish_to_judge_quarantined_bytes_stays_until_the_engine_says_what_came_of_it() {
    let (_folder, store) = fresh();
    let entry = |bytes: &[u8]| Quarantined {
        feed: FeedName::new("concedus"),
        received_at: at(0),
        origin: Origin::Live,
        reason: QuarantineReason::NoTopic,
        detail: "no topic".to_owned(),
        bytes: bytes.to_vec(),
        size: 2,
        digest: Digest::of(bytes),
    };
    commit(&store, [Turn { quarantined: vec![entry(b"{}"), entry(b"")], ..Turn::default() }]);
    let want = |id| store.act(act("quarantine retry", Change::Judge { quarantined: vec![id] })).wait();
    assert!(want(2).unwrap_err().to_string().contains("only size and digest are kept"));
    want(1).unwrap();
    let wanted = store.wanted().unwrap();
    assert_eq!((wanted.len(), wanted[0].id, &*wanted[0].frame.bytes), (1, 1, &b"{}"[..]));

    let came = |judged, outcome: &str| {
        let retried = vec![Retried { id: 1, at: at(5), judged, outcome: outcome.to_owned() }];
        commit(&store, [Turn { retried, ..Turn::default() }]);
        store.reader().find_quarantined(&QuarantineFilter { limit: 9, ..QuarantineFilter::default() }).unwrap().pop().unwrap()
    };
    assert_eq!(came(false, "still refused").state, "open");
    want(1).unwrap();
    let row = came(true, "journaled as event 9");
    assert_eq!((&*row.state, row.outcome.as_deref()), ("retried", Some("journaled as event 9")));
    assert!(want(1).unwrap_err().to_string().contains("was judged already"));
    assert_eq!(store.wanted().unwrap().len(), 0);
    let last = store.reader().history("quarantine 1").unwrap().pop().unwrap();
    assert_eq!((last.actor, last.after.as_deref()), (Actor::service(), Some("retried")));
}

#[test]
fn alerts_are_found_by_rule_state_and_time() {
    let (_folder, store) = scene();
    store.act(act("alerts close", Change::Alerts { alerts: vec![1], to: Some(AlertState::Closed) })).wait().unwrap();
    let found = |filter: AlertFilter| {
        store.reader().find_alerts(&AlertFilter { limit: 9, ..filter }).unwrap().into_iter().map(|row| row.n).collect::<Vec<_>>()
    };
    let all = AlertFilter::default;
    assert_eq!(found(all()), [2, 1]);
    assert_eq!(found(AlertFilter { state: Some(AlertState::Open), ..all() }), [2]);
    assert_eq!(found(AlertFilter { rule: Some("ident-failed".to_owned()), ..all() }), [2, 1]);
    assert_eq!(found(AlertFilter { rule: Some("other".to_owned()), ..all() }), [0_i64; 0]);
    assert_eq!(found(AlertFilter { since: Some(at(1)), ..all() }), [0_i64; 0]);
}

#[test]
fn a_gap_is_closed_once_and_by_whom_is_kept() {
    let (_folder, store) = fresh();
    let gap = Gap {
        feed: FeedName::new("concedus"),
        topics: vec!["identResult".to_owned()],
        from: at(0),
        until: at(10),
        found_at: at(20),
        reason: "the answer was cut".to_owned(),
    };
    commit(&store, [Turn { gaps: vec![gap], ..Turn::default() }]);
    let close = || store.act(act("gaps close", Change::CloseGaps { gaps: vec![1] })).wait().unwrap();
    assert_eq!((&*close()[0].before, &*close()[0].after), ("open", "closed"));
    let ben = Act { actor: user("ben", 1_001), ..act("gaps close", Change::CloseGaps { gaps: vec![1] }) };
    assert_eq!(store.act(ben).wait().unwrap()[0].before, "closed");
    let row = store.reader().gap(1).unwrap().unwrap();
    assert_eq!(row.closed_by.as_deref(), Some("anna"), "who closed it first");
    assert!(row.closed_at.is_some());
    let history = store.reader().history("gap 1").unwrap();
    assert_eq!((&*history[0].actor.name, &*history[0].detail, history[0].after.as_deref()), ("anna", "because", Some("closed")));
    let unknown = store.act(act("gaps close", Change::CloseGaps { gaps: vec![1, 2] })).wait().unwrap_err();
    assert!(matches!(unknown, StoreError::Refused { .. }), "{unknown}");
}
