//! The hash of an element: SHA-256 over the canonical JSON of `[topic, entry]`, or `[topic, entry, beside]` where members stood beside
//! the list that held the entry. Names sorted by their bytes, no spaces, shortest escapes, numbers by the digits that were sent, the
//! topic by its canonical name. It is taken before anything is redacted, so equal content hashes equal however it was wrapped or
//! spaced, and nothing but the hash remembers the redacted parts.

use sha2::{Digest as _, Sha256};

use super::json::{Data, Member, Node};
use crate::model::hash::Digest;

/// Writes to the hash are gathered to this size; longer texts go to it directly.
const BUFFER: usize = 1024;

/// The hash of one entry. `flat`: the entry is the message, so its topic is left out here.
pub(super) fn of(topic: &str, members: &[Member<'_>], flat: bool, beside: &[&Member<'_>]) -> Digest {
    let mut out = Out { hasher: Sha256::new(), buffer: Vec::with_capacity(BUFFER) };
    out.put(b"[");
    out.string(topic);
    out.put(b",");
    out.object(members.iter().filter(|member| !(flat && member.name.eq_ignore_ascii_case("topic"))));
    if !beside.is_empty() {
        out.put(b",");
        out.object(beside.iter().copied());
    }
    out.put(b"]");
    out.finish()
}

struct Out {
    hasher: Sha256,
    buffer: Vec<u8>,
}

impl Out {
    fn put(&mut self, bytes: &[u8]) {
        if self.buffer.len() + bytes.len() > BUFFER {
            self.hasher.update(&self.buffer);
            self.buffer.clear();
        }
        if bytes.len() > BUFFER {
            self.hasher.update(bytes);
        } else {
            self.buffer.extend_from_slice(bytes);
        }
    }

    fn node(&mut self, node: &Node<'_>) {
        match &node.data {
            Data::Null => self.put(b"null"),
            Data::Bool(true) => self.put(b"true"),
            Data::Bool(false) => self.put(b"false"),
            Data::Number(digits) => self.put(digits.as_bytes()),
            Data::Text(text) => self.string(text),
            Data::List(items) => {
                self.put(b"[");
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        self.put(b",");
                    }
                    self.node(item);
                }
                self.put(b"]");
            }
            Data::Map(members) => self.object(members.iter()),
        }
    }

    fn object<'m, 'a: 'm>(&mut self, members: impl Iterator<Item = &'m Member<'a>>) {
        let mut sorted: Vec<&Member<'a>> = members.collect();
        sorted.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        self.put(b"{");
        for (index, member) in sorted.into_iter().enumerate() {
            if index > 0 {
                self.put(b",");
            }
            self.string(&member.name);
            self.put(b":");
            self.node(&member.value);
        }
        self.put(b"}");
    }

    fn string(&mut self, text: &str) {
        self.put(b"\"");
        let bytes = text.as_bytes();
        let mut from = 0;
        for (index, byte) in bytes.iter().enumerate() {
            let escape: &[u8] = match byte {
                b'"' => b"\\\"",
                b'\\' => b"\\\\",
                b'\n' => b"\\n",
                b'\r' => b"\\r",
                b'\t' => b"\\t",
                0x08 => b"\\b",
                0x0c => b"\\f",
                0..0x20 => b"",
                _ => continue,
            };
            self.put(&bytes[from..index]);
            if escape.is_empty() {
                self.put(format!("\\u{byte:04x}").as_bytes());
            } else {
                self.put(escape);
            }
            from = index + 1;
        }
        self.put(&bytes[from..]);
        self.put(b"\"");
    }

    fn finish(mut self) -> Digest {
        self.hasher.update(&self.buffer);
        Digest::from_bytes(self.hasher.finalize().into())
    }
}
