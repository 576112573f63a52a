//! `make reliability`: redflag under real faults. Each row of the list is a promise attacked by one kind of fault, in a process of its own
//! and with a time limit, so that a row that hangs or breaks harms no other; what it mounted or started is swept up after it.
//!
//! `make reliability ROWS="R1 R20"` runs some rows; without names all. A row that is not run counts as failed. As root, on loopback and
//! file systems of its own.
//!
//! A new row: a file in rows/ with `pub async fn run(bench: &Bench) -> anyhow::Result<Row>`, its line in rows/mod.rs. [`harness`] has an
//! installation to do harm to ([`harness::world`]) and asserts the four properties. A few trials of it may be a test as well: rows and
//! harness are modules of tests/integration too.

#![allow(clippy::unwrap_used, reason = "the parts shared with the integration tests unwrap")]

#[allow(dead_code, reason = "rows take what they need")]
mod harness;
mod report;
mod rows;
#[path = "../integration/support/mod.rs"]
#[allow(dead_code, reason = "shared with the integration tests, of which this needs a part")]
mod support;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use crate::{
    harness::{Bench, Row},
    rows::REQUIRED,
};

/// No row takes longer.
const LIMIT: Duration = Duration::from_mins(40);

/// The same seed, the same faults; `REDFLAG_SEED` takes another.
const SEED: u64 = 0x5eed;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--row", row, folder, result] => one(row, Path::new(folder), Path::new(result)),
        ref rows if rows.iter().any(|row| row.starts_with('-')) => {
            eprintln!("rows are named like R1; there are no options");
            ExitCode::from(2)
        }
        [] => all(&REQUIRED),
        ref rows => all(rows),
    }
}

/// Every row in its own process; the table, and the same for machines.
fn all(rows: &[&str]) -> ExitCode {
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let mut lines = Vec::new();
    for row in rows {
        let line = runtime.block_on(report::watched(row, LIMIT));
        eprintln!("{line}");
        lines.push(line);
    }
    // Only all of them are the answer to whether the promises hold.
    let name = if rows == REQUIRED { "target/reliability.json" } else { "target/reliability-part.json" };
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    if let Err(error) = report::tell(&lines, &target) {
        eprintln!("{}: {error}", target.display());
        return ExitCode::FAILURE;
    }
    if lines.iter().all(|line| line.pass) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// One row, in this process.
fn one(row: &str, folder: &Path, result: &Path) -> ExitCode {
    let seed = std::env::var("REDFLAG_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(SEED);
    let bench = Bench::new(PathBuf::from(folder), seed);
    let row = runtime().map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(rows::run(row, &bench)));
    let mut row = row.unwrap_or_else(|error| Row::new(0, "it runs", format!("{error:#}"), false));
    if harness::shortened().is_some() && row.pass {
        row.pass = false;
        row.measured.insert_str(0, "passed, but shortened by REDFLAG_TRIALS: ");
    }
    match serde_json::to_vec(&row).map_err(anyhow::Error::from).and_then(|text| Ok(std::fs::write(result, text)?)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {error}", result.display());
            ExitCode::FAILURE
        }
    }
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()
}
