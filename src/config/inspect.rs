//! Compares merged values with the shape of a configuration: unknown keys, missing keys, wrong types. All of them, not the first.
//!
//! What is wrong in form must not hide what contradicts itself elsewhere, so an inspection also answers what the rest can be checked by: the
//! same values without what is wrong, and with stand-ins where the shape owes a key.

use figment::value::{Dict, Num, Tag, Value};

use super::{
    problem::{Key, Problem},
    shape::{Field, Shape, Table, nearest, one_word},
};

/// What an inspection found.
#[derive(Debug, Default)]
pub struct Found {
    pub problems: Vec<Problem>,
    /// Keys that were left out or stood in for: what else there is to say of them follows from that.
    pub guessed: Vec<Key>,
}

impl Found {
    fn wrong(&mut self, at: &Key, what: impl Into<String>) {
        self.refuse(at, Problem::at(at.clone(), what));
    }

    fn refuse(&mut self, at: &Key, problem: Problem) {
        self.problems.push(problem);
        self.guessed.push(at.clone());
    }
}

/// Finds what is wrong with `value` at `at`. Answers what can still be checked of it; none: nothing.
pub fn inspect(value: &Value, shape: &Shape, at: &mut Key, found: &mut Found) -> Option<Value> {
    match (shape, value) {
        (Shape::Text, Value::String(..)) | (Shape::Flag, Value::Bool(..)) => return Some(value.clone()),
        (Shape::Number, Value::Num(_, number)) => {
            if number.to_u128().is_some() || number.to_i128().is_some_and(|number| number >= 0) {
                return Some(value.clone());
            }
            found.wrong(at, "must be a whole number, not negative");
        }
        (Shape::Checked(check), Value::String(_, text)) => match check(text) {
            Ok(()) => return Some(value.clone()),
            Err(what) => found.wrong(at, what),
        },
        (Shape::Words(words), Value::String(_, text)) => {
            if words.contains(text) {
                return Some(value.clone());
            }
            let problem = Problem::at(at.clone(), format!("\"{text}\" is not known here; write {}", one_word(words)));
            let problem = match nearest(text, words.iter().map(String::as_str)) {
                Some(near) if words.len() > 1 => problem.help(format!("did you mean \"{near}\"?")),
                _ => problem,
            };
            found.refuse(at, problem);
        }
        (Shape::List(inner), Value::Array(_, items)) => {
            let mut list = Vec::new();
            for (number, item) in items.iter().enumerate() {
                at.push(number.to_string());
                list.push(inspect(item, inner, at, found).unwrap_or_else(|| stand_in(inner)));
                at.pop();
            }
            return Some(Value::Array(Tag::Default, list));
        }
        (Shape::Map(inner), Value::Dict(_, dict)) => {
            let mut map = Dict::new();
            for (name, value) in dict {
                at.push(name.clone());
                // A channel of which nothing can be used is a name still.
                map.insert(name.clone(), inspect(value, inner, at, found).unwrap_or_else(|| stand_in(inner)));
                at.pop();
            }
            return Some(Value::from(map));
        }
        (Shape::Table(table), Value::Dict(_, dict)) => return Some(inspect_table(dict, table, &|_| None, at, found)),
        (Shape::Kinds(kinds), Value::Dict(_, dict)) => {
            let words: Vec<_> = kinds.keys().cloned().collect();
            match dict.get("kind") {
                Some(Value::String(_, kind)) if kinds.contains_key(kind) => {
                    let elsewhere = |key: &str| {
                        let other = kinds.iter().find(|(_, table)| table.contains_key(key))?.0;
                        Some(format!("`{key}` belongs to kind = \"{other}\", this is kind = \"{kind}\""))
                    };
                    return Some(inspect_table(dict, &kinds[kind], &elsewhere, at, found));
                }
                Some(kind) => {
                    at.push("kind".to_owned());
                    inspect(kind, &Shape::Words(words), at, found);
                    at.pop();
                    found.guessed.push(at.clone());
                }
                None => {
                    let problem = Problem::at(at.clone(), "the key `kind` is missing");
                    found.refuse(at, problem.help(format!("write kind = {}", one_word(&words))));
                }
            }
        }
        (Shape::Either(keys), Value::Dict(_, dict)) => {
            let known: Table = keys.iter().map(|key| (key.clone(), Field { shape: Shape::Text, required: false })).collect();
            let before = found.problems.len();
            let usable = inspect_table(dict, &known, &|_| None, at, found);
            if dict.keys().filter(|key| keys.contains(key)).count() != 1 {
                found.wrong(at, format!("must be {}", shape.expected()));
            }
            if found.problems.len() == before {
                return Some(usable);
            }
            found.guessed.push(at.clone());
        }
        (Shape::Words(words), _) => found.wrong(at, format!("must be {}", one_word(words))),
        (shape, value) => found.wrong(at, format!("must be {}, not {}", shape.expected(), named(value))),
    }
    None
}

fn inspect_table(
    dict: &Dict,
    table: &Table,
    elsewhere: &dyn Fn(&str) -> Option<String>,
    at: &mut Key,
    found: &mut Found,
) -> Value {
    let mut usable = Dict::new();
    let mut meant = Vec::new();
    for (name, value) in dict {
        at.push(name.clone());
        if let Some(field) = table.get(name) {
            usable.extend(inspect(value, &field.shape, at, found).map(|value| (name.clone(), value)));
        } else {
            let problem = Problem::at(at.clone(), "unknown key");
            // Of what is there already nothing can be meant.
            let free = table.keys().map(String::as_str).filter(|key| !dict.contains_key(*key));
            let problem = if let Some(hint) = elsewhere(name) {
                problem.help(hint)
            } else if let Some(near) = nearest(name, free) {
                meant.push(near);
                // Whether its value would do is seen by what was meant.
                let mut apart = Found::default();
                let value = inspect(value, &table[near].shape, at, &mut apart).filter(|_| apart.problems.is_empty());
                usable.extend(value.map(|value| (near.to_owned(), value)));
                problem.help(format!("did you mean `{near}`?"))
            } else {
                problem.help(format!("known here: {}", table.keys().map(String::as_str).collect::<Vec<_>>().join(", ")))
            };
            found.refuse(at, problem);
        }
        at.pop();
    }
    // A key that is there misspelled is not told a second time as missing.
    let missing = |name: &str| !dict.contains_key(name) && !meant.contains(&name);
    for (name, field) in table.iter().filter(|(name, field)| field.required && missing(name)) {
        let form = match &field.shape {
            Shape::Either(_) => format!("{name} = {{ credential = \"…\" }}, {{ file = \"…\" }} or {{ env = \"…\" }}"),
            Shape::List(_) => format!("{name} = [\"…\"]"),
            _ => format!("{name} = \"…\""),
        };
        found.problems.push(Problem::at(at.clone(), format!("the key `{name}` is missing")).help(format!("write {form}")));
    }
    for (name, field) in table {
        if (field.required || meant.contains(&name.as_str())) && !usable.contains_key(name) {
            found.guessed.push(at.iter().chain([name]).cloned().collect());
            if field.required {
                usable.insert(name.clone(), stand_in(&field.shape));
            }
        }
    }
    Value::from(usable)
}

/// Something of this shape.
fn stand_in(shape: &Shape) -> Value {
    match shape {
        Shape::Text | Shape::Checked(_) => Value::from(""),
        Shape::Words(words) => Value::from(words.first().cloned().unwrap_or_default()),
        Shape::Number => Value::Num(Tag::Default, Num::from(1_u8)),
        Shape::Flag => Value::from(false),
        Shape::List(_) => Value::Array(Tag::Default, Vec::new()),
        Shape::Map(_) => Value::from(Dict::new()),
        Shape::Table(table) => owed(table),
        Shape::Kinds(kinds) => kinds.values().next().map_or_else(|| Value::from(Dict::new()), owed),
        Shape::Either(keys) => Value::from(keys.iter().take(1).map(|key| (key.clone(), Value::from(""))).collect::<Dict>()),
    }
}

fn owed(table: &Table) -> Value {
    let fields = table.iter().filter(|(_, field)| field.required);
    Value::from(fields.map(|(name, field)| (name.clone(), stand_in(&field.shape))).collect::<Dict>())
}

fn named(value: &Value) -> &'static str {
    match value {
        Value::String(..) | Value::Char(..) => "a text",
        Value::Bool(..) => "true or false",
        Value::Num(..) => "a number",
        Value::Empty(..) => "nothing",
        Value::Dict(..) => "a table",
        Value::Array(..) => "a list",
    }
}
