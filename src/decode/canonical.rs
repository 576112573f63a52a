//! An entry's canonical fields: names in camelCase, types by the topic's table, secrets and attachments replaced.
//!
//! Lenient where the provider's documents are silent: unknown members are kept, numbers sent as text are read and the other way round;
//! what was odd is a warning. Only a value that can't be what the table says makes the entry unreadable.

use std::borrow::Cow;

use super::{
    json::{Data, Member, Node},
    numbers::{number, whole},
};
use crate::model::{
    topic::{COMMON, Field, IDENT_REQUESTS_CREATED, IDENT_RESULT_KYC, Kind, MISMATCHES, REDACTED, Topic},
    value::{EXACT, Map, Name, Value},
};

/// More fields than any known topic or list entry has.
const MOST_FIELDS: usize = 8;

/// A member of this name is a secret wherever it stands: it may open a live identification.
pub(super) const SECRET: &str = "url";

/// Turns the members of one entry into its body, and gathers what must be replaced in the original text.
#[derive(Debug)]
pub(super) struct Canonical {
    topic: Option<&'static Topic>,
    /// Longer texts in unknown members are attachments; None: the topic has none.
    limit: Option<usize>,
    /// Where we are, for the names of attachments.
    pub(super) place: String,
    pub(super) attachments: Vec<Value>,
    pub(super) edits: Vec<Edit>,
    pub(super) warnings: Vec<String>,
}

/// What stands in the original text in the place of a value.
#[derive(Debug)]
pub(super) struct Edit {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) text: Cow<'static, str>,
}

impl Canonical {
    pub(super) fn new(topic: Option<&'static Topic>, attachment_limit: usize) -> Self {
        let attaches = topic.is_some_and(|topic| topic.name == IDENT_RESULT_KYC.name);
        Self {
            topic,
            limit: attaches.then_some(attachment_limit),
            place: String::new(),
            attachments: Vec::new(),
            edits: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// The body of an entry. `flat`: the entry is the message, whose topic is no field.
    ///
    /// # Errors
    /// Which field has a shape that can't be read.
    pub(super) fn entry(&mut self, members: &[Member<'_>], flat: bool) -> Result<Map, String> {
        let fields = self.topic.map_or(&[][..], |topic| topic.fields);
        let mut body = self.members(members, fields, flat)?;
        let Some(topic) = self.topic else { return Ok(body) };
        if topic.entries.is_some() && !fields.iter().any(|field| body.get(field.name).is_some()) {
            return Err("none of the topic's fields".to_owned());
        }
        if topic.name == IDENT_REQUESTS_CREATED.name
            && body.get("personKey").is_none_or(Value::is_blank)
            && let Some(key) = body.get("key").cloned()
        {
            body.set("personKey", key);
        }
        if self.limit.is_some() {
            body.set("attachments", Value::List(std::mem::take(&mut self.attachments)));
        }
        for field in fields {
            if matches!(field.kind, Kind::List(_)) && body.get(field.name).is_none_or(Value::is_null) {
                body.set(field.name, Value::List(Vec::new()));
            }
        }
        Ok(body)
    }

    /// Adds what stood beside the list of entries; the entry's own members win.
    pub(super) fn beside(&mut self, body: &mut Map, members: &[&Member<'_>]) {
        let fields = self.topic.map_or(&[][..], |topic| topic.fields);
        for member in members {
            let field = known(fields, &member.name).map(|(_, field)| field);
            let name = field.map_or_else(|| lower_first(&member.name), |field| Name::const_new(field.name));
            let value = field.and_then(|field| self.field(field, &member.value).ok());
            let value = value.unwrap_or_else(|| self.unknown(&member.name, &member.value));
            if body.get(&name).is_none() {
                body.set(name, value);
            }
        }
    }

    /// The original text of a node, with its secrets and attachments replaced.
    pub(super) fn redact(&self, text: &str, node: &Node<'_>) -> String {
        let mut out = String::new();
        let mut from = node.start;
        for edit in self.edits.iter().filter(|edit| edit.start >= node.start && edit.end <= node.end) {
            out.push_str(&text[from..edit.start]);
            out.push_str(&edit.text);
            from = edit.end;
        }
        out.push_str(&text[from..node.end]);
        out
    }

    fn members(&mut self, members: &[Member<'_>], fields: &'static [Field], flat: bool) -> Result<Map, String> {
        let mut out: Vec<(Name, Value)> = Vec::with_capacity(members.len() + 2);
        // By field: where its value is in `out`, and how it was spelled.
        let mut taken: [Option<(usize, &str)>; MOST_FIELDS] = [None; MOST_FIELDS];
        let mut topics = 0;
        let mut lowered = false;
        for member in members {
            if flat && member.name.eq_ignore_ascii_case("topic") {
                topics += 1;
                continue;
            }
            let Some((index, field)) = known(fields, &member.name) else {
                lowered |= member.name.starts_with(|first: char| first.is_ascii_uppercase());
                let value = self.unknown(&member.name, &member.value);
                out.push((lower_first(&member.name), value));
                continue;
            };
            if self.limit.is_some() && field.name == "attachments" {
                self.attached(&member.value);
                continue;
            }
            let value = self.field(field, &member.value)?;
            match taken[index] {
                None => {
                    taken[index] = Some((out.len(), &member.name));
                    out.push((Name::const_new(field.name), value));
                }
                Some((place, spelled)) => {
                    self.warn_twice(field.name);
                    if self.documented(field, &member.name) > self.documented(field, spelled) {
                        taken[index] = Some((place, &member.name));
                        out[place].1 = value;
                    }
                }
            }
        }
        if topics > 1 {
            self.warn_twice("topic");
        }
        if lowered {
            self.drop_twins(&mut out);
        }
        if out.iter().any(|(name, _)| COMMON.contains(&&**name)) {
            self.warn("a member has the name of one of redflag's own facts");
        }
        Ok(out.into_iter().collect())
    }

    /// How close a spelling is to the documented one.
    fn documented(&self, field: &Field, spelled: &str) -> u8 {
        let pascal = self.topic.is_some_and(|topic| topic.name == MISMATCHES.name);
        let documented = pascal && spelled.starts_with(|first: char| first.is_ascii_uppercase());
        let rest = spelled.get(1..).unwrap_or_default() == field.name.get(1..).unwrap_or_default();
        u8::from(documented && rest) * 2 + u8::from(spelled == field.name)
    }

    /// Unknown members whose names differ in the case of the first letter: the first one stays.
    fn drop_twins(&mut self, out: &mut Vec<(Name, Value)>) {
        let before = out.len();
        let mut seen = std::collections::HashSet::with_capacity(before);
        out.retain(|(name, _)| seen.insert(name.clone()));
        if out.len() < before {
            self.warn("two spellings of one unknown name; the first is kept");
        }
    }

    fn field(&mut self, field: &'static Field, node: &Node<'_>) -> Result<Value, String> {
        if field.secret {
            return Ok(self.secret(node));
        }
        match (field.kind, &node.data) {
            (_, Data::Null) => Ok(Value::Null),
            (Kind::Text, Data::Text(text)) => Ok(self.text(text)),
            (Kind::Text, Data::Number(digits)) => Ok(Value::from(*digits)),
            (Kind::Text, Data::Bool(value)) => {
                self.warn_shape(field.name);
                Ok(Value::from(if *value { "true" } else { "false" }))
            }
            // What these hold is not documented; the keys that join events must be texts.
            (Kind::Text, Data::List(_) | Data::Map(_)) if field.personal => {
                self.warn_shape(field.name);
                Ok(self.free(node))
            }
            (Kind::Text, _) => Err(format!("`{}` is no text", field.name)),
            (Kind::Number, Data::Number(digits)) => whole(digits).ok_or_else(|| format!("`{}` is no whole number", field.name)),
            (Kind::Number, Data::Text(text)) if text.trim().is_empty() => Ok(Value::Null),
            (Kind::Number, Data::Text(text)) => text
                .trim()
                .parse()
                .ok()
                .filter(|number: &i64| number.abs() <= EXACT)
                .map(Value::Int)
                .ok_or_else(|| format!("`{}` is no whole number", field.name)),
            (Kind::Number, _) => Err(format!("`{}` is no whole number", field.name)),
            (Kind::List(fields), Data::List(items)) => {
                items.iter().map(|item| self.list_entry(field, fields, item)).collect::<Result<_, _>>().map(Value::List)
            }
            (Kind::List(fields), Data::Map(_)) => Ok(Value::List(vec![self.list_entry(field, fields, node)?])),
            (Kind::List(_), _) => Err(format!("`{}` is no list", field.name)),
        }
    }

    fn list_entry(&mut self, field: &'static Field, fields: &'static [Field], node: &Node<'_>) -> Result<Value, String> {
        match &node.data {
            Data::Map(members) => self.members(members, fields, false).map(Value::Map),
            _ => Err(format!("an entry of `{}` is no object", field.name)),
        }
    }

    fn unknown(&mut self, name: &str, node: &Node<'_>) -> Value {
        if name.eq_ignore_ascii_case(SECRET) {
            return self.secret(node);
        }
        if self.limit.is_none() {
            return self.free(node);
        }
        let back = self.enter(name);
        let value = self.free(node);
        self.place.truncate(back);
        value
    }

    /// A value that no table describes.
    fn free(&mut self, node: &Node<'_>) -> Value {
        match &node.data {
            Data::Null => Value::Null,
            Data::Bool(value) => Value::Bool(*value),
            Data::Number(digits) => number(digits),
            Data::Text(text) if self.limit.is_some_and(|limit| text.len() > limit) => self.attach(node, text),
            Data::Text(text) => self.text(text),
            Data::List(items) => Value::List(
                items
                    .iter()
                    .enumerate()
                    .map(|(index, item)| {
                        let back = self.place.len();
                        if self.limit.is_some() {
                            self.enter_item(index);
                        }
                        let value = self.free(item);
                        self.place.truncate(back);
                        value
                    })
                    .collect(),
            ),
            Data::Map(members) => {
                let mut lowered = false;
                let mut out = Vec::with_capacity(members.len());
                for member in members {
                    lowered |= member.name.starts_with(|first: char| first.is_ascii_uppercase());
                    out.push((lower_first(&member.name), self.unknown(&member.name, &member.value)));
                }
                if lowered {
                    self.drop_twins(&mut out);
                }
                Value::Map(out.into_iter().collect())
            }
        }
    }

    #[expect(clippy::ptr_arg, reason = "whether it is owned says whether it had escapes")]
    fn text(&mut self, text: &Cow<'_, str>) -> Value {
        // JSON allows a NUL only as an escape, and a text with escapes is owned.
        if matches!(text, Cow::Owned(text) if text.contains('\0')) {
            self.warn("a text holds a NUL character");
        }
        Value::from(&**text)
    }

    pub(super) fn secret(&mut self, node: &Node<'_>) -> Value {
        if matches!(node.data, Data::Null) {
            return Value::Null;
        }
        self.edits.push(Edit { start: node.start, end: node.end, text: Cow::Borrowed("\"[redacted]\"") });
        Value::from(REDACTED)
    }

    fn warn(&mut self, warning: &str) {
        if !self.warnings.iter().any(|said| said == warning) {
            self.warnings.push(warning.to_owned());
        }
    }

    fn warn_twice(&mut self, name: &str) {
        self.warn(&format!("two spellings of `{name}`; the documented one is kept"));
    }

    fn warn_shape(&mut self, name: &str) {
        self.warn(&format!("`{name}` is no text; kept as it came"));
    }
}

fn known(fields: &'static [Field], name: &str) -> Option<(usize, &'static Field)> {
    fields.iter().enumerate().find(|(_, field)| field.name.eq_ignore_ascii_case(name))
}

pub(super) fn lower_first(name: &str) -> Name {
    let mut name = Name::from(name);
    if let Some(first) = name.get_mut(..1) {
        first.make_ascii_lowercase();
    }
    name
}
