//! `kill -9` under load: no alert is missing, and whatever comes twice says so by its key.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use redflag::{
    model::{ids::Seq, value::Value},
    store::Reader,
};
use serde_json::Value as Json;

use crate::support::{
    feed::FeedServer,
    service::{PATIENCE, Place, Service, until},
    sink::Sink,
};

const KILLS: usize = 20;
const SEED: u64 = 0x5eed;
/// Every so-manieth event is one that alerts.
const ALERTING: u64 = 5;
/// What the webhook channel has under way at most.
const PARALLEL: usize = 4;

const RULE: &str = r#"//! An identification failed.

const RULE = #{
    id: "E2E-200", title: "An identification failed", on: ["identResult"], where: #{ status: "failed" },
    severity: "high", send_to: ["cases", "archive"], subject: "failed {identId}",
};

const TESTS = [
    #{ name: "failed alerts", like: "identResult", set: #{ status: "failed" }, expect: #{ alerts: 1 } },
    #{ name: "success does not", like: "identResult", expect: #{ alerts: 0 } },
];
"#;

fn event(number: u64) -> String {
    let status = if number.is_multiple_of(ALERTING) { "failed" } else { "success" };
    format!(
        r#"{{"topic":"identResult","kyc":"WEBID","identId":"I{number}","personKey":"PERS_{number}","reason":null,"status":"{status}"}}"#
    )
}

fn place(feed: &FeedServer, sink: &Sink, overlap: &str) -> Place {
    let place = Place::new();
    place.write("rules/failed.rhai", RULE);
    place.write("password", "secret");
    place.write("cases-url", &sink.url("/cases"));
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
backfill = {{ overlap = "{overlap}" }}

[channels.cases]
kind = "webhook"
url = {{ file = "cases-url" }}
secret = {{ file = "password" }}
clearance = "personal"

[channels.archive]
kind = "file"
path = "archive"
format = "json"
clearance = "personal"

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

async fn connected(service: &Service<'_>, place: &Place) {
    let missing = || format!("the feed connected; the log:\n{}", place.tail());
    until(missing, async || (service.metric("redflag_feed_connected", "concedus").await > 0.0).then_some(())).await;
}

fn ident(body: &Json) -> String {
    body["event"]["fields"]["identId"].as_str().unwrap_or_else(|| panic!("no identId in {body}")).to_owned()
}

fn is_alert(body: &Json) -> bool {
    body["purpose"] == "alert"
}

/// Every event of the journal by its identId, with how often it is there.
fn journaled(reader: &Reader) -> BTreeMap<String, usize> {
    let mut idents = BTreeMap::new();
    let mut after = Seq(0);
    loop {
        let events = reader.events_after(after, 1_000).unwrap();
        let Some(last) = events.last() else { return idents };
        after = last.seq;
        for event in &events {
            let Some(Value::Text(ident)) = event.body.get("identId") else { panic!("{:?}", event.body) };
            *idents.entry(ident.to_string()).or_default() += 1;
        }
    }
}

/// Alerts of the file channel: identId → names of the files that tell of it.
fn archived(place: &Place) -> BTreeMap<String, Vec<String>> {
    let mut alerts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for entry in fs::read_dir(place.path("archive")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name.starts_with('.') {
            continue; // Half written when a life ended.
        }
        let body: Json = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap_or_else(|error| panic!("{name}: {error}"));
        if is_alert(&body) {
            alerts.entry(ident(&body)).or_default().push(name);
        }
    }
    alerts
}

/// Alerts of the webhook: identId → the key of every time that it came.
fn posted(sink: &Sink) -> BTreeMap<String, Vec<String>> {
    let mut alerts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for request in sink.requests("/cases") {
        let body = request.json();
        if is_alert(&body) {
            alerts.entry(ident(&body)).or_default().push(request.header("idempotency-key").to_owned());
        }
    }
    alerts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_alert_is_lost_by_killing_it_twenty_times_under_load() {
    let feed = Arc::new(FeedServer::start(&["--cap", "100000"]));
    let sink = Sink::start().await;
    let place = place(&feed, &sink, "5s");
    let mut random = fastrand::Rng::with_seed(SEED);

    let first = place.start().await;
    connected(&first, &place).await;
    let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let load = tokio::spawn({
        let (feed, stop, sent) = (Arc::clone(&feed), Arc::clone(&stop), Arc::clone(&sent));
        async move {
            let mut ticks = tokio::time::interval(Duration::from_millis(50));
            while !stop.load(Ordering::SeqCst) {
                ticks.tick().await;
                let from = sent.load(Ordering::SeqCst);
                let lines: Vec<_> = (from..from + 10).map(event).collect();
                feed.send_lines(&lines.join("\n")).await;
                sent.store(from + 10, Ordering::SeqCst);
            }
        }
    });

    let mut service = first;
    let mut ready = Vec::new();
    for _ in 0..KILLS {
        let moment = Instant::now() + Duration::from_millis(random.u64(50..700));
        tokio::time::sleep_until(moment.into()).await;
        service.kill().await;
        service = place.start().await;
        ready.push(service.ready_after);
    }
    stop.store(true, Ordering::SeqCst);
    load.await.unwrap();
    ready.sort();
    println!("{KILLS} kills: ready after {:?} (median), {:?} (longest)", ready[KILLS / 2], ready[KILLS - 1]);

    // The reference: what the feed sent, computed here and nowhere else.
    let sent = sent.load(Ordering::SeqCst);
    let events: BTreeMap<String, usize> = (0..sent).map(|number| (format!("I{number}"), 1)).collect();
    let alerts: BTreeSet<String> = (0..sent).filter(|n| n.is_multiple_of(ALERTING)).map(|n| format!("I{n}")).collect();
    let reader = place.reader();
    let missing = || {
        let (posted, archived) = (posted(&sink), archived(&place));
        let lacking = |there: &BTreeMap<String, Vec<String>>| {
            alerts.iter().filter(|ident| !there.contains_key(*ident)).take(20).cloned().collect::<Vec<_>>()
        };
        format!(
            "{} events, {} alerts; journaled {}, judged {}; not posted: {:?}; not archived: {:?}; owed: {:?}; the log:\n{}",
            sent,
            alerts.len(),
            reader.last().unwrap(),
            reader.judged().unwrap(),
            lacking(&posted),
            lacking(&archived),
            reader.owed().unwrap(),
            place.tail()
        )
    };
    until(missing, async || {
        let judged = reader.judged().unwrap() >= Seq(sent);
        (judged && reader.owed().unwrap().is_empty()).then_some(())
    })
    .await;
    let (status, _) = service.stop().await;
    assert!(status.success(), "{status}; the log:\n{}", place.tail());

    let there = journaled(&reader);
    assert_eq!(there.len(), events.len(), "{}", missing());
    assert!(there == events, "not once each: {:?}", there.iter().filter(|(_, count)| **count != 1).take(20).collect::<Vec<_>>());
    let archived = archived(&place);
    assert_eq!(archived.keys().cloned().collect::<BTreeSet<_>>(), alerts, "{}", missing());
    let twice: Vec<_> = archived.iter().filter(|(_, files)| files.len() != 1).collect();
    assert!(twice.is_empty(), "a repeated attempt writes the same file: {twice:?}");
    let posted = posted(&sink);
    assert_eq!(posted.keys().cloned().collect::<BTreeSet<_>>(), alerts, "{}", missing());
    let mut duplicates = 0;
    for (ident, keys) in &posted {
        duplicates += keys.len() - 1;
        assert!(keys.iter().all(|key| *key == keys[0]), "{ident} came under several keys: {keys:?}");
    }
    println!("{sent} events, {} alerts, {duplicates} posted again", alerts.len());
    assert!(
        duplicates <= KILLS * PARALLEL,
        "{duplicates} duplicates, at most {PARALLEL} were under way at each of {KILLS} kills"
    );
    assert_eq!(reader.dead_letter_count().unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_being_sent_when_it_was_killed_goes_out_right_after_the_restart() {
    let feed = FeedServer::start(&[]);
    let sink = Sink::start().await;
    let place = place(&feed, &sink, "10m");
    let service = place.start().await;
    connected(&service, &place).await;
    sink.hold(true);
    feed.send(&event(0)).await;
    let came = async || posted(&sink).get("I0").cloned();
    let first = until(|| format!("the first attempt; the log:\n{}", place.tail()), came).await;
    service.kill().await;
    sink.hold(false);
    let service = place.start().await;
    let begun = Instant::now();
    let again = async || posted(&sink).get("I0").filter(|keys| keys.len() > 1).cloned();
    let both = until(|| format!("the second attempt; the log:\n{}", place.tail()), again).await;
    assert!(begun.elapsed() < PATIENCE / 3, "an alert waited {:?} for the lease of a dead process", begun.elapsed());
    assert_eq!(both, [first[0].clone(), first[0].clone()], "the same delivery carries the same key");
    assert!(service.stop().await.0.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_dead_letter_is_left_untold_by_a_stop() {
    let feed = FeedServer::start(&[]);
    let sink = Sink::start().await;
    let place = place(&feed, &sink, "10m");
    let service = place.start().await;
    connected(&service, &place).await;
    // The refusal comes while the service stops: what is being sent is finished, and whoever would tell of it may be gone already.
    sink.hold(true);
    feed.send(&event(0)).await;
    until(|| "the first attempt".to_owned(), async || posted(&sink).contains_key("I0").then_some(())).await;
    sink.refuse("/cases");
    service.signal("TERM").await;
    service.tells("STOPPING=1").await;
    sink.hold(false);
    assert!(service.ended().await.success(), "the log:\n{}", place.tail());
    let told = || {
        let files = fs::read_dir(place.path("archive")).unwrap().map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap());
        files.filter(|text| text.contains("was given up")).count()
    };
    let reader = place.reader();
    let untold = reader.untold(&"cases".into(), 9).unwrap().len() as u64;
    assert!(reader.dead_letter_count().unwrap() == untold || told() > 0, "given up, and nobody will ever know");
    let service = place.start().await;
    until(|| format!("an alarm of the dead letter; the log:\n{}", place.tail()), async || (told() > 0).then_some(())).await;
    until(|| "the dead letter".to_owned(), async || (reader.dead_letter_count().unwrap() == 1).then_some(())).await;
    assert!(service.stop().await.0.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_before_past_messages_were_answered_leaves_them_owed() {
    let feed = FeedServer::start(&[]);
    let sink = Sink::start().await;
    let place = place(&feed, &sink, "0s");
    let came = |ident: &'static str| {
        let (sink, place) = (&sink, &place);
        async move {
            let missing = || format!("{ident} posted, {:?} are; the log:\n{}", posted(sink).keys(), place.tail());
            until(missing, async || posted(sink).contains_key(ident).then_some(())).await;
        }
    };
    let service = place.start().await;
    connected(&service, &place).await;
    feed.send(&event(0)).await;
    came("I0").await;
    service.kill().await;

    // Missed while it was down; the provider does not answer before the next kill, but live events do come.
    feed.miss(&event(5)).await;
    feed.set("reply=none").await;
    let service = place.start().await;
    connected(&service, &place).await;
    feed.send(&event(10)).await;
    came("I10").await;
    service.kill().await;

    feed.set("reply=array").await;
    let service = place.start().await;
    came("I5").await;
    assert!(service.stop().await.0.success());
    assert_eq!(journaled(&place.reader()), ["I0", "I10", "I5"].map(|ident| (ident.to_owned(), 1)).into());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_from_before_the_very_first_start_is_back_filled_and_all_from_then_on_is() {
    let feed = FeedServer::start(&[]);
    let sink = Sink::start().await;
    // The overlap reaches back far before the first start.
    let place = place(&feed, &sink, "10m");
    feed.miss(&event(0)).await;
    feed.set("refuse=1000").await;
    let service = place.start().await;
    until(
        || format!("a refused login; the log:\n{}", place.tail()),
        async || place.log().contains("the login was refused").then_some(()),
    )
    .await;
    service.kill().await;

    // The journal is still empty, and its beginning is known.
    feed.miss(&event(5)).await;
    feed.set("refuse=0").await;
    let service = place.start().await;
    let came = |ident: &'static str| {
        let (sink, place) = (&sink, &place);
        async move {
            let missing = || format!("{ident} posted, {:?} are; the log:\n{}", posted(sink).keys(), place.tail());
            until(missing, async || posted(sink).contains_key(ident).then_some(())).await;
        }
    };
    came("I5").await;
    feed.send(&event(10)).await;
    came("I10").await;
    service.kill().await;

    feed.miss(&event(15)).await;
    let service = place.start().await;
    came("I15").await;
    assert!(service.stop().await.0.success());
    assert_eq!(journaled(&place.reader()), ["I10", "I15", "I5"].map(|ident| (ident.to_owned(), 1)).into());
}
