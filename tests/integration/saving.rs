//! Twelve ways of saving a file, against the running service: a good file is in force soon, a broken one keeps its last good version and is
//! told, a set that shrinks at once is held back; and every event is judged by exactly one whole set.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::support::{
    lines::{self, feed, told},
    saving::{FILE, Way, each_set_was_whole, mend, other, probe, save, set},
    service::{Place, until},
};

/// The highest version that an alert told of.
async fn in_force(place: &Place, version: usize) {
    let text = format!("version {version}");
    let missing = || format!("{text} in force; the log:\n{}", place.tail());
    until(missing, async || told(place).iter().any(|body| body["subject"].as_str().unwrap().ends_with(&text)).then_some(()))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twelve_ways_of_saving_a_file_and_no_event_on_a_partial_set() {
    let place = set();
    let service = place.start().await;
    let reader = place.reader();
    let (rules, stop, sent) = (place.path("rules"), Arc::new(AtomicBool::new(false)), AtomicU64::new(0));
    let load = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(50));
        while !stop.load(Ordering::SeqCst) {
            ticks.tick().await;
            let number = sent.fetch_add(1, Ordering::SeqCst) + 1;
            feed(&place, "PERS", number..=number);
        }
    };
    let edits = async {
        in_force(&place, 0).await;
        let mut before = probe(0);
        for (version, way) in (1..).zip(Way::ALL) {
            let text = probe(version);
            save(way, &rules, FILE, &before, &text, &|number| other(number, version)).await;
            match way {
                Way::Unreadable => notes(&place, "the file can't be read").await,
                Way::NotText => notes(&place, "UTF-8").await,
                Way::EmptyFolder => notes(&place, "no rule is left of 50").await,
                _ => {}
            }
            if !way.is_good() {
                stale_or_held(&place, way, service.metric("redflag_rules_live", "").await);
                mend(way, &rules, FILE, &text);
            }
            in_force(&place, version).await;
            before = text;
        }
        // A list that loses most of its entries keeps them all, with the word for it.
        place.write("rules/lists/watched.txt", "PERS_0\n");
        notes(&place, "the list `watched` shrank from 20 to 1 entries").await;
        stop.store(true, Ordering::SeqCst);
    };
    tokio::join!(edits, load);
    let sent = sent.into_inner();
    lines::judged(&place, &reader, sent).await;
    assert!(service.stop().await.0.success());
    each_set_was_whole(&reader, sent, |_| true);
}

/// Waits for an alarm whose notes hold this.
async fn notes(place: &Place, part: &str) {
    let missing = || format!("an alarm with {part}; the log:\n{}", place.tail());
    until(missing, async || told(place).iter().any(|body| body["notes"].to_string().contains(part)).then_some(())).await;
}

fn stale_or_held(place: &Place, way: Way, live: f64) {
    assert!((live - 50.0).abs() < 0.5, "{way:?}: {live} rules live; the log:\n{}", place.tail());
}
