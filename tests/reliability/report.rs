//! Rows as processes that are watched, and what is told of them.

use std::{
    fmt, fs,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use serde::Serialize;

use crate::harness::{Row, disk};

/// A line of the table.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    row: String,
    trials: u64,
    bar: String,
    measured: String,
    pub pass: bool,
    seconds: f64,
}

impl Line {
    fn new(row: &str, came: Row, took: Duration) -> Self {
        let Row { trials, bar, measured, pass } = came;
        Self { row: row.to_owned(), trials, bar, measured, pass, seconds: (took.as_secs_f64() * 10.0).round() / 10.0 }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { row, trials, bar, measured, pass, seconds } = self;
        let verdict = if *pass { "passed" } else { "FAILED" };
        write!(f, "{row:<4} {verdict} {trials:>6} trials {seconds:>7.1} s\n     bar: {bar}\n     measured: {measured}")
    }
}

/// Runs a row in a process group of its own, for so long at most, and sweeps up.
pub async fn watched(row: &str, limit: Duration) -> Line {
    let begun = Instant::now();
    let came = in_child(row, limit).await.unwrap_or_else(|error| Row::new(0, "it runs", format!("{error:#}"), false));
    Line::new(row, came, begun.elapsed())
}

async fn in_child(row: &str, limit: Duration) -> anyhow::Result<Row> {
    let folder = tempfile::Builder::new().prefix("redflag-").tempdir()?;
    let result = folder.path().join("result.json");
    let scratch = folder.path().join(row);
    fs::create_dir(&scratch)?;
    let mut child = Command::new(std::env::current_exe()?)
        .args(["--row", row])
        .args([&scratch, &result])
        .stdin(Stdio::null())
        .process_group(0)
        .spawn()
        .context("the row's process")?;
    let begun = Instant::now();
    let ended = loop {
        if let Some(status) = child.try_wait()? {
            break Some(status);
        }
        if begun.elapsed() > limit {
            break None;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    // What it started may outlive it: daemons have groups of their own, and name its folder.
    end_group(child.id());
    end_users(&scratch);
    let _ = child.wait();
    disk::sweep(folder.path());
    let row = fs::read(&result).context("it broke off").and_then(|text| Ok(serde_json::from_slice(&text)?));
    match ended {
        Some(_) => row,
        None => Ok(Row::new(0, format!("ends within {} min", limit.as_secs() / 60), "it does not end", false)),
    }
}

fn end_group(id: u32) {
    let _ = Command::new("kill").args(["-s", "KILL", "--", &format!("-{id}")]).stderr(Stdio::null()).status();
}

/// Ends every process whose command line names the folder: only a row's own children do.
fn end_users(folder: &Path) {
    let Some(name) = folder.to_str() else { return };
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if id != std::process::id() && String::from_utf8_lossy(&line).contains(name) {
            let _ = Command::new("kill").args(["-s", "KILL", &id.to_string()]).stderr(Stdio::null()).status();
        }
    }
}

/// The table on stdout, and the same for machines.
pub fn tell(lines: &[Line], file: &Path) -> anyhow::Result<()> {
    println!("\n| row | trials | bar | measured | pass | s |\n| --- | ---: | --- | --- | --- | ---: |");
    for Line { row, trials, bar, measured, pass, seconds } in lines {
        let measured = measured.lines().next().unwrap_or_default();
        println!("| {row} | {trials} | {bar} | {measured} | {} | {seconds} |", if *pass { "yes" } else { "NO" });
    }
    let passed = lines.iter().filter(|line| line.pass).count();
    println!("\n{passed} of {} rows passed; {}", lines.len(), file.display());
    fs::write(file, serde_json::to_vec_pretty(lines)?)?;
    Ok(())
}
