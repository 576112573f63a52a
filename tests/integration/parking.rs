//! A rule that takes too long is parked, what it owes outlives a restart, and is judged when its file is mended.

use std::{collections::BTreeMap, fs, io::Write as _};

use redflag::{
    model::{ids::Seq, verdict::UndecidedKind},
    store::Reader,
};
use serde_json::Value as Json;

use crate::support::service::{Place, Service, until};

const SLOW: &str = "rules/slow.rhai";

/// Alerts on every failed identification; `loops` says on which it uses up its operations.
fn rule(id: &str, loops: &str) -> String {
    format!(
        r#"//! An identification failed.

const RULE = #{{
    id: "{id}", title: "An identification failed", on: ["identResult"],
    severity: "medium", send_to: ["archive"], subject: "failed {{identId}}",
}};

fn when(event, settings) {{
    while {loops} {{ }}
    event.status == "failed"
}}

const TESTS = [
    #{{ name: "failed alerts", like: "identResult", set: #{{ status: "failed" }}, expect: #{{ alerts: 1 }} }},
    #{{ name: "success does not", like: "identResult", expect: #{{ alerts: 0 }} }},
];
"#
    )
}

const HANGS: &str = r#"event.personKey.starts_with("HANG")"#;

fn place() -> Place {
    let place = Place::new();
    place.write(SLOW, &rule("E2E-300", HANGS));
    place.write("rules/steady.rhai", &rule("E2E-301", "false"));
    fs::create_dir(place.path("feed")).unwrap();
    place.write(
        "redflag.toml",
        r#"
data_dir = "data"

[feeds.lines]
kind = "jsonl"
path = "feed"
follow = true

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
    );
    place
}

/// Hands events over; their person's key begins with the word.
fn feed(place: &Place, person: &str, numbers: std::ops::RangeInclusive<u64>) {
    let mut file = fs::File::options().create(true).append(true).open(place.path("feed/events.jsonl")).unwrap();
    for number in numbers {
        let event = format!(
            r#"{{"topic":"identResult","kyc":"WEBID","identId":"I{number}","personKey":"{person}_{number}","reason":null,"status":"failed"}}"#
        );
        writeln!(file, "{event}").unwrap();
    }
}

fn told(place: &Place) -> Vec<Json> {
    let entries = fs::read_dir(place.path("archive")).into_iter().flatten().map(|entry| entry.unwrap().path());
    let whole = entries.filter(|path| !path.file_name().unwrap().to_str().unwrap().starts_with('.'));
    whole.map(|path| serde_json::from_slice(&fs::read(path).unwrap()).unwrap()).collect()
}

/// The events that a rule alerted on, with the notes of each.
fn alerts(place: &Place, rule: &str) -> BTreeMap<u64, String> {
    let of_rule = told(place).into_iter().filter(|body| body["rule"]["id"] == rule);
    of_rule.map(|body| (body["event"]["seq"].as_u64().unwrap(), body["notes"].to_string())).collect()
}

async fn alarm(place: &Place, part: &str) -> Json {
    let found =
        || told(place).into_iter().find(|body| body["purpose"] == "alarm" && body["subject"].as_str().unwrap().contains(part));
    until(|| format!("an alarm: {part}; the log:\n{}", place.tail()), async || found()).await
}

async fn alerted(place: &Place, rule: &str, events: &[u64]) {
    let seqs = || alerts(place, rule).into_keys().collect::<Vec<_>>();
    let missing = || format!("{rule} alerts on {events:?}, it did on {:?}; the log:\n{}", seqs(), place.tail());
    until(missing, async || (seqs() == events).then_some(())).await;
}

async fn judged(place: &Place, reader: &Reader, seq: u64) {
    let missing = || format!("event {seq} judged, {} is; the log:\n{}", reader.judged().unwrap(), place.tail());
    until(missing, async || (reader.judged().unwrap() >= Seq(seq)).then_some(())).await;
}

/// owed = decided + undecided, and what is open is undecided and not settled, in the books, the rows and the metrics alike.
async fn balanced(reader: &Reader, service: &Service<'_>, open: u64) {
    let (_, counts) = reader.books().unwrap().remove(0);
    assert_eq!(counts.owed, counts.decided + counts.undecided, "{counts:?}");
    assert_eq!(counts.undecided - counts.settled, open, "{counts:?}");
    assert_eq!(reader.open_verdicts().unwrap().iter().map(|open| open.count).sum::<u64>(), open);
    let waiting = async || (service.metric("redflag_verdicts_waiting", "").await as u64 == open).then_some(());
    until(|| format!("{open} verdicts waiting in the metrics"), waiting).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_that_uses_up_its_operations_three_times_is_parked_and_what_it_owes_is_judged_when_it_is_mended() {
    let place = place();
    let service = place.start().await;
    let reader = place.reader();
    // Twice, and an answer between: not running.
    feed(&place, "HANG", 1..=2);
    feed(&place, "PERS", 3..=3);
    feed(&place, "HANG", 4..=5);
    alerted(&place, "E2E-300", &[3]).await;
    alerted(&place, "E2E-301", &[1, 2, 3, 4, 5]).await;
    assert!(reader.parked().unwrap().is_empty());

    feed(&place, "HANG", 6..=6);
    let told = alarm(&place, "Rule E2E-300 is parked").await;
    assert!(told["notes"].to_string().contains("slow.rhai"), "{told}");
    feed(&place, "PERS", 7..=9);
    alerted(&place, "E2E-301", &[1, 2, 3, 4, 5, 6, 7, 8, 9]).await;
    judged(&place, &reader, 9).await;
    alerted(&place, "E2E-300", &[3]).await;
    balanced(&reader, &service, 8).await;
    assert_eq!(service.metric("redflag_rules_parked", "").await as u64, 1);
    assert!(service.stop().await.0.success());

    // It stays parked over a restart, and a kill.
    let service = place.start().await;
    feed(&place, "HANG", 10..=10);
    judged(&place, &reader, 10).await;
    service.kill().await;
    let service = place.start().await;
    feed(&place, "PERS", 11..=11);
    judged(&place, &reader, 11).await;
    balanced(&reader, &service, 10).await;
    let parked = reader.parked().unwrap();
    assert_eq!((parked.len(), parked[0].rule.as_str(), parked[0].tries), (1, "E2E-300", 0));
    let kinds: Vec<_> = reader.open_verdicts().unwrap().iter().map(|open| (open.kind, open.count)).collect();
    assert_eq!(kinds, [(UndecidedKind::Budget, 5), (UndecidedKind::Parked, 5)]);

    // Mended: every event that it owes is judged, and the alerts say that they are late.
    place.write(SLOW, &rule("E2E-300", "false"));
    let all: Vec<u64> = (1..=11).collect();
    alerted(&place, "E2E-300", &all).await;
    let late = |seq: u64| alerts(&place, "E2E-300")[&seq].contains("The verdict is late");
    assert!(late(1) && late(7) && !late(3), "{:?}", alerts(&place, "E2E-300"));
    alarm(&place, "Rule E2E-300 judges again").await;
    balanced(&reader, &service, 0).await;
    assert!(reader.parked().unwrap().is_empty());
    assert_eq!(service.metric("redflag_rules_parked", "").await as u64, 0);
    feed(&place, "HANG", 12..=12);
    alerted(&place, "E2E-300", &(1..=12).collect::<Vec<_>>()).await;
    assert_eq!(reader.alerts_after(0, 1_000).unwrap().len(), 24, "each event is alerted on once by each rule");
    assert!(service.stop().await.0.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_parked_rule_is_tried_again_and_parked_anew_or_judges_what_it_owes() {
    let place = place();
    let service = place.start().await;
    let reader = place.reader();
    feed(&place, "HANG", 1..=4);
    feed(&place, "PERS", 5..=6);
    judged(&place, &reader, 6).await;
    let (exit, listed) = rules(&place);
    assert!(exit && listed.lines().any(|line| line.starts_with("E2E-300") && line.contains("live, parked")), "{listed}");
    assert!(service.stop().await.0.success());

    // The first that it owes takes too long again.
    let time_has_come = || {
        let store = rusqlite::Connection::open(place.path("data").join(redflag::store::DATABASE)).unwrap();
        assert_eq!(store.execute("UPDATE parked SET next_try = 0", []).unwrap(), 1);
    };
    time_has_come();
    let service = place.start().await;
    alarm(&place, "tried again, it took too long once more (trial 1)").await;
    assert_eq!(reader.parked().unwrap()[0].tries, 1);
    balanced(&reader, &service, 6).await;
    assert!(service.stop().await.0.success());

    // It answers for the others, and goes on.
    time_has_come();
    let service = place.start().await;
    alerted(&place, "E2E-300", &[5, 6]).await;
    alarm(&place, "Rule E2E-300 judges again").await;
    feed(&place, "PERS", 7..=7);
    alerted(&place, "E2E-300", &[5, 6, 7]).await;
    balanced(&reader, &service, 4).await;
    assert!(reader.parked().unwrap().is_empty());
    assert!(service.stop().await.0.success());
}

/// `redflag rules`.
fn rules(place: &Place) -> (bool, String) {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_redflag"))
        .args(["rules", "--config"])
        .arg(place.path("redflag.toml"))
        .output()
        .unwrap();
    (output.status.success(), String::from_utf8(output.stdout).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_that_goes_away_and_still_owes_verdicts_is_told() {
    let place = place();
    for number in 0..4 {
        place.write(&format!("rules/other_{number}.rhai"), &rule(&format!("E2E-40{number}"), "false"));
    }
    let service = place.start().await;
    let reader = place.reader();
    feed(&place, "HANG", 1..=4);
    alarm(&place, "Rule E2E-300 is parked").await;
    judged(&place, &reader, 4).await;
    place.remove(SLOW);
    alarm(&place, "Rule E2E-300 is gone, and ").await;
    balanced(&reader, &service, 4).await;
    assert!(service.stop().await.0.success());
}
