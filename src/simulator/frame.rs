//! One frame of the feed: what goes over the socket, and what the simulator needs to know about it.

use std::borrow::Cow;

use serde::Serialize;
use tokio_tungstenite::tungstenite::{Bytes, Message};

use crate::model::topic;

/// A message as it is sent. Clones share the bytes.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub(super) message: Message,
    /// The canonical name of a known topic, an unknown one as sent, or empty.
    pub(super) topic: Cow<'static, str>,
    /// How many events it makes.
    pub(super) elements: u32,
}

impl Frame {
    pub(super) fn text(topic: &'static str, elements: usize, text: String) -> Self {
        Self { message: Message::text(text), topic: Cow::Borrowed(topic), elements: u32::try_from(elements).unwrap_or(u32::MAX) }
    }

    /// A message of ours as JSON.
    pub(super) fn json(topic: &'static str, elements: usize, message: &impl Serialize) -> Self {
        // Structs of texts and numbers always serialise; an empty frame would show as a decode error at the reader.
        Self::text(topic, elements, serde_json::to_string(message).unwrap_or_default())
    }

    /// Any bytes, sent as they are: as text where they are UTF-8, else binary.
    pub(super) fn read(bytes: Vec<u8>) -> Self {
        let (topic, elements) = serde_json::from_slice(&bytes).map_or((Cow::Borrowed(""), 1), |value| describe(&value));
        let message = match String::from_utf8(bytes) {
            Ok(text) => Message::text(text),
            Err(binary) => Message::Binary(Bytes::from(binary.into_bytes())),
        };
        Self { message, topic, elements }
    }
}

fn describe(value: &serde_json::Value) -> (Cow<'static, str>, u32) {
    if let Some(messages) = value.as_array() {
        let parts: Vec<_> = messages.iter().map(describe).collect();
        let elements = parts.iter().map(|(_, elements)| elements).sum();
        return (parts.into_iter().next().map_or(Cow::Borrowed(""), |(topic, _)| topic), elements);
    }
    let Some(name) = value.get("topic").and_then(serde_json::Value::as_str) else { return (Cow::Borrowed(""), 1) };
    let Some(known) = topic::find(name) else { return (Cow::Owned(name.to_owned()), 1) };
    let entries = known.entries.and_then(|member| value.get(member)).and_then(serde_json::Value::as_array);
    (Cow::Borrowed(known.name), entries.map_or(1, |entries| u32::try_from(entries.len()).unwrap_or(u32::MAX)))
}
