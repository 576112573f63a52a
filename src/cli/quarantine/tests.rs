use super::*;
use crate::model::{event::QuarantineReason, hash::Digest, names::FeedName};

fn entries() -> Vec<QuarantineLine> {
    let line = |number, state: &str, outcome: Option<&str>| QuarantineLine {
        number,
        feed: FeedName::new("concedus"),
        received_at: Timestamp::from_timestamp(1_780_000_000 + number, 0).unwrap(),
        reason: QuarantineReason::WrongShape,
        detail: "identResult: `status` is missing".to_owned(),
        size: 2_048,
        digest: Digest::of(b"bytes"),
        state: state.to_owned(),
        outcome: outcome.map(str::to_owned),
    };
    vec![
        line(4, "open", None),
        line(3, "wanted", None),
        line(2, "retried", Some("journaled as event 1042")),
        line(1, "open", Some("still refused: no UTF-8 from byte 3 on (invalid-utf8)")),
    ]
}

#[test]
fn a_list_of_what_was_set_aside() {
    insta::assert_snapshot!(list(&entries(), chrono_tz::Europe::Berlin));
    assert_eq!(list(&[], chrono_tz::UTC), "nothing was set aside\n");
}

#[test]
fn what_came_of_judging_it_after_all() {
    insta::assert_snapshot!(outcome(&entries()[1..]), @r"
    entry 3: judged when redflag runs
    entry 2: retried: journaled as event 1042
    entry 1: open: still refused: no UTF-8 from byte 3 on (invalid-utf8)
    ");
}
