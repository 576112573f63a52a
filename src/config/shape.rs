//! The shape of a configuration, read off its schema: which keys there are, what each takes, which are owed.
//!
//! The schema is derived from the section structs, so that loader, environment, documentation and editors agree by construction.

use std::{collections::BTreeMap, sync::LazyLock};

use serde_json::Value as Json;

use super::{
    Config,
    feeds::{ByteSize, StartFrom, zone::ZoneName},
};
use crate::model::time::Span;

/// What a key takes.
#[derive(Clone, Debug)]
pub enum Shape {
    Text,
    /// A text with rules of its own, such as a length of time.
    Checked(Check),
    /// One of these words.
    Words(Vec<String>),
    Number,
    Flag,
    List(Box<Shape>),
    /// Names that the user chooses.
    Map(Box<Shape>),
    Table(Table),
    /// Tables told apart by the key `kind`.
    Kinds(BTreeMap<String, Table>),
    /// A table with exactly one of these keys, each a text: a secret's place.
    Either(Vec<String>),
}

/// Says what is wrong with a text.
pub type Check = fn(&str) -> Result<(), String>;

/// A table's keys.
pub type Table = BTreeMap<String, Field>;

/// One key of a table.
#[derive(Clone, Debug)]
pub struct Field {
    pub shape: Shape,
    pub required: bool,
}

/// The shape of `redflag.toml`.
pub fn root() -> &'static Shape {
    static ROOT: LazyLock<Shape> = LazyLock::new(|| {
        let schema = schema();
        let definitions = &schema["$defs"];
        read(&schema, definitions)
    });
    &ROOT
}

/// The JSON schema of `redflag.toml`.
#[must_use]
pub fn schema() -> Json {
    schemars::schema_for!(Config).to_value()
}

fn read(schema: &Json, definitions: &Json) -> Shape {
    if let Some(name) = schema["$ref"].as_str().and_then(|path| path.strip_prefix("#/$defs/")) {
        return check(name).map_or_else(|| read(&definitions[name], definitions), Shape::Checked);
    }
    if let Some(parts) = schema["anyOf"].as_array() {
        // An optional value: itself or null.
        return parts.iter().find(|part| part["type"] != "null").map_or(Shape::Text, |part| read(part, definitions));
    }
    if let Some(variants) = schema["oneOf"].as_array() {
        return one_of(variants, definitions);
    }
    if let Some(words) = schema["enum"].as_array() {
        return Shape::Words(words.iter().filter_map(|word| word.as_str().map(str::to_owned)).collect());
    }
    if let Some(word) = schema["const"].as_str() {
        return Shape::Words(vec![word.to_owned()]);
    }
    let kind = schema["type"].as_str().or_else(|| schema["type"].as_array().and_then(|kinds| kinds.first()?.as_str()));
    match kind {
        Some("integer" | "number") => Shape::Number,
        Some("boolean") => Shape::Flag,
        Some("array") => Shape::List(Box::new(read(&schema["items"], definitions))),
        Some("object") if schema["additionalProperties"].is_object() => {
            Shape::Map(Box::new(read(&schema["additionalProperties"], definitions)))
        }
        Some("object") => Shape::Table(table(schema, definitions)),
        _ => Shape::Text,
    }
}

fn one_of(variants: &[Json], definitions: &Json) -> Shape {
    let words: Option<Vec<_>> = variants.iter().map(|variant| variant["const"].as_str().map(str::to_owned)).collect();
    if let Some(words) = words {
        return Shape::Words(words);
    }
    let kinds: Option<BTreeMap<_, _>> = variants
        .iter()
        .map(|variant| Some((variant["properties"]["kind"]["const"].as_str()?.to_owned(), table(variant, definitions))))
        .collect();
    if let Some(kinds) = kinds {
        return Shape::Kinds(kinds);
    }
    Shape::Either(variants.iter().filter_map(|variant| variant["properties"].as_object()?.keys().next().cloned()).collect())
}

fn table(schema: &Json, definitions: &Json) -> Table {
    let required = |key: &str| schema["required"].as_array().is_some_and(|keys| keys.iter().any(|owed| owed == key));
    schema["properties"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| (key.clone(), Field { shape: read(value, definitions), required: required(key) }))
        .collect()
}

/// How the texts with rules of their own are checked, by their name in the schema.
fn check(name: &str) -> Option<Check> {
    match name {
        "Span" => Some(|text| text.parse::<Span>().map(drop).map_err(|error| error.to_string())),
        "ByteSize" => Some(|text| text.parse::<ByteSize>().map(drop)),
        "StartFrom" => Some(deserializes::<StartFrom>),
        "ZoneName" => Some(deserializes::<ZoneName>),
        _ => None,
    }
}

fn deserializes<T: serde::de::DeserializeOwned>(text: &str) -> Result<(), String> {
    serde_json::from_value::<T>(Json::from(text)).map(drop).map_err(|error| error.to_string())
}

impl Shape {
    /// In words, for "must be …".
    #[must_use]
    pub fn expected(&self) -> String {
        match self {
            Self::Text | Self::Checked(_) => "a text in quotes".to_owned(),
            Self::Words(words) => one_word(words),
            Self::Number => "a whole number".to_owned(),
            Self::Flag => "true or false".to_owned(),
            Self::List(_) => "a list: [\"…\"]".to_owned(),
            Self::Map(_) | Self::Table(_) | Self::Kinds(_) => "a table".to_owned(),
            Self::Either(keys) => {
                let forms: Vec<_> = keys.iter().map(|key| format!("{{ {key} = \"…\" }}")).collect();
                format!("a secret's place, never the secret itself: {}", join(&forms))
            }
        }
    }

    /// The shape below a key, whatever the kind.
    #[must_use]
    pub fn below(&self, key: &str) -> Option<&Shape> {
        match self {
            Self::Table(table) => table.get(key).map(|field| &field.shape),
            Self::Kinds(kinds) => kinds.values().find_map(|table| table.get(key)).map(|field| &field.shape),
            Self::Map(inner) | Self::List(inner) => Some(inner),
            Self::Either(keys) => keys.iter().any(|known| known == key).then_some(&Self::Text),
            _ => None,
        }
    }

    /// The keys that this may have below it; none where the user names them.
    #[must_use]
    pub fn keys(&self) -> Vec<&str> {
        match self {
            Self::Table(table) => table.keys().map(String::as_str).collect(),
            Self::Kinds(kinds) => {
                let mut keys: Vec<_> = kinds.values().flat_map(BTreeMap::keys).map(String::as_str).collect();
                keys.sort_unstable();
                keys.dedup();
                keys
            }
            Self::Either(keys) => keys.iter().map(String::as_str).collect(),
            _ => Vec::new(),
        }
    }
}

/// `"a", "b" or "c"`.
#[must_use]
pub fn one_word(words: &[String]) -> String {
    join(&words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>())
}

fn join(parts: &[String]) -> String {
    match parts {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

/// The nearest of the known words, where one is near enough to be meant.
#[must_use]
pub fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|word| (strsim::jaro_winkler(&wrong.to_lowercase(), &word.to_lowercase()), word))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, word)| word)
}
