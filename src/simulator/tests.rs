//! The simulator from outside: real sockets on loopback, with a client that shares nothing but the protocol.

use std::{collections::BTreeMap, io::Write as _, sync::Arc, time::Duration};

use chrono::TimeZone as _;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Error, Message, client::IntoClientRequest, http::StatusCode},
};

use super::{differences, events::World, frame::Frame, load::Load, *};
use crate::model::{
    time::{ManualClock, Span, Timestamp},
    topic,
};

type Socket = WebSocketStream<TcpStream>;

const PATIENCE: Duration = Duration::from_secs(10);

fn noon() -> Timestamp {
    chrono::Utc.with_ymd_and_hms(2026, 3, 2, 12, 0, 0).unwrap()
}

fn text(frame: &Frame) -> &str {
    frame.message.to_text().unwrap()
}

/// Everything that World tells, `number` frames of it.
fn story(seed: u64, number: u32) -> Vec<Frame> {
    let mut world = World::new(seed, 40);
    (0..number).map(|second| world.next(noon() + chrono::TimeDelta::seconds(i64::from(second)))).collect()
}

async fn silent(options: Options) -> Simulator {
    start(Options { rate: 0.0, ..options }).await.unwrap()
}

async fn access_token(simulator: &Simulator) -> String {
    let answer = post(simulator, "token", &json!({ "username": "u", "password": "p" })).await;
    answer.1["accessToken"].as_str().expect("a token").to_owned()
}

async fn post(simulator: &Simulator, path: &str, body: &Value) -> (u16, Value) {
    let url = format!("{}/{path}", simulator.auth_url());
    let answer = reqwest::Client::new().post(url).json(body).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

async fn check(simulator: &Simulator, token: &str) -> (u16, Value) {
    let url = format!("{}/check", simulator.auth_url());
    let answer = reqwest::Client::new().get(url).bearer_auth(token).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

async fn open(simulator: &Simulator, token: &str) -> Result<Socket, Error> {
    let mut request = simulator.socket_url().into_client_request().unwrap();
    request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    let stream = TcpStream::connect(simulator.addr()).await.unwrap();
    tokio_tungstenite::client_async(request, stream).await.map(|(socket, _)| socket)
}

async fn connect(simulator: &Simulator) -> Socket {
    open(simulator, &access_token(simulator).await).await.expect("a socket")
}

/// The next frame; `None` when the socket has ended, however.
async fn next(socket: &mut Socket) -> Option<Message> {
    timeout(PATIENCE, socket.next()).await.expect("a frame or the end within the patience").and_then(Result::ok)
}

async fn next_json(socket: &mut Socket) -> Value {
    let message = next(socket).await.expect("a frame");
    serde_json::from_str(message.to_text().unwrap()).unwrap()
}

async fn ask(socket: &mut Socket, request: Value) -> Value {
    socket.send(Message::text(request.to_string())).await.unwrap();
    next_json(socket).await
}

fn ident(number: u32) -> String {
    format!(r#"{{"topic":"identResult","identId":"{number}"}}"#)
}

/// The numbers of [`ident`] frames.
fn idents(messages: &Value) -> Vec<u32> {
    messages.as_array().expect("an array").iter().map(|one| one["identId"].as_str().unwrap().parse().unwrap()).collect()
}

#[test]
fn a_seed_always_tells_the_same_story() {
    let texts = |seed| story(seed, 500).iter().map(|frame| text(frame).to_owned()).collect::<Vec<_>>();
    assert_eq!(texts(7), texts(7));
    assert_ne!(texts(7), texts(8));
}

#[test]
fn the_story_of_seed_one_begins_so() {
    let frames: Vec<String> = story(1, 12)
        .iter()
        .map(|frame| {
            let mut value: Value = serde_json::from_str(text(frame)).unwrap();
            for attachment in value.get_mut("attachments").and_then(Value::as_array_mut).into_iter().flatten() {
                let size = attachment["content"].as_str().unwrap().len();
                attachment["content"] = json!(format!("<{size} bytes>"));
            }
            value.to_string()
        })
        .collect();
    insta::assert_snapshot!("story_of_seed_one", frames.join("\n"));
}

#[test]
fn every_frame_has_the_documented_shape_and_every_topic_occurs() {
    let mut topics = BTreeMap::<String, usize>::new();
    for frame in story(3, 5_000) {
        let value: Value = serde_json::from_str(text(&frame)).expect("JSON");
        let known = topic::find(value["topic"].as_str().unwrap()).expect("a documented topic");
        assert_eq!(known.name, frame.topic);
        *topics.entry(known.name.to_owned()).or_default() += 1;
        let entries: Vec<&Value> = match known.entries {
            Some(member) => value[member].as_array().expect("an array of entries").iter().collect(),
            None => vec![&value],
        };
        assert_eq!(entries.len(), frame.elements as usize);
        for entry in entries {
            for name in entry.as_object().unwrap().keys() {
                let camel = name[..1].to_lowercase() + &name[1..];
                assert!(camel == "topic" || known.field(&camel).is_some(), "{name} is no field of {}", known.name);
            }
            match known.name {
                "complianceRecord" => {
                    assert!(entry["status"].is_u64());
                    assert!(entry["customerKey"].is_string() || entry["contractKey"].is_string());
                    let modified = entry["modified"].as_str().unwrap();
                    chrono::NaiveDateTime::parse_from_str(modified, "%Y-%m-%dT%H:%M:%S").expect("a time without a zone");
                }
                "mismatches" => {
                    assert!(!entry["Mismatches"].as_array().unwrap().is_empty());
                    assert!(entry["Mismatches"].as_array().unwrap().iter().all(|one| one["Value"] != one["KycValue"]));
                    chrono::DateTime::parse_from_rfc3339(entry["Created"].as_str().unwrap()).unwrap();
                }
                "identResult" | "identResultKYC" => {
                    assert!(entry["status"].is_string() && entry["reason"].as_str().is_none_or(|r| !r.is_empty()));
                }
                _ => assert_eq!(entry["url"].as_str().map(|url| url.starts_with("https://")), Some(true)),
            }
        }
    }
    assert_eq!(topics.len(), topic::KNOWN.len(), "{topics:?}");
}

#[test]
fn what_belongs_to_one_person_follows_the_order_of_a_case() {
    // Per person: the ident ids of links, in order, and how often an identification failed.
    let mut links = BTreeMap::<String, Vec<String>>::new();
    let mut failures = BTreeMap::<String, usize>::new();
    let (mut alike, mut codes) = (0, BTreeMap::<u64, usize>::new());
    for frame in story(1, 5_000) {
        let value: Value = serde_json::from_str(text(&frame)).unwrap();
        let of = |entry: &Value, name: &str| entry[name].as_str().unwrap().to_owned();
        match &*frame.topic {
            "identRequestsCreated" => {
                for link in value["identLinks"].as_array().unwrap() {
                    links.entry(of(link, "key")).or_default().push(of(link, "actionId"));
                }
            }
            "complianceRecord" => *codes.entry(value["complianceRecord"][0]["status"].as_u64().unwrap()).or_default() += 1,
            "mismatches" => {
                let record = &value["mismatches"][0];
                assert_eq!(links[&of(record, "PersonKey")].last(), Some(&of(record, "IdentId")));
                alike += usize::from(
                    record["Mismatches"][0]["Value"]
                        .as_str()
                        .unwrap()
                        .eq_ignore_ascii_case(record["Mismatches"][0]["KycValue"].as_str().unwrap()),
                );
            }
            _ => {
                assert_eq!(links[&of(&value, "personKey")].last(), Some(&of(&value, "identId")));
                if frame.topic == "identResult" && value["status"] != "success" {
                    *failures.entry(of(&value, "personKey")).or_default() += 1;
                }
            }
        }
    }
    assert!(failures.values().any(|number| *number >= 3), "somebody fails three times: {failures:?}");
    assert!(alike > 50, "many differences mean nothing: {alike}");
    for code in [100, 300, 302, 402, 503, 800, 801] {
        assert!(codes.contains_key(&code), "{code} occurs: {codes:?}");
    }
    assert!(codes.contains_key(&110) || codes.contains_key(&404), "a code that no table lists: {codes:?}");
    assert!(codes[&100] * 2 > codes.values().sum::<usize>() / 2, "most are released: {codes:?}");
}

#[test]
fn names_are_transliterated_as_a_document_does() {
    let plain = ["Müller", "Weiß", "Łukasz", "Yıldız", "Öztürk"].map(differences::transliterated);
    assert_eq!(plain, ["Mueller", "Weiss", "Lukasz", "Yildiz", "Oeztuerk"]);
}

#[test]
fn load_alerts_with_exactly_the_share_that_was_asked_for() {
    let mut load = Load::new(1, 100, 0.01);
    let frames: Vec<Frame> = (0..10_000).map(|_| load.next(noon())).collect();
    let texts: std::collections::BTreeSet<&str> = frames.iter().map(text).collect();
    assert_eq!(texts.len(), frames.len(), "every frame is different");
    assert_eq!(texts.iter().filter(|one| one.contains(r#""status":"failed""#)).count(), 100);
    assert!(texts.iter().all(|one| serde_json::from_str::<Value>(one).is_ok()));
}

#[tokio::test]
async fn a_token_is_given_checked_refreshed_once_and_ends() {
    let clock = ManualClock::at(noon());
    let simulator = silent(Options {
        credentials: Some(("alice".to_owned(), "right".to_owned())),
        clock: Arc::new(clock.clone()),
        ..Options::default()
    })
    .await;
    let (status, refused) = post(&simulator, "token", &json!({ "username": "alice", "password": "wrong" })).await;
    assert_eq!((status, &refused["code"]), (401, &json!("401")));
    let (status, granted) = post(&simulator, "token", &json!({ "userName": "alice", "password": "right" })).await;
    assert_eq!((status, &granted["exp"]), (200, &json!(noon().timestamp() + 240)));
    let token = granted["accessToken"].as_str().unwrap();
    assert_eq!(check(&simulator, token).await, (200, json!({ "exp": noon().timestamp() + 240 })));
    assert_eq!(check(&simulator, "another").await.0, 401);

    clock.advance(Duration::from_mins(4));
    assert_eq!(check(&simulator, token).await.0, 401, "it has ended");
    let refresh = json!({ "RefreshToken": granted["refreshToken"] });
    let (status, renewed) = post(&simulator, "refresh", &refresh).await;
    assert_eq!((status, &renewed["exp"]), (200, &json!(noon().timestamp() + 480)));
    assert_eq!(check(&simulator, renewed["accessToken"].as_str().unwrap()).await.0, 200);
    assert_eq!(post(&simulator, "refresh", &refresh).await, (401, json!({ "error": "Invalid request" })), "used up");
    let stats = simulator.stop().await;
    assert_eq!((stats.tokens, stats.refreshes, stats.refused_tokens), (2, 1, 2));
}

#[tokio::test]
async fn a_socket_needs_a_bearer_that_is_good() {
    let clock = ManualClock::at(noon());
    let simulator = silent(Options { clock: Arc::new(clock.clone()), refresh_tokens: false, ..Options::default() }).await;
    let refusal = |result: Result<Socket, Error>| match result {
        Err(Error::Http(response)) => response.status(),
        other => panic!("no refusal: {other:?}"),
    };
    assert_eq!(refusal(open(&simulator, "invented").await), StatusCode::UNAUTHORIZED);
    let token = access_token(&simulator).await;
    assert!(open(&simulator, &token).await.is_ok());
    clock.advance(Duration::from_secs(241));
    assert_eq!(refusal(open(&simulator, &token).await), StatusCode::UNAUTHORIZED);
    assert_eq!(simulator.stop().await.refused_sockets, 2);
}

#[tokio::test]
async fn every_socket_hears_what_happens_and_the_close() {
    let simulator = silent(Options::default()).await;
    let (mut one, mut other) = (connect(&simulator).await, connect(&simulator).await);
    simulator.push(ident(1)).await;
    simulator.push(b"\xff\x00".to_vec()).await;
    for socket in [&mut one, &mut other] {
        assert_eq!(next_json(socket).await["identId"], "1");
        assert_eq!(next(socket).await.unwrap().into_data().as_ref(), b"\xff\x00");
    }
    one.send(Message::Ping("are you there".into())).await.unwrap();
    assert_eq!(next(&mut one).await.unwrap(), Message::Pong("are you there".into()));
    // Each socket leaves in its own task, so that both goodbyes are answered.
    let readers = [one, other].map(|mut socket| tokio::spawn(async move { next(&mut socket).await }));
    let stats = simulator.stop().await;
    for reader in readers {
        let Some(Message::Close(Some(frame))) = reader.await.unwrap() else { panic!("no close frame") };
        assert_eq!(u16::from(frame.code), 1001);
    }
    assert_eq!((stats.told_frames, stats.sent_frames, stats.connections), (2, 4, 2));
}

#[tokio::test]
async fn a_paced_feed_tells_its_limit_and_ends() {
    let simulator = start(Options { rate: 2_000.0, limit: Some(60), people: 10, ..Options::default() }).await.unwrap();
    let mut socket = connect(&simulator).await;
    let mut elements = 0;
    for _ in 0..60 {
        let value = next_json(&mut socket).await;
        let known = topic::find(value["topic"].as_str().unwrap()).unwrap();
        elements += known.entries.map_or(1, |member| value[member].as_array().unwrap().len() as u64);
    }
    simulator.ended().await;
    let stats = simulator.stop().await;
    assert_eq!((stats.told_frames, stats.sent_frames, stats.told_elements, stats.sent_elements), (60, 60, elements, elements));
}

#[tokio::test]
async fn load_waits_for_its_reader_and_loses_nothing() {
    let options = Options { rate: f64::INFINITY, limit: Some(20_000), mix: Mix::Load { alerting: 0.1 }, ..Options::default() };
    let simulator = start(options).await.unwrap();
    let mut socket = connect(&simulator).await;
    let mut failed = 0;
    for _ in 0..20_000 {
        failed += usize::from(next(&mut socket).await.unwrap().to_text().unwrap().contains(r#""failed""#));
    }
    assert_eq!(failed, 2_000);
}

#[tokio::test]
async fn a_recorded_feed_is_played_as_it_is() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(
        b"{\"topic\":\"identResult\", \"identId\":\"1\"}\n\nnot json\n{\"topic\":\"mismatches\",\"mismatches\":[{},{}]}",
    )
    .unwrap();
    let options = Options { rate: f64::INFINITY, events: Some(file.path().to_owned()), ..Options::default() };
    let simulator = start(options).await.unwrap();
    let mut socket = connect(&simulator).await;
    for line in
        ["{\"topic\":\"identResult\", \"identId\":\"1\"}", "not json", "{\"topic\":\"mismatches\",\"mismatches\":[{},{}]}"]
    {
        assert_eq!(next(&mut socket).await.unwrap().to_text().unwrap(), line);
    }
    simulator.ended().await;
    assert_eq!(simulator.stop().await.told_elements, 4);
}

#[tokio::test]
async fn last_messages_respect_since_count_and_topics() {
    let clock = ManualClock::at(noon());
    let simulator = silent(Options { clock: Arc::new(clock.clone()), ..Options::default() }).await;
    for number in 1..=5 {
        simulator.push(ident(number)).await;
        clock.advance(Duration::from_mins(1));
    }
    simulator.push(r#"{"topic":"identRequestCreated","identLinks":[]}"#).await;
    let mut socket = connect(&simulator).await;
    let last = |more: Value| {
        let mut request = json!({ "topic": "method", "method": "getLastMessages" });
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        request
    };
    assert_eq!(ask(&mut socket, last(json!({}))).await.as_array().unwrap().len(), 6);
    assert_eq!(idents(&ask(&mut socket, last(json!({ "topics": ["identResult"] }))).await), [1, 2, 3, 4, 5]);
    assert_eq!(idents(&ask(&mut socket, last(json!({ "topics": ["identResult"], "count": 2 }))).await), [4, 5], "the newest");
    let since = json!({ "topics": ["identResult"], "since": "2026-03-02T13:02:00.000+01:00" });
    assert_eq!(idents(&ask(&mut socket, last(since)).await), [3, 4, 5], "that moment included");
    let links = ask(&mut socket, last(json!({ "topics": ["identRequestsCreated"] }))).await;
    assert_eq!(links[0]["topic"], "identRequestCreated", "either spelling asks for both");
    assert_eq!(ask(&mut socket, last(json!({ "since": "yesterday" }))).await["error"], "Invalid request");
    assert_eq!(simulator.stop().await.answered, 6 + 5 + 2 + 3 + 1);
}

#[tokio::test]
async fn answers_come_in_the_shape_that_was_asked_for() {
    let mut shapes = Vec::new();
    for answers in [Answers::Array, Answers::Messages, Answers::Data, Answers::Unwrapped, Answers::Nothing] {
        let topics = Some(vec!["identResult".to_owned(), "identRequestCreated".to_owned()]);
        let simulator = silent(Options { topics, answers, ..Options::default() }).await;
        simulator.push(ident(1)).await;
        simulator.push(r#"{"topic":"mismatches","mismatches":[]}"#).await;
        let mut socket = connect(&simulator).await;
        for method in ["getEnabledTopics", "getLastMessages"] {
            socket.send(Message::text(json!({ "topic": "method", "method": method }).to_string())).await.unwrap();
        }
        // Answers come before whatever is answered later: a request that is none marks their end.
        socket.send(Message::text("the end")).await.unwrap();
        loop {
            let frame = next(&mut socket).await.unwrap().into_text().unwrap();
            if frame.contains("Invalid request") {
                break;
            }
            shapes.push(format!("{answers:?}: {frame}"));
        }
    }
    insta::assert_snapshot!("shapes_of_answers", shapes.join("\n"));
}

#[tokio::test]
async fn a_capped_answer_is_cut_to_the_newest() {
    let faults = Faults { cap_answers: Some(2), ..Faults::default() };
    let simulator = silent(Options { faults, ..Options::default() }).await;
    for number in 1..=5 {
        simulator.push(ident(number)).await;
    }
    let mut socket = connect(&simulator).await;
    let answer = ask(&mut socket, json!({ "topic": "method", "method": "getLastMessages", "count": 100 })).await;
    assert_eq!(idents(&answer), [4, 5]);
}

#[tokio::test]
async fn history_reaches_back_as_far_as_was_asked_for() {
    let simulator = silent(Options { history: 3, ..Options::default() }).await;
    for number in 1..=5 {
        simulator.push(ident(number)).await;
    }
    let mut socket = connect(&simulator).await;
    assert_eq!(idents(&ask(&mut socket, json!({ "topic": "method", "method": "getLastMessages" })).await), [3, 4, 5]);
}

#[tokio::test]
async fn a_dropped_socket_ends_without_a_close_frame_and_misses_what_history_keeps() {
    let faults = Faults { drop_every: Some(2), ..Faults::default() };
    let simulator = silent(Options { faults, ..Options::default() }).await;
    let mut socket = connect(&simulator).await;
    for number in 1..=3 {
        simulator.push(ident(number)).await;
    }
    assert_eq!(next_json(&mut socket).await["identId"], "1");
    assert_eq!(next_json(&mut socket).await["identId"], "2");
    assert_eq!(next(&mut socket).await, None, "no close frame");
    let mut socket = connect(&simulator).await;
    assert_eq!(idents(&ask(&mut socket, json!({ "topic": "method", "method": "getLastMessages" })).await), [1, 2, 3]);
    simulator.drop_sockets();
    assert_eq!(next(&mut socket).await, None, "dropped on request");
    simulator.set_faults(Faults { drop_after: Some(Span::from_millis(20)), ..Faults::default() });
    assert_eq!(next(&mut connect(&simulator).await).await, None, "dropped at its age");
    assert_eq!(simulator.stop().await.drops, 3);
}

#[tokio::test]
async fn tokens_and_sockets_are_refused_as_often_as_was_asked_for() {
    let faults = Faults { refuse_tokens: Refuse::Next(2), ..Faults::default() };
    let simulator = silent(Options { faults, ..Options::default() }).await;
    let login = json!({ "username": "u", "password": "p" });
    assert_eq!(post(&simulator, "token", &login).await.0, 401);
    assert_eq!(post(&simulator, "token", &login).await.0, 401);
    let token = access_token(&simulator).await;
    simulator.set_faults(Faults { refuse_tokens: Refuse::Always, refuse_sockets: Refuse::Next(1), ..Faults::default() });
    assert_eq!(post(&simulator, "token", &login).await.0, 401);
    assert!(open(&simulator, &token).await.is_err());
    assert!(open(&simulator, &token).await.is_ok());
}

#[tokio::test]
async fn duplicates_garbage_and_arrays_leave_the_story_whole() {
    let faults = Faults { duplicates: 0.2, garbage: 0.2, arrays: 0.5, ..Faults::default() };
    let options =
        Options { rate: f64::INFINITY, limit: Some(1_000), mix: Mix::Load { alerting: 0.0 }, faults, ..Options::default() };
    let simulator = start(options).await.unwrap();
    let mut socket = connect(&simulator).await;
    simulator.ended().await;
    simulator.push(r#"{"topic":"the end"}"#).await;
    let (mut seen, mut elements, mut arrays, mut garbage) = (BTreeMap::<String, u64>::new(), 0, 0, 0);
    loop {
        let message = next(&mut socket).await.unwrap();
        let value: Value = serde_json::from_slice(&message.into_data()).unwrap_or_default();
        let messages = match value {
            Value::Array(messages) => {
                arrays += 1;
                messages
            }
            Value::Object(_) if value["topic"] == "the end" => break,
            Value::Object(ref object) if object.len() > 1 => vec![value],
            _ => {
                garbage += 1;
                vec![]
            }
        };
        for message in messages {
            assert_ne!(message["topic"], "the end", "sent alone, so never in an array");
            elements += 1;
            *seen.entry(message.to_string()).or_default() += 1;
        }
    }
    assert_eq!(seen.len(), 1_000, "nothing is lost");
    let stats = simulator.stop().await;
    assert!(seen.values().any(|times| *times == 2) && stats.duplicates > 50, "{stats:?}");
    assert!(arrays > 50 && garbage > 50, "{arrays} arrays, {garbage} pieces of garbage");
    // The last frame was told, too.
    assert_eq!((stats.told_elements, stats.sent_elements, stats.garbage >= garbage), (1_001, elements + 1, true));
}

#[tokio::test]
async fn a_quiet_socket_answers_but_tells_nothing_and_a_dead_one_not_even_that() {
    let simulator = silent(Options::default()).await;
    let mut socket = connect(&simulator).await;
    simulator.set_faults(Faults { silence: Silence::Quiet, ..Faults::default() });
    simulator.push(ident(1)).await;
    let topics = ask(&mut socket, json!({ "topic": "method", "method": "getEnabledTopics" })).await;
    assert_eq!(topics.as_array().unwrap().len(), topic::KNOWN.len(), "the answer, and no event before it");

    simulator.set_faults(Faults { silent_after: Some(1), ..Faults::default() });
    // What the socket had not looked at when the silence ended it may still tell.
    simulator.push(ident(2)).await;
    while next_json(&mut socket).await["identId"] != "2" {}
    socket.send(Message::Ping("are you there".into())).await.unwrap();
    simulator.push(ident(3)).await;
    let heard = timeout(Duration::from_millis(100), socket.next()).await;
    assert!(heard.is_err(), "dead silent, but {heard:?}");
    drop(socket);
    let stats = timeout(PATIENCE, simulator.stop()).await.expect("a dead socket does not hold up the stop");
    assert_eq!(stats.told_frames, 3);
}

#[tokio::test]
async fn a_socket_is_closed_at_its_tokens_end_if_that_was_asked_for() {
    let token_life = Duration::from_millis(50);
    let simulator = silent(Options { token_life, close_at_expiry: true, ..Options::default() }).await;
    let mut socket = connect(&simulator).await;
    let Some(Message::Close(Some(frame))) = next(&mut socket).await else { panic!("no close frame") };
    assert_eq!((u16::from(frame.code), frame.reason.as_str()), (1008, "token expired"));
}

#[tokio::test]
async fn a_simulator_in_another_process_can_be_steered() {
    let simulator = silent(Options::default()).await;
    let mut socket = connect(&simulator).await;
    let http = reqwest::Client::new();
    let url = |path: &str| format!("http://{}/control/{path}", simulator.addr());
    let faults = json!({ "garbage": 1.0, "refuse_tokens": { "next": 2 }, "drop_after": "5s" });
    assert_eq!(http.put(url("faults")).json(&faults).send().await.unwrap().status(), 204);
    let shown: Faults = http.get(url("faults")).send().await.unwrap().json().await.unwrap();
    assert_eq!((shown.garbage, shown.refuse_tokens), (1.0, Refuse::Next(2)));
    assert_eq!(http.post(url("push")).body(ident(9)).send().await.unwrap().status(), 204);
    assert_eq!(next_json(&mut socket).await["identId"], "9");
    assert!(next(&mut socket).await.is_some(), "garbage");
    assert_eq!(http.post(url("drop")).send().await.unwrap().status(), 204);
    assert_eq!(next(&mut socket).await, None);
    let stats: Value = http.get(url("stats")).send().await.unwrap().json().await.unwrap();
    assert_eq!((&stats["sent_frames"], &stats["garbage"]), (&json!(1), &json!(1)));
}

#[tokio::test]
async fn options_that_make_no_sense_are_refused() {
    let mut errors = Vec::new();
    for options in [
        Options { rate: f64::NAN, ..Options::default() },
        Options { mix: Mix::Load { alerting: 1.5 }, ..Options::default() },
        Options { events: Some("no/such/file.jsonl".into()), ..Options::default() },
    ] {
        errors.push(start(options).await.unwrap_err().to_string());
    }
    insta::assert_snapshot!(errors.join("\n"), @r"
    the rate must be a number from 0 to inf, not NaN
    the alerting share must be a number from 0 to 1, not 1.5
    the recorded feed no/such/file.jsonl can't be opened
    ");
}

#[tokio::test]
async fn look_ups_know_how_each_identification_stands_however_long_ago_it_was_told() {
    let simulator = silent(Options { history: 1, topics: Some(vec!["mismatches".to_owned()]), ..Options::default() }).await;
    let link = |id: &str, key: &str| json!({ "kyc": "WEBID", "url": "https://example.org", "key": key, "actionId": id });
    let links = json!({ "topic": "identRequestsCreated", "identLinks": [link("1", "A/B"), link("2", "C"), link("3", "D")] });
    simulator.push(links.to_string()).await;
    for (id, key, status) in [("1", "A/B", "success"), ("2", "C", "rejected")] {
        let result =
            json!({ "topic": "identResult", "kyc": "WEBID", "identId": id, "personKey": key, "reason": null, "status": status });
        simulator.push(result.to_string()).await;
    }
    let token = access_token(&simulator).await;
    let ask = async |path: &str, token: &str| {
        let answer = reqwest::Client::new().get(format!("{}/status/{path}", simulator.rest_url())).bearer_auth(token);
        let answer = answer.send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap()["status"].clone())
    };
    for (path, status) in [("ident/1", 100), ("ident/2", 0), ("ident/3", 101), ("person/A%2FB", 100), ("person/D", 101)] {
        assert_eq!(ask(path, &token).await, (200, status.into()), "{path}");
    }
    assert_eq!(ask("ident/4", &token).await.0, 404);
    assert_eq!(ask("ident/1", "stolen").await.0, 401);
    simulator.set_faults(Faults { fail_lookups: Some(429), ..Faults::default() });
    assert_eq!(ask("ident/1", &token).await.0, 429);
    assert_eq!(simulator.stop().await.lookups, 8);
}
