//! Hostile scripts: each in a process of its own, so that a hang or an abort is seen and costs nothing but itself.
//!
//! The bar is 0 hangs, 0 aborts, 0 panics, and no harm to the rule that judges next. An evaluation's time is measured on the processor: the
//! wall clock belongs to the machine. In debug builds steps between two looks at the fuse take longer, so the strict bar is the row's
//! of `make reliability`.

use std::{
    io::Read as _,
    process::{Command, Stdio},
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use redflag::rules::{evaluate, fuse::FUSE};

use crate::support::hostile::{Run, attack, cases, text};

/// Tells the child which script is its own.
const CASE: &str = "REDFLAG_HOSTILE_SCRIPT";

/// What a child may take. The slowest takes far below a second; only what hangs takes this long, even on a crowded machine.
const HANG: Duration = Duration::from_secs(30);

/// No evaluation takes so much of the processor, optimised or not.
const WORST: Duration = Duration::from_millis(100);

#[test]
fn no_hostile_script_hangs_aborts_or_panics() {
    let cases = cases();
    let next = AtomicUsize::new(0);
    let workers = thread::available_parallelism().map_or(2, usize::from);
    let reports: Vec<(String, Result<Vec<Run>, String>)> = thread::scope(|scope| {
        let work = || {
            let mut reports = Vec::new();
            while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                reports.push((case.clone(), in_a_process(case)));
            }
            reports
        };
        let handles: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        handles.into_iter().flat_map(|handle| handle.join().unwrap()).collect()
    });

    let failures: Vec<&String> = reports.iter().filter_map(|(_, report)| report.as_ref().err()).collect();
    assert!(failures.is_empty(), "{failures:#?}");
    let runs: Vec<(&String, &Run)> =
        reports.iter().flat_map(|(case, report)| report.iter().flatten().map(move |run| (case, run))).collect();
    for step in ["compile", "evaluate"] {
        if let Some((case, worst)) = runs.iter().filter(|(_, run)| run.step == step).max_by_key(|(_, run)| run.processor) {
            println!(
                "worst to {step}: {:?} of the processor, {:?} by the wall ({case}, {})",
                worst.processor, worst.wall, worst.outcome
            );
        }
    }
    let evaluated: Vec<_> = runs.iter().filter(|(_, run)| run.step == "evaluate").collect();
    assert!(
        evaluated.len() > 100,
        "only {} runs got as far as being evaluated: they no longer test the sandbox",
        evaluated.len()
    );
    let slow: Vec<_> = evaluated.iter().filter(|(_, run)| run.processor >= WORST).collect();
    assert!(slow.is_empty(), "longer than the fuse of {FUSE:?} by far: {slow:#?}");
    let harmed: Vec<_> = runs.iter().filter(|(_, run)| run.outcome.contains("panic") || run.outcome.contains("harmed")).collect();
    assert!(harmed.is_empty(), "{harmed:#?}");
}

/// The child of the test above. By itself it runs a script that is not hostile.
#[test]
fn one_hostile_script() {
    let case = std::env::var(CASE).unwrap_or_default();
    let script = if case.is_empty() { "event.status == \"failed\"".to_owned() } else { text(&case) };
    let runs = evaluate::thread().spawn(move || attack(&script)).unwrap().join().unwrap();
    println!("\nhostile\t{}", serde_json::to_string(&runs).unwrap());
    assert!(!runs.is_empty(), "{case} did nothing");
    assert!(!case.is_empty() || runs.iter().all(|run| run.outcome == "answer"), "{runs:#?}");
}

/// Runs one case in a child, and reads what it printed. What went wrong is an error with the end of its output.
fn in_a_process(case: &str) -> Result<Vec<Run>, String> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["sandbox::one_hostile_script", "--exact", "--nocapture"])
        .env(CASE, case)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{case}: {error}"))?;
    let (sender, printed) = mpsc::channel();
    let mut out = child.stdout.take().unwrap();
    let mut err = child.stderr.take().unwrap();
    thread::spawn(move || {
        let mut text = String::new();
        // An error to read ends the text early, and the missing lines are told below.
        let _ = out.read_to_string(&mut text);
        let mut complaint = Vec::new();
        let _ = err.read_to_end(&mut complaint);
        let _ = sender.send((text, String::from_utf8_lossy(&complaint).into_owned()));
    });
    let Ok((text, complaint)) = printed.recv_timeout(HANG) else {
        child.kill().map_err(|error| format!("{case}: {error}"))?;
        return Err(format!("{case}: hangs"));
    };
    let status = child.wait().map_err(|error| format!("{case}: {error}"))?;
    if !status.success() {
        return Err(format!("{case}: {status}\n{text}\n{complaint}"));
    }
    let said = text.lines().find_map(|line| line.strip_prefix("hostile\t"));
    said.and_then(|said| serde_json::from_str(said).ok()).ok_or_else(|| format!("{case}: said nothing\n{text}"))
}
