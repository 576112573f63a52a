//! A message as redflag's own JSON: the body of a generic webhook, and of the file channel's `json`.

use serde_json::{Value as Json, json};

use super::context::{WITHHELD, masked_body, purpose, subject};
use crate::model::{alert::Message, rendered::Clearance, value::Value};

/// `redflag.message.v1`. A withheld field is `null` and named in `event.withheld`.
pub fn body(message: &Message, clearance: Clearance) -> Json {
    let event = message.event.as_ref().map(|event| {
        let mut withheld = Vec::new();
        let fields: serde_json::Map<String, Json> = masked_body(message, event, clearance)
            .into_iter()
            .map(|(name, value)| {
                let value = value.unwrap_or_else(|| Value::from(WITHHELD));
                (name.to_string(), to_json(&value, &name, &mut withheld))
            })
            .collect();
        json!({
            "seq": event.seq,
            "feed": event.feed,
            "topic": event.topic,
            "receivedAt": event.received_at,
            "at": event.at,
            "origin": event.origin.as_str(),
            "late": event.late,
            "maybeRepeat": event.maybe_repeat,
            "fields": fields,
            "withheld": withheld,
        })
    });
    let rule = message.card.as_deref().map(|card| {
        json!({
            "id": card.id,
            "title": card.title,
            "file": card.file,
            "hash": card.hash,
            "owner": card.owner,
            "basis": card.basis,
            "what": card.header.what,
            "why": card.header.why,
            "do": card.header.act,
        })
    });
    json!({
        "schema": "redflag.message.v1",
        "id": message.id,
        "purpose": purpose(message),
        "createdAt": message.created_at,
        "environment": message.environment,
        "severity": message.severity,
        "subject": subject(message, clearance),
        "rule": rule,
        "event": event,
        "details": if clearance == Clearance::Personal { json!(message.details) } else { Json::Null },
        "repeats": message.repeats,
        "notes": message.notes,
        "generation": message.generation,
    })
}

fn to_json(value: &Value, path: &str, withheld: &mut Vec<String>) -> Json {
    match value {
        Value::Text(text) if text == WITHHELD => {
            withheld.push(path.to_owned());
            Json::Null
        }
        Value::List(list) => {
            let entries = list.iter().enumerate();
            Json::Array(entries.map(|(index, entry)| to_json(entry, &format!("{path}[{index}]"), withheld)).collect())
        }
        Value::Map(map) => Json::Object(
            map.iter().map(|(name, value)| (name.to_string(), to_json(value, &format!("{path}.{name}"), withheld))).collect(),
        ),
        other => json!(other),
    }
}
