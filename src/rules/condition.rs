//! The `where` table: total conditions, never an error. (Stand-in.)

use std::fmt;

use super::{
    diagnostic::Diagnostic,
    literal::{Literal, Node},
};
use crate::model::{event::Event, topic::Kind, value::Value};

/// A dotted or indexed path into an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path(Vec<String>);

impl Path {
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut steps = Vec::new();
        for part in text.split('.') {
            let name = part.split('[').next().unwrap_or_default();
            if name.is_empty() || !name.chars().all(|c| c.is_alphanumeric() || c == '_') {
                return Err(format!("`{text}` is no path of a field"));
            }
            steps.push(part.to_owned());
        }
        Ok(Self(steps))
    }

    pub fn get<'a>(&self, event: &'a Event) -> Option<&'a Value> {
        event.body.get(&self.0[0])
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("."))
    }
}

/// What is known of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldCheck {
    Known(Kind),
    Unknown { proposal: Option<String> },
    Unchecked,
}

pub trait Fields {
    fn known(&self, path: &Path) -> FieldCheck;
}

#[derive(Clone, Debug, Default)]
pub struct Condition(());

impl Condition {
    pub fn always() -> Self {
        Self(())
    }

    pub fn parse(literal: &Literal, file: &str, known: &dyn Fields) -> Result<Self, Vec<Diagnostic>> {
        let Node::Map(entries) = &literal.node else { return Err(Vec::new()) };
        let mut out = Vec::new();
        for entry in entries {
            if let Ok(path) = Path::parse(&entry.name)
                && let FieldCheck::Unknown { proposal } = known.known(&path)
            {
                let label = proposal.map_or_else(String::new, |name| format!("did you mean `{name}`?"));
                out.push(
                    Diagnostic::error("R012", file, entry.place, entry.name.chars().count(), format!("unknown field `{path}`"))
                        .label(label),
                );
            }
        }
        if out.is_empty() { Ok(Self(())) } else { Err(out) }
    }

    pub fn lists(&self) -> Vec<&str> {
        Vec::new()
    }
}
