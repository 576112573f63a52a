//! R20: rules edited in twelve ways while events flow, and most of them gone at once now and then. Afterwards the ledger is held against what
//! was saved, and what arrived against the events.

use std::{
    fs,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use anyhow::ensure;

use crate::{
    harness::{Bench, PATIENCE, Row},
    support::{
        lines::{self, feed_with, judged, told},
        saving::{BESIDE, FILE, Way, each_set_was_whole, mend, other, probe, save, set},
        service::{Place, Service},
    },
};

const EDITS: usize = 2_000;
/// Events in a tick of 50 ms: 200 a second.
const BURST: u64 = 10;
const ALERTING: u64 = 100;
/// How soon a bad file is announced.
const ANNOUNCED: Duration = Duration::from_secs(5);
/// Between two edits: longer than the folder has to be quiet, so that most sets go live.
const PAUSES: std::ops::Range<u64> = 350..600;
/// Of so many edits one takes most of the rules away.
const SHRINKS: usize = 100;
/// What the operators read of each bad way.
const WORDS: [&str; 4] = ["the file can't be read", "UTF-8", "no rule is left of 50", "of 50 rules are gone at once"];

fn alerts(number: u64) -> bool {
    number.is_multiple_of(ALERTING)
}

pub async fn run(bench: &Bench) -> anyhow::Result<Row> {
    let edits = bench.trials(EDITS);
    let place = set();
    let service = place.start().await;
    let (stop, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    let load = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(50));
        while !stop.load(Ordering::SeqCst) {
            ticks.tick().await;
            let first = sent.fetch_add(BURST, Ordering::SeqCst) + 1;
            feed_with(&place, first..=first + BURST - 1, |number| if alerts(number) { "failed" } else { "success" });
        }
    };
    let edited = async {
        let edited = edit(bench.seed, edits, &place, &service).await;
        stop.store(true, Ordering::SeqCst);
        edited
    };
    let (slowest, ()) = tokio::join!(edited, load);
    let slowest = slowest?;
    let reader = place.reader();
    let sent = sent.into_inner();
    judged(&place, &reader, sent).await;
    let sets = reader.ledger()?.len();
    ensure!(service.stop().await.0.success(), "it did not stop in order");
    each_set_was_whole(&reader, sent, alerts);
    let arrived: Vec<u64> = lines::alerts(&place, "E2E-500").into_keys().collect();
    ensure!(arrived == (1..=sent).filter(|number| alerts(*number)).collect::<Vec<_>>(), "{} alerts arrived", arrived.len());
    let alarms: Vec<String> =
        told(&place).iter().filter(|body| body["purpose"] == "alarm").map(|body| body["notes"].to_string()).collect();
    if edits >= SHRINKS {
        let untold = WORDS.iter().find(|words| !alarms.iter().any(|alarm| alarm.contains(**words)));
        ensure!(untold.is_none(), "no alarm says {untold:?}; there are {alarms:?}");
    }
    Ok(Row::new(
        edits,
        "0 events on a partial or empty set; each by the set of the ledger; a bad file announced ≤ 5 s",
        format!(
            "{edits} edits in {} ways over {sent} events: {sets} sets, each whole; the slowest word of a bad file after {:.1} s",
            Way::ALL.len(),
            slowest.as_secs_f64()
        ),
        slowest <= ANNOUNCED,
    ))
}

/// Answers how long the slowest announcement of a bad file took.
async fn edit(seed: u64, edits: usize, place: &Place, service: &Service<'_>) -> anyhow::Result<Duration> {
    let mut random = fastrand::Rng::with_seed(seed);
    let rules = place.path("rules");
    let mut slowest = Duration::ZERO;
    let mut before = probe(0);
    for version in 1..=edits {
        let way = Way::ALL[random.usize(..Way::ALL.len())];
        let text = probe(version);
        let refused = service.metric("redflag_reloads_total", "partly refused").await;
        save(way, &rules, FILE, &before, &text, &|number| other(number, version)).await;
        if !way.is_good() {
            let begun = Instant::now();
            while service.metric("redflag_reloads_total", "partly refused").await <= refused {
                ensure!(begun.elapsed() < PATIENCE, "{way:?} is not announced; the log:\n{}", place.tail());
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            slowest = slowest.max(begun.elapsed());
            let good = good(service).await;
            mend(way, &rules, FILE, &text);
            in_order(place, service, good).await?;
        }
        before = text;
        if version.is_multiple_of(SHRINKS) {
            slowest = slowest.max(shrinks(place, service).await?);
        }
        tokio::time::sleep(Duration::from_millis(random.u64(PAUSES))).await;
    }
    Ok(slowest)
}

/// All rules but one are gone at once, as after a copy that broke off: all of them stay in force. How long until it is announced.
async fn shrinks(place: &Place, service: &Service<'_>) -> anyhow::Result<Duration> {
    // The edit before may still be under way: only what comes after it counts.
    tokio::time::sleep(ANNOUNCED / 2).await;
    let refused = service.metric("redflag_reloads_total", "partly refused").await;
    let (there, away) = (place.path("rules/beside"), place.path("rules-beside-away"));
    fs::rename(&there, &away)?;
    let begun = Instant::now();
    while service.metric("redflag_reloads_total", "partly refused").await <= refused {
        ensure!(begun.elapsed() < PATIENCE, "that most rules are gone is not announced; the log:\n{}", place.tail());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let took = begun.elapsed();
    let live = service.metric("redflag_rules_live", "").await;
    ensure!((live - (BESIDE + 1) as f64).abs() < 0.5, "{live} rules live; the log:\n{}", place.tail());
    let good = good(service).await;
    fs::rename(&away, &there)?;
    in_order(place, service, good).await?;
    Ok(took)
}

async fn good(service: &Service<'_>) -> f64 {
    service.metric("redflag_reloads_total", "\"good\"").await
}

/// Waits until the set was loaded whole once more: the same harm right after it would be nothing new otherwise, and rightly not be told.
async fn in_order(place: &Place, service: &Service<'_>, before: f64) -> anyhow::Result<()> {
    let begun = Instant::now();
    while good(service).await <= before {
        ensure!(begun.elapsed() < PATIENCE, "what was mended is not loaded; the log:\n{}", place.tail());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}
