use super::*;
use crate::store::SqliteStore;

fn report(rules: usize) -> Report {
    Report {
        at: Timestamp::default(),
        generation: Digest::default(),
        changed: true,
        rules,
        diagnostics: Vec::new(),
        stale: Vec::new(),
        mended: Vec::new(),
        withdrawn: Vec::new(),
        held_back: None,
        template_errors: Vec::new(),
        took: Duration::ZERO,
    }
}

#[test]
fn a_folder_without_a_rule_that_runs_is_an_alarm() {
    let subjects = |report: &Report| -> Vec<String> {
        alarms(report, &Generation::empty()).into_iter().map(|alarm| alarm.subject).collect()
    };
    assert_eq!(subjects(&report(0)), ["No rule judges: no event can raise an alert"]);
    assert!(subjects(&report(1)).is_empty());
}

const RULE: &str = r#"//! A sample.
const RULE = #{ id: "T-1", title: "Sample", on: ["identResult"], severity: "low", send_to: ["chat"], stage: "draft", template: "alerd" };
"#;

#[test]
fn a_template_set_that_is_not_there_is_an_error_at_its_place() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("sample.rhai"), RULE).unwrap();
    let snapshot = Snapshot::read(folder.path()).unwrap();
    let options = render::Options { directory: None, language: crate::config::Language::En, zone: chrono_tz::UTC };
    let templates = Templates::load(&options).unwrap();
    let loading =
        evaluate::thread().spawn(move || check(&snapshot, None, &Declared::default(), &templates, false).diagnostics).unwrap();
    let told: Vec<String> = loading.join().unwrap().iter().map(|finding| finding.render(Some(RULE), "rules", false)).collect();
    insta::assert_snapshot!(told.join("\n"));
}

fn shadow(title: &str) -> String {
    format!(
        r#"//! A sample.
const RULE = #{{ id: "T-1", title: "{title}", on: ["identResult"], severity: "low", send_to: ["chat"], stage: "shadow" }};
"#
    )
}

/// A folder of rules with one file, and a store.
struct Place {
    folder: tempfile::TempDir,
    store: SqliteStore,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("rules")).unwrap();
        let (store, _) = SqliteStore::open(crate::store::Options::new(folder.path().join("data"))).unwrap();
        Self { folder, store }
    }

    fn write(&self, rule: &str) {
        std::fs::write(self.folder.path().join("rules/one.rhai"), rule).unwrap();
    }

    /// As a process that starts.
    fn reloader(&self) -> Reloader {
        let templates =
            render::Options { directory: None, language: crate::config::Language::default(), zone: chrono_tz::Tz::UTC };
        Reloader {
            rules: self.folder.path().join("rules"),
            watch: Watch::Poll,
            live_templates: Arc::new(ArcSwap::from_pointee(Templates::load(&templates).unwrap())),
            templates,
            declared: Declared::default(),
            live: Arc::new(ArcSwap::from_pointee(Generation::empty())),
            journal: Arc::new(self.store.clone()),
            clock: Arc::new(crate::model::time::SystemClock),
            metrics: Arc::new(Metrics::new()),
            reports: broadcast::channel(8).0,
        }
    }

    async fn start(&self) -> (Latest, Report) {
        self.reloader().first(self.store.reader().last_generation().unwrap()).await.unwrap()
    }
}

#[tokio::test]
async fn a_rule_that_is_broken_at_a_start_runs_as_it_did_before_and_one_that_is_gone_is_named() {
    let place = Place::new();
    place.write(&shadow("Good"));
    std::fs::write(place.folder.path().join("rules/two.rhai"), shadow("Another").replace("T-1", "T-2")).unwrap();
    let (good, report) = place.start().await;
    assert!(report.is_good() && report.withdrawn.is_empty());

    place.write("const RULE = #{ id: ");
    for _ in 0..2 {
        let (latest, report) = place.start().await;
        assert_eq!(latest.generation.rule("T-1").unwrap().card, good.generation.rule("T-1").unwrap().card);
        assert_eq!(latest.generation.hash, good.generation.hash);
        assert_eq!((report.stale.as_slice(), report.is_good()), (["one.rhai".to_owned()].as_slice(), false));
        assert!(gone(&report).is_none());
    }

    std::fs::remove_file(place.folder.path().join("rules/one.rhai")).unwrap();
    let (latest, report) = place.start().await;
    assert_eq!(latest.generation.rules.len(), 1);
    assert_eq!(gone(&report).unwrap().subject, "Rules are gone since the last run: T-1");
}

#[tokio::test]
async fn a_file_that_was_refused_is_told_once_it_is_mended_and_not_when_it_is_gone() {
    let place = Place::new();
    place.write(&shadow("Good"));
    let reloader = place.reloader();
    let (latest, _) = reloader.first(None).await.unwrap();
    place.write("const RULE = #{ id: ");
    let (latest, report) = reloader.load(latest, None, false).await.unwrap();
    assert!(report.mended.is_empty() && !report.is_good());
    let subjects = |report: &Report, latest: &Latest| -> Vec<String> {
        alarms(report, &latest.generation).into_iter().map(|alarm| alarm.subject).collect()
    };
    // As it was before: the set does not change, and that it is in order again is told all the same.
    place.write(&shadow("Good"));
    let (mended, report) = reloader.load(latest.clone(), None, false).await.unwrap();
    assert_eq!((report.mended.as_slice(), report.changed), (["one.rhai".to_owned()].as_slice(), false));
    assert_eq!(subjects(&report, &mended), ["Rule file one.rhai is mended"]);
    let (_, report) = reloader.load(mended, None, false).await.unwrap();
    assert!(report.mended.is_empty(), "told once");

    std::fs::remove_file(place.folder.path().join("rules/one.rhai")).unwrap();
    let (_, report) = reloader.load(latest, None, true).await.unwrap();
    assert!(report.mended.is_empty());
}

#[tokio::test]
async fn a_start_with_the_rules_of_the_last_run_changes_nothing() {
    let place = Place::new();
    place.write(&shadow("Good"));
    assert!(place.start().await.1.changed);
    assert!(!place.start().await.1.changed);
    place.write(&shadow("Another"));
    assert!(place.start().await.1.changed);
}

#[tokio::test]
async fn a_folder_that_shrank_while_nothing_ran_is_held_back_until_somebody_confirms() {
    let place = Place::new();
    let rules = place.folder.path().join("rules");
    let one = |number: u32| rules.join(format!("rule_{number}.rhai"));
    for number in 0..6 {
        std::fs::write(one(number), shadow("Good").replace("T-1", &format!("T-{number}"))).unwrap();
    }
    std::fs::create_dir(rules.join("lists")).unwrap();
    std::fs::write(rules.join("lists/risky.txt"), "LB\nIR\nKP\n").unwrap();
    let (good, report) = place.start().await;
    assert!(report.is_good() && report.rules == 6);

    (0..3).for_each(|number| std::fs::remove_file(one(number)).unwrap());
    std::fs::write(rules.join("lists/risky.txt"), "LB\n").unwrap();
    for _ in 0..2 {
        let (latest, report) = place.start().await;
        assert_eq!(latest.generation.hash, good.generation.hash, "what was live goes on, start after start");
        let held_back = "3 of 6 rules are gone at once; the list `risky` shrank from 3 to 1 entries";
        assert_eq!((report.held_back.as_deref(), report.rules), (Some(held_back), 6));
        assert!(report.withdrawn.is_empty() && gone(&report).is_none());
        let told = alarms(&report, &latest.generation).pop().unwrap();
        assert!(told.notes.iter().any(|note| note.contains("`redflag reload --confirm`")), "{told:?}");
    }

    let reloader = place.reloader();
    let (latest, _) = reloader.first(place.store.reader().last_generation().unwrap()).await.unwrap();
    let (confirmed, report) = reloader.load(latest, None, true).await.unwrap();
    assert_eq!((report.held_back, report.rules, report.withdrawn.len()), (None, 3, 3));
    let (next, report) = place.start().await;
    assert_eq!((next.generation.hash, report.held_back), (confirmed.generation.hash, None));
}

#[tokio::test]
async fn a_folder_that_goes_back_before_the_engine_came_to_the_change_is_loaded_again() {
    let place = Place::new();
    place.write(&shadow("First"));
    let reloader = place.reloader();
    let (first, _) = reloader.first(None).await.unwrap();
    reloader.live.store(Arc::clone(&first.generation));
    let (control, mut told) = mpsc::channel(64);
    let (ask, requests) = mpsc::channel(1);
    let stop = CancellationToken::new();
    let running = tokio::spawn(reloader.run(first.clone(), control, requests, stop.clone()));
    // Nobody takes what is told meanwhile: the engine is busy.
    for title in ["Second", "First"] {
        place.write(&shadow(title));
        let (answer, answered) = oneshot::channel();
        ask.send(Request { confirm: false, answer: Some(answer) }).await.unwrap();
        answered.await.unwrap();
    }
    stop.cancel();
    running.await.unwrap();
    let mut swaps = Vec::new();
    while let Some(said) = told.recv().await {
        if let Control::Swap(generation) = said {
            swaps.push(generation.hash);
        }
    }
    assert_eq!(swaps.len(), 2);
    assert_eq!(swaps.last(), Some(&first.generation.hash));
}
