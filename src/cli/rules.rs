//! `redflag rules`: the rules of the folder, as they would be loaded.

use std::path::PathBuf;

use clap::Args;
use comfy_table::{ContentArrangement, Table, presets};
use serde_json::json;

use super::{Exit, Global, counted, folder, print, talk};

#[derive(Args, Debug)]
pub struct RulesArgs {
    /// The rules' folder, in the place of the configured one
    #[arg(long, value_name = "FOLDER")]
    rules: Option<PathBuf>,
}

/// # Errors
/// The folder can't be read, or the configuration's sections that matter can't be used.
pub fn run(args: &RulesArgs, global: &Global) -> anyhow::Result<Exit> {
    let folders = folder::open(global, args.rules.as_deref(), &[])?;
    let rules: Vec<_> = folders.iter().flat_map(|folder| &folder.loaded.generation.rules).collect();
    if global.is_json() {
        let rules: Vec<_> = rules
            .iter()
            .map(|rule| {
                let card = &rule.card;
                json!({
                    "id": card.id, "title": card.title, "stage": card.stage, "severity": card.severity, "topics": card.on,
                    "sendTo": card.send_to, "owner": card.owner, "file": card.file, "hash": card.hash, "tests": rule.cases.len(),
                })
            })
            .collect();
        print(&format!("{}\n", serde_json::to_string(&rules)?))?;
    } else {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
        table.set_header(["rule", "title", "stage", "severity", "topics", "tests", "file", "hash"]);
        for rule in &rules {
            let card = &rule.card;
            let topics = card.on.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
            table.add_row([
                card.id.to_string(),
                card.title.clone(),
                card.stage.as_str().to_owned(),
                card.severity.to_string(),
                topics,
                rule.cases.len().to_string(),
                card.file.clone(),
                card.hash.short(),
            ]);
        }
        let text: String = table.to_string().lines().flat_map(|line| [line.trim_end(), "\n"]).collect();
        print(&text)?;
    }
    let broken: std::collections::BTreeSet<&str> = folders
        .iter()
        .flat_map(|folder| folder.findings().filter(|finding| finding.is_error()))
        .map(|finding| &*finding.file)
        .collect();
    let hash = folders.first().map(|folder| folder.loaded.generation.hash.short()).unwrap_or_default();
    talk(&format!("{}, generation {hash}", counted(rules.len(), "rule")));
    if broken.is_empty() {
        return Ok(Exit::Fine);
    }
    talk(&format!("not loaded: {}; `redflag check` says why", broken.into_iter().collect::<Vec<_>>().join(", ")));
    Ok(Exit::Findings)
}
