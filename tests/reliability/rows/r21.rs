//! R21: hostile scripts, each in a process of its own, also cut to just under the size cap.

use std::{collections::BTreeMap, path::Path, process::Stdio, time::Duration};

use anyhow::{Context as _, bail};
use redflag::rules::{evaluate, fuse::FUSE};
use serde::{Deserialize, Serialize};
use tokio::{process::Command, time::timeout};

use crate::{
    harness::{Bench, Row},
    support::hostile::{Run, attack, cases, memory, text},
};

/// What a row is called that is one script only: the child of [`run`].
pub const ONE: &str = "R21:";

const OVER: Duration = Duration::from_millis(5);
const MEMORY_KIB: u64 = 16 * 1024;
/// Only what hangs takes so long.
const HANG: Duration = Duration::from_secs(30);

#[derive(Serialize, Deserialize)]
struct Attacked {
    runs: Vec<Run>,
    /// How much the resident memory grew at its highest, in KiB.
    grew: u64,
}

pub async fn run(bench: &Bench) -> anyhow::Result<Row> {
    let cases = cases();
    let (mut worst, mut wall, mut compile, mut grew) = (Duration::ZERO, Duration::ZERO, Duration::ZERO, 0);
    let mut wrong: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut evaluated = 0;
    for (number, case) in cases.iter().enumerate() {
        let attacked = match in_a_process(bench.folder(), number, case).await {
            Ok(attacked) => attacked,
            Err(error) => {
                wrong.entry("hangs or aborts").or_default().push(format!("{case}: {error:#}"));
                continue;
            }
        };
        grew = grew.max(attacked.grew);
        for run in &attacked.runs {
            match &*run.step {
                "evaluate" => {
                    evaluated += 1;
                    (worst, wall) = (worst.max(run.processor), wall.max(run.wall));
                }
                "compile" => compile = compile.max(run.processor),
                _ => {}
            }
            if run.outcome == "panic" {
                wrong.entry("panics").or_default().push(case.clone());
            }
            if run.outcome.starts_with("harmed") {
                wrong.entry("neighbours harmed").or_default().push(case.clone());
            }
        }
    }
    let pass = wrong.is_empty() && worst <= FUSE + OVER && grew <= MEMORY_KIB && evaluated > 100;
    Ok(Row::new(
        cases.len(),
        "0 hangs, aborts, panics; worst evaluation ≤ 50 + 5 ms of the processor; RSS ≤ +16 MB; the next rule unharmed",
        format!(
            "{evaluated} evaluations; {wrong:?} wrong; worst {:.1} ms ({:.1} ms by the wall), compile {:.1} ms; RSS +{:.1} MB",
            worst.as_secs_f64() * 1e3,
            wall.as_secs_f64() * 1e3,
            compile.as_secs_f64() * 1e3,
            grew as f64 / 1024.0
        ),
        pass,
    ))
}

async fn in_a_process(folder: &Path, number: usize, case: &str) -> anyhow::Result<Attacked> {
    let result = folder.join(format!("case-{number}.json"));
    let mut child = Command::new(std::env::current_exe()?)
        .args(["--row", &format!("{ONE}{case}")])
        .args([folder, &result])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let Ok(status) = timeout(HANG, child.wait()).await else { bail!("hangs") };
    let status = status?;
    if !status.success() {
        bail!("{status}");
    }
    let row: Row = serde_json::from_slice(&std::fs::read(&result)?)?;
    serde_json::from_str(&row.measured).with_context(|| row.measured.clone())
}

/// The child: one case, what it came to in the place of the row's words.
pub fn one(case: &str) -> anyhow::Result<Row> {
    let script = text(case);
    let before = memory("VmRSS");
    let runs = evaluate::thread().spawn(move || attack(&script))?.join().map_err(|_| anyhow::anyhow!("panics"))?;
    let grew = memory("VmHWM").saturating_sub(before);
    Ok(Row::new(1, "", serde_json::to_string(&Attacked { runs, grew })?, true))
}
