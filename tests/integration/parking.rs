//! A rule that takes too long is parked, what it owes outlives a restart, and is judged when its file is mended.

use redflag::{
    model::{
        time::Timestamp,
        turn::{Effects, Parked, Turn},
        verdict::UndecidedKind,
    },
    store::{Journal as _, Options, SqliteStore},
};

use crate::support::{
    lines::{self, alarm, alerted, alerts, balanced, feed, judged, rule},
    service::Place,
};

const SLOW: &str = "rules/slow.rhai";

const HANGS: &str = r#"event.personKey.starts_with("HANG")"#;

fn place() -> Place {
    let place = lines::place();
    place.write(SLOW, &rule("E2E-300", HANGS));
    place.write("rules/steady.rhai", &rule("E2E-301", "false"));
    place
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
    assert!(exit && listed.lines().any(|line| line.contains("E2E-300") && line.contains("live, parked")), "{listed}");
    assert!(service.stop().await.0.success());

    // The first that it owes takes too long again.
    let time_has_come = || {
        let (store, _) = SqliteStore::open(Options::new(place.path("data"))).unwrap();
        let parked = store.reader().parked().unwrap().into_iter();
        let parked = parked.map(|parked| Parked { next_try: Timestamp::UNIX_EPOCH, ..parked }).collect();
        store.commit(Turn { effects: Effects { parked, ..Effects::default() }, ..Turn::default() }).wait().unwrap();
        store.close().wait().unwrap();
    };
    tokio::task::block_in_place(time_has_come);
    let service = place.start().await;
    alarm(&place, "tried again, it took too long once more (trial 1)").await;
    assert_eq!(reader.parked().unwrap()[0].tries, 1);
    balanced(&reader, &service, 6).await;
    assert!(service.stop().await.0.success());

    // It answers for the others, and goes on.
    tokio::task::block_in_place(time_has_come);
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
