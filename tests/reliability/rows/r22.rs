//! R22: an evaluator that runs for long does not grow, and one that dies is replaced: the event is judged all the same, and the pair that
//! killed it is passed over. Deaths on purpose are built into debug builds only.

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::ensure;
use redflag::{model::verdict::UndecidedKind, rules::evaluate};
use rhai::{CallFnOptions, Dynamic, Map, Scope};

use crate::{
    harness::{Bench, Row},
    support::{
        hostile::{event, memory, victim},
        lines::{self, alarm, alerted, alerts, balanced, feed, rule},
        service::{Place, until},
    },
};

const EVALUATIONS: usize = 1_000_000;
/// KiB for each 10,000 evaluations.
const SLOPE: f64 = 1.0;
/// A child that died has a successor within this.
const REPLACED: Duration = Duration::from_millis(200);

/// Callbacks as rules may have them.
const FORMS: [&str; 8] = [
    "let a = [1, 2, 3]; a.filter(|x| x > 1).len() == 2",
    "let n = 2; [1, 2, 3].filter(|x| x > n).len() == 1",
    "let s = event.status; [\"failed\"].some(|x| x == s)",
    "let a = [3, 1, 2]; a.sort(|x, y| x - y); a[0] == 1",
    "[1, 2].map(|x| x * 2).reduce(|s, x| s + x, 0) == 6",
    "[1, 2].all(|x| [x].some(|y| y > 0))",
    "let m = event.inner; [1].find(|x| x == m.x) == 1",
    "let t = [[1], [2]]; t.filter(|l| l.some(|x| x == 2)).len() == 1",
];

pub async fn run(bench: &Bench) -> anyhow::Result<Row> {
    let evaluations = bench.trials(EVALUATIONS);
    let slope =
        evaluate::thread().spawn(move || slope(evaluations))?.join().map_err(|_| anyhow::anyhow!("a closure form panics"))?;
    let mut told = Vec::new();
    let mut good = slope <= SLOPE;
    for how in ["segv", "abort", "memory", "hang"] {
        let (ready, replaced) = dies(how).await?;
        good &= replaced <= REPLACED;
        told.push(format!(
            "{how}: pair isolated, replaced in ≤ {} ms, ready after {:.1} s",
            replaced.as_millis(),
            ready.as_secs_f64()
        ));
    }
    for how in ["kill", "stop"] {
        let (ready, replaced) = ended_from_outside(how).await?;
        good &= replaced <= REPLACED;
        told.push(format!(
            "{how}: nobody convicted, replaced in ≤ {} ms, ready after {:.1} s",
            replaced.as_millis(),
            ready.as_secs_f64()
        ));
    }
    Ok(Row::new(
        evaluations + told.len(),
        "slope ≤ 1 KiB per 10,000 evaluations; 0 verdicts lost but the pair's, which is told; a dead child replaced in ≤ 200 ms",
        format!("slope {slope:.3} KiB per 10,000; {}", told.join("; ")),
        good,
    ))
}

/// How the resident memory grows, in KiB for each 10,000 evaluations.
fn slope(evaluations: usize) -> f64 {
    let engine = victim();
    let compiled: Vec<_> =
        FORMS.iter().map(|form| engine.compile(format!("fn when(event, settings) {{ {form} }}")).unwrap()).collect();
    let round = |count: usize| {
        for number in 0..count {
            let options = CallFnOptions::new().eval_ast(false);
            let ast = &compiled[number % compiled.len()];
            let answer = engine.call_fn_with_options::<Dynamic>(options, &mut Scope::new(), ast, "when", (event(), Map::new()));
            assert!(answer.is_ok_and(|answer| answer.as_bool() == Ok(true)), "{}", FORMS[number % FORMS.len()]);
        }
    };
    // What is allocated once is there after a tenth.
    round(evaluations / 10);
    let before = memory("VmRSS");
    round(evaluations);
    memory("VmRSS").saturating_sub(before) as f64 / (evaluations as f64 / 10_000.0)
}

fn place() -> Place {
    let place = lines::place();
    place.write("rules/poisoned.rhai", &rule("E2E-300", "false"));
    place.write("rules/steady.rhai", &rule("E2E-301", "false"));
    place
}

fn fault(place: &mut Place, how: &str, times: u64) {
    let file = place.path("strikes").display().to_string();
    place.variables = vec![("REDFLAG_TEST_FAULT", format!("E2E-300 POISON {how} {times} {file}"))];
}

/// The service is killed in the middle of an event that kills every evaluator in this way. Answers how long the start took, and the longest
/// time without an evaluator.
async fn dies(how: &str) -> anyhow::Result<(Duration, Duration)> {
    let mut place = place();
    fault(&mut place, "kill", 1);
    let service = place.start().await;
    feed(&place, "PERS", 1..=2);
    feed(&place, "POISON", 3..=3);
    feed(&place, "PERS", 4..=5);
    ensure!(!service.ended().await.success(), "{how}: it was to be killed");
    fault(&mut place, how, 1_000);
    let watch = Watch::begin(&place);
    let service = place.start().await;
    let ready = service.ready_after;
    alarm(&place, "Event 3 could not be judged by rule E2E-300").await;
    alerted(&place, "E2E-300", &[1, 2, 4, 5]).await;
    alerted(&place, "E2E-301", &[1, 2, 3, 4, 5]).await;
    let reader = place.reader();
    let open = reader.open_verdicts()?;
    ensure!(open.len() == 1 && open[0].kind == UndecidedKind::Poison && open[0].count == 1, "{how}: {open:?}");
    balanced(&reader, &service, 1).await;
    passes(&place, 6).await;
    ensure!(service.stop().await.0.success(), "{how}: it did not stop in order");
    Ok((ready, watch.end(how).await?))
}

/// Liveness: an event of now is judged by both rules.
async fn passes(place: &Place, number: u64) {
    feed(place, "FRESH", number..=number);
    for rule in ["E2E-300", "E2E-301"] {
        until(|| format!("{rule} alerts on event {number}"), async || alerts(place, rule).contains_key(&number).then_some(()))
            .await;
    }
}

/// The first scout is killed or stopped from outside.
async fn ended_from_outside(how: &str) -> anyhow::Result<(Duration, Duration)> {
    let mut place = place();
    fault(&mut place, "kill", 1);
    let service = place.start().await;
    feed(&place, "POISON", 1..=1);
    ensure!(!service.ended().await.success(), "{how}: it was to be killed");
    fault(&mut place, how, 2);
    let watch = Watch::begin(&place);
    let service = place.start().await;
    let ready = service.ready_after;
    alerted(&place, "E2E-300", &[1]).await;
    balanced(&place.reader(), &service, 0).await;
    passes(&place, 2).await;
    ensure!(service.stop().await.0.success(), "{how}: it did not stop in order");
    Ok((ready, watch.end(how).await?))
}

/// Looks at the children of a place's service every millisecond.
struct Watch {
    over: Arc<AtomicBool>,
    /// How long there was none between two of them.
    looking: tokio::task::JoinHandle<Vec<Duration>>,
}

impl Watch {
    fn begin(place: &Place) -> Self {
        let (over, config) = (Arc::new(AtomicBool::new(false)), place.path("redflag.toml"));
        let stop = Arc::clone(&over);
        Self { over, looking: tokio::spawn(async move { gaps(&config, &stop).await }) }
    }

    /// The longest gap between two children.
    async fn end(self, how: &str) -> anyhow::Result<Duration> {
        self.over.store(true, Ordering::SeqCst);
        let gaps = self.looking.await?;
        gaps.into_iter().max().ok_or_else(|| anyhow::anyhow!("{how}: no child was seen to be replaced"))
    }
}

async fn gaps(config: &Path, over: &AtomicBool) -> Vec<Duration> {
    let (mut gaps, mut last) = (Vec::new(), None::<(u32, Instant)>);
    let mut service = None::<u32>;
    while !over.load(Ordering::SeqCst) {
        tokio::time::sleep(Duration::from_millis(1)).await;
        if service.is_none() {
            service = processes().find(|id| words(*id).contains(&*config.to_string_lossy()));
        }
        let Some(child) = service.and_then(|id| children(id).into_iter().find(|child| runs(*child))) else { continue };
        let now = Instant::now();
        if let Some((before, seen)) = last
            && before != child
        {
            gaps.push(now - seen);
        }
        last = Some((child, now));
    }
    gaps
}

fn processes() -> impl Iterator<Item = u32> {
    fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn words(process: u32) -> String {
    String::from_utf8_lossy(&fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default()).into_owned()
}

/// Any thread may have started it.
fn children(process: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let lists = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().filter_map(|id| id.parse().ok()).collect::<Vec<_>>()).collect()
}

/// What has ended and was not waited for yet does not.
fn runs(process: u32) -> bool {
    let told = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    told.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}
