//! The table for people, and a file below `target/bench/` for programs.

use std::{fs, path::Path};

use serde::Serialize;

/// One measured figure and its bar.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    pub figure: &'static str,
    pub value: f64,
    pub unit: &'static str,
    /// Such as `>= 30000`.
    pub bar: String,
    pub pass: bool,
}

impl Figure {
    pub fn at_least(figure: &'static str, value: f64, unit: &'static str, bar: f64) -> Self {
        Self { figure, value: rounded(value), unit, bar: format!(">= {}", rounded(bar)), pass: value >= bar }
    }

    pub fn at_most(figure: &'static str, value: f64, unit: &'static str, bar: f64) -> Self {
        Self { figure, value: rounded(value), unit, bar: format!("<= {}", rounded(bar)), pass: value <= bar }
    }
}

/// Prints the table and writes the file.
pub fn tell(figures: &[Figure], file: &Path) -> anyhow::Result<()> {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::ASCII_MARKDOWN).set_header(["figure", "value", "unit", "bar", "pass"]);
    for Figure { figure, value, unit, bar, pass } in figures {
        table.add_row([*figure, &value.to_string(), unit, bar, if *pass { "yes" } else { "NO" }]);
    }
    println!("\n{table}");
    fs::write(file, serde_json::to_string_pretty(figures)? + "\n")?;
    println!("\nwritten to {}", file.display());
    Ok(())
}

/// As many digits as mean something.
fn rounded(value: f64) -> f64 {
    if value >= 1_000.0 { value.round() } else { (value * 1_000.0).round() / 1_000.0 }
}

/// The middle one.
pub fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// By the nearest rank; 0 of none.
pub fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}
