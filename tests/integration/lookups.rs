//! Look-ups after a gap, on the real binary: what back-fill can't have is asked for one by one, and what that proves closes the gap.

use std::sync::Arc;

use redflag::{
    decode::{Decoder, Options as DecodeOptions},
    model::{
        actor::Via,
        books::Books,
        event::{Event, Frame, Origin},
        ids::{Ids, Seq},
        names::{FeedName, TopicName},
        time::{Clock as _, SystemClock},
        turn::Turn,
    },
    simulator::{self, Faults, Simulator},
    store::{Journal as _, Options, SqliteStore},
};
use serde_json::{Value as Json, json};

use crate::support::{
    service::{Place, until},
    sink::Sink,
};

/// So many past messages the provider gives at most.
const CAP: usize = 12;

const RULE: &str = r#"//! An identification failed.

const RULE = #{
    id: "T-1", title: "Identification failed", on: ["identResult"], where: #{ status: "failed" },
    severity: "high", send_to: ["chat"], subject: "identification {identId} failed",
};

const TESTS = [
    #{ name: "failed alerts", like: "identResult", set: #{ status: "failed" }, expect: #{ alerts: 1 } },
    #{ name: "success stays quiet", like: "identResult", set: #{ status: "success" }, expect: #{ alerts: 0 } },
];
"#;

fn announced(idents: &[u32]) -> String {
    let link = |ident: &u32| json!({ "kyc": "WEBID", "url": "https://example.org/x", "key": format!("P{ident}"), "actionId": ident.to_string() });
    json!({ "topic": "identRequestsCreated", "identLinks": idents.iter().map(link).collect::<Vec<_>>() }).to_string()
}

fn result(ident: u32, status: &str) -> String {
    let (id, key) = (ident.to_string(), format!("P{ident}"));
    json!({ "topic": "identResult", "kyc": "WEBID", "identId": id, "personKey": key, "reason": null, "status": status })
        .to_string()
}

struct Scene {
    simulator: Simulator,
    sink: Sink,
    place: Place,
}

impl Scene {
    /// A journal that ends yesterday and begins `known` days ago, and a provider that has had more outcomes since than it gives at once:
    /// of 1 (a success) and 2 (a failure) nobody is told any more, 3 is under way. Of 99, the first that was announced, it has never heard.
    async fn set(known: i64) -> Self {
        let topics = Some(vec!["identRequestsCreated".to_owned(), "identResult".to_owned()]);
        let faults = Faults { cap_answers: Some(CAP), ..Faults::default() };
        let options = simulator::Options { rate: 0.0, topics, faults, ..simulator::Options::default() };
        let simulator = simulator::start(options).await.unwrap();
        let sink = Sink::start().await;
        let place = Place::new();
        place.write("rules/one.rhai", RULE);
        place.write("secret", "secret");
        place.write("chat-url", &sink.url("/chat"));
        place.write(
            "redflag.toml",
            &format!(
                r#"
data_dir = "data"
feeds.provider = {{ kind = "concedus", socket = "{}", auth = "{}", username = "partner", password = {{ file = "secret" }}, lookups = {{ url = "{}", spacing = "50ms" }} }}
channels.chat = {{ kind = "slack", url = {{ file = "chat-url" }} }}
operators.send_to = ["chat"]
fallback.send_to = ["chat"]
http.listen = "127.0.0.1:0"
"#,
                simulator.socket_url(),
                simulator.auth_url(),
                simulator.rest_url(),
            ),
        );
        let [links, known_result] = [announced(&[1, 2, 3]), result(100, "success")];
        journal(&place, &[(known, announced(&[99])), (1, links.clone()), (1, known_result.clone())]).await;
        for missed in [links, known_result, result(1, "success"), result(2, "rejected")] {
            simulator.push(missed).await;
        }
        for more in 0..CAP as u32 {
            simulator.push(result(1_000 + more, "success")).await;
        }
        Self { simulator, sink, place }
    }

    async fn gap(&self, what: &str, is: impl Fn(&Json) -> bool) -> Json {
        let missing =
            || format!("a gap that {what}: {:#?}; the log:\n{}", self.place.reader().gaps().unwrap(), self.place.tail());
        until(missing, async || {
            self.json(&["gaps", "list", "--all"]).await[0].clone().as_object().map(|gap| Json::from(gap.clone())).filter(&is)
        })
        .await
    }

    async fn json(&self, args: &[&str]) -> Json {
        let all: Vec<&str> = args.iter().copied().chain(["--format", "json"]).collect();
        let (_, stdout, stderr) = self.place.command(&all).await;
        serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{args:?}: {error}\n{stdout}\n{stderr}"))
    }

    /// What was journaled from look-ups: identification and status.
    fn looked_up(&self) -> Vec<(String, String)> {
        let events = self.place.reader().events_after(Seq(0), 1_000).unwrap();
        let field = |event: &Event, name: &str| event.body.get(name).and_then(|value| value.as_str()).unwrap_or("–").to_owned();
        let looked_up = events.iter().filter(|event| event.origin == Origin::Rest && event.late);
        looked_up.map(|event| (field(event, "identId"), field(event, "status"))).collect()
    }

    async fn until_asked(&self, more: u64) {
        let before = self.simulator.stats().lookups;
        until(
            || format!("{more} look-ups; the log:\n{}", self.place.tail()),
            async || (self.simulator.stats().lookups >= before + more).then_some(()),
        )
        .await;
    }
}

/// Journals frames as if they had been received live so many days ago.
async fn journal(place: &Place, frames: &[(i64, String)]) {
    let (store, _) = SqliteStore::open(Options::new(place.path("data"))).unwrap();
    let feed = FeedName::new("provider");
    let (decoder, mut ids) = (Decoder::new(feed.clone(), DecodeOptions::default()), Ids::seeded(1));
    let (mut events, mut books) = (Vec::new(), Books::default());
    for (days, text) in frames {
        let received_at = SystemClock.now() - chrono::TimeDelta::days(*days);
        let frame =
            Frame { feed: feed.clone(), received_at, origin: Origin::Live, bytes: text.clone().into_bytes(), position: None };
        let counts = books.of(&feed, &TopicName::new(""), received_at);
        (counts.frames, counts.decoded) = (counts.frames + 1, counts.decoded + 1);
        for element in decoder.decode(&frame, &mut ids).elements {
            books.of(&feed, &element.topic, received_at).elements += 1;
            events.push(Event { seq: Seq(events.len() as u64 + 1), element });
        }
    }
    store.commit(Turn { events: Arc::new(events), books: books.take(), ..Turn::default() }).committed().await.unwrap();
    store.close().committed().await.unwrap();
}

fn found() -> Vec<(String, String)> {
    [("1", "success"), ("2", "failed")].map(|(ident, status)| (ident.to_owned(), status.to_owned())).to_vec()
}

fn sorted(mut found: Vec<(String, String)>) -> Vec<(String, String)> {
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gap_of_outcomes_is_closed_by_asking_for_each_and_what_was_missed_alerts() {
    let scene = Scene::set(40).await;
    let service = scene.place.start().await;
    let gap = scene.gap("is closed", |gap| !gap["closed_at"].is_null()).await;
    assert_eq!((&gap["topics"], &gap["closed_by"]), (&json!(["identResult"]), &"look-ups".into()));
    assert_eq!(gap["looked_up"], "3 looked up, 1 of them as known, 2 outcomes that the journal lacked");
    assert_eq!(sorted(scene.looked_up()), found());
    assert_eq!(scene.simulator.stats().lookups, 3, "each is asked about once");
    assert_eq!(scene.simulator.stats().tokens, 1, "a look-up never logs in");

    let told = until(
        || format!("an alert; the log:\n{}", scene.place.tail()),
        async || {
            scene
                .sink
                .requests("/chat")
                .iter()
                .map(|request| request.text().to_owned())
                .find(|text| text.contains("identId: 2\\n"))
        },
    )
    .await;
    assert!(told.contains("it was looked up after a gap"), "{told}");
    let status = scene.json(&["status"]).await;
    assert_eq!((&status["gaps_open"], &status["gaps_ever"], &status["books"]), (&0.into(), &1.into(), &json!([])));
    assert!(!status["findings"].to_string().contains("gaps"), "{status}");
    let closed = scene.place.reader().history("gap 1").unwrap();
    assert_eq!((closed.len(), closed[0].actor.via, &*closed[0].action), (1, Via::Service, "gaps look-up"));

    // The next life knows it all, and what was looked up was not heard: past messages are asked for since the last that came.
    let heard = scene.place.reader().events_after(Seq(0), 1_000).unwrap();
    let last_heard = heard.iter().filter(|event| event.origin != Origin::Rest).map(|event| event.received_at).max().unwrap();
    assert_eq!(scene.json(&["status"]).await["feeds"][0]["last_event"], json!(last_heard));
    assert!(service.stop().await.0.success());
    let service = scene.place.start().await;
    assert_eq!(scene.json(&["status"]).await["gaps_ever"], 1);
    assert_eq!(scene.simulator.stats().lookups, 3);
    assert!(service.stop().await.0.success());
    assert_eq!(scene.json(&["coverage"]).await["imbalances"], json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gap_that_look_ups_can_t_prove_empty_stays_open_until_a_person_closes_it() {
    let scene = Scene::set(20).await;
    let service = scene.place.start().await;
    let gap = scene.gap("was looked up", |gap| !gap["looked_up"].is_null()).await;
    let words = gap["looked_up"].as_str().unwrap();
    let reasons = ["not all identifications of the 30d before it are known", "not known to the provider: 1"];
    assert!(gap["closed_at"].is_null() && reasons.iter().all(|reason| words.contains(reason)), "{words}");
    assert_eq!(sorted(scene.looked_up()), found(), "what was missed is found all the same");
    let status = scene.json(&["status"]).await;
    assert!(status["findings"].to_string().contains("gaps that can't be ruled out in the last 7 days: 1"), "{status}");

    let (code, told, _) = scene.place.command(&["gaps", "close", "1", "--note", "the provider's list of today has two"]).await;
    assert_eq!((code, &*told), (0, "gap 1: open → closed\n"));
    let (code, _, told) = scene.place.command(&["gaps", "close", "9", "--note", "x"]).await;
    assert!(code == 2 && told.contains("there is no gap 9; the last one is 1"), "{told}");
    let (code, told, _) = scene.place.command(&["gaps", "list"]).await;
    assert_eq!((code, &*told), (0, "no gap is open\n"));
    let closed = scene.place.reader().history("gap 1").unwrap();
    assert_eq!((&*closed[0].action, &*closed[0].detail), ("gaps close", "the provider's list of today has two"));
    assert!(service.stop().await.0.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_refuses_and_fails_is_asked_again_and_nothing_is_claimed_meanwhile() {
    let scene = Scene::set(40).await;
    let fail = |status| {
        let faults = Faults { cap_answers: Some(CAP), fail_lookups: status, ..Faults::default() };
        scene.simulator.set_faults(faults);
    };
    fail(Some(429));
    let service = scene.place.start().await;
    for status in [500, 401] {
        scene.until_asked(1).await;
        fail(Some(status));
    }
    scene.until_asked(1).await;
    fail(None);
    scene.gap("is closed", |gap| gap["closed_by"] == "look-ups").await;
    assert_eq!(sorted(scene.looked_up()), found());
    assert_eq!(scene.simulator.stats().tokens, 1, "a refused look-up is no reason to log in");
    assert!(service.stop().await.0.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn look_ups_that_never_succeed_leave_the_gap_open_and_say_why() {
    let scene = Scene::set(40).await;
    scene.simulator.set_faults(Faults { cap_answers: Some(CAP), fail_lookups: Some(503), ..Faults::default() });
    let service = scene.place.start().await;
    let gap = scene.gap("was tried", |gap| !gap["looked_up"].is_null()).await;
    let expected = "0 looked up, 0 of them as known, 0 outcomes that the journal lacked; it stays open: not all could be asked: the provider answered the look-up with status 503; it is tried again";
    assert_eq!((&gap["looked_up"], &gap["closed_at"]), (&expected.into(), &Json::Null));
    assert_eq!(scene.looked_up(), []);
    // Killed and started anew it goes on, since nothing was concluded.
    service.kill().await;
    scene.simulator.set_faults(Faults { cap_answers: Some(CAP), ..Faults::default() });
    let service = scene.place.start().await;
    scene.gap("is closed", |gap| gap["closed_by"] == "look-ups").await;
    assert!(service.stop().await.0.success());
}
