//! A few trials of the rows about the feed: what `make reliability` runs at length.

use crate::{
    harness::Bench,
    rows::{r13, r14, r15, r16},
};

fn bench() -> (tempfile::TempDir, Bench) {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::new(folder.path().to_owned(), 7);
    (folder, bench)
}

#[tokio::test]
async fn every_missing_message_lies_in_a_told_gap() {
    let (_folder, bench) = bench();
    // Nothing is cut; cut below and above the first count that is asked for.
    let outcome = r16::outages(&bench, &[(1_000, 40), (15, 120), (90, 200)]).await.unwrap();
    assert_eq!(
        (outcome.missing, outcome.told, outcome.untold, outcome.inexact, outcome.cautious),
        (2, 2, 0, 0, 0),
        "{outcome:?}"
    );
    assert!(outcome.alarms >= 2, "{outcome:?}");
}

#[tokio::test]
async fn a_shuffled_answer_with_twins_and_replays_leaves_the_journal_as_the_model_has_it() {
    for way in [r14::WRAPPED, r14::PLAINLY] {
        let way = r14::Way { alerting: 20, ..way };
        let (_folder, bench) = bench();
        let outcome = r14::reconcile(&bench, way, 2, 80, 160).await.unwrap();
        assert!(outcome.exact() && outcome.twins > 0 && outcome.replayed > 0.0 && outcome.alerts > 20, "{way:?}: {outcome}");
        assert_eq!(outcome.ambiguous > 0.0, way.reply == "unwrapped", "{way:?}: {outcome}");
        assert_eq!(outcome.marked, 0, "{way:?}: {outcome}");
    }
}

#[tokio::test]
async fn ordinary_frames_from_before_the_window_are_journaled_again_and_say_that_they_may_be_repeats() {
    let (_folder, bench) = bench();
    let way = r14::Way { alerting: 20, ..r14::TOO_EARLY };
    let outcome = r14::reconcile(&bench, way, 2, 40, 40).await.unwrap();
    assert!(outcome.marked_exactly() && outcome.marked > 0, "{outcome}");
}

#[tokio::test]
async fn a_line_that_is_half_open_reset_or_cut_loses_nothing_and_is_not_tried_in_a_storm() {
    let (_folder, bench) = bench();
    let outcome = r13::faults(&bench, 3, "ping_every = \"200ms\"\ndead_after = \"1s\"").await.unwrap();
    assert!(outcome.holds(), "{outcome:?}");
}

#[tokio::test]
async fn sockets_that_end_with_their_token_and_an_unwell_token_endpoint_lose_nothing() {
    let (_folder, bench) = bench();
    let mut outcome = r15::Outcome::default();
    r15::expiry(&bench, "with the token", "4", "", 1, &mut outcome).await.unwrap();
    r15::endpoint(&bench, "500", std::time::Duration::from_secs(3), &mut outcome).await.unwrap();
    assert!(outcome.closest >= 0.9 && outcome.ends > 0 && outcome.alerts > 4, "{outcome:?}");
}
