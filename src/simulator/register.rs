//! What the provider itself knows of identifications and people, whoever was told and however long ago: what look-ups are answered from.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde_json::Value;
use tokio_tungstenite::tungstenite::Message;

use super::frame::Frame;

/// The provider's numbers for how an identification stands.
const PENDING: u16 = 101;
const VERIFIED: u16 = 100;
const ABORTED: u16 = 102;
const FAILED: u16 = 0;

/// Identifications and people by their keys, and how they stand.
#[derive(Debug, Default)]
pub(super) struct Register(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    idents: HashMap<String, u16>,
    people: HashMap<String, u16>,
}

impl Register {
    /// Takes down what a frame says of identifications.
    pub(super) fn note(&self, frame: &Frame) {
        if !matches!(&*frame.topic, "identRequestsCreated" | "identResult" | "identResultKYC") {
            return;
        }
        let Message::Text(text) = &frame.message else { return };
        let Ok(value) = serde_json::from_str::<Value>(text) else { return };
        let messages = value.as_array().map_or(std::slice::from_ref(&value), Vec::as_slice);
        let mut known = self.known();
        for message in messages {
            let links = message.get("identLinks").and_then(Value::as_array);
            for link in links.into_iter().flatten() {
                known.take(&link["actionId"], &link["key"], PENDING);
            }
            if let Some(status) = message.get("status").and_then(Value::as_str) {
                let status = match status {
                    "success" => VERIFIED,
                    "aborted" => ABORTED,
                    _ => FAILED,
                };
                known.take(&message["identId"], &message["personKey"], status);
            }
        }
    }

    pub(super) fn ident(&self, id: &str) -> Option<u16> {
        self.known().idents.get(id).copied()
    }

    pub(super) fn person(&self, key: &str) -> Option<u16> {
        self.known().people.get(key).copied()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn take(&mut self, ident: &Value, person: &Value, status: u16) {
        for (map, key) in [(&mut self.idents, ident), (&mut self.people, person)] {
            if let Some(key) = key.as_str() {
                map.insert(key.to_owned(), status);
            }
        }
    }
}
