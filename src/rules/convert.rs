//! An event as the Rhai map that rules see, and what functions answer as a plain value.
//!
//! Every field of a known topic is there: absent text and numbers read as `()`, absent lists as `[]`, in the entries of lists too. So
//! a misspelt field is an error and an absent one is not. Times are ISO 8601 texts in UTC.

use rhai::{Dynamic, Map as Rhai};

use crate::model::{
    event::Event,
    time::Timestamp,
    topic::{self, Field, Kind},
    value::{Map, Value},
};

/// How deep a function's answer may nest.
const DEPTH: usize = 16;

/// The event as rules see it.
pub fn event(event: &Event) -> Dynamic {
    let known = topic::find(&event.topic).map_or(&[][..], |topic| topic.fields);
    let mut map = fields(&event.body, known);
    map.insert("topic".into(), event.topic.as_str().into());
    map.insert("receivedAt".into(), time(event.received_at).into());
    map.insert("at".into(), time(event.at()).into());
    map.insert("late".into(), event.late.into());
    map.into()
}

/// A time as rules and texts see it: ISO 8601 in UTC, `2023-06-01T13:23:17.706Z`.
#[must_use]
pub fn time(time: Timestamp) -> String {
    time.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true)
}

fn fields(body: &Map, known: &[Field]) -> Rhai {
    let mut map: Rhai = body.iter().map(|(name, value)| (name.as_str().into(), known_value(name, value, known))).collect();
    for field in known {
        map.entry(field.name.into()).or_insert_with(|| absent(field));
    }
    map
}

fn known_value(name: &str, value: &Value, known: &[Field]) -> Dynamic {
    let Some(field) = known.iter().find(|field| field.name == name) else { return dynamic(value) };
    match (value, field.kind) {
        (Value::Null, _) => absent(field),
        (Value::List(entries), Kind::List(inner)) => entries
            .iter()
            .map(|entry| entry.as_map().map_or_else(|| dynamic(entry), |entry| fields(entry, inner).into()))
            .collect::<rhai::Array>()
            .into(),
        _ => dynamic(value),
    }
}

fn absent(field: &Field) -> Dynamic {
    match field.kind {
        Kind::List(_) => rhai::Array::new().into(),
        Kind::Text | Kind::Number => Dynamic::UNIT,
    }
}

/// A plain value in Rhai.
pub fn dynamic(value: &Value) -> Dynamic {
    match value {
        Value::Null => Dynamic::UNIT,
        Value::Bool(value) => (*value).into(),
        Value::Int(number) => (*number).into(),
        Value::Float(number) => (*number).into(),
        Value::Text(text) => text.as_str().into(),
        Value::List(list) => list.iter().map(dynamic).collect::<rhai::Array>().into(),
        Value::Map(map) => map.iter().map(|(name, value)| (name.as_str().into(), dynamic(value))).collect::<Rhai>().into(),
    }
}

/// What a function answered, as a plain value; none if it holds a closure or the like, or nests too deep.
#[must_use]
pub fn value(answer: &Dynamic) -> Option<Value> {
    value_within(answer, DEPTH)
}

fn value_within(answer: &Dynamic, depth: usize) -> Option<Value> {
    let depth = depth.checked_sub(1)?;
    if answer.is_unit() {
        return Some(Value::Null);
    }
    if let Ok(value) = answer.as_bool() {
        return Some(Value::Bool(value));
    }
    if let Ok(number) = answer.as_int() {
        return Some(Value::Int(number));
    }
    if let Ok(number) = answer.as_float() {
        return Some(Value::Float(number));
    }
    if let Ok(letter) = answer.as_char() {
        return Some(Value::from(letter.to_string()));
    }
    if let Ok(text) = answer.as_immutable_string_ref() {
        return Some(Value::from(text.as_str()));
    }
    if let Ok(list) = answer.as_array_ref() {
        return list.iter().map(|item| value_within(item, depth)).collect::<Option<_>>().map(Value::List);
    }
    if let Ok(map) = answer.as_map_ref() {
        return map
            .iter()
            .map(|(name, item)| value_within(item, depth).map(|item| (name.to_string(), item)))
            .collect::<Option<Map>>()
            .map(Value::Map);
    }
    None
}
