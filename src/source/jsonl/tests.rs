//! Files, folders and what happens to them under way.

use std::{fs, io::Write as _};

use chrono::DateTime;
use tokio::sync::{mpsc, watch};

use super::*;
use crate::{
    config::feeds::ByteSize,
    model::{hash::Digest, time::ManualClock},
};

/// A source under way, and what it says.
struct Run {
    signals: mpsc::Receiver<Heard>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<Result<(), SourceError>>,
    position: Option<String>,
}

fn start(path: &Path, follow: bool, position: Option<String>) -> Run {
    let config =
        JsonlConfig { max_message: ByteSize(20), ..toml::from_str(&format!("path = {path:?}\nfollow = {follow}")).unwrap() };
    let clock = ManualClock::at(DateTime::from_timestamp(1_700_000_000, 0).unwrap());
    let source = Source { look_every: Duration::from_millis(2), ..Source::new(FeedName::new("file"), config, Arc::new(clock)) };
    let (sender, signals) = mpsc::channel(1);
    let stop = CancellationToken::new();
    let resume = super::super::Resume {
        latest: watch::channel(crate::model::signal::Latest::new()).1,
        position: position.clone(),
        meter: Meter::default(),
        last_try: crate::model::signal::LastTry::default(),
    };
    let task = tokio::spawn(source.run(resume, sender, stop.clone()));
    Run { signals, stop, task, position }
}

impl Run {
    /// The next signal in few words.
    async fn next(&mut self) -> String {
        let signal = tokio::time::timeout(Duration::from_secs(20), self.signals.recv())
            .await
            .expect("a signal in time")
            .map(|heard| heard.signal);
        match signal {
            None => "over".to_owned(),
            Some(Signal::Frame(frame)) => {
                self.position = frame.position;
                String::from_utf8(frame.bytes).unwrap()
            }
            Some(Signal::Refused(item)) => {
                assert!(item.bytes.is_empty() && item.digest == Digest::of("x".repeat(30).as_bytes()));
                format!("refused {}: {}", item.size, item.detail)
            }
            Some(Signal::Connection { state: Connection::Connected, .. }) => "connected".to_owned(),
            Some(Signal::Connection { state: Connection::Lost { .. }, .. }) => "lost".to_owned(),
            Some(Signal::Ended { .. }) => "ended".to_owned(),
            Some(other) => panic!("{other:?}"),
        }
    }

    async fn expect(&mut self, signals: &[&str]) {
        for signal in signals {
            assert_eq!(self.next().await, *signal);
        }
    }

    /// Stops it; answers where it goes on.
    async fn stop(self) -> Option<String> {
        self.stop.cancel();
        drop(self.signals);
        self.task.await.unwrap().unwrap();
        self.position
    }
}

fn append(path: &Path, text: &str) {
    fs::OpenOptions::new().append(true).create(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
}

#[tokio::test]
async fn a_file_is_read_line_by_line_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.jsonl");
    fs::write(&path, format!("{{\"a\":1}}\r\n\n  \n{}\n{{\"b\":2}}", "x".repeat(30))).unwrap();
    let mut run = start(&path, false, None);
    let refused = "refused 30: a line of 30 bytes that ends at byte 44; 20 are allowed";
    run.expect(&["connected", "{\"a\":1}", refused, "{\"b\":2}", "ended", "over"]).await;
    let position = run.stop().await;
    let mut again = start(&path, false, position);
    again.expect(&["connected", "ended", "over"]).await;
}

#[tokio::test]
async fn a_followed_file_gives_each_line_once_and_the_last_one_when_it_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.jsonl");
    let mut run = start(&path, true, None);
    run.expect(&["lost"]).await;
    append(&path, "one\ntw");
    run.expect(&["connected", "one"]).await;
    append(&path, "o\nthree\n");
    run.expect(&["two"]).await;
    let position = run.stop().await;
    let mut again = start(&path, true, position);
    again.expect(&["connected", "three"]).await;
    append(&path, "four\n");
    again.expect(&["four"]).await;
}

#[tokio::test]
async fn a_cut_or_replaced_file_is_read_from_its_beginning() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.jsonl");
    append(&path, "one\ntwo\n");
    let mut run = start(&path, true, None);
    run.expect(&["connected", "one", "two"]).await;
    fs::write(&path, "new\n").unwrap();
    run.expect(&["new"]).await;
    fs::write(folder.path().join("next"), "other\nlonger\n").unwrap();
    fs::rename(folder.path().join("next"), &path).unwrap();
    run.expect(&["other", "longer"]).await;
    run.stop().await;
}

#[tokio::test]
async fn a_folder_is_read_in_the_order_of_names_and_followed() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    append(&file("b.jsonl"), "b1\n");
    append(&file("a.jsonl"), "a1\na2\n");
    append(&file("notes.txt"), "no\n");
    let mut run = start(folder.path(), false, None);
    run.expect(&["connected", "a1", "a2", "b1"]).await;
    append(&file("c.ndjson"), "c1\n");
    run.expect(&["c1"]).await;
    fs::rename(file("a.jsonl"), file("z.jsonl")).unwrap();
    append(&file("z.jsonl"), "a3\n");
    run.expect(&["a3"]).await;
    let position = run.stop().await;
    append(&file("b.jsonl"), "b2\n");
    let mut again = start(folder.path(), false, position);
    again.expect(&["connected", "b2"]).await;
    again.stop().await;
}

#[tokio::test]
async fn a_missing_file_that_is_not_followed_and_a_strange_position_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let missing = start(&folder.path().join("no.jsonl"), false, None).task.await.unwrap();
    assert!(matches!(missing, Err(SourceError::Read { .. })), "{missing:?}");
    let strange = start(folder.path(), false, Some("7".to_owned())).task.await.unwrap();
    assert!(matches!(strange, Err(SourceError::Position { .. })), "{strange:?}");
}
