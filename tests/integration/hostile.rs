//! A few trials of the rows R17 and R18 of `make reliability`: hostile frames and JSON, and books that balance over bad frames and kills.

use std::time::Duration;

use crate::{
    harness::Bench,
    rows::{r17, r18},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_frames_and_json_cost_at_most_the_connection() {
    let folder = tempfile::tempdir().unwrap();
    let (count, _, (growth, worst)) = r17::attacked(&Bench::new(folder.path().to_owned(), 1), Duration::ZERO).await.unwrap();
    assert!(count > 40 && growth <= 32 << 20, "{count} attacks, memory grew by {growth} bytes, most by {worst}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_books_balance_over_bad_frames_unknown_topics_and_kills() {
    let folder = tempfile::tempdir().unwrap();
    let counts = r18::balanced(&Bench::new(folder.path().to_owned(), 1), 300).await.unwrap();
    assert!(counts.journaled >= 300 && counts.set_aside > 0, "{counts:?}");
}
