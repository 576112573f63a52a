//! The fields that rules ask for, with the rules behind each value; one walk over an event finds them.

use super::{
    guard::{Key, Test},
    quick::QuickMap,
};
use crate::{
    model::{
        topic::{Field, Kind},
        value::{Map, Value},
    },
    rules::functions::text::fold,
};

/// Fields of an event, or of a list's entries.
#[derive(Clone, Debug, Default)]
pub(super) struct Trie {
    fields: Vec<(Box<str>, Leaf)>,
    lists: Vec<(Box<str>, Trie)>,
    /// Rules that have a key here or further inside: concerned by whatever no key was made for.
    all: Vec<u32>,
}

/// The rules behind texts of one length.
type Starts = QuickMap<Box<[u8]>, Vec<u32>>;

/// The rules behind a field's values.
#[derive(Clone, Debug, Default)]
struct Leaf {
    texts: QuickMap<Box<str>, Vec<u32>>,
    folded: QuickMap<Box<str>, Vec<u32>>,
    /// By length.
    prefixes: Vec<(usize, Starts)>,
    ints: QuickMap<i64, Vec<u32>>,
    bools: [Vec<u32>; 2],
    nothing: Vec<u32>,
    /// Concerned by everything that is no text.
    no_text: Vec<u32>,
    /// All of them.
    all: Vec<u32>,
}

impl Trie {
    pub(super) fn add(&mut self, test: &Test, rule: u32) {
        self.insert(&test.place.0, &test.key, rule);
    }

    fn insert(&mut self, place: &[Box<str>], key: &Key, rule: u32) {
        note(&mut self.all, rule);
        match place {
            [] => {}
            [name] => named(&mut self.fields, name).insert(key, rule),
            [list, inner @ ..] => named(&mut self.lists, list).insert(inner, key, rule),
        }
    }

    pub(super) fn walk(&self, map: &Map, known: &'static [Field], out: &mut Vec<u32>) {
        for (name, leaf) in &self.fields {
            match map.get(name) {
                Some(value) => leaf.find(value, out),
                None if kind(known, name).is_some() => leaf.absent(out),
                // To ask for it is an error.
                None => out.extend_from_slice(&leaf.all),
            }
        }
        for (name, trie) in &self.lists {
            let inner = match kind(known, name) {
                Some(Kind::List(inner)) => Some(inner),
                _ => None,
            };
            match map.get(name) {
                Some(Value::List(entries)) => {
                    for entry in entries {
                        match entry {
                            Value::Map(entry) => trie.walk(entry, inner.unwrap_or(&[]), out),
                            _ => out.extend_from_slice(&trie.all),
                        }
                    }
                }
                // Reads as an empty list.
                None | Some(Value::Null) if inner.is_some() => {}
                _ => out.extend_from_slice(&trie.all),
            }
        }
    }
}

impl Leaf {
    fn insert(&mut self, key: &Key, rule: u32) {
        note(&mut self.all, rule);
        match key {
            // What is not there and should be concerns all.
            Key::Missing => {}
            Key::Nothing => note(&mut self.nothing, rule),
            Key::Bool(value) => note(&mut self.bools[usize::from(*value)], rule),
            Key::Int(number) => note(self.ints.entry(*number).or_default(), rule),
            Key::Text(text) => note(self.texts.entry(text.clone()).or_default(), rule),
            Key::Folded(text) => note(self.folded.entry(text.clone()).or_default(), rule),
            Key::Prefix(start) | Key::PrefixOrNoText(start) => {
                if matches!(key, Key::PrefixOrNoText(_)) {
                    note(&mut self.no_text, rule);
                }
                let length = start.len();
                let at = self.prefixes.iter().position(|(known, _)| *known == length).unwrap_or_else(|| {
                    self.prefixes.push((length, Starts::default()));
                    self.prefixes.len() - 1
                });
                note(self.prefixes[at].1.entry(start.as_bytes().into()).or_default(), rule);
            }
        }
    }

    fn find(&self, value: &Value, out: &mut Vec<u32>) {
        match value {
            Value::Text(text) => {
                if !self.texts.is_empty() {
                    extend(out, self.texts.get(text.as_str()));
                }
                for (length, starts) in &self.prefixes {
                    extend(out, text.as_bytes().get(..*length).and_then(|start| starts.get(start)));
                }
                if !self.folded.is_empty() {
                    extend(out, self.folded.get(fold(text).as_str()));
                }
            }
            Value::Int(number) => {
                extend(out, self.ints.get(number));
                out.extend_from_slice(&self.no_text);
                if !self.folded.is_empty() {
                    extend(out, self.folded.get(number.to_string().as_str()));
                }
            }
            Value::Bool(value) => {
                // To fold it is an error.
                if self.folded.is_empty() {
                    out.extend_from_slice(&self.bools[usize::from(*value)]);
                    out.extend_from_slice(&self.no_text);
                } else {
                    out.extend_from_slice(&self.all);
                }
            }
            Value::Null => self.absent(out),
            Value::Float(_) | Value::List(_) | Value::Map(_) => out.extend_from_slice(&self.all),
        }
    }

    fn absent(&self, out: &mut Vec<u32>) {
        out.extend_from_slice(&self.nothing);
        out.extend_from_slice(&self.no_text);
        if !self.folded.is_empty() {
            // Nothing folds to an empty text.
            extend(out, self.folded.get(""));
        }
    }
}

fn kind(known: &'static [Field], name: &str) -> Option<Kind> {
    known.iter().find(|field| field.name == name).map(|field| field.kind)
}

fn extend(out: &mut Vec<u32>, found: Option<&Vec<u32>>) {
    if let Some(found) = found {
        out.extend_from_slice(found);
    }
}

/// Rules come in ascending order, so that one that is there stands last.
fn note(rules: &mut Vec<u32>, rule: u32) {
    if rules.last() != Some(&rule) {
        rules.push(rule);
    }
}

fn named<'a, T: Default>(all: &'a mut Vec<(Box<str>, T)>, name: &str) -> &'a mut T {
    let at = all.iter().position(|(known, _)| **known == *name).unwrap_or_else(|| {
        all.push((name.into(), T::default()));
        all.len() - 1
    });
    &mut all[at].1
}
