//! The auditor against a real store. That the whole service tells each loss is in tests/integration/books.rs.

use tempfile::TempDir;

use super::*;
use crate::{
    model::{
        books::{BooksDelta, Counts},
        time::ManualClock,
        turn::{Effects, Turn},
    },
    store::{Journal as _, Options, SqliteStore},
};

struct Scene {
    _folder: TempDir,
    store: SqliteStore,
    clock: ManualClock,
    meter: Meter,
    auditor: Auditor,
}

fn start() -> Timestamp {
    Timestamp::from_timestamp(1_700_000_000, 0).unwrap()
}

fn feed() -> FeedName {
    FeedName::new("concedus")
}

fn auditor(store: &SqliteStore, clock: &ManualClock, meter: &Meter) -> Auditor {
    let meters = HashMap::from([(feed(), meter.clone())]);
    Auditor::new(store.reader().clone(), Arc::new(clock.clone()), Arc::new(Metrics::new()), meters).unwrap()
}

impl Scene {
    fn set() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = ManualClock::at(start());
        let (store, _) = SqliteStore::open(Options::new(folder.path()).clock(Arc::new(clock.clone()))).unwrap();
        let meter = Meter::default();
        let auditor = auditor(&store, &clock, &meter);
        Self { _folder: folder, store, clock, meter, auditor }
    }

    fn book(&self, counts: Counts) {
        let hour = Timestamp::from_timestamp(1_700_000_000 / 3_600 * 3_600, 0).unwrap();
        let books = vec![BooksDelta { feed: feed(), topic: TopicName::new("identResult"), hour, counts }];
        self.store.commit(Turn { books, ..Turn::default() }).wait().unwrap();
    }

    /// Looks, and commits what was found, as the engine does.
    fn look(&mut self) -> Vec<String> {
        self.clock.advance(EVERY);
        let findings = self.auditor.look().unwrap();
        let effects = Effects { imbalances: findings.changed, ..Effects::default() };
        self.store.commit(Turn { effects, ..Turn::default() }).wait().unwrap();
        findings.alarms.into_iter().map(|alarm| alarm.subject).collect()
    }
}

const LOST: &str = "The books of feed concedus do not balance (verdicts)";
const AGAIN: &str = "The books of feed concedus balance again (verdicts)";

#[test]
fn a_difference_is_told_once_again_when_it_grows_and_once_when_it_is_gone() {
    let mut scene = Scene::set();
    assert!(scene.look().is_empty());
    scene.book(Counts { owed: 3, decided: 2, ..Counts::default() });
    assert_eq!(scene.look(), [LOST]);
    assert!(scene.look().is_empty(), "it is known");
    scene.book(Counts { owed: 5, decided: 5, ..Counts::default() });
    assert!(scene.look().is_empty(), "the sums move on, the difference is the same");
    assert_eq!(scene.store.reader().imbalances().unwrap()[0].left, 8, "the sums are kept as they are");
    scene.book(Counts { owed: 1, ..Counts::default() });
    assert_eq!(scene.look(), [LOST]);
    scene.auditor = auditor(&scene.store, &scene.clock, &scene.meter);
    assert!(scene.look().is_empty(), "what was told survives a restart");
    scene.book(Counts { undecided: 2, undecided_kept: 2, ..Counts::default() });
    assert_eq!(scene.look(), [AGAIN]);
    assert!(scene.look().is_empty());
    assert!(scene.store.reader().imbalances().unwrap().is_empty());
}

#[test]
fn what_a_parked_rule_owes_is_no_imbalance() {
    let mut scene = Scene::set();
    scene.book(Counts { owed: 3, decided: 2, parked: 1, undecided_kept: 1, ..Counts::default() });
    assert!(scene.look().is_empty());
    scene.book(Counts { decided: 1, asked_again: 1, ..Counts::default() });
    assert!(scene.look().is_empty());
}

#[test]
fn what_was_read_and_never_arrives_is_told() {
    let mut scene = Scene::set();
    scene.meter.count();
    assert!(scene.look().is_empty(), "it may be under way");
    assert_eq!(scene.look(), ["The books of feed concedus do not balance (socket): 1 messages were read and did not arrive"]);
    scene.meter.count();
    scene.meter.take_to(1);
    assert!(scene.look().is_empty(), "it moves");
    scene.meter.take_to(2);
    assert!(scene.look().is_empty());
}
