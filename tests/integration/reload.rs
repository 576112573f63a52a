//! Rules and templates edited, broken, mended and deleted while events flow: every event is judged by exactly one set, what is broken
//! keeps its last good version and is told, and a deletion that looks like an accident is held back.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use redflag::model::{alert::Role, card::Card, ids::Seq, severity::Severity};

use crate::support::{
    feed::FeedServer,
    service::{Place, Service, until},
    sink::{Request, Sink},
};

const PROBE: &str = "rules/probe.rhai";
/// Rules beside the probe, so that one deletion is a change and not an accident.
const OTHERS: usize = 9;
const CASES: &str = "/cases";
const CHAT: &str = "/chat";

/// A rule that alerts on every event of the load.
fn rule(id: &str, severity: &str, send_to: &str) -> String {
    format!(
        r#"//! An identification failed.

const RULE = #{{
    id: "{id}", title: "An identification failed", on: ["identResult"], where: #{{ status: "failed" }},
    severity: "{severity}", send_to: ["{send_to}"], subject: "failed {{identId}}",
}};

const TESTS = [
    #{{ name: "failed alerts", like: "identResult", set: #{{ status: "failed" }}, expect: #{{ alerts: 1 }} }},
    #{{ name: "success does not", like: "identResult", expect: #{{ alerts: 0 }} }},
];
"#
    )
}

/// Runs on no event of the load.
fn bystander(number: usize) -> String {
    rule(&format!("E2E-{number}"), "low", "cases")
        .replace(r#"where: #{ status: "failed" }"#, r#"where: #{ status: "odd" }"#)
        .replace(r#"set: #{ status: "failed" }"#, r#"set: #{ status: "odd" }"#)
}

fn wording(which: &str) -> String {
    format!("{which} wording: {{{{ subject }}}}{{% for note in notes %}} {{{{ note }}}}{{% endfor %}}")
}

struct Scene {
    sink: Sink,
    place: Place,
    feed: Arc<FeedServer>,
}

impl Scene {
    async fn set() -> Self {
        let feed = Arc::new(FeedServer::start(&[]));
        let sink = Sink::start().await;
        let place = Place::new();
        place.write(PROBE, &rule("E2E-100", "low", "cases"));
        // The steady one: what it alerts on shows that events flow.
        place.write("rules/steady.rhai", &rule("E2E-101", "info", "steady"));
        for number in 0..OTHERS {
            place.write(&format!("rules/others/rule_{number}.rhai"), &bystander(number));
        }
        place.write("templates/alert/chat.txt", &wording("first"));
        place.write("secret", "secret");
        place.write("cases-url", &sink.url(CASES));
        place.write("steady-url", &sink.url("/steady"));
        place.write("chat-url", &sink.url(CHAT));
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
password = {{ file = "secret" }}

[rules]
directory = "rules"

[templates]
directory = "templates"

[channels.cases]
kind = "webhook"
url = {{ file = "cases-url" }}
secret = {{ file = "secret" }}

[channels.steady]
kind = "webhook"
url = {{ file = "steady-url" }}
secret = {{ file = "secret" }}

[channels.chat]
kind = "slack"
url = {{ file = "chat-url" }}
clearance = "personal"

[groups]
both = ["cases", "chat"]

[operators]
send_to = ["chat"]

[http]
listen = "127.0.0.1:0"
"#,
                socket = feed.socket(),
                auth = feed.auth(),
            ),
        );
        Self { sink, place, feed }
    }

    /// The probe's alerts by event number: their severities.
    fn alerts(&self) -> BTreeMap<u64, String> {
        let requests = self.sink.requests(CASES);
        let bodies = requests.iter().map(Request::json).filter(|body| body["rule"]["id"] == "E2E-100");
        bodies.map(|body| (body["event"]["seq"].as_u64().unwrap(), body["severity"].as_str().unwrap().to_owned())).collect()
    }

    /// The last event that the steady rule alerted on.
    fn reached(&self) -> u64 {
        let requests = self.sink.requests("/steady");
        requests.iter().map(|request| request.json()["event"]["seq"].as_u64().unwrap()).max().unwrap_or(0)
    }

    /// Waits until so many further events went all the way.
    async fn flow(&self, events: u64) {
        let from = self.reached();
        let missing = || format!("{events} events behind #{from} told by the steady rule; the log:\n{}", self.place.tail());
        until(missing, async || (self.reached() >= from + events).then_some(())).await;
    }

    /// Waits until the probe alerts with that severity, and then for a few events more.
    async fn probe_says(&self, severity: &str) {
        let missing = || {
            let (last, _) = self.alerts().pop_last().unzip();
            format!(
                "an alert with severity {severity} (the last of {} is of #{last:?}); the log:\n{}",
                self.alerts().len(),
                self.place.tail()
            )
        };
        until(missing, async || self.alerts().last_key_value().filter(|(_, now)| *now == severity).map(drop)).await;
        self.flow(5).await;
    }

    /// Waits for a chat post that holds every one of these.
    async fn chat_says(&self, parts: &[&str]) -> String {
        let said = || self.sink.requests(CHAT).iter().map(|request| request.text().to_owned()).collect::<Vec<_>>();
        let missing = || {
            let said = said();
            format!(
                "a post with {parts:?}, the last are {:#?}; the log:\n{}",
                &said[said.len().saturating_sub(5)..],
                self.place.tail()
            )
        };
        until(missing, async || said().into_iter().find(|text| parts.iter().all(|part| text.contains(part)))).await
    }

    async fn rules_live(&self, service: &Service<'_>, count: usize) {
        let live = async || service.metric("redflag_rules_live", "").await as usize;
        until(|| format!("{count} live rules; the log:\n{}", self.place.tail()), async || (live().await == count).then_some(()))
            .await;
        self.flow(5).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_and_templates_change_under_flowing_events() {
    let scene = Scene::set().await;
    let place = &scene.place;
    let service = place.start().await;
    let reader = place.reader();
    let connected = async || service.metric("redflag_feed_connected", "concedus").await > 0.0;
    until(|| "the feed connected".to_owned(), async || connected().await.then_some(())).await;
    let stop = Arc::new(AtomicBool::new(false));
    let load = tokio::spawn(flow_of_events(Arc::clone(&scene.feed), Arc::clone(&stop)));
    scene.probe_says("low").await;

    // Edited: the next alert has it.
    place.write(PROBE, &rule("E2E-100", "high", "cases"));
    scene.probe_says("high").await;

    // Broken: the last good version goes on, and the operators are told file and line.
    place.write(PROBE, &rule("E2E-100", "critical", "cases").replace("where: #{", "where #{"));
    scene.chat_says(&["rules/probe.rhai".trim_start_matches("rules/"), "line 4", "was refused", "last good version"]).await;
    let broken_at = scene.reached();
    scene.flow(10).await;
    let since: Vec<_> = scene.alerts().range(broken_at..).map(|(_, severity)| severity.clone()).collect();
    assert!(since.len() >= 5 && since.iter().all(|severity| severity == "high"), "{since:?}");

    // Mended, and sent to the chat as well.
    place.write(PROBE, &rule("E2E-100", "medium", "both"));
    scene.chat_says(&["probe.rhai is mended"]).await;
    scene.probe_says("medium").await;
    scene.chat_says(&["first wording: failed I"]).await;

    // Templates the same way.
    place.write("templates/alert/chat.txt", &wording("second"));
    scene.chat_says(&["second wording: failed I"]).await;
    place.write("templates/alert/chat.txt", "third wording:\n{{ subject }\n");
    scene.chat_says(&["templates were refused", "chat.txt", "line 2"]).await;
    let posts = scene.sink.requests(CHAT).len();
    let later = || scene.sink.requests(CHAT).split_off(posts);
    until(|| "posts while the template is broken".to_owned(), async || (later().len() >= 5).then_some(())).await;
    assert!(later().iter().all(|post| post.text().contains("second wording: ")), "{:#?}", later());
    place.write("templates/alert/chat.txt", &wording("fourth"));
    scene.chat_says(&["fourth wording: failed I"]).await;

    // SIGHUP loads again, whether anything changed or not.
    let reloads = async || service.metric("redflag_reloads_total", "").await;
    let before = reloads().await;
    service.signal("HUP").await;
    service.tells("RELOADING=1").await;
    service.tells("READY=1").await;
    until(|| "a reload by SIGHUP".to_owned(), async || (reloads().await > before).then_some(())).await;

    // Deleted: withdrawn.
    place.remove(PROBE);
    scene.rules_live(&service, OTHERS + 1).await;
    let withdrawn = || {
        let judged = reader.ledger().unwrap().pop().unwrap();
        let set = reader.generation(&judged.generation).unwrap().unwrap();
        set.cards.iter().all(|card| card.id.as_str() != "E2E-100").then_some(judged.from)
    };
    let without = until(|| "events judged without the withdrawn rule".to_owned(), async || withdrawn()).await;
    scene.flow(10).await;
    let raised = || reader.alerts_after(0, 100_000).unwrap().into_iter().filter(|alert| alert.rule.as_str() == "E2E-100");
    assert!(raised().all(|alert| alert.seq < without), "a withdrawn rule alerts no more");

    // Three of ten at once looks like an accident: held back, with an alarm, and everything goes on.
    for number in 0..3 {
        place.remove(&format!("rules/others/rule_{number}.rhai"));
    }
    scene.chat_says(&["held back", "3 of 10 rules are gone at once"]).await;
    scene.rules_live(&service, OTHERS + 1).await;
    // Put back, and one deleted: that is a change again.
    for number in 1..3 {
        place.write(&format!("rules/others/rule_{number}.rhai"), &bystander(number));
    }
    scene.rules_live(&service, OTHERS).await;

    stop.store(true, Ordering::SeqCst);
    let sent = load.await.unwrap();
    until(
        || format!("{sent} events judged, {} are; the log:\n{}", reader.judged().unwrap(), place.tail()),
        async || (reader.judged().unwrap() >= Seq(sent)).then_some(()),
    )
    .await;
    let posted = || scene.alerts().into_keys().map(Seq).collect::<Vec<_>>();
    let alerts: Vec<_> = raised().map(|alert| alert.seq).collect();
    until(|| format!("{} posts, there are {}", alerts.len(), posted().len()), async || (posted() == alerts).then_some(())).await;
    assert!(service.stop().await.0.success());
    each_event_was_judged_by_one_set(place, sent);
}

/// One event about every 30 ms, until it is told to stop; answers how many.
async fn flow_of_events(feed: Arc<FeedServer>, stop: Arc<AtomicBool>) -> u64 {
    let mut ticks = tokio::time::interval(Duration::from_millis(30));
    let mut number = 0;
    while !stop.load(Ordering::SeqCst) {
        ticks.tick().await;
        let event = format!(
            r#"{{"topic":"identResult","kyc":"WEBID","identId":"I{number}","personKey":"PERS_{number}","reason":null,"status":"failed"}}"#
        );
        feed.send(&event).await;
        number += 1;
    }
    number
}

/// The ledger against the alerts: without holes or overlaps, and each range's set decides what each of its events raised.
fn each_event_was_judged_by_one_set(place: &Place, events: u64) {
    let reader = place.reader();
    assert_eq!(reader.last().unwrap(), Seq(events));
    let ledger = reader.ledger().unwrap();
    let mut next = Seq(1);
    let mut severities = Vec::new();
    for range in &ledger {
        assert_eq!(range.from, next, "{ledger:?}");
        assert!(range.to >= range.from, "{ledger:?}");
        next = range.to.next();
        let set = reader.generation(&range.generation).unwrap().unwrap();
        let card = |id: &str| set.cards.iter().find(|card| card.id.as_str() == id).cloned();
        let (probe, steady) = (card("E2E-100"), card("E2E-101"));
        severities.push(probe.as_ref().map(|card: &Card| card.severity));
        for seq in range.from.0..=range.to.0 {
            let alerts = reader.alerts_of(Seq(seq)).unwrap();
            let raised: Vec<_> =
                alerts.iter().map(|alert| (alert.rule.as_str(), alert.severity, alert.rule_hash, alert.role)).collect();
            let expected: Vec<_> = [&probe, &steady]
                .into_iter()
                .flatten()
                .map(|card| (card.id.as_str(), card.severity, card.hash, Role::First))
                .collect();
            assert_eq!(raised, expected, "event {seq}, judged by {}", range.generation);
        }
    }
    assert_eq!(next, Seq(events + 1), "{ledger:?}");
    severities.dedup();
    assert_eq!(severities, [Some(Severity::Low), Some(Severity::High), Some(Severity::Medium), None], "{ledger:?}");
}
