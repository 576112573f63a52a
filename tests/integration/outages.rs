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
    for reply in ["array", "unwrapped"] {
        let (_folder, bench) = bench();
        let outcome = r14::reconcile(&bench, reply, 2, 80, 160).await.unwrap();
        assert!(outcome.exact() && outcome.twins > 0 && outcome.replayed > 0.0, "{reply}: {outcome}");
        assert_eq!(outcome.ambiguous > 0.0, reply == "unwrapped", "{reply}: {outcome}");
        assert_eq!(outcome.marked, 0, "{reply}: {outcome}");
    }
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
    r15::expiry(&bench, "with the token", &["--close-when-expired"], 1, &mut outcome).await.unwrap();
    r15::endpoint(&bench, "500", std::time::Duration::from_secs(3), &mut outcome).await.unwrap();
    assert_eq!(outcome.lost, 0, "{outcome:?}");
    assert!(outcome.closest >= 0.9, "{outcome:?}");
}
