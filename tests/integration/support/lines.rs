//! An installation whose feed is a folder of JSON lines and whose only channel writes files: nothing but the service runs.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs::{self, File},
    io::Write as _,
    ops::RangeInclusive,
};

use redflag::{model::ids::Seq, store::Reader};
use serde_json::Value as Json;

use super::service::{Place, Service, until};

/// Without rules.
pub fn place() -> Place {
    let place = Place::new();
    fs::create_dir(place.path("feed")).unwrap();
    place.write(
        "redflag.toml",
        r#"
data_dir = "data"

[feeds.lines]
kind = "jsonl"
path = "feed"

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

/// Alerts on every failed identification; as long as `loops` holds it goes round.
pub fn rule(id: &str, loops: &str) -> String {
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

/// Hands events of failed identifications over; their persons' keys begin with the word.
pub fn feed(place: &Place, person: &str, numbers: RangeInclusive<u64>) {
    let mut text = String::new();
    for number in numbers {
        let event = r#""topic":"identResult","kyc":"WEBID","reason":null,"status":"failed""#;
        writeln!(text, r#"{{{event},"identId":"I{number}","personKey":"{person}_{number}"}}"#).unwrap();
    }
    let mut file = File::options().create(true).append(true).open(place.path("feed/events.jsonl")).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// As [`feed`], with this status for each.
pub fn feed_with(place: &Place, numbers: RangeInclusive<u64>, status: impl Fn(u64) -> &'static str) {
    let mut text = String::new();
    for number in numbers {
        let event = format!(r#""identId":"I{number}","personKey":"PERS_{number}","status":"{}""#, status(number));
        writeln!(text, r#"{{"topic":"identResult","kyc":"WEBID","reason":null,{event}}}"#).unwrap();
    }
    let mut file = File::options().create(true).append(true).open(place.path("feed/events.jsonl")).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// Every message that came.
pub fn told(place: &Place) -> Vec<Json> {
    let entries = fs::read_dir(place.path("archive")).into_iter().flatten().map(|entry| entry.unwrap().path());
    let whole = entries.filter(|path| !path.file_name().unwrap().to_str().unwrap().starts_with('.'));
    whole.filter_map(|path| serde_json::from_slice(&fs::read(path).ok()?).ok()).collect()
}

/// The events that a rule alerted on, with the notes of each.
pub fn alerts(place: &Place, rule: &str) -> BTreeMap<u64, String> {
    let of_rule = told(place).into_iter().filter(|body| body["rule"]["id"] == rule);
    of_rule.map(|body| (body["event"]["seq"].as_u64().unwrap(), body["notes"].to_string())).collect()
}

/// Waits for an alarm with these words in its subject.
pub async fn alarm(place: &Place, part: &str) -> Json {
    let subject = |body: &Json| body["subject"].as_str().unwrap_or_default().to_owned();
    let alarms = || told(place).into_iter().filter(|body| body["purpose"] == "alarm");
    let missing = || {
        let there: Vec<String> = alarms().map(|body| subject(&body)).collect();
        format!("an alarm: {part}; there are {there:#?}; the log:\n{}", place.tail())
    };
    until(missing, async || alarms().find(|body| subject(body).contains(part))).await
}

/// Waits until the rule has alerted on exactly these events.
pub async fn alerted(place: &Place, rule: &str, events: &[u64]) {
    let seqs = || alerts(place, rule).into_keys().collect::<Vec<_>>();
    let missing = || format!("{rule} alerts on {events:?}, it did on {:?}; the log:\n{}", seqs(), place.tail());
    until(missing, async || (seqs() == events).then_some(())).await;
}

pub async fn judged(place: &Place, reader: &Reader, seq: u64) {
    let missing = || format!("event {seq} judged, {} is; the log:\n{}", reader.judged().unwrap(), place.tail());
    until(missing, async || (reader.judged().unwrap() >= Seq(seq)).then_some(())).await;
}

/// What was owed or asked for again has a verdict, is missing one or is put off; what is open is the same in books, rows and metrics.
pub async fn balanced(reader: &Reader, service: &Service<'_>, open: u64) {
    let (_, counts) = reader.books().unwrap().into_iter().find(|(feed, _)| !feed.is_empty()).unwrap();
    assert_eq!(counts.owed + counts.asked_again, counts.decided + counts.undecided + counts.parked, "{counts:?}");
    assert_eq!(counts.matched + counts.undecided + counts.parked, counts.alerts + counts.undecided_kept, "{counts:?}");
    assert_eq!(counts.undecided + counts.parked - counts.asked_again, open, "{counts:?}");
    assert_eq!(reader.open_verdicts().unwrap().iter().map(|open| open.count).sum::<u64>(), open);
    let waiting = async || (service.metric("redflag_verdicts_waiting", "").await as u64 == open).then_some(());
    until(|| format!("{open} verdicts waiting in the metrics"), waiting).await;
}
