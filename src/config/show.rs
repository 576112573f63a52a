//! The configuration in force as TOML, each value with where it comes from. Secrets show as their places.

use std::{fmt::Write as _, path::Path};

use serde_json::{Map, Value as Json};

use super::{Config, Key, Origin, Provenance, layers};

/// Column of the origins, where the value leaves room.
const COLUMN: usize = 48;

/// As TOML that loads again.
#[must_use]
pub fn show(config: &Config, provenance: &Provenance) -> String {
    let mut text = String::new();
    if let Ok(Json::Object(root)) = serde_json::to_value(config) {
        table(&root, &mut Key::new(), provenance, &mut text);
    }
    text
}

fn table(table: &Map<String, Json>, at: &mut Key, provenance: &Provenance, text: &mut String) {
    let is_section = |value: &Json| value.as_object().is_some_and(|inner| !is_secret(inner));
    for (name, value) in table.iter().filter(|(_, value)| !value.is_null() && !is_section(value)) {
        at.push(name.clone());
        let line = format!("{} = {}", bare(name), inline(value));
        let origin = match provenance.of(at) {
            // A secret given by a variable has its place one below.
            Origin::Default => value
                .as_object()
                .and_then(|inner| inner.keys().next())
                .map_or(Origin::Default, |key| provenance.of(&[at.as_slice(), std::slice::from_ref(key)].concat())),
            origin => origin,
        };
        let width = COLUMN.max(line.chars().count());
        let _ = writeln!(text, "{line:<width$}  # {origin}{}", resolved(at, value));
        at.pop();
    }
    for (name, value) in table {
        let Some(inner) = value.as_object().filter(|inner| !is_secret(inner)) else { continue };
        at.push(name.clone());
        if inner.values().any(|value| !value.is_null() && !is_section(value)) {
            let heading = at.iter().map(|part| bare(part)).collect::<Vec<_>>().join(".");
            let _ = writeln!(text, "\n[{heading}]");
        }
        self::table(inner, at, provenance, text);
        at.pop();
    }
}

/// What a relative path comes to here.
fn resolved(at: &Key, value: &Json) -> String {
    let path = value.as_str().filter(|path| layers::is_path(at) && *path != "-").map(Path::new);
    let whole = path.filter(|path| path.is_relative()).and_then(|path| std::path::absolute(path).ok());
    whole.map_or_else(String::new, |whole| format!("; {}", whole.display()))
}

fn is_secret(table: &Map<String, Json>) -> bool {
    table.len() == 1
        && table.iter().all(|(key, value)| ["credential", "file", "env"].contains(&key.as_str()) && value.is_string())
}

fn bare(name: &str) -> String {
    if !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_') {
        name.to_owned()
    } else {
        inline(&Json::from(name))
    }
}

fn inline(value: &Json) -> String {
    match value {
        Json::String(text) => toml::Value::from(text.as_str()).to_string(),
        Json::Array(items) => format!("[{}]", items.iter().map(inline).collect::<Vec<_>>().join(", ")),
        Json::Object(table) => {
            let pairs: Vec<_> = table.iter().map(|(name, value)| format!("{} = {}", bare(name), inline(value))).collect();
            format!("{{ {} }}", pairs.join(", "))
        }
        other => other.to_string(),
    }
}
