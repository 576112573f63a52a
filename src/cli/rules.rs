//! `redflag rules`: the rules of the folder, as they would be loaded, and which of them the service has parked.

use std::{fmt::Write as _, path::PathBuf};

use clap::Args;
use comfy_table::{ContentArrangement, Table, presets};
use serde_json::json;

use super::{Exit, Global, counted, folder, print, talk};
use crate::{
    model::{card::Card, hash::Digest},
    rules::plan::{self, Plan},
    store::SqliteStore,
};

#[derive(Args, Debug)]
pub struct RulesArgs {
    /// The rules' folder, in the place of the configured one
    #[arg(long, value_name = "FOLDER")]
    rules: Option<PathBuf>,
    /// Show what each rule costs: the field by which events find it, and which line of `when` needs the interpreter
    #[arg(long)]
    plan: bool,
}

/// # Errors
/// The folder can't be read, or the configuration's sections that matter can't be used.
pub fn run(args: &RulesArgs, global: &Global) -> anyhow::Result<Exit> {
    let folders = folder::open(global, args.rules.as_deref(), &[])?;
    let parked = parked(global);
    let rules: Vec<_> = folders.iter().flat_map(|folder| &folder.loaded.generation.rules).collect();
    if args.plan {
        let plans = folders.iter().flat_map(|folder| {
            let generation = &folder.loaded.generation;
            generation.rules.iter().filter(|rule| rule.card.stage.runs()).map(|rule| (&*rule.card, plan::of(generation, rule)))
        });
        print(&if global.is_json() { plans_json(plans)? } else { plans_text(plans) })?;
    } else if global.is_json() {
        let rules: Vec<_> = rules
            .iter()
            .map(|rule| {
                let card = &rule.card;
                json!({
                    "id": card.id, "title": card.title, "stage": card.stage, "severity": card.severity, "topics": card.on,
                    "sendTo": card.send_to, "owner": card.owner, "file": card.file, "hash": card.hash, "tests": rule.cases.len(),
                    "parked": parked.contains(&card.hash),
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
                if parked.contains(&card.hash) {
                    format!("{}, parked", card.stage.as_str())
                } else {
                    card.stage.as_str().to_owned()
                },
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
    if rules.iter().any(|rule| parked.contains(&rule.card.hash)) {
        talk(
            "a parked rule is not asked, since it took too long; once it is mended, the events that it owes a verdict are judged",
        );
    }
    if broken.is_empty() {
        return Ok(Exit::Fine);
    }
    talk(&format!("not loaded: {}; `redflag check` says why", broken.into_iter().collect::<Vec<_>>().join(", ")));
    Ok(Exit::Findings)
}

fn plans_json<'a>(plans: impl Iterator<Item = (&'a Card, Plan)>) -> anyhow::Result<String> {
    let plans: Vec<_> = plans
        .map(|(card, plan)| {
            let keys: serde_json::Map<_, _> = plan.keys.into_iter().map(|(topic, key)| (topic, json!(key))).collect();
            let interpreted: Vec<_> =
                plan.interpreted.iter().map(|place| json!({"line": place.line, "what": place.what})).collect();
            json!({"id": card.id, "file": card.file, "evaluated": plan.how.as_str(), "foundBy": keys, "interpreted": interpreted})
        })
        .collect();
    Ok(format!("{}\n", serde_json::to_string(&plans)?))
}

fn plans_text<'a>(plans: impl Iterator<Item = (&'a Card, Plan)>) -> String {
    let mut text = String::new();
    for (card, plan) in plans {
        // Writing to a text never fails.
        let _ = writeln!(text, "{}  {}", card.id, plan.how.as_str());
        for (topic, key) in plan.keys {
            let _ = writeln!(text, "    {topic}: {}", key.as_deref().unwrap_or("every event"));
        }
        for place in plan.interpreted {
            let line = place.line.map_or_else(String::new, |line| format!(":{line}"));
            let _ = writeln!(text, "    {}{line}: {} needs the interpreter", card.file, place.what);
        }
    }
    text
}

/// What the configured store says of rules that are parked; nothing where there is no store yet.
fn parked(global: &Global) -> Vec<Digest> {
    let reader = global.load().ok().and_then(|loaded| SqliteStore::read_only(&loaded.config.data_dir).ok());
    let parked = reader.and_then(|reader| reader.parked().ok()).unwrap_or_default();
    parked.into_iter().map(|parked| parked.rule_hash).collect()
}
