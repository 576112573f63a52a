//! The store against a real file; each test in a folder of its own.

mod acts;
mod damage;
mod failing;
mod identifications;
mod journal;
mod opening;
mod outbox;
mod retention;
mod schema;
mod space;
mod window;

use std::sync::Arc;

use tempfile::TempDir;

use super::{Journal as _, Opened, Options, SqliteStore};
use crate::model::{
    actor::{Actor, Via},
    alert::{Alert, Message, Purpose, Role},
    card::Card,
    delivery::NewDelivery,
    event::{Batch, Element, Event, Origin},
    hash::Digest,
    ids::{BatchId, DeliveryId, Ids, MessageId, Seq},
    names::{ChannelName, FeedName, RuleId, TopicName},
    severity::Severity,
    time::{ManualClock, Timestamp},
    turn::{Effects, Judged, Turn},
    value::{Map, Value},
};

/// Seconds after an arbitrary start.
fn at(seconds: i64) -> Timestamp {
    Timestamp::from_timestamp(1_700_000_000 + seconds, 0).unwrap()
}

fn options(folder: &TempDir) -> Options {
    Options::new(folder.path()).clock(Arc::new(ManualClock::at(at(0)))).on_fatal(|error| panic!("the store gave up: {error}"))
}

fn open(folder: &TempDir) -> (SqliteStore, Opened) {
    SqliteStore::open(options(folder)).unwrap()
}

fn fresh() -> (TempDir, SqliteStore) {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open(&folder);
    (folder, store)
}

fn user(name: &str, uid: u32) -> Actor {
    Actor { name: name.to_owned(), uid: Some(uid), pid: Some(4711), via: Via::Socket, claims: None }
}

/// An event that differs from others by its sequence, received that many seconds after the start.
fn event(seq: u64) -> Event {
    let body: Map = [("personKey", Value::from(format!("PER_{seq}"))), ("status", Value::from("failed"))].into_iter().collect();
    let raw = format!(r#"{{"PersonKey":"PER_{seq}","Status":"failed"}}"#);
    let element = Element {
        feed: FeedName::new("concedus"),
        topic: TopicName::new("identResult"),
        spelled: None,
        origin: Origin::Live,
        received_at: at(i64::try_from(seq).unwrap()),
        own_time: None,
        zone_assumed: false,
        late: false,
        maybe_repeat: false,
        batch: None,
        body,
        hash: Digest::of(raw.as_bytes()),
        raw,
        warnings: Vec::new(),
    };
    Event { seq: Seq(seq), element }
}

/// An event with every field set.
fn full_event(seq: u64) -> Event {
    let mut event = event(seq);
    event.element.spelled = Some("identresult".to_owned());
    event.element.origin = Origin::BackFill;
    event.element.own_time = Some(at(-60));
    event.element.zone_assumed = true;
    event.element.late = true;
    event.element.maybe_repeat = true;
    event.element.batch = Some(Batch { id: BatchId(uuid::Uuid::from_u128(7)), position: 2, size: 3 });
    event.element.body.set("list", Value::List(vec![Value::Null, Value::Bool(true), Value::Int(-1), Value::Float(0.5)]));
    event.element.warnings = vec!["its time has no zone".to_owned()];
    event
}

fn turn(events: impl IntoIterator<Item = u64>) -> Turn {
    Turn { events: Arc::new(events.into_iter().map(event).collect()), ..Turn::default() }
}

fn caused(effects: Effects) -> Turn {
    Turn { effects, ..Turn::default() }
}

fn judged(from: u64, to: u64, generation: &str) -> Turn {
    let range = Judged { from: Seq(from), to: Seq(to), generation: Digest::of(generation.as_bytes()) };
    caused(Effects { judged: Some(range), ..Effects::default() })
}

fn card() -> Card {
    Card {
        title: "Identification failed".to_owned(),
        template: "default".to_owned(),
        file: "ident_failed.rhai".to_owned(),
        hash: Digest::of(b"rule"),
        ..Card::sample("ident-failed")
    }
}

fn message_id(number: u128) -> MessageId {
    MessageId(uuid::Uuid::from_u128(number))
}

fn message(number: u128) -> Message {
    Message {
        id: message_id(number),
        created_at: at(0),
        purpose: Purpose::Alert,
        severity: Severity::High,
        send_to: vec!["aml".to_owned()],
        subject: "PER_1 failed".to_owned(),
        masked_subject: "P… failed".to_owned(),
        environment: "test".to_owned(),
        card: Some(Arc::new(card())),
        event: None,
        details: None,
        repeats: 0,
        notes: Vec::new(),
        generation: None,
    }
}

fn delivery(number: u128, message: u128, channel: &str, due: i64) -> NewDelivery {
    NewDelivery {
        id: DeliveryId(uuid::Uuid::from_u128(number)),
        message: message_id(message),
        channel: ChannelName::new(channel),
        recipient: "aml@example.test".to_owned(),
        identity: format!("<{number}.{channel}@example.test>"),
        due_at: at(due),
        expires_at: at(86_400),
        severity: Severity::High,
        purpose: Purpose::Alert,
        late_at: Some(at(3_600)),
    }
}

fn alert(seq: u64, message: Option<u128>) -> Alert {
    Alert {
        id: Ids::seeded(seq).alert(at(0)),
        raised_at: at(0),
        seq: Seq(seq),
        card: Arc::new(card()),
        severity: Severity::Critical,
        subject: format!("PER_{seq} failed"),
        masked_subject: "P… failed".to_owned(),
        role: if message.is_some() { Role::First } else { Role::Shadow },
        message: message.map(message_id),
    }
}

/// One message with these deliveries.
fn owes(message_number: u128, deliveries: Vec<NewDelivery>) -> Turn {
    caused(Effects { messages: vec![message(message_number)], deliveries, ..Effects::default() })
}

/// Commits each turn and waits for it.
fn commit(store: &SqliteStore, turns: impl IntoIterator<Item = Turn>) {
    for turn in turns {
        store.commit(turn).wait().unwrap();
    }
}
