//! The figures of the alert path, end to end: what it sustains, how fast a mail is out, how fast it starts and reloads, how fast it catches
//! up, and what memory it takes.
//!
//! The engine has a process of its own, the feed another; both are this binary again. Everything is measured from outside: by the store's
//! cursor, by the attempts' rows, by /proc. The real disk, real sockets, and Debian's Postfix for the mails.
//!
//! `cargo bench --bench path [-- PART ...]` measures all parts or some; only all write `path.json` and `holds.json`, some write
//! `path-part.json`.

// A bench that can't measure ends with the reason.
#[path = "../../tests/integration/support/mta.rs"]
#[expect(
    dead_code,
    clippy::unwrap_used,
    reason = "the tests' mail server, of which this needs a part; it is no part of what is measured"
)]
mod mta;

mod alerts;
mod child;
mod figures;
mod holds;
mod rules;
mod setup;

use std::{fs, process::ExitCode};

use anyhow::ensure;
use redflag::engine::scout;

use crate::{alerts::LoadRun, figures::median};

/// What there is to measure.
const PARTS: &[&str] = &["idle", "sustained", "start", "latency", "reload", "catch-up", "queued"];

fn main() -> anyhow::Result<ExitCode> {
    // An engine that was killed sends its own binary ahead at the next start.
    if std::env::args_os().nth(1).is_some_and(|argument| argument == scout::ARGUMENT) {
        return Ok(scout::main());
    }
    run()?;
    Ok(ExitCode::SUCCESS)
}

#[tokio::main]
async fn run() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["feed", load] => child::feed(load).await,
        ["engine", config] => child::engine(config).await,
        ref parts => measure(parts).await,
    }
}

async fn measure(parts: &[&str]) -> anyhow::Result<()> {
    for part in parts {
        ensure!(PARTS.contains(part), "there is no part `{part}`; the parts are {}", PARTS.join(", "));
    }
    let bench = setup::target()?.join("bench");
    let dir = bench.join("path");
    if dir.exists() {
        fs::remove_dir_all(&dir)?;
    }
    fs::create_dir_all(&dir)?;
    let wanted = |part: &str| parts.is_empty() || parts.contains(&part);
    println!("{}", setup::machine()?);
    let fsync = median(&(0..200).map(|_| setup::fsync(&dir)).collect::<anyhow::Result<Vec<_>>>()?);
    println!("append and fdatasync of 4 KiB: median {:.0} µs\n", fsync * 1e6);

    let (mut path, mut holds) = (Vec::new(), Vec::new());
    if wanted("idle") {
        path.extend(alerts::idle(&dir.join("idle")).await?);
    }
    if wanted("sustained") || wanted("start") {
        let load = LoadRun::new(&dir.join("load"))?;
        if wanted("sustained") {
            path.extend(load.sustained().await?);
        }
        if wanted("start") {
            let starts = load.starts().await?;
            holds.extend(starts.last().cloned());
            path.extend(starts);
        }
        fs::remove_dir_all(dir.join("load"))?;
    }
    if wanted("latency") {
        path.extend(alerts::latency(&dir.join("latency")).await?);
    }
    if parts.is_empty() {
        // What is measured is kept, whatever becomes of the rest.
        figures::tell(&path, &bench.join("path.json"))?;
    }
    if wanted("reload") {
        holds.push(holds::reload(&dir.join("reload")).await?);
    }
    if wanted("catch-up") {
        holds.extend(holds::catch_up(&dir.join("catch-up")).await?);
    }
    if wanted("queued") {
        holds.push(holds::queued(&dir.join("queued")).await?);
    }
    if parts.is_empty() {
        figures::tell(&holds, &bench.join("holds.json"))?;
    } else {
        path.extend(holds);
        figures::tell(&path, &bench.join("path-part.json"))?;
    }
    fs::remove_dir_all(&dir)?;
    Ok(())
}
