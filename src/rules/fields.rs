//! Which fields a rule may name: those of its topics, from redflag's own table and the configuration.

use super::{
    condition::{FieldCheck, Fields, Path},
    set::Declared,
    source::{enumerate, proposal},
};
use crate::model::topic::{self, COMMON, Field, Kind, Topic};

/// The fields of a rule's topics.
#[derive(Clone, Debug)]
pub struct TopicFields<'a> {
    topics: Vec<OneTopic<'a>>,
}

#[derive(Clone, Debug)]
struct OneTopic<'a> {
    name: &'a str,
    known: Option<&'static Topic>,
    declared: Option<&'a [String]>,
}

/// One step into a list's entries or a map, a name or an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    Name(&'a str),
    Index,
}

/// What a path leads to on one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    Known(&'static Field),
    /// A field every event has.
    Common,
    /// The configuration names it, or nothing is known of the topic.
    Unchecked,
    Secret,
    Unknown {
        /// The name that is not known.
        name: String,
        proposal: Option<String>,
    },
}

impl<'a> TopicFields<'a> {
    /// The fields of these canonical topics.
    #[must_use]
    pub fn new(topics: impl IntoIterator<Item = &'a str>, declared: &'a Declared) -> Self {
        let topics = topics
            .into_iter()
            .map(|name| OneTopic { name, known: topic::find(name), declared: declared.fields.get(name).map(Vec::as_slice) })
            .collect();
        Self { topics }
    }

    /// The topics' names, for messages: `topic a`, `topics a, b`.
    #[must_use]
    pub fn topics(&self) -> String {
        let names: Vec<&str> = self.topics.iter().map(|topic| topic.name).collect();
        format!("topic{} {}", if names.len() == 1 { "" } else { "s" }, names.join(", "))
    }

    /// What a path leads to on each topic, with the topic's name.
    pub fn find<'s>(&'s self, steps: &'s [Step<'s>]) -> impl Iterator<Item = (&'s str, Found)> + 's {
        self.topics.iter().map(move |topic| (topic.name, topic.find(steps)))
    }

    /// The first topic that does not know the path, and whether another one does.
    #[must_use]
    pub fn missing(&self, steps: &[Step<'_>]) -> Option<Missing> {
        let found: Vec<(&str, Found)> = self.find(steps).collect();
        let elsewhere = found.iter().any(|(_, found)| !matches!(found, Found::Unknown { .. }));
        found.into_iter().find_map(|(topic, found)| match found {
            Found::Unknown { name, proposal } => Some(Missing { topic: topic.to_owned(), name, proposal, elsewhere }),
            _ => None,
        })
    }

    /// Whether the path leads to a secret.
    #[must_use]
    pub fn is_secret(&self, steps: &[Step<'_>]) -> bool {
        self.find(steps).any(|(_, found)| found == Found::Secret)
    }

    /// The known field of a path on the first topic that has it.
    #[must_use]
    pub fn field(&self, steps: &[Step<'_>]) -> Option<&'static Field> {
        self.find(steps).find_map(|(_, found)| if let Found::Known(field) = found { Some(field) } else { None })
    }
}

/// A path that a topic does not know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    pub topic: String,
    pub name: String,
    pub proposal: Option<String>,
    /// Another topic of the rule knows it.
    pub elsewhere: bool,
}

impl Missing {
    /// What the topic has instead, and which topics have it; none for a topic of the configuration's own.
    #[must_use]
    pub fn help(&self) -> Option<String> {
        let fields = topic::find(&self.topic)?.fields.iter().filter(|field| !field.secret).map(|field| field.name);
        let has: Vec<&str> =
            topic::KNOWN.iter().filter(|topic| topic.field(&self.name).is_some()).map(|topic| topic.name).collect();
        let elsewhere = match has.len() {
            0 => String::new(),
            1 => format!("; {} has `{}`", has[0], self.name),
            _ => format!("; {} have `{}`", enumerate(has), self.name),
        };
        Some(format!("it has {}{elsewhere}", enumerate(fields)))
    }
}

impl OneTopic<'_> {
    fn find(&self, steps: &[Step<'_>]) -> Found {
        let Some((Step::Name(first), rest)) = steps.split_first() else { return Found::Unchecked };
        if rest.is_empty() && COMMON.contains(first) {
            return Found::Common;
        }
        if self.declared.is_some_and(|fields| fields.iter().any(|field| field == first)) {
            return Found::Unchecked;
        }
        let Some(topic) = self.known else {
            // A topic that only the configuration knows: checked if its fields are named there.
            let Some(fields) = self.declared else { return Found::Unchecked };
            let names = fields.iter().map(String::as_str).chain(COMMON.iter().copied());
            return Found::Unknown { name: (*first).to_owned(), proposal: proposal(first, names).map(str::to_owned) };
        };
        let Some(field) = topic.field(first) else {
            let names = topic.fields.iter().filter(|field| !field.secret).map(|field| field.name);
            let declared = self.declared.unwrap_or_default().iter().map(String::as_str);
            let proposal = proposal(first, names.chain(declared).chain(COMMON.iter().copied())).map(str::to_owned);
            return Found::Unknown { name: (*first).to_owned(), proposal };
        };
        if field.secret {
            return Found::Secret;
        }
        entry(field, rest)
    }
}

/// What the rest of a path leads to from a field. Only a list has something inside, behind the index of an entry.
#[must_use]
pub fn entry(field: &'static Field, steps: &[Step<'_>]) -> Found {
    match (field.kind, steps) {
        (_, []) => Found::Known(field),
        (Kind::List(_), [Step::Index]) => Found::Unchecked,
        (Kind::List(fields), [Step::Index, Step::Name(name), rest @ ..]) => named(fields, name, rest),
        (Kind::List(_), [Step::Name(name), ..]) => Found::Unknown { name: (*name).to_owned(), proposal: None },
        _ => Found::Unknown { name: field.name.to_owned(), proposal: None },
    }
}

/// What a path leads to from the entry of a list.
#[must_use]
pub fn named(fields: &'static [Field], name: &str, rest: &[Step<'_>]) -> Found {
    match fields.iter().find(|field| field.name == name) {
        Some(field) => entry(field, rest),
        None => Found::Unknown {
            name: name.to_owned(),
            proposal: proposal(name, fields.iter().map(|field| field.name)).map(str::to_owned),
        },
    }
}

/// The steps of a written path.
#[must_use]
pub fn steps(path: &str) -> Vec<Step<'_>> {
    let mut steps = Vec::new();
    for part in path.split('.') {
        let mut pieces = part.split('[');
        steps.push(Step::Name(pieces.next().unwrap_or_default()));
        steps.extend(pieces.map(|_| Step::Index));
    }
    steps
}

impl Fields for TopicFields<'_> {
    /// Known if every topic of the rule knows it: a condition on a field that one of them lacks would hold or fail there for ever.
    fn known(&self, path: &Path) -> FieldCheck {
        let path = path.to_string();
        let steps = steps(&path);
        if let Some(missing) = self.missing(&steps) {
            return FieldCheck::Unknown { proposal: missing.proposal.map(|proposal| path.replacen(&missing.name, &proposal, 1)) };
        }
        self.field(&steps).map_or(FieldCheck::Unchecked, |field| FieldCheck::Known(field.kind))
    }
}
