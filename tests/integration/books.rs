//! The books: whatever is lost between two stages is told within a minute, by the real service.

use std::{fs, time::Duration};

use futures_util::future::join_all;

use crate::support::service::{Place, Service, until};

const FAILED: &str = r#"{"topic":"identResult","kyc":"WEBID","identId":"1","personKey":"P","reason":null,"status":"failed"}"#;

const RULE: &str = r#"//! An identification failed.
//! Why: it is a test.
//! Do:  nothing.
const RULE = #{ id: "T-001", title: "Failed", on: ["identResult"], where: #{ status: "failed" }, severity: "low",
    send_to: ["alerts"], subject: "failed" };
const TESTS = [
    #{ name: "alerts", like: "identResult", set: #{ status: "failed" }, expect: #{ alerts: 1 } },
    #{ name: "quiet", like: "identResult", set: #{ status: "success" }, expect: #{ alerts: 0 } },
];
"#;

/// Six lines, of which the fourth can't be read. `follow`: nothing tells that there are no more.
fn place(leak: &str, follow: bool) -> Place {
    let mut place = Place::new();
    place.variables.push(("REDFLAG_TEST_LEAK", leak.to_owned()));
    place.write("rules/failed.rhai", RULE);
    place.write("events.jsonl", &format!("{FAILED}\n{FAILED}\n{FAILED}\nno JSON\n{FAILED}\n{FAILED}\n"));
    place.write(
        "redflag.toml",
        &format!(
            r#"
data_dir = "data"
[feeds.file]
kind = "jsonl"
path = "events.jsonl"
follow = {follow}
[channels.alerts]
kind = "file"
format = "json"
path = "alerts"
[channels.operators]
kind = "file"
format = "json"
path = "told"
[operators]
send_to = ["operators"]
[http]
listen = "127.0.0.1:0"
"#
        ),
    );
    place
}

/// What the operators were told, as their files have it.
fn told(place: &Place) -> Vec<String> {
    let Ok(entries) = fs::read_dir(place.path("told")) else { return Vec::new() };
    let files = entries.map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap());
    files.filter(|text| text.contains("do not balance")).collect()
}

/// A look at the books that began after now.
async fn looked(service: &Service<'_>) {
    let last = async || service.metric("redflag_books_looked_timestamp_seconds", "").await;
    let before = last().await;
    until(|| "a look at the books".to_owned(), async || (last().await > before).then_some(())).await;
}

#[tokio::test]
async fn whatever_is_lost_at_any_seam_is_told_within_a_minute() {
    let leaks = [
        ("socket", false),
        // The last one: no later message shows the hole.
        ("socket:6", true),
        ("quarantine", false),
        ("journal:3", false),
        ("rules:3", false),
        ("verdicts:3", false),
        ("alerts:3", false),
        ("outbox", false),
    ];
    join_all(leaks.map(|(leak, follow)| async move {
        let place = place(leak, follow);
        let seam = leak.split(':').next().unwrap();
        let service = place.start().await;
        let missing = || format!("the loss at {leak} is not told; the log:\n{}", place.tail());
        let alarms = until(missing, async || Some(told(&place)).filter(|told| !told.is_empty())).await;
        assert!(alarms.len() == 1 && alarms[0].contains(&format!("({seam})")), "{leak}: {alarms:#?}");
        if leak == "rules:3" {
            assert!(service.metric("redflag_books_difference", "seam=\"rules\"").await > 0.5);
            assert_eq!(service.metric("redflag_books_difference", "seam=\"journal\"").await.round() as i64, 0);
        }
        assert!(service.stop().await.0.success());
    }))
    .await;
}

#[tokio::test]
async fn what_was_told_is_not_told_again_after_a_restart_and_whole_books_say_nothing() {
    let mut place = place("rules", false);
    let service = place.start().await;
    until(|| place.tail(), async || (told(&place).len() == 1).then_some(())).await;
    assert!(service.stop().await.0.success());
    place.variables.clear();
    place.write("events.jsonl", &format!("{FAILED}\n").repeat(20));
    let service = place.start().await;
    until(|| place.tail(), async || (place.reader().last().unwrap().0 >= 20).then_some(())).await;
    looked(&service).await;
    looked(&service).await;
    assert_eq!(told(&place).len(), 1, "{}", place.tail());
    assert_eq!(place.reader().imbalances().unwrap().len(), 1, "it stands in the store, for status");
    assert!(service.stop().await.1 < Duration::from_secs(20));
}
