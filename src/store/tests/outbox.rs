//! Deliveries: leases, reports, what is owed.

use super::*;
use crate::{
    model::delivery::{AttemptReport, Leased, Next, State},
    store::{Outbox as _, StoreError},
};

fn lease(store: &SqliteStore, channel: &str, now: i64, until: i64) -> Vec<Leased> {
    store.lease(&ChannelName::new(channel), at(now), at(until), 10).wait().unwrap()
}

fn report(leased: &Leased, now: i64, next: Next) -> AttemptReport {
    AttemptReport {
        delivery: leased.delivery.id,
        attempt: leased.attempt,
        finished_at: at(now),
        detail: format!("said at {now}"),
        next,
    }
}

fn next_due(store: &SqliteStore, channel: &str) -> Option<Timestamp> {
    store.next_due(&ChannelName::new(channel)).unwrap()
}

#[test]
fn what_is_due_is_handed_out_oldest_first_and_once() {
    let (_folder, store) = fresh();
    let owed =
        vec![delivery(1, 1, "mail", 20), delivery(2, 1, "mail", 10), delivery(3, 1, "mail", 99), delivery(4, 1, "chat", 0)];
    commit(&store, [owes(1, owed.clone())]);
    assert_eq!(next_due(&store, "mail"), Some(at(10)));
    let leased = lease(&store, "mail", 20, 50);
    assert_eq!(leased.iter().map(|leased| leased.delivery.clone()).collect::<Vec<_>>(), [owed[1].clone(), owed[0].clone()]);
    assert!(leased.iter().all(|leased| leased.attempt == 1 && *leased.message == message(1)));
    assert!(Arc::ptr_eq(&leased[0].message, &leased[1].message), "one message, read once");
    assert_eq!(lease(&store, "mail", 20, 50).len(), 0);
    assert_eq!(next_due(&store, "mail"), Some(at(50)), "the running leases' end");
    assert_eq!(next_due(&store, "chat"), Some(at(0)));
    assert_eq!(next_due(&store, "nobody"), None);
}

#[test]
fn a_lease_hands_out_no_more_than_was_asked() {
    let (_folder, store) = fresh();
    commit(&store, [owes(1, (1..=5).map(|number| delivery(number, 1, "mail", 0)).collect())]);
    let some = store.lease(&ChannelName::new("mail"), at(0), at(30), 2).wait().unwrap();
    assert_eq!(some.len(), 2);
    assert_eq!(lease(&store, "mail", 0, 30).len(), 3);
}

#[test]
fn the_attempt_is_written_with_the_lease() {
    let (_folder, store) = fresh();
    commit(&store, [owes(1, vec![delivery(1, 1, "mail", 0)])]);
    let leased = lease(&store, "mail", 5, 30);
    let attempts = store.reader().attempts_of(leased[0].delivery.id).unwrap();
    assert_eq!(
        attempts.iter().map(|attempt| (attempt.attempt, attempt.started_at, attempt.finished_at)).collect::<Vec<_>>(),
        [(1, at(5), None)]
    );
}

#[test]
fn a_worker_that_died_with_its_lease_is_followed_by_another() {
    let (_folder, store) = fresh();
    commit(&store, [owes(1, vec![delivery(1, 1, "mail", 0)])]);
    let first = lease(&store, "mail", 0, 30);
    assert_eq!(lease(&store, "mail", 29, 60).len(), 0);
    let second = lease(&store, "mail", 30, 60);
    assert_eq!((first[0].attempt, second[0].attempt), (1, 2));
    assert_eq!(first[0].delivery.identity, second[0].delivery.identity, "every attempt carries the same identity");

    // The first was only slow: its wish for a retry counts no more, its success would.
    store.report(vec![report(&first[0], 31, Next::Dead)]).wait().unwrap();
    assert_eq!(next_due(&store, "mail"), Some(at(60)));
    store.report(vec![report(&first[0], 32, Next::Delivered)]).wait().unwrap();
    assert_eq!(next_due(&store, "mail"), None);
    store.report(vec![report(&second[0], 33, Next::Retry { due_at: at(90) })]).wait().unwrap();
    let row = &store.reader().deliveries_of(message_id(1)).unwrap()[0];
    assert_eq!((row.state, row.attempts), (State::Delivered, 2), "delivered stays delivered");
}

#[test]
fn a_retry_falls_due_again_and_a_dead_letter_stays() {
    let (_folder, store) = fresh();
    commit(&store, [owes(1, vec![delivery(1, 1, "mail", 0), delivery(2, 1, "mail", 0)])]);
    let leased = lease(&store, "mail", 0, 30);
    let reports = vec![report(&leased[0], 1, Next::Retry { due_at: at(40) }), report(&leased[1], 2, Next::Dead)];
    store.report(reports).wait().unwrap();
    assert_eq!(next_due(&store, "mail"), Some(at(40)));
    assert_eq!(lease(&store, "mail", 39, 60).len(), 0);
    let again = lease(&store, "mail", 40, 70);
    assert_eq!((again[0].attempt, again[0].delivery.due_at), (2, at(40)));

    let reader = store.reader();
    let dead = reader.dead_letters(10).unwrap();
    assert_eq!(
        dead.iter().map(|row| (row.id, row.detail.as_deref())).collect::<Vec<_>>(),
        [(leased[1].delivery.id, Some("said at 2"))]
    );
    assert_eq!(reader.dead_letter_count().unwrap(), 1);
    assert_eq!(reader.owed().unwrap(), [(ChannelName::new("mail"), 1)]);
    let mail = ChannelName::new("mail");
    assert_eq!(reader.delivery_counts().unwrap(), [(mail.clone(), State::Dead, 1), (mail, State::Leased, 1)]);
    let attempts = reader.attempts_of(leased[0].delivery.id).unwrap();
    assert_eq!(attempts.iter().map(|attempt| attempt.outcome.as_deref()).collect::<Vec<_>>(), [Some("retry"), None]);
}

#[test]
fn an_identity_is_given_once() {
    let (_folder, store) = fresh();
    commit(&store, [owes(1, vec![delivery(1, 1, "mail", 0)])]);
    let twin = NewDelivery { id: DeliveryId(uuid::Uuid::from_u128(2)), ..delivery(1, 1, "mail", 0) };
    let error = store.commit(caused(Effects { deliveries: vec![twin], ..Effects::default() })).wait().unwrap_err();
    assert!(matches!(error, StoreError::Sqlite { operation: "writing deliveries", .. }), "{error}");
    assert_eq!(store.reader().deliveries_of(message_id(1)).unwrap().len(), 1);
}

#[test]
fn a_report_of_an_attempt_that_never_was_is_refused() {
    let (_folder, store) = fresh();
    commit(&store, [owes(1, vec![delivery(1, 1, "mail", 0)])]);
    let leased = lease(&store, "mail", 0, 30);
    let stranger = AttemptReport { attempt: 7, ..report(&leased[0], 1, Next::Delivered) };
    let error = store.report(vec![report(&leased[0], 1, Next::Delivered), stranger]).wait().unwrap_err();
    insta::assert_snapshot!(error, @"recording attempts: delivery 00000000-0000-0000-0000-000000000001 has no attempt 7");
    assert_eq!(next_due(&store, "mail"), Some(at(30)), "nothing of the request was kept");
}

#[test]
fn what_is_due_is_found_by_the_index() {
    let (_folder, store) = fresh();
    let plan = |sql: &str| -> String {
        store
            .reader()
            .with("", |connection| connection.query_row(&format!("EXPLAIN QUERY PLAN {sql}"), [], |row| row.get(3)))
            .unwrap()
    };
    insta::assert_snapshot!(
        [
            plan("SELECT min(wake_at) FROM deliveries WHERE channel = 'a' AND wake_at IS NOT NULL"),
            plan("SELECT channel, count(*) FROM deliveries WHERE wake_at IS NOT NULL GROUP BY channel"),
            plan("SELECT id FROM deliveries WHERE state = 'dead' ORDER BY n DESC LIMIT 5"),
            plan("SELECT max(received_at) FROM events WHERE feed = 'a'"),
        ]
        .join("\n"),
        @r"
    SEARCH deliveries USING COVERING INDEX deliveries_owed (channel=? AND wake_at>?)
    SCAN deliveries USING COVERING INDEX deliveries_owed
    SEARCH deliveries USING INDEX deliveries_dead (state=?)
    SEARCH events USING COVERING INDEX events_received (feed=?)
    "
    );
}
