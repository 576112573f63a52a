use super::*;
use crate::{
    engine::control::{GapLine, Hour, LedgerLine},
    model::{
        hash::Digest,
        ids::Seq,
        names::{FeedName, TopicName},
    },
};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_timestamp(1_780_002_000 + seconds, 0).unwrap()
}

#[test]
fn hours_ledger_gaps_and_what_is_not_covered() {
    let hour = |topic: Option<&str>, received, journaled, owed, undecided| Hour {
        hour: at(0),
        feed: FeedName::new("concedus"),
        topic: topic.map(TopicName::new),
        received,
        already_had: received - journaled,
        journaled,
        quarantined: 0,
        evaluated: journaled,
        owed,
        decided: owed - undecided,
        undecided,
        parked: 0,
        asked_again: 0,
    };
    let coverage = Coverage {
        hours: vec![hour(None, 120, 0, 0, 0), hour(Some("identResult"), 118, 110, 330, 1), hour(Some("vendorNews"), 2, 2, 0, 0)],
        ledger: vec![
            LedgerLine { from: Seq(1), to: Seq(70), generation: Digest::of(b"one"), live_from: Some(at(-9)), rules: 12 },
            LedgerLine { from: Seq(71), to: Seq(112), generation: Digest::of(b"two"), live_from: Some(at(90)), rules: 13 },
        ],
        gaps: vec![GapLine {
            number: 1,
            feed: FeedName::new("concedus"),
            topics: vec!["identResult".to_owned()],
            from: at(10),
            until: at(20),
            found_at: at(30),
            reason: "the answer was cut".to_owned(),
            closed_at: Some(at(40)),
            closed_by: Some("anna".to_owned()),
            looked_up: None,
        }],
        imbalances: Vec::new(),
        not_covered: vec!["rule KYC-012: verdicts that are still missing: 1 (budget)".to_owned()],
    };
    insta::assert_snapshot!(page(&coverage, chrono_tz::Europe::Berlin));
    let nothing =
        Coverage { hours: Vec::new(), ledger: Vec::new(), gaps: Vec::new(), imbalances: Vec::new(), not_covered: Vec::new() };
    insta::assert_snapshot!(page(&nothing, chrono_tz::UTC));
}
