//! What identResultKYC carries beside its fields: images, videos, documents. Only their place, size and SHA-256 are kept, over the text
//! as sent; it is never decoded, and what stood there is replaced in the event and in the original text.

use std::borrow::Cow;

use super::{
    canonical::{Canonical, Edit, SECRET, lower_first},
    json::{Data, Node},
    numbers::whole,
};
use crate::model::{
    hash::Digest,
    topic::REDACTED,
    value::{EXACT, Map, Value},
};

/// Longer places of attachments are cut, in characters.
const LONGEST_PLACE: usize = 200;

/// Short texts of these names describe an attachment and are no content.
const LABELS: [&str; 6] = ["name", "fileName", "type", "mimeType", "contentType", "encoding"];

impl Canonical {
    /// The member `attachments`: one entry or more for each of its items, whatever their form.
    pub(super) fn attached(&mut self, node: &Node<'_>) {
        let items = match &node.data {
            Data::Null => return,
            Data::List(items) => items.as_slice(),
            _ => std::slice::from_ref(node),
        };
        for (index, item) in items.iter().enumerate() {
            let back = self.enter("attachments");
            self.enter_item(index);
            let before = self.attachments.len();
            match described(item) {
                Some(entry) => self.attachments.push(entry),
                None => self.content(item),
            }
            if self.attachments.len() == before {
                self.list(0, Digest::of(b""));
            }
            self.place.truncate(back);
        }
    }

    /// Every text of an attachment but its labels is content.
    fn content(&mut self, node: &Node<'_>) {
        match &node.data {
            Data::Text(text) => {
                self.attach(node, text);
            }
            Data::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    let back = self.place.len();
                    self.enter_item(index);
                    self.content(item);
                    self.place.truncate(back);
                }
            }
            Data::Map(members) => {
                for member in members {
                    let back = self.enter(&member.name);
                    let label = LABELS.iter().any(|label| label.eq_ignore_ascii_case(&member.name));
                    if member.name.eq_ignore_ascii_case(SECRET) {
                        self.secret(&member.value);
                    } else if !(label && member.value.len() <= LONGEST_PLACE) {
                        self.content(&member.value);
                    }
                    self.place.truncate(back);
                }
            }
            Data::Null | Data::Bool(_) | Data::Number(_) => {}
        }
    }

    pub(super) fn attach(&mut self, node: &Node<'_>, text: &str) -> Value {
        let digest = Digest::of(text.as_bytes());
        self.list(text.len(), digest);
        let edit = format!(r#"{{"redacted":"attachment","size":{},"sha256":"{digest}"}}"#, text.len());
        self.edits.push(Edit { start: node.start, end: node.end, text: Cow::Owned(edit) });
        Value::from(REDACTED)
    }

    fn list(&mut self, size: usize, digest: Digest) {
        let place: String = self.place.chars().take(LONGEST_PLACE).collect();
        let size = i64::try_from(size).unwrap_or(EXACT);
        self.attachments.push(Value::Map(Map::from_iter([
            ("name", Value::from(place)),
            ("size", Value::Int(size)),
            ("sha256", Value::from(digest.to_string())),
        ])));
    }

    /// Goes into a member; answers what to cut the place back to.
    pub(super) fn enter(&mut self, name: &str) -> usize {
        let back = self.place.len();
        // What lies beyond would be cut anyway.
        if back <= LONGEST_PLACE * 4 {
            if back > 0 {
                self.place.push('.');
            }
            self.place.extend(lower_first(name).chars().take(LONGEST_PLACE));
        }
        back
    }

    /// Goes into an item of a list.
    pub(super) fn enter_item(&mut self, index: usize) {
        self.place.push('[');
        self.place.push_str(&index.to_string());
        self.place.push(']');
    }
}

/// An entry that has the canonical form already: a sample, or an event that was exported.
fn described(node: &Node<'_>) -> Option<Value> {
    let Data::Map(members) = &node.data else { return None };
    let value = |name: &str| members.iter().find(|member| member.name == name).map(|member| &member.value.data);
    match (members.len(), value("name")?, value("size")?, value("sha256")?) {
        (3, Data::Text(name), Data::Number(size), Data::Text(digest)) if name.len() <= LONGEST_PLACE * 4 => {
            Some(Value::Map(Map::from_iter([
                ("name", Value::from(name.to_string())),
                ("size", whole(size)?),
                ("sha256", Value::from(Digest::parse(digest)?.to_string())),
            ])))
        }
        _ => None,
    }
}
