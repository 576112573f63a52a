//! Stages never import each other: only `model` types cross, the store is reached through its traits, and `engine` wires.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// What each part may import, besides itself. Ranks: model < config, telemetry < store's traits < the stages < engine < cli.
fn may_import(part: &str) -> &'static [&'static str] {
    match part {
        "model" => &[],
        "config" | "telemetry" => &["model"],
        "source" | "decode" | "rules" | "alerts" | "outbox" | "render" | "channels" => &["model", "config", "telemetry", "store"],
        "store" | "simulator" => &["model", "config", "telemetry"],
        "engine" => {
            &["model", "config", "telemetry", "source", "decode", "store", "rules", "alerts", "outbox", "render", "channels"]
        }
        "cli" => &[
            "model",
            "config",
            "telemetry",
            "source",
            "decode",
            "store",
            "rules",
            "alerts",
            "outbox",
            "render",
            "channels",
            "engine",
            "simulator",
        ],
        other => panic!("src/{other} is a new part: give it a rank here"),
    }
}

/// What a stage may name of the store.
const STORE_TRAITS: &[&str] = &["Journal", "Outbox", "Pending", "StoreError"];

#[test]
fn no_arrow_points_up_or_sideways() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    let mut imports = 0;
    for file in rust_files(&src) {
        let relative = file.strip_prefix(&src).unwrap();
        let Some(part) = relative.components().next().and_then(|part| part.as_os_str().to_str()) else { continue };
        if file.parent() == Some(&*src) {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//")) {
            for target in imported(line) {
                imports += 1;
                let stage = !matches!(part, "store" | "engine" | "cli");
                let reaches_inside = stage && target == "store" && !only_traits(&text);
                if target != part && (!may_import(part).contains(&target) || reaches_inside) {
                    wrong.push(format!("src/{}:{}: {}", relative.display(), number + 1, line.trim()));
                }
            }
        }
    }
    assert!(imports > 100, "the test saw only {imports} imports: it no longer reads the sources rightly");
    assert!(wrong.is_empty(), "imports against the layers:\n{}", wrong.join("\n"));
}

/// The parts of the crate that a line names: every `crate::part`.
fn imported(line: &str) -> Vec<&str> {
    line.match_indices("crate::")
        .filter_map(|(at, found)| {
            let rest = &line[at + found.len()..];
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            let name = &rest[..end];
            (!name.is_empty()).then_some(name)
        })
        .collect()
}

fn only_traits(text: &str) -> bool {
    text.match_indices("crate::store").all(|(at, found)| {
        let rest = text[at + found.len()..].trim_start_matches("::").trim_start();
        let names = rest.strip_prefix('{').and_then(|inner| inner.split('}').next()).unwrap_or_else(|| {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            &rest[..end]
        });
        names.split(',').map(str::trim).filter(|name| !name.is_empty()).all(|name| STORE_TRAITS.contains(&name))
    })
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            files.push(path);
        }
    }
    files
}
