//! What the operators are told of feeds: of a beginning, of silence, of other topics; and of the end of each. The real binary on the feed server.

use std::{fs, time::Instant};

use serde_json::Value as Json;

use crate::support::{
    feed::FeedServer,
    service::{Place, Service, until},
};

const SILENCE: std::time::Duration = std::time::Duration::from_secs(2);

fn place(feed: &FeedServer, silence: &str) -> Place {
    let place = Place::new();
    place.copy("rules", "rules");
    place.write("password", "secret");
    place.write(
        "redflag.toml",
        &format!(
            r#"
data_dir = "data"

[feeds.concedus]
kind = "concedus"
socket = "{socket}"
auth = "{auth}"
username = "partner"
password = {{ file = "password" }}
reconnect_cap = "200ms"
silence = "{silence}"

[channels.archive]
kind = "file"
path = "archive"
format = "json"

[groups]
kyc-operations = ["archive"]
compliance-chat = ["archive"]
mlro = ["archive"]

[operators]
send_to = ["archive"]

[http]
listen = "127.0.0.1:0"
"#,
            socket = feed.socket(),
            auth = feed.auth(),
        ),
    );
    place
}

/// Subjects of the alarms that were told and hold one of these texts, each as often as it was told.
fn told(place: &Place, texts: &[&str]) -> Vec<String> {
    let Ok(entries) = fs::read_dir(place.path("archive")) else { return Vec::new() };
    let files = entries.map(|entry| entry.unwrap().path());
    let whole = files.filter(|path| !path.file_name().unwrap().to_str().unwrap().starts_with('.'));
    let bodies = whole.map(|path| serde_json::from_slice::<Json>(&fs::read(path).unwrap()).unwrap());
    let subjects = bodies.filter(|body| body["purpose"] == "alarm").map(|body| body["subject"].as_str().unwrap().to_owned());
    let mut subjects: Vec<_> = subjects.filter(|subject| texts.iter().any(|text| subject.contains(text))).collect();
    subjects.sort();
    subjects
}

async fn tells(place: &Place, texts: &[&str], count: usize) -> Vec<String> {
    let missing =
        || format!("{count} alarms with one of {texts:?}, there are {:?}; the log:\n{}", told(place, texts), place.tail());
    until(missing, async || Some(told(place, texts)).filter(|told| told.len() >= count)).await
}

async fn connects(feed: &FeedServer, place: &Place, service: &Service<'_>, count: u64) {
    until(
        || format!("connection {count}; the log:\n{}", place.tail()),
        async || {
            let made = feed.stats().await["connects"].as_u64().unwrap() >= count;
            (made && service.metric("redflag_feed_connected", "concedus").await > 0.0).then_some(())
        },
    )
    .await;
}

fn event(number: u32) -> String {
    format!(
        r#"{{"topic":"identResult","kyc":"WEBID","identId":"I{number}","personKey":"PERS_{number}","reason":null,"status":"success"}}"#
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_feed_that_falls_silent_beyond_its_time_is_told_once_and_once_that_it_is_heard_again() {
    const TEXTS: &[&str] = &["is silent", "is heard again"];
    let feed = FeedServer::start(&[]);
    let place = place(&feed, "2s");
    let service = place.start().await;
    connects(&feed, &place, &service, 1).await;
    feed.send(&event(1)).await;
    let silent = "Feed concedus is silent beyond its usual rhythm";
    assert_eq!(tells(&place, TEXTS, 1).await, [silent]);

    // Neither time nor another connection makes news of it.
    let since = Instant::now();
    feed.drop_sockets().await;
    connects(&feed, &place, &service, 2).await;
    until(|| "time to pass".to_owned(), async || (since.elapsed() > SILENCE * 2).then_some(())).await;
    assert_eq!(told(&place, TEXTS), [silent]);

    feed.send(&event(2)).await;
    let heard = "Feed concedus is heard again";
    assert_eq!(tells(&place, TEXTS, 2).await, [heard, silent]);
    // Another silence is another alarm.
    assert_eq!(tells(&place, TEXTS, 3).await, [heard, silent, silent]);
    assert!(service.stop().await.0.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silence_is_told_though_the_provider_closes_each_socket_before_that_time() {
    const TEXTS: &[&str] = &["is silent", "is heard again"];
    let feed = FeedServer::start(&["--token-life", "1.5", "--close-when-expired"]);
    let place = place(&feed, "4s");
    let service = place.start().await;
    connects(&feed, &place, &service, 1).await;
    let silent = "Feed concedus is silent beyond its usual rhythm";
    assert_eq!(tells(&place, TEXTS, 1).await, [silent]);
    let stats = feed.stats().await;
    assert!(stats["expired"].as_u64().unwrap() >= 2, "each socket ended before it could be called silent: {stats}");

    feed.send(&event(1)).await;
    // One that falls between two sockets comes by the request for past messages.
    let heard = "Feed concedus is heard again";
    assert_eq!(tells(&place, TEXTS, 2).await[0], heard);
    assert!(service.stop().await.0.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn enabled_topics_that_change_are_told_once_across_a_restart_and_once_that_they_are_back() {
    const TEXTS: &[&str] = &["no longer sends", "now sends"];
    let feed = FeedServer::start(&[]);
    let place = place(&feed, "off");
    let service = place.start().await;
    connects(&feed, &place, &service, 1).await;
    let names = async |times: usize| {
        let missing = || format!("topics named {times} times; the log:\n{}", place.tail());
        let named = async || (place.log().matches("the provider named its topics").count() >= times).then_some(());
        until(missing, named).await;
    };
    names(1).await;

    // Changed while nothing runs: compared with what an earlier process was told.
    assert!(service.stop().await.0.success());
    feed.set("enabled=complianceRecord,identResult").await;
    let service = place.start().await;
    let gone = "Feed concedus: the provider no longer sends identRequestsCreated";
    assert_eq!(tells(&place, TEXTS, 1).await, [gone]);

    feed.drop_sockets().await;
    connects(&feed, &place, &service, 3).await;
    names(3).await;
    service.kill().await;
    let service = place.start().await;
    names(4).await;

    feed.set("enabled=complianceRecord,identRequestsCreated,identResult").await;
    feed.drop_sockets().await;
    let back = "Feed concedus: the provider now sends identRequestsCreated as well";
    assert_eq!(tells(&place, TEXTS, 2).await, [gone, back]);
    assert!(service.stop().await.0.success());
    assert_eq!(told(&place, TEXTS), [gone, back]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_was_lost_is_told_by_the_first_start_that_it_makes() {
    const TEXTS: &[&str] = &["A first start"];
    let feed = FeedServer::start(&[]);
    let place = place(&feed, "off");
    let service = place.start().await;
    connects(&feed, &place, &service, 1).await;
    assert_eq!(tells(&place, TEXTS, 1).await.len(), 1);
    assert!(service.stop().await.0.success());
    let service = place.start().await;
    connects(&feed, &place, &service, 2).await;
    assert!(service.stop().await.0.success());
    assert_eq!(told(&place, TEXTS).len(), 1, "no event has come, and it is no first start all the same");

    fs::remove_dir_all(place.path("data")).unwrap();
    let service = place.start().await;
    assert_eq!(tells(&place, TEXTS, 2).await.len(), 2);
    assert!(service.stop().await.0.success());
}
