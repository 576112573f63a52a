//! A card's subject: text with `{field}` and `{field|text when absent}`, checked at load and filled in for each match.

use super::condition::Path;
use crate::model::event::Event;

/// A subject template.
#[derive(Clone, Debug, PartialEq)]
pub struct Subject {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Text(String),
    Field(Placeholder),
}

/// `{field|text when absent}`.
#[derive(Clone, Debug, PartialEq)]
pub struct Placeholder {
    pub path: Path,
    pub otherwise: Option<String>,
    /// Of the field's name in the template, in characters from 0.
    pub offset: usize,
}

/// The text is no subject template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SubjectError {
    /// In characters, from 0.
    pub offset: usize,
    pub message: String,
}

impl Subject {
    /// Reads a template. `{{` and `}}` stand for the braces themselves.
    pub fn parse(text: &str) -> Result<Self, SubjectError> {
        let chars: Vec<char> = text.chars().collect();
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut at = 0;
        while at < chars.len() {
            match (chars[at], chars.get(at + 1)) {
                ('{', Some('{')) | ('}', Some('}')) => {
                    plain.push(chars[at]);
                    at += 2;
                }
                ('}', _) => return Err(SubjectError { offset: at, message: "a `}` without its `{`".to_owned() }),
                ('{', _) => {
                    let Some(length) = chars[at + 1..].iter().position(|c| *c == '}') else {
                        return Err(SubjectError { offset: at, message: "a `{` without its `}`".to_owned() });
                    };
                    let inside: String = chars[at + 1..at + 1 + length].iter().collect();
                    let (name, otherwise) = match inside.split_once('|') {
                        Some((name, otherwise)) => (name.to_owned(), Some(otherwise.to_owned())),
                        None => (inside, None),
                    };
                    let path = Path::parse(name.trim()).map_err(|message| SubjectError { offset: at + 1, message })?;
                    if !plain.is_empty() {
                        parts.push(Part::Text(std::mem::take(&mut plain)));
                    }
                    parts.push(Part::Field(Placeholder { path, otherwise, offset: at + 1 }));
                    at += length + 2;
                }
                (c, _) => {
                    plain.push(c);
                    at += 1;
                }
            }
        }
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Self { parts })
    }

    /// The fields it names, in order.
    pub fn fields(&self) -> impl Iterator<Item = &Path> {
        self.placeholders().map(|placeholder| &placeholder.path)
    }

    /// The placeholders, in order.
    pub fn placeholders(&self) -> impl Iterator<Item = &Placeholder> {
        self.parts.iter().filter_map(|part| if let Part::Field(placeholder) = part { Some(placeholder) } else { None })
    }

    /// The text for an event, on one line. A blank field shows its alternative, else `-`.
    #[must_use]
    pub fn render(&self, event: &Event) -> String {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Text(plain) => text.push_str(plain),
                Part::Field(placeholder) => {
                    let value = placeholder.path.get(event);
                    if value.is_blank() {
                        text.push_str(placeholder.otherwise.as_deref().unwrap_or("-"));
                    } else {
                        text.push_str(&value.display());
                    }
                }
            }
        }
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        event::{Element, Origin},
        hash::Digest,
        ids::Seq,
        names::{FeedName, TopicName},
        value::{Map, Value},
    };

    fn event(body: Map) -> Event {
        let element = Element {
            feed: FeedName::new("feed"),
            topic: TopicName::new("identResult"),
            spelled: None,
            origin: Origin::Live,
            received_at: chrono::DateTime::UNIX_EPOCH,
            own_time: None,
            zone_assumed: false,
            late: false,
            maybe_repeat: false,
            batch: None,
            body,
            raw: String::new(),
            hash: Digest::default(),
            warnings: Vec::new(),
        };
        Event { seq: Seq(1), element }
    }

    #[test]
    fn fields_are_filled_in_and_what_is_blank_shows_its_alternative() {
        let body: Map = [("personKey", Value::from("P-1")), ("reason", Value::from(" ")), ("status", Value::from("two\nlines"))]
            .into_iter()
            .collect();
        let event = event(body);
        for (template, text) in [
            ("Failed for {personKey}", "Failed for P-1"),
            ("{topic}: {reason|no reason given}", "identResult: no reason given"),
            ("{reason}{identId}", "--"),
            ("{{{personKey}}} {status}", "{P-1} two lines"),
            ("plain", "plain"),
        ] {
            assert_eq!(Subject::parse(template).unwrap().render(&event), text, "{template}");
        }
    }

    #[test]
    fn a_brace_that_does_not_fit_is_told_with_its_place() {
        for (template, offset) in [("ab{c", 2), ("ab}c", 2), ("a {} b", 3), ("a {b c} d", 3)] {
            assert_eq!(Subject::parse(template).unwrap_err().offset, offset, "{template}");
        }
    }
}
