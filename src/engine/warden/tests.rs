//! The warden against a real store; what it finds is committed as the engine does.

use std::collections::BTreeMap;

use tempfile::TempDir;

use super::*;
use crate::{
    alerts::Way,
    model::{
        alert::{Message, Purpose},
        delivery::{AttemptReport, Leased, Next},
        severity::Severity,
        time::{ManualClock, Span},
        turn::Turn,
    },
    store::{Journal as _, Options, Outbox as _},
};

struct Scene {
    folder: TempDir,
    store: SqliteStore,
    clock: ManualClock,
    ids: Ids,
    warden: Warden,
}

fn routes() -> Routes {
    let way = |name: &str| {
        let identity = Arc::new(|id: crate::model::ids::DeliveryId| id.to_string());
        (name.into(), Way { recipients: vec![name.to_owned()], identity, give_up: Span::from_secs(3 * 86_400) })
    };
    Routes::new(BTreeMap::from([way("mail"), way("chat"), way("archive")]), BTreeMap::new(), vec!["archive".to_owned()])
}

fn open(folder: &TempDir, clock: &ManualClock) -> SqliteStore {
    SqliteStore::open(Options::new(folder.path()).clock(Arc::new(clock.clone()))).unwrap().0
}

fn warden(store: &SqliteStore, clock: &ManualClock) -> Warden {
    Warden::new(store, routes(), Arc::new(clock.clone()), Ids::seeded(7), Arc::new(Metrics::new())).unwrap()
}

impl Scene {
    fn set() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = ManualClock::at(Timestamp::from_timestamp(1_700_000_000, 0).unwrap());
        let store = open(&folder, &clock);
        let warden = warden(&store, &clock);
        Self { folder, store, clock, ids: Ids::seeded(1), warden }
    }

    /// The process ends, and another begins.
    fn restart(&mut self, meanwhile: Duration) {
        self.store.close().wait().unwrap();
        self.clock.advance(meanwhile);
        let idle = open(&tempfile::tempdir().unwrap(), &self.clock);
        self.warden.store = idle.clone();
        self.store = idle;
        self.store = open(&self.folder, &self.clock);
        self.warden = warden(&self.store, &self.clock);
    }

    /// A message to the mail channel.
    fn owe(&mut self, purpose: Purpose, severity: Severity) {
        let now = self.clock.now();
        let message = Message {
            id: self.ids.message(now),
            created_at: now,
            purpose,
            severity,
            send_to: vec!["mail".to_owned()],
            subject: String::new(),
            masked_subject: String::new(),
            environment: "test".to_owned(),
            card: None,
            event: None,
            details: None,
            repeats: 0,
            notes: Vec::new(),
            generation: None,
        };
        let deliveries = routes().deliveries(&message, &["mail".into()], now, &mut self.ids);
        let effects = Effects { messages: vec![message], deliveries, ..Effects::default() };
        self.store.commit(Turn { effects, ..Turn::default() }).wait().unwrap();
    }

    fn lease(&self, channel: &str) -> Vec<Leased> {
        let now = self.clock.now();
        self.store.lease(&channel.into(), now, now + chrono::TimeDelta::seconds(60), 9).wait().unwrap()
    }

    /// One attempt of all that is due on the channel.
    fn attempt(&self, channel: &str, next: &Next) {
        let finished_at = self.clock.now();
        let report = |leased: Leased| {
            let (delivery, attempt) = (leased.delivery.id, leased.attempt);
            AttemptReport { delivery, attempt, finished_at, detail: "451 later".to_owned(), next: next.clone() }
        };
        self.store.report(self.lease(channel).into_iter().map(report).collect()).wait().unwrap();
    }

    /// Time passes with a look now and then; what was told, and how many deliveries the fallback got.
    fn pass(&mut self, minutes: u64) -> (Vec<String>, usize) {
        let (mut told, mut sent) = (Vec::new(), 0);
        for _ in 0..minutes {
            self.clock.advance(Duration::from_mins(1));
            loop {
                let findings = self.warden.look().unwrap();
                if findings.effects.is_empty() && findings.alarms.is_empty() {
                    break;
                }
                told.extend(findings.alarms.into_iter().map(|alarm| alarm.subject));
                sent += findings.effects.deliveries.iter().filter(|one| &*one.channel == "archive").count();
                self.store.commit(Turn { effects: findings.effects, ..Turn::default() }).wait().unwrap();
            }
        }
        (told, sent)
    }
}

fn nothing() -> (Vec<String>, usize) {
    (Vec::new(), 0)
}

#[test]
fn a_delivery_that_is_late_for_its_severity_is_told_and_its_message_goes_by_the_fallback() {
    for (severity, limit) in [(Severity::Critical, 15), (Severity::High, 60), (Severity::Medium, 1_440), (Severity::Info, 1_440)]
    {
        let mut scene = Scene::set();
        scene.owe(Purpose::Alert, severity);
        assert_eq!(scene.pass(limit - 1), nothing(), "{severity}");
        assert_eq!(scene.pass(1), (vec!["Channel mail: a message is late".to_owned()], 1), "{severity}");
        assert_eq!(scene.pass(10), nothing(), "{severity}: told once");
        scene.attempt("mail", &Next::Delivered);
        assert_eq!(scene.pass(10), (vec!["Channel mail delivers again".to_owned()], 0), "{severity}");
    }
}

#[test]
fn a_delivery_made_in_time_is_nobody_s_business() {
    let mut scene = Scene::set();
    scene.owe(Purpose::Alert, Severity::Critical);
    scene.attempt("mail", &Next::Delivered);
    assert_eq!(scene.pass(120), nothing());
}

#[test]
fn dead_letters_of_one_outage_are_one_alarm_and_each_message_goes_by_the_fallback() {
    let mut scene = Scene::set();
    for _ in 0..5 {
        scene.owe(Purpose::Alert, Severity::High);
    }
    scene.attempt("mail", &Next::Dead);
    assert_eq!(scene.pass(1), (vec!["Channel mail: 5 messages were given up".to_owned()], 5));
    for _ in 0..3 {
        scene.owe(Purpose::Alert, Severity::High);
        scene.attempt("mail", &Next::Dead);
        assert_eq!(scene.pass(1), (Vec::new(), 1), "the message goes at once, the alarm waits for its turn");
    }
    assert_eq!(scene.pass(12), (vec!["Channel mail: 3 messages were given up".to_owned()], 0));
}

#[test]
fn a_dead_letter_that_nobody_was_told_of_is_told_after_the_restart() {
    let mut scene = Scene::set();
    scene.owe(Purpose::Alert, Severity::High);
    scene.attempt("mail", &Next::Dead);
    scene.restart(Duration::from_secs(1));
    assert_eq!(scene.pass(1), (vec!["Channel mail: a message was given up".to_owned()], 1));
    scene.restart(Duration::from_secs(1));
    assert_eq!(scene.pass(30), nothing(), "and only once");
}

#[test]
fn a_dead_alarm_raises_none_but_is_counted_across_a_restart_until_somebody_gets_it() {
    let mut scene = Scene::set();
    scene.owe(Purpose::Alarm, Severity::High);
    scene.attempt("mail", &Next::Dead);
    assert_eq!(scene.pass(1), (Vec::new(), 1));
    scene.restart(Duration::from_secs(1));
    assert_eq!(scene.warden.metrics.dead_alarms.get(), 1);
    scene.attempt("archive", &Next::Delivered);
    assert_eq!(scene.pass(1), nothing());
    assert_eq!(scene.warden.metrics.dead_alarms.get(), 0);
}

#[test]
fn the_time_without_a_running_redflag_is_not_counted_into_a_horizon() {
    let mut scene = Scene::set();
    scene.owe(Purpose::Alert, Severity::Info);
    let horizon = |scene: &Scene| {
        let leased = scene.lease("mail");
        (leased[0].delivery.expires_at - scene.clock.now()).num_hours()
    };
    scene.clock.advance(Duration::from_hours(24));
    scene.restart(Duration::from_hours(24 * 30));
    assert_eq!(horizon(&scene), 48, "a day of three has passed, and a month's stop does not count");
    // A kill: known is only the last sign of life.
    scene.store.alive().wait().unwrap();
    scene.restart(Duration::from_hours(1));
    assert_eq!(horizon(&scene), 48);
}
