//! What a frame is while one of our requests is open. No reply shape is documented, and there is no request id (feed.md §6): the
//! shape alone tells a reply from an event, and in doubt it is an event, which is never consumed.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value as Json;

use crate::model::event::MAX_VALUES;

/// A frame, seen while a request is open.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// A list of topics, and the method that it names, if it does.
    Topics { method: Option<String>, topics: Vec<String> },
    /// An array, or an object that holds one, with this many entries; and the first topic among them.
    Wrapped { messages: usize, topic: Option<String> },
    /// An object with a topic of its own; none that can be read.
    Event { topic: Option<String> },
    /// An object that says `"topic":"method"` or has no topic, with nothing in it that we know: to be kept and shown.
    Unrecognised,
    /// Not JSON: the decoder will say so.
    Unreadable,
}

/// Members that may hold a list, in the order in which they are believed.
const LISTS: [&str; 8] = ["topics", "data", "availabletopics", "enabledtopics", "available", "enabled", "result", "results"];
/// Members that may hold past messages.
const MESSAGES: [&str; 2] = ["messages", "data"];
/// What may stand beside a topic's name in a list of topics; anything else makes an entry an event.
const BESIDE_A_NAME: [&str; 8] = ["name", "topic", "id", "title", "description", "enabled", "available", "active"];

/// Looks at a frame while a list of topics is awaited. An array of messages is an event (a live batch).
pub(super) fn while_topics_are_asked(bytes: &[u8]) -> Reply {
    let shape = shape_of(bytes);
    match shape {
        // Events come in any number: only what may be a reply is read in full.
        Reply::Event { .. } | Reply::Unreadable => return shape,
        Reply::Topics { .. } | Reply::Wrapped { .. } | Reply::Unrecognised => {}
    }
    let Ok(json) = serde_json::from_slice::<Json>(bytes) else { return Reply::Unreadable };
    match topic_list(&json, 0) {
        Some(topics) => Reply::Topics { method: method_of(&json), topics },
        None if json.is_array() => Reply::Event { topic: None },
        None => Reply::Unrecognised,
    }
}

/// Looks at a frame while past messages are awaited. A late list of topics is told apart. Entries without a single message answer
/// nothing: taken for the answer, they would make the true one look like news.
pub(super) fn while_messages_are_asked(bytes: &[u8]) -> Reply {
    match reply_to_messages(bytes) {
        Reply::Wrapped { messages: 1.., topic: None } => Reply::Event { topic: None },
        reply => reply,
    }
}

fn reply_to_messages(bytes: &[u8]) -> Reply {
    match shape_of(bytes) {
        // A wrapper with topic names is the late answer to a question that was given up.
        wrapped @ Reply::Wrapped { messages: 1.., .. } if bytes.len() < 64 * 1024 => match while_topics_are_asked(bytes) {
            topics @ Reply::Topics { .. } => topics,
            _ => wrapped,
        },
        Reply::Unrecognised => match while_topics_are_asked(bytes) {
            topics @ Reply::Topics { .. } => topics,
            _ => Reply::Unrecognised,
        },
        other => other,
    }
}

/// Whether the frame holds more values than one may: as events it would be refused, whatever it brings.
pub(super) fn is_too_much(bytes: &[u8]) -> bool {
    // The shortest value takes two bytes with its comma.
    bytes.len() / 2 >= MAX_VALUES && serde_json::from_slice::<Values>(bytes).is_ok_and(|values| values.0 > MAX_VALUES)
}

/// The topics' names in a value that is a list of topics: texts or objects with a name, bare or within an object.
fn topic_list(json: &Json, depth: usize) -> Option<Vec<String>> {
    match json {
        Json::Array(entries) => entries.iter().map(topic_name).collect(),
        Json::Object(members) if depth < 3 => {
            if members.get("topic").is_some_and(|topic| topic.as_str() != Some("method")) {
                return None;
            }
            let plain = |name: &str| name.replace(['_', '-'], "").to_ascii_lowercase();
            let known = LISTS.iter().find_map(|list| {
                let (_, value) = members.iter().find(|(name, _)| plain(name) == *list)?;
                topic_list(value, depth + 1)
            });
            // An unknown member is believed only if it holds names.
            known.or_else(|| {
                members
                    .values()
                    .filter(|value| value.is_array())
                    .find_map(|value| topic_list(value, depth + 1).filter(|topics| !topics.is_empty()))
            })
        }
        _ => None,
    }
}

fn topic_name(entry: &Json) -> Option<String> {
    match entry {
        Json::String(name) => Some(name.clone()),
        Json::Object(members) => {
            let small = members.iter().all(|(name, value)| {
                BESIDE_A_NAME.contains(&name.to_ascii_lowercase().as_str()) && !value.is_object() && !value.is_array()
            });
            let text = |wanted: &str| {
                members.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).and_then(|(_, value)| value.as_str())
            };
            // With a topic and a mark of its own it may be an event.
            let event = ["id", "title"].iter().any(|mark| text(mark).is_some()) && text("topic").is_some();
            text("name").or(text("topic")).or(text("id")).filter(|_| small && !event).map(str::to_owned)
        }
        _ => None,
    }
}

fn method_of(json: &Json) -> Option<String> {
    json.get("method").and_then(Json::as_str).map(str::to_owned)
}

fn shape_of(bytes: &[u8]) -> Reply {
    serde_json::from_slice::<Shape>(bytes).map_or(Reply::Unreadable, |shape| shape.0)
}

/// A frame's outline, read without keeping anything of it: answers may be as large as a message may be.
struct Shape(Reply);

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Outline).map(Self)
    }
}

struct Outline;

impl<'de> Visitor<'de> for Outline {
    type Value = Reply;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, entries: A) -> Result<Reply, A::Error> {
        count(entries)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Reply, A::Error> {
        let (mut event, mut own, mut messages) = (false, None, None);
        while let Some(name) = members.next_key::<std::borrow::Cow<'de, str>>()? {
            if name == "topic" {
                own = members.next_value::<Text>()?.0;
                event = own.as_deref() != Some("method");
            } else if MESSAGES.contains(&&*name.to_ascii_lowercase()) && messages.is_none() {
                messages = members.next_value::<Length>()?.0;
            } else {
                members.next_value::<IgnoredAny>()?;
            }
        }
        Ok(match messages {
            _ if event => Reply::Event { topic: own },
            Some((messages, topic)) => Reply::Wrapped { messages, topic },
            None => Reply::Unrecognised,
        })
    }

    fn visit_bool<E>(self, _: bool) -> Result<Reply, E> {
        Ok(Reply::Unrecognised)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Reply, E> {
        Ok(Reply::Unrecognised)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Reply, E> {
        Ok(Reply::Unrecognised)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Reply, E> {
        Ok(Reply::Unrecognised)
    }

    fn visit_str<E>(self, _: &str) -> Result<Reply, E> {
        Ok(Reply::Unrecognised)
    }

    fn visit_unit<E>(self) -> Result<Reply, E> {
        Ok(Reply::Unrecognised)
    }
}

/// How many entries, and the first topic among them.
fn count<'de, A: SeqAccess<'de>>(mut entries: A) -> Result<Reply, A::Error> {
    let (mut messages, mut topic) = (0, None);
    while topic.is_none() {
        let Some(entry) = entries.next_element::<First>()? else { return Ok(Reply::Wrapped { messages, topic }) };
        messages += 1;
        topic = entry.0;
    }
    while entries.next_element::<IgnoredAny>()?.is_some() {
        messages += 1;
    }
    Ok(Reply::Wrapped { messages, topic })
}

/// The topic of an entry, if it is an object with one.
struct First(Option<String>);

impl<'de> Deserialize<'de> for First {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Outline).map(|reply| match reply {
            Reply::Event { topic } => Self(topic),
            _ => Self(None),
        })
    }
}

/// How many values there are in one, itself included.
struct Values(usize);

impl<'de> Deserialize<'de> for Values {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Sum).map(Self)
    }
}

struct Sum;

impl<'de> Visitor<'de> for Sum {
    type Value = usize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<usize, A::Error> {
        let mut sum = 1;
        while let Some(entry) = entries.next_element::<Values>()? {
            sum += entry.0;
        }
        Ok(sum)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<usize, A::Error> {
        let mut sum = 1;
        while let Some((_, value)) = members.next_entry::<IgnoredAny, Values>()? {
            sum += value.0;
        }
        Ok(sum)
    }

    fn visit_bool<E>(self, _: bool) -> Result<usize, E> {
        Ok(1)
    }

    fn visit_i64<E>(self, _: i64) -> Result<usize, E> {
        Ok(1)
    }

    fn visit_u64<E>(self, _: u64) -> Result<usize, E> {
        Ok(1)
    }

    fn visit_f64<E>(self, _: f64) -> Result<usize, E> {
        Ok(1)
    }

    fn visit_str<E>(self, _: &str) -> Result<usize, E> {
        Ok(1)
    }

    fn visit_unit<E>(self) -> Result<usize, E> {
        Ok(1)
    }
}

/// A text, or nothing for any other value.
struct Text(Option<String>);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = Json::deserialize(deserializer).map_err(D::Error::custom)?;
        Ok(Self(json.as_str().map(str::to_owned)))
    }
}

/// An array's length, or nothing for any other value.
struct Length(Option<(usize, Option<String>)>);

impl<'de> Deserialize<'de> for Length {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Outline).map(|inner| match inner {
            Reply::Wrapped { messages, topic } => Self(Some((messages, topic))),
            _ => Self(None),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topics(text: &str) -> Option<Vec<String>> {
        match while_topics_are_asked(text.as_bytes()) {
            Reply::Topics { topics, .. } => Some(topics),
            _ => None,
        }
    }

    #[test]
    fn the_values_of_an_answer_are_counted_as_the_decoder_does() {
        let values = |text: &str| serde_json::from_str::<Values>(text).unwrap().0;
        assert_eq!(values(r#"[{"topic":"x","a":null,"b":[1,-2,3.5,true,{}]},7]"#), 11);
        assert!(!is_too_much(format!("[{}1]", "1,".repeat(MAX_VALUES - 2)).as_bytes()));
        assert!(is_too_much(format!("[{}1]", "1,".repeat(MAX_VALUES - 1)).as_bytes()));
    }

    #[test]
    fn a_list_of_topics_is_read_in_every_believed_shape() {
        for text in [
            r#"["identResult","mismatches"]"#,
            r#"[{"name":"identResult"},{"name":"mismatches","enabled":true}]"#,
            r#"[{"topic":"identResult"},{"topic":"mismatches","description":"…"}]"#,
            r#"{"topics":["identResult","mismatches"]}"#,
            r#"{"data":[{"name":"identResult"},{"name":"mismatches"}]}"#,
            r#"{"data":{"topics":["identResult","mismatches"]}}"#,
            r#"{"topic":"method","method":"getEnabledTopics","data":["identResult","mismatches"]}"#,
            r#"{"topic":"method","method":"getEnabledTopics","enabledTopics":["identResult","mismatches"]}"#,
            r#"{"topic":"method","somethingNew":["identResult","mismatches"]}"#,
        ] {
            assert_eq!(topics(text), Some(vec!["identResult".to_owned(), "mismatches".to_owned()]), "{text}");
        }
        assert_eq!(topics("[]"), Some(vec![]));
        assert_eq!(topics(r#"{"topic":"method","topics":[]}"#), Some(vec![]));
    }

    #[test]
    fn a_reply_that_names_its_method_says_so() {
        let reply = while_topics_are_asked(br#"{"topic":"method","method":"getEnabledTopics","topics":["identResult"]}"#);
        assert_eq!(reply, Reply::Topics { method: Some("getEnabledTopics".to_owned()), topics: vec!["identResult".to_owned()] });
    }

    #[test]
    fn events_are_never_taken_for_a_list_of_topics() {
        for text in [
            r#"{"topic":"identResult","kyc":"WEBID","identId":"1","status":"success"}"#,
            r#"{"topic":"complianceRecord","complianceRecord":[{"status":100,"key":"a"}]}"#,
            r#"[{"topic":"identResult","kyc":"WEBID","identId":"1","status":"success"}]"#,
            r#"{"topic":"vendorSpecific","data":["a","b"]}"#,
            r#"[{"topic":"vendorSpecific","id":"1","title":"x"}]"#,
            r#"{"topic":7,"topics":["a"]}"#,
        ] {
            assert!(matches!(while_topics_are_asked(text.as_bytes()), Reply::Event { .. }), "{text}");
        }
        assert_eq!(while_topics_are_asked(b"{"), Reply::Unreadable);
        assert_eq!(while_topics_are_asked(br#"{"topic":"method","error":"no"}"#), Reply::Unrecognised);
    }

    #[test]
    fn past_messages_are_counted_in_every_believed_shape() {
        let event = r#"{"topic":"identResult","kyc":"WEBID","identId":"1","personKey":"P","status":"success"}"#;
        for (text, messages) in [
            (format!("[{event},{event}]"), 2),
            (format!(r#"{{"messages":[{event}]}}"#), 1),
            (format!(r#"{{"topic":"method","method":"getLastMessages","data":[{event},{event},{event}]}}"#), 3),
            ("[]".to_owned(), 0),
            (r#"{"topic":"method","messages":[]}"#.to_owned(), 0),
        ] {
            let topic = (messages > 0).then(|| "identResult".to_owned());
            assert_eq!(while_messages_are_asked(text.as_bytes()), Reply::Wrapped { messages, topic }, "{text}");
        }
        assert_eq!(while_messages_are_asked(event.as_bytes()), Reply::Event { topic: Some("identResult".to_owned()) });
        assert_eq!(while_messages_are_asked(br#"{"topic":"method","error":"no"}"#), Reply::Unrecognised);
        assert_eq!(while_messages_are_asked(b"\xff"), Reply::Unreadable);
    }

    #[test]
    fn entries_without_a_message_answer_nothing_and_a_bad_one_among_messages_changes_nothing() {
        for bytes in ["[1]", "[{}]", "[7,\"x\",null]", "{\"data\":[3]}"] {
            assert_eq!(while_messages_are_asked(bytes.as_bytes()), Reply::Event { topic: None }, "{bytes}");
        }
        assert_eq!(while_messages_are_asked(b"[]"), Reply::Wrapped { messages: 0, topic: None });
        let answer = br#"[7,{"topic":"identResult"},{"topic":"mismatches"}]"#;
        assert_eq!(while_messages_are_asked(answer), Reply::Wrapped { messages: 3, topic: Some("identResult".to_owned()) });
    }

    #[test]
    fn a_late_list_of_topics_is_told_from_past_messages() {
        assert!(matches!(while_messages_are_asked(br#"["identResult"]"#), Reply::Topics { .. }));
        assert!(matches!(while_messages_are_asked(br#"{"topic":"method","data":["identResult"]}"#), Reply::Topics { .. }));
        assert!(matches!(while_messages_are_asked(br#"{"topics":["identResult"]}"#), Reply::Topics { .. }));
    }
}
