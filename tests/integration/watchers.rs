//! No long-lived task of the real service ends unseen.

use futures_util::future::join_all;

use crate::support::service::Place;

/// A service with one of each.
fn place(breaks: &str, environment: &str) -> Place {
    let mut place = Place::new();
    place.variables.push(("REDFLAG_TEST_BREAK", breaks.to_owned()));
    place.write("events.jsonl", "");
    // Nobody listens there.
    place.write("beat", "http://127.0.0.1:9/");
    let text = r#"
environment = "ENVIRONMENT"
data_dir = "data"
[feeds.file]
kind = "jsonl"
path = "events.jsonl"
follow = true
[channels.operators]
kind = "file"
format = "json"
path = "told"
[operators]
send_to = ["operators"]
[http]
listen = "127.0.0.1:0"
[heartbeat]
url = { file = "BEAT" }
"#;
    let text = text.replace("ENVIRONMENT", environment).replace("BEAT", &place.path("beat").display().to_string());
    place.write("redflag.toml", &text);
    place
}

#[tokio::test]
async fn whichever_watcher_breaks_ends_the_service_with_its_name_as_the_last_word() {
    let tasks = [
        "the health page",
        "telling of deliveries",
        "keeping the last report",
        "the warden",
        "the watch of the disk",
        "the caretaker",
        "the heartbeat",
        "the auditor",
        "the reloader",
        "feed file",
        "channel operators",
    ];
    join_all(tasks.map(async |task| {
        let (code, _, log) = place(task, "test").command(&["run"]).await;
        let last = log.lines().last().unwrap_or_default();
        assert_eq!((code, last), (1, &*format!("redflag: {task} broke; the log has the place")), "{log}");
    }))
    .await;
}

#[tokio::test]
async fn in_prod_nothing_is_broken_on_purpose() {
    let place = place("the warden", "prod");
    place.start().await.stop().await;
}
