//! An event that kills the process by way of a rule: a scout finds the pair after the restart, everything else goes on; and a process that
//! is killed from outside convicts nobody.

use std::{fs, os::unix::process::ExitStatusExt as _};

use redflag::model::verdict::UndecidedKind;

use crate::support::{
    lines::{self, alarm, alerted, alerts, balanced, feed, judged, rule},
    service::Place,
};

const POISONED: &str = "rules/poisoned.rhai";

fn place() -> Place {
    let place = lines::place();
    place.write(POISONED, &rule("E2E-300", "false"));
    place.write("rules/steady.rhai", &rule("E2E-301", "false"));
    place
}

/// From now on the process dies in this way, so many times, when E2E-300 judges a poisoned event.
fn fault(place: &mut Place, how: &str, times: u64) {
    let file = place.path("strikes").display().to_string();
    place.variables = vec![("REDFLAG_TEST_FAULT", format!("E2E-300 POISON {how} {times} {file}"))];
}

fn strikes(place: &Place) -> usize {
    fs::read(place.path("strikes")).unwrap().len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pair_that_kills_the_process_is_found_and_told_and_everything_else_goes_on() {
    let mut place = place();
    fault(&mut place, "segv", 99);
    let service = place.start().await;
    feed(&place, "PERS", 1..=1);
    alerted(&place, "E2E-300", &[1]).await;
    feed(&place, "PERS", 2..=2);
    feed(&place, "POISON", 3..=3);
    feed(&place, "PERS", 4..=4);
    assert_eq!(service.ended().await.signal(), Some(11));

    let service = place.start().await;
    let reader = place.reader();
    alerted(&place, "E2E-300", &[1, 2, 4]).await;
    alerted(&place, "E2E-301", &[1, 2, 3, 4]).await;
    // The service, a scout that went event by event, and two on the pair.
    assert_eq!(strikes(&place), 4);
    let told = alarm(&place, "Event 3 could not be judged by rule E2E-300").await;
    assert!(told["notes"].to_string().contains("poisoned.rhai"), "{told}");
    let open = reader.open_verdicts().unwrap();
    assert_eq!((open.len(), open[0].kind, open[0].rule.as_str()), (1, UndecidedKind::Poison, "E2E-300"));
    balanced(&reader, &service, 1).await;
    feed(&place, "PERS", 5..=5);
    alerted(&place, "E2E-300", &[1, 2, 4, 5]).await;
    assert!(service.stop().await.0.success());

    // Another rule that kills as well: the scout finds that too, before the service asks it.
    place.write(POISONED, &rule("E2E-300", "1 > 2"));
    let service = place.start().await;
    feed(&place, "PERS", 6..=6);
    alerted(&place, "E2E-300", &[1, 2, 4, 5, 6]).await;
    balanced(&reader, &service, 1).await;
    assert_eq!(strikes(&place), 6);
    assert!(service.stop().await.0.success());

    // Mended.
    place.variables.clear();
    place.write(POISONED, &rule("E2E-300", "2 > 3"));
    let service = place.start().await;
    alerted(&place, "E2E-300", &[1, 2, 3, 4, 5, 6]).await;
    assert!(alerts(&place, "E2E-300")[&3].contains("The verdict is late"));
    balanced(&reader, &service, 0).await;
    assert!(service.stop().await.0.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_from_outside_convicts_nobody() {
    let mut place = place();
    // The service and the first scout; the second comes through.
    fault(&mut place, "kill", 2);
    let service = place.start().await;
    feed(&place, "PERS", 1..=1);
    feed(&place, "POISON", 2..=2);
    assert_eq!(service.ended().await.signal(), Some(9));
    let service = place.start().await;
    alerted(&place, "E2E-300", &[1, 2]).await;
    assert_eq!(strikes(&place), 2);
    let reader = place.reader();
    judged(&place, &reader, 2).await;
    balanced(&reader, &service, 0).await;
    assert!(place.log().contains("another takes its place"), "{}", place.tail());
    assert!(service.stop().await.0.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_that_eats_memory_is_convicted_before_the_machine_suffers() {
    let mut place = place();
    // The service is killed; each scout eats until its limit.
    fault(&mut place, "kill", 1);
    let service = place.start().await;
    feed(&place, "POISON", 1..=1);
    assert_eq!(service.ended().await.signal(), Some(9));
    fault(&mut place, "memory", 4);
    let service = place.start().await;
    alarm(&place, "Event 1 could not be judged by rule E2E-300").await;
    alerted(&place, "E2E-301", &[1]).await;
    balanced(&place.reader(), &service, 1).await;
    assert!(service.stop().await.0.success());
}
