//! What back-fill asks of the journal.

use std::collections::{HashMap, HashSet};

use super::*;
use crate::{
    model::event::{QuarantineReason, Quarantined},
    store::Copies,
};

const RUN: u64 = 1 << 14;

fn feed() -> FeedName {
    FeedName::new("concedus")
}

#[test]
fn a_window_counts_equal_elements_of_its_feed_only() {
    let (_folder, store) = fresh();
    let mut events: Vec<_> = (1..=6).map(event).collect();
    let twin = Digest::of(b"twin");
    for index in [0, 2, 4] {
        events[index].element.hash = twin;
    }
    events[2].element.origin = Origin::BackFill;
    events[5].element.feed = FeedName::new("other");
    commit(&store, [Turn { events: Arc::new(events.clone()), ..Turn::default() }]);
    let asked = [twin, events[3].hash, events[5].hash, Digest::of(b"never")];
    let window = store.copies(&feed(), at(3), Seq(6), &asked).unwrap();
    let copies = |count, live: Option<i64>| Copies { count, first_live: live.map(at) };
    assert_eq!(window, HashMap::from([(twin, copies(2, Some(5))), (events[3].hash, copies(1, Some(4)))]));
    let before = store.copies(&feed(), at(3), Seq(4), &asked[..1]).unwrap();
    assert_eq!(before, HashMap::from([(twin, copies(1, None))]), "what came later is not counted");
    assert_eq!(store.copies(&feed(), at(100), Seq(6), &asked).unwrap(), HashMap::new());
}

#[test]
fn what_was_received_later_and_journaled_earlier_is_in_the_window() {
    let (_folder, store) = fresh();
    let last = RUN * 2 + 10;
    let mut events: Vec<_> = (1..=last).map(event).collect();
    // An answer that waited while live events passed it: the first of the window by its time, and not by its place.
    let since = at(i64::try_from(RUN).unwrap() - 6) + chrono::TimeDelta::milliseconds(500);
    events[usize::try_from(RUN).unwrap() + 4].element.received_at = since;
    let passed = [events[usize::try_from(RUN).unwrap() - 4].hash];
    commit(&store, [Turn { events: Arc::new(events), ..Turn::default() }]);
    for upto in [last, RUN + 2] {
        assert_eq!(store.copies(&feed(), since, Seq(upto), &passed).unwrap()[&passed[0]].count, 1, "up to {upto}");
    }
}

#[test]
fn few_elements_are_looked_up_and_many_are_found_by_reading_the_window_alike() {
    let (_folder, store) = fresh();
    let last = RUN * 2 + 10;
    commit(&store, [turn(1..=last)]);
    let few: Vec<Digest> = [5, 9, RUN, RUN * 2 + 3].map(|seq| event(seq).hash).to_vec();
    let many: Vec<Digest> = few.iter().copied().chain((0..last).map(|n| Digest::of(&n.to_le_bytes()))).collect();
    let found = store.copies(&feed(), at(9), Seq(last), &few).unwrap();
    assert_eq!(found.len(), 3, "the first lies before the window");
    assert_eq!(found, store.copies(&feed(), at(9), Seq(last), &many).unwrap());
}

#[test]
fn an_element_is_found_across_runs_of_the_index() {
    let (_folder, store) = fresh();
    let last = RUN * 2 + 10;
    commit(&store, [turn(1..=last)]);
    for seq in [1, RUN, last] {
        let received = at(i64::try_from(seq).unwrap());
        let hash = event(seq).hash;
        let known = |feed: &FeedName, before| store.known_before(feed, &[hash, Digest::of(b"never")], before).unwrap();
        assert_eq!(known(&feed(), received + chrono::TimeDelta::microseconds(1)), HashSet::from([hash]), "{seq}");
        assert!(known(&feed(), received).is_empty(), "{seq}: before means before");
        assert!(known(&FeedName::new("other"), at(1 << 30)).is_empty(), "{seq}: another feed");
    }
}

#[test]
fn when_a_topic_was_heard_last_is_kept_and_never_goes_back() {
    let (_folder, store) = fresh();
    let mut events: Vec<_> = [5, 3, 9]
        .into_iter()
        .enumerate()
        .map(|(n, second)| {
            let mut event = event(n as u64 + 1);
            event.element.received_at = at(second);
            event
        })
        .collect();
    events[2].element.topic = TopicName::new("mismatches");
    commit(&store, [Turn { events: Arc::new(events), ..Turn::default() }, turn(4..=4)]);
    let heard = store.latest(&feed()).unwrap();
    assert_eq!(
        heard.into_iter().map(|(topic, at)| (topic.to_string(), at)).collect::<Vec<_>>(),
        [("identResult".to_owned(), at(5)), ("mismatches".to_owned(), at(9))]
    );
    assert!(store.latest(&FeedName::new("other")).unwrap().is_empty());
}

#[test]
fn known_ground_is_what_came_live_of_the_topics_in_the_interval() {
    let (_folder, store) = fresh();
    let mut events: Vec<_> = (1..=3).map(event).collect();
    events[2].element.origin = Origin::BackFill;
    commit(&store, [Turn { events: Arc::new(events), ..Turn::default() }]);
    let live = |topics: &[&str], from, until| store.has_live(&feed(), topics, at(from), at(until)).unwrap();
    assert!(live(&["identResult"], 1, 3) && live(&[], 2, 2));
    assert!(!live(&["mismatches"], 1, 3), "another topic");
    assert!(!live(&[], 3, 9), "back-filled");
}

#[test]
fn bytes_that_were_set_aside_are_known_by_their_digest() {
    let (_folder, store) = fresh();
    let digest = Digest::of(b"bad");
    let quarantined = Quarantined {
        feed: feed(),
        received_at: at(1),
        origin: Origin::Live,
        reason: QuarantineReason::InvalidJson,
        detail: String::new(),
        bytes: b"bad".to_vec(),
        size: 3,
        digest,
    };
    assert!(!store.quarantined_before(&feed(), &digest).unwrap());
    commit(&store, [Turn { quarantined: vec![quarantined], ..Turn::default() }]);
    assert!(store.quarantined_before(&feed(), &digest).unwrap());
    assert!(!store.quarantined_before(&FeedName::new("other"), &digest).unwrap());
}
