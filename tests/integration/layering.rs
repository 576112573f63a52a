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
        for (target, inner) in imported(&text) {
            imports += 1;
            let stage = !matches!(part, "store" | "engine" | "cli");
            let reaches_inside = stage && target == "store" && !inner.iter().all(|name| STORE_TRAITS.contains(name));
            if target != part && (!may_import(part).contains(&target) || reaches_inside) {
                wrong.push(format!("src/{}: crate::{target}: {}", relative.display(), inner.join(", ")));
            }
        }
    }
    assert!(imports > 400, "the test saw only {imports} imports: it no longer reads the sources rightly");
    assert!(wrong.is_empty(), "imports against the layers:\n{}", wrong.join("\n"));
}

#[test]
fn imports_are_read_however_they_are_grouped() {
    let text = "use crate::{\n    model::{a::B, c}, // crate::no\n    store::{Journal, Reader},\n    rules,\n};\nlet x = crate::engine::chain(e);\n//! crate::cli\n";
    let found = imported(text);
    let expected =
        [("model", vec!["a", "c"]), ("store", vec!["Journal", "Reader"]), ("rules", vec![]), ("engine", vec!["chain"])];
    assert_eq!(found, expected);
}

/// The parts of the crate that a file names, each with the names directly below it.
fn imported(text: &str) -> Vec<(&str, Vec<&str>)> {
    let mut found = Vec::new();
    for (at, name) in text.match_indices("crate::") {
        let line = text[..at].rsplit('\n').next().unwrap_or_default();
        // `$crate::` and `a_crate::` are others; comments import nothing.
        if line.contains("//") || line.ends_with(|c: char| c == '$' || c == '_' || c.is_alphanumeric()) {
            continue;
        }
        found.extend(group(&text[at + name.len()..]).into_iter().map(|path| {
            let (part, rest) = word(path);
            let inner = rest.strip_prefix("::").map(group).unwrap_or_default();
            (part, inner.into_iter().map(|path| word(path).0).collect())
        }));
    }
    found
}

/// The members of a group in braces, or the one path that stands there.
fn group(text: &str) -> Vec<&str> {
    let Some(inner) = text.strip_prefix('{') else { return vec![text] };
    let mut members = Vec::new();
    let (mut depth, mut from) = (0, 0);
    for (at, c) in inner.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                members.push(after_comments(&inner[from..at]));
                from = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    members.retain(|member| !member.is_empty());
    members
}

fn after_comments(mut text: &str) -> &str {
    loop {
        text = text.trim_start();
        match text.strip_prefix("//") {
            Some(comment) => text = comment.split_once('\n').map_or("", |(_, rest)| rest),
            None => return text,
        }
    }
}

/// The first word and what follows it.
fn word(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len()))
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
