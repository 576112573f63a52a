//! What look-ups ask of the journal.

use super::*;
use crate::{
    model::{
        event::{QuarantineReason, Quarantined},
        lookup::{Identification, Narrowed, Outcome},
        turn::Gap,
    },
    store::{Act, Announced, Change},
};

const DAY: i64 = 86_400;

fn feed() -> FeedName {
    FeedName::new("concedus")
}

fn told(seq: u64, day: i64, topic: &str, fields: &[(&'static str, &str)]) -> Event {
    let mut event = event(seq);
    event.element.topic = TopicName::new(topic);
    event.element.received_at = at(day * DAY);
    event.element.body = fields.iter().map(|(name, text)| (*name, Value::from(*text))).collect();
    event
}

fn scene() -> (TempDir, SqliteStore) {
    let (folder, store) = fresh();
    let events = vec![
        told(1, 0, "identRequestsCreated", &[("actionId", "5"), ("personKey", "F")]),
        told(2, 1, "identRequestsCreated", &[("actionId", "1"), ("personKey", "A"), ("kyc", "WEBID")]),
        told(3, 1, "identRequestsCreated", &[("actionId", "2"), ("personKey", "B"), ("kyc", "IDNOW")]),
        told(4, 1, "identRequestsCreated", &[("personKey", "E")]),
        told(5, 2, "identResult", &[("identId", "1"), ("personKey", "A"), ("status", "success")]),
        told(6, 2, "identResult", &[("identId", "2"), ("personKey", "B"), ("status", "rejected")]),
        told(7, 3, "mismatches", &[("identId", "3"), ("personKey", "C")]),
        told(8, 3, "complianceRecord", &[("key", "9")]),
        told(9, 5, "identRequestsCreated", &[("actionId", "4"), ("personKey", "D")]),
    ];
    commit(&store, [Turn { events: Arc::new(events), ..Turn::default() }]);
    (folder, store)
}

fn about(ident: Option<&str>, person: &str, kyc: Option<&str>, said: &[&str]) -> Identification {
    Identification {
        ident_id: ident.map(str::to_owned),
        person_key: Some(person.to_owned()),
        kyc: kyc.map(str::to_owned),
        said: said.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn those_without_a_success_are_unfinished_and_newest_first() {
    let (_folder, store) = scene();
    let window = (at(DAY), at(4 * DAY));
    let unfinished = store.reader().unfinished(&feed(), window, 10).unwrap();
    let (second, third) = (about(Some("2"), "B", Some("IDNOW"), &["rejected"]), about(Some("3"), "C", None, &[]));
    assert_eq!(unfinished, [third.clone(), second], "1 succeeded, 4 was announced later, 5 long before");
    assert_eq!(store.reader().unfinished(&feed(), window, 1).unwrap(), [third]);
    assert_eq!(store.reader().unfinished(&FeedName::new("other"), window, 10).unwrap(), []);
}

#[test]
fn people_are_asked_about_who_have_no_number_or_only_failures() {
    let (_folder, store) = scene();
    let people = |announced| store.reader().unfinished_people(&feed(), (at(DAY), at(4 * DAY)), announced, 10).unwrap();
    assert_eq!(people(false), [about(None, "E", None, &[])]);
    assert_eq!(people(true), [about(None, "B", Some("IDNOW"), &["rejected"]), about(None, "E", None, &[])]);
}

#[test]
fn outcomes_are_told_behind_a_place_in_the_journal() {
    let (_folder, store) = scene();
    let text = |text: &str| Some(text.to_owned());
    let outcome = Outcome { ident_id: text("2"), person_key: text("B"), status: text("rejected") };
    assert_eq!(store.outcomes(&feed(), Seq(5)).unwrap(), [outcome]);
    assert_eq!(store.outcomes(&feed(), Seq(6)).unwrap(), []);
}

#[test]
fn how_far_back_and_how_lately_identifications_were_announced() {
    let (_folder, store) = scene();
    let bytes = b"{".to_vec();
    let set_aside = Quarantined {
        feed: feed(),
        received_at: at(2 * DAY),
        origin: Origin::Live,
        reason: QuarantineReason::InvalidJson,
        detail: "line 1, column 1".to_owned(),
        size: 1,
        digest: Digest::of(&bytes),
        bytes,
    };
    commit(&store, [Turn { quarantined: vec![set_aside], ..Turn::default() }]);
    let announced = |from, until| store.reader().announced(&feed(), (at(from), at(until))).unwrap();
    let expected = Announced { first: Some(at(0)), last: Some(at(DAY)), set_aside: 1 };
    assert_eq!(announced(DAY, 4 * DAY), expected);
    assert_eq!(announced(3 * DAY, 6 * DAY), Announced { last: Some(at(5 * DAY)), set_aside: 0, ..expected });
    assert_eq!(store.reader().announced(&FeedName::new("other"), (at(0), at(DAY))).unwrap(), Announced::default());
}

#[test]
fn what_was_looked_up_was_not_heard() {
    let (_folder, store) = scene();
    let mut looked_up = told(10, 9, "identResult", &[("identId", "3"), ("status", "failed")]);
    looked_up.element.origin = Origin::Rest;
    commit(&store, [Turn { events: Arc::new(vec![looked_up.clone()]), ..Turn::default() }]);
    assert_eq!(store.reader().event(Seq(10)).unwrap(), Some(looked_up));
    let latest = store.reader().latest(&feed(), at(100 * DAY)).unwrap();
    assert_eq!(latest.get(&TopicName::new("identResult")), Some(&at(2 * DAY)), "the next connect asks since then");
    assert_eq!(store.reader().feed_marks(&feed()).unwrap().0, Some(at(5 * DAY)));
}

#[test]
fn look_ups_close_a_gap_or_say_why_not_and_leave_alone_what_a_person_closed() {
    let (_folder, store) = fresh();
    let gap = Gap { feed: feed(), topics: Vec::new(), from: at(0), until: at(10), found_at: at(20), reason: "cut".to_owned() };
    commit(&store, [Turn { gaps: vec![gap; 3], ..Turn::default() }]);
    let close = Change::CloseGaps { gaps: vec![3] };
    store
        .act(Act { actor: user("anna", 1_000), action: "gaps close".to_owned(), note: "seen".to_owned(), change: close })
        .wait()
        .unwrap();
    let narrowed = |gap, closes, done| Narrowed { gap, at: at(30), words: format!("words {gap}"), closes, done };
    commit(
        &store,
        [Turn { narrowed: vec![narrowed(1, true, true), narrowed(2, false, false), narrowed(3, true, true)], ..Turn::default() }],
    );
    let row = |id| store.reader().gap(id).unwrap().unwrap();
    assert_eq!(
        (row(1).closed_at, row(1).closed_by.as_deref(), row(1).looked_up.as_deref()),
        (Some(at(30)), Some("look-ups"), Some("words 1"))
    );
    assert_eq!((row(2).closed_at, row(2).looked_up.as_deref()), (None, Some("words 2")));
    assert_eq!((row(3).closed_by.as_deref(), row(3).looked_up), (Some("anna"), None));
    let left = || store.reader().gaps_to_look_up(&feed()).unwrap().into_iter().map(|row| row.id).collect::<Vec<_>>();
    assert_eq!(left(), [2], "not all could be asked");
    commit(&store, [Turn { narrowed: vec![narrowed(2, false, true)], ..Turn::default() }]);
    assert_eq!(left(), [0; 0]);
    assert_eq!(store.reader().history("gap 2").unwrap(), [], "only what changes is in the audit record");
}
