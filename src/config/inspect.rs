//! Compares merged values with the shape of a configuration: unknown keys, missing keys, wrong types. All of them, not the first.

use figment::value::{Dict, Value};

use super::{
    problem::{Key, Problem},
    shape::{Field, Shape, Table, nearest, one_word},
};

/// Appends what is wrong with `value` at `at`.
pub fn inspect(value: &Value, shape: &Shape, at: &mut Key, problems: &mut Vec<Problem>) {
    match (shape, value) {
        (Shape::Text, Value::String(..)) | (Shape::Flag, Value::Bool(..)) => {}
        (Shape::Number, Value::Num(_, number)) => {
            if number.to_u128().is_none() && number.to_i128().is_none_or(|number| number < 0) {
                problems.push(Problem::at(at.clone(), "must be a whole number, not negative"));
            }
        }
        (Shape::Checked(check), Value::String(_, text)) => {
            if let Err(what) = check(text) {
                problems.push(Problem::at(at.clone(), what));
            }
        }
        (Shape::Words(words), Value::String(_, text)) => {
            if !words.contains(text) {
                let problem = Problem::at(at.clone(), format!("\"{text}\" is not known here; write {}", one_word(words)));
                problems.push(match nearest(text, words.iter().map(String::as_str)) {
                    Some(near) if words.len() > 1 => problem.help(format!("did you mean \"{near}\"?")),
                    _ => problem,
                });
            }
        }
        (Shape::List(inner), Value::Array(_, items)) => {
            for (number, item) in items.iter().enumerate() {
                at.push(number.to_string());
                inspect(item, inner, at, problems);
                at.pop();
            }
        }
        (Shape::Map(inner), Value::Dict(_, dict)) => {
            for (name, value) in dict {
                at.push(name.clone());
                inspect(value, inner, at, problems);
                at.pop();
            }
        }
        (Shape::Table(table), Value::Dict(_, dict)) => inspect_table(dict, table, &|_| None, at, problems),
        (Shape::Kinds(kinds), Value::Dict(_, dict)) => {
            let words: Vec<_> = kinds.keys().cloned().collect();
            match dict.get("kind") {
                Some(Value::String(_, kind)) if kinds.contains_key(kind) => {
                    let elsewhere = |key: &str| {
                        let other = kinds.iter().find(|(_, table)| table.contains_key(key))?.0;
                        Some(format!("`{key}` belongs to kind = \"{other}\", this is kind = \"{kind}\""))
                    };
                    inspect_table(dict, &kinds[kind], &elsewhere, at, problems);
                }
                Some(kind) => {
                    at.push("kind".to_owned());
                    inspect(kind, &Shape::Words(words), at, problems);
                    at.pop();
                }
                None => problems.push(
                    Problem::at(at.clone(), "the key `kind` is missing").help(format!("write kind = {}", one_word(&words))),
                ),
            }
        }
        (Shape::Either(keys), Value::Dict(_, dict)) => {
            let known: Table = keys.iter().map(|key| (key.clone(), Field { shape: Shape::Text, required: false })).collect();
            inspect_table(dict, &known, &|_| None, at, problems);
            if dict.keys().filter(|key| keys.contains(key)).count() != 1 {
                problems.push(Problem::at(at.clone(), format!("must be {}", shape.expected())));
            }
        }
        (Shape::Words(words), _) => problems.push(Problem::at(at.clone(), format!("must be {}", one_word(words)))),
        (shape, value) => {
            problems.push(Problem::at(at.clone(), format!("must be {}, not {}", shape.expected(), named(value))));
        }
    }
}

fn inspect_table(
    dict: &Dict,
    table: &Table,
    elsewhere: &dyn Fn(&str) -> Option<String>,
    at: &mut Key,
    problems: &mut Vec<Problem>,
) {
    let mut meant = Vec::new();
    for (name, value) in dict {
        at.push(name.clone());
        if let Some(field) = table.get(name) {
            inspect(value, &field.shape, at, problems);
        } else {
            let problem = Problem::at(at.clone(), "unknown key");
            // Of what is there already nothing can be meant.
            let free = table.keys().map(String::as_str).filter(|key| !dict.contains_key(*key));
            problems.push(if let Some(hint) = elsewhere(name) {
                problem.help(hint)
            } else if let Some(near) = nearest(name, free) {
                meant.push(near);
                problem.help(format!("did you mean `{near}`?"))
            } else {
                problem.help(format!("known here: {}", table.keys().map(String::as_str).collect::<Vec<_>>().join(", ")))
            });
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
        problems.push(Problem::at(at.clone(), format!("the key `{name}` is missing")).help(format!("write {form}")));
    }
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
