//! The rows, one file each, and the list of those that must be run.

use anyhow::bail;

use crate::harness::{Bench, Row};

mod attacks;
mod link;
mod outage;
pub mod r01;
pub mod r02;
pub mod r03;
pub mod r04;
pub mod r05;
pub mod r06;
pub mod r07;
pub mod r08;
pub mod r09;
pub mod r10;
pub mod r13;
pub mod r14;
pub mod r15;
pub mod r16;
pub mod r17;
pub mod r18;
pub mod r20;
pub mod r21;
pub mod r22;
pub mod r26;

/// What has to hold before a release. A row that is not run counts as failed.
pub const REQUIRED: [&str; 20] = [
    "R1", "R2", "R3", "R4", "R5", "R6", "R7", "R8", "R9", "R10", "R13", "R14", "R15", "R16", "R17", "R18", "R20", "R21", "R22",
    "R26",
];

/// Runs one row in full.
pub async fn run(row: &str, bench: &Bench) -> anyhow::Result<Row> {
    match row {
        "R1" => r01::run(bench).await,
        "R2" => r02::run(bench).await,
        "R3" => r03::run(bench).await,
        "R4" => r04::run(bench).await,
        "R5" => r05::run(bench).await,
        "R6" => r06::run(bench).await,
        "R7" => r07::run(bench).await,
        "R8" => r08::run(bench).await,
        "R9" => r09::run(bench).await,
        "R10" => r10::run(bench).await,
        "R17" => r17::run(bench).await,
        "R18" => r18::run(bench).await,
        "R26" => r26::run(bench).await,
        "R20" => r20::run(bench).await,
        "R21" => r21::run(bench).await,
        "R22" => r22::run(bench).await,
        one if one.starts_with(r21::ONE) => r21::one(&one[r21::ONE.len()..]),
        "R13" => Box::pin(r13::run(bench)).await,
        link::LINK => link::link(bench).await,
        "R14" => r14::run(bench).await,
        "R15" => r15::run(bench).await,
        "R16" => r16::run(bench).await,
        _ => bail!("there is no such row yet"),
    }
}
