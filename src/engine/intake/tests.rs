//! The connections of a feed as the operators see them: alarms and readiness, by a clock that the test sets.

use std::{sync::Arc, time::Duration};

use chrono::TimeDelta;

use super::*;
use crate::{
    engine::{absence::PATIENCE, health::Health},
    model::time::ManualClock,
    store::{Options, SqliteStore},
};

#[test]
fn a_provider_that_accepts_and_closes_at_once_is_told_after_ten_minutes_and_keeps_readiness_away_until_an_event_comes() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = SqliteStore::open(Options::new(folder.path())).unwrap();
    let begin = Timestamp::from_timestamp(1_700_000_000, 0).unwrap();
    let clock = ManualClock::at(begin);
    let metrics = Arc::new(Metrics::new());
    let feed = FeedName::new("concedus");
    let health = Health::new(Arc::clone(&metrics), BTreeMap::from([(feed.clone(), LastTry::default())]), Arc::new(clock.clone()));
    health.set_ready(true);
    let mut intake = Intake::new(
        Arc::new(store),
        HashMap::from([(feed.clone(), Decoder::new(feed.clone(), crate::decode::Options::default()))]),
        BTreeSet::new(),
        Seq(0),
        Arc::new(clock.clone()),
        Ids::seeded(1),
        metrics,
        HashMap::new(),
        Leak::default(),
    );
    let mut tell = |signal| -> Vec<String> {
        let mut batch = Batch::default();
        intake.take(Heard { signal, read: 0 }, &mut batch).unwrap();
        intake.look_around(&mut batch).unwrap();
        batch.alarms.into_iter().map(|alarm| alarm.subject).collect()
    };
    let connection = |state| Signal::Connection { feed: feed.clone(), at: clock.now(), state };

    let mut told = Vec::new();
    for _ in 0..60 {
        if !told.is_empty() {
            break;
        }
        told.extend(tell(connection(Connection::Connected)));
        assert_eq!(health.reasons().is_empty(), told.is_empty(), "a short break is no trouble");
        clock.advance(Duration::from_secs(1));
        told.extend(tell(connection(Connection::Lost { reason: "closed (1008)".to_owned() })));
        clock.advance(Duration::from_secs(30));
    }
    assert_eq!(told, ["Feed concedus has been away for 10m"]);
    let waited = clock.now() - begin;
    assert!(waited <= PATIENCE.delta() + TimeDelta::minutes(2), "{waited}");

    for _ in 0..100 {
        assert_eq!(tell(connection(Connection::Connected)), Vec::<String>::new());
        assert_eq!(health.reasons(), ["feed concedus is not connected"]);
        clock.advance(Duration::from_secs(1));
        assert_eq!(tell(connection(Connection::Lost { reason: "closed (1008)".to_owned() })), Vec::<String>::new());
    }
    assert_eq!(tell(connection(Connection::Connected)), Vec::<String>::new());
    let bytes = br#"{"topic":"identResult","identId":"1","status":"success"}"#.to_vec();
    let frame = Frame { feed: feed.clone(), received_at: clock.now(), origin: Origin::Live, position: None, bytes };
    assert_eq!(tell(Signal::Frame(frame)), ["Feed concedus is connected again"]);
    assert_eq!(health.reasons(), Vec::<String>::new());
}
