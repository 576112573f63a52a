//! What a template may use, made from a message: facts in a fixed order, masked for channels that are not cleared.

use chrono_tz::Tz;
use serde::Serialize;

use super::text;
use crate::model::{
    alert::{EventFacts, Message},
    card::Card,
    rendered::Clearance,
    time::Timestamp,
    topic::{self, Field},
    value::{Map, Value},
};

/// The template's variables.
#[derive(Debug, Serialize)]
pub struct Context<'a> {
    pub id: String,
    pub purpose: &'static str,
    pub severity: &'static str,
    pub environment: &'a str,
    pub language: &'static str,
    /// The subject that this channel may show.
    pub subject: String,
    pub created_at: String,
    pub rule: Option<Rule<'a>>,
    pub event: Option<Event<'a>>,
    pub facts: Vec<Fact>,
    /// Whether a fact is withheld.
    pub masked: bool,
    /// What `fn details` answered; empty on channels that are not cleared.
    pub details: Vec<Fact>,
    pub notes: Vec<String>,
    pub repeats: u64,
    pub generation: Option<String>,
    pub w: &'a std::collections::BTreeMap<String, String>,
}

#[derive(Debug, Serialize)]
pub struct Rule<'a> {
    pub id: &'a str,
    pub title: &'a str,
    pub file: &'a str,
    pub hash: String,
    pub owner: Option<&'a str>,
    pub basis: Option<&'a str>,
    pub what: String,
    pub why: Option<String>,
    #[serde(rename = "do")]
    pub act: Option<String>,
    pub noise: Option<String>,
}

#[derive(Debug, Serialize)]
pub struct Event<'a> {
    pub seq: u64,
    pub feed: &'a str,
    pub topic: &'a str,
    pub received_at: String,
    pub at: String,
    pub origin: &'static str,
    pub late: bool,
    pub maybe_repeat: bool,
}

/// One fact, for people.
#[derive(Debug, Serialize)]
pub struct Fact {
    pub name: String,
    pub value: String,
    pub masked: bool,
}

/// The surroundings that are the same for every message.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    pub words: &'a std::collections::BTreeMap<String, String>,
    pub language: &'static str,
    pub zone: Tz,
}

impl<'a> Context<'a> {
    pub fn new(message: &'a Message, clearance: Clearance, frame: Frame<'a>) -> Self {
        let cleared = clearance == Clearance::Personal;
        let withheld = frame.words.get("masked").map_or("withheld", String::as_str);
        let mut facts = Vec::new();
        if let Some(event) = &message.event {
            collect(&masked_body(message, event, clearance), "", withheld, &mut facts);
        }
        let mut details = Vec::new();
        if let (true, Some(Value::Map(map))) = (cleared, &message.details) {
            let shown = map.iter().map(|(name, value)| (name.clone(), Some(value.clone())));
            collect(&shown.collect::<Vec<_>>(), "", withheld, &mut details);
        }
        Self {
            id: message.id.to_string(),
            purpose: purpose(message),
            severity: message.severity.as_str(),
            environment: &message.environment,
            language: frame.language,
            subject: text::subject(subject(message, clearance)),
            created_at: local(message.created_at, frame.zone),
            rule: message.card.as_deref().map(rule),
            event: message.event.as_ref().map(|event| Event {
                seq: event.seq.0,
                feed: &event.feed,
                topic: &event.topic,
                received_at: local(event.received_at, frame.zone),
                at: local(event.at, frame.zone),
                origin: event.origin.as_str(),
                late: event.late,
                maybe_repeat: event.maybe_repeat,
            }),
            masked: facts.iter().any(|fact| fact.masked),
            facts,
            details,
            notes: message.notes.iter().map(|note| text::line(note)).collect(),
            repeats: message.repeats,
            generation: message.generation.map(|hash| hash.short()),
            w: frame.words,
        }
    }
}

/// The subject that a channel of this clearance may show.
pub fn subject(message: &Message, clearance: Clearance) -> &str {
    match clearance {
        Clearance::Personal => &message.subject,
        Clearance::Masked => &message.masked_subject,
    }
}

pub fn purpose(message: &Message) -> &'static str {
    use crate::model::alert::Purpose;
    match message.purpose {
        Purpose::Alert => "alert",
        Purpose::FollowUp => "follow-up",
        Purpose::Alarm => "alarm",
        Purpose::Test => "test",
    }
}

fn rule(card: &Card) -> Rule<'_> {
    Rule {
        id: &card.id,
        title: &card.title,
        file: &card.file,
        hash: card.hash.short(),
        owner: card.owner.as_deref(),
        basis: card.basis.as_deref(),
        what: sentence(&card.header.what),
        why: card.header.why.as_deref().map(sentence),
        act: card.header.act.as_deref().map(sentence),
        noise: card.header.noise.as_deref().map(sentence),
    }
}

/// Headers go on in small letters after `Why:`; under a heading of its own the text begins like a sentence.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// A member and its value; none where it is withheld.
type Shown = Vec<(crate::model::value::Name, Option<Value>)>;

/// The event's fields as a channel of this clearance may see them. Without clearance a field is shown only if redflag knows it and it is not
/// personal, by the card's list if it has one, else by the topic's: what nobody knows is withheld. Entries of lists are masked field by field.
pub fn masked_body(message: &Message, event: &EventFacts, clearance: Clearance) -> Shown {
    let personal = message.card.as_deref().and_then(|card| card.personal.as_deref());
    let fields = topic::find(&event.topic).map_or(&[][..], |topic| topic.fields);
    mask_map(&event.body, fields, personal, clearance)
}

fn mask_map(map: &Map, fields: &[Field], personal: Option<&[String]>, clearance: Clearance) -> Shown {
    map.iter().map(|(name, value)| (name.clone(), mask(name, value, fields, personal, clearance))).collect()
}

fn mask(name: &str, value: &Value, fields: &[Field], personal: Option<&[String]>, clearance: Clearance) -> Option<Value> {
    let field = fields.iter().find(|field| field.name == name);
    if field.is_some_and(|field| field.secret) {
        return None;
    }
    if clearance == Clearance::Personal {
        return Some(value.clone());
    }
    let field = field?;
    let is_personal = personal.map_or(field.personal, |names| names.iter().any(|personal| personal == name));
    if is_personal {
        return None;
    }
    let Value::List(entries) = value else { return Some(value.clone()) };
    let entries = entries.iter().map(|entry| match entry {
        Value::Map(map) => Value::Map(
            mask_map(map, field.entries(), personal, clearance)
                .into_iter()
                .map(|(name, value)| (name, value.unwrap_or_else(|| Value::from(WITHHELD))))
                .collect(),
        ),
        other => other.clone(),
    });
    Some(Value::List(entries.collect()))
}

/// Stands for a withheld value inside a list, until it is shown in the reader's language.
pub const WITHHELD: &str = "\u{1}withheld";

fn collect(members: &[(crate::model::value::Name, Option<Value>)], prefix: &str, withheld: &str, facts: &mut Vec<Fact>) {
    for (name, value) in members {
        let name = if prefix.is_empty() { name.to_string() } else { format!("{prefix}.{name}") };
        match value {
            None => facts.push(Fact { name: text::line(&name), value: withheld.to_owned(), masked: true }),
            Some(Value::Text(text)) if text == WITHHELD => {
                facts.push(Fact { name: text::line(&name), value: withheld.to_owned(), masked: true });
            }
            Some(Value::Map(map)) => {
                let inner: Shown = map.iter().map(|(name, value)| (name.clone(), Some(value.clone()))).collect();
                collect(&inner, &name, withheld, facts);
            }
            Some(Value::List(entries)) => {
                for (index, entry) in entries.iter().enumerate() {
                    let inner: Shown = match entry {
                        Value::Map(map) => map.iter().map(|(name, value)| (name.clone(), Some(value.clone()))).collect(),
                        other => {
                            let value = text::line(&other.display());
                            facts.push(Fact { name: format!("{name}[{index}]"), value, masked: false });
                            continue;
                        }
                    };
                    collect(&inner, &format!("{name}[{index}]"), withheld, facts);
                }
            }
            Some(value) if value.is_null() => {}
            Some(value) => facts.push(Fact { name: text::line(&name), value: text::line(&value.display()), masked: false }),
        }
    }
}

fn local(at: Timestamp, zone: Tz) -> String {
    at.with_timezone(&zone).format("%Y-%m-%d %H:%M:%S %Z").to_string()
}
