//! The layers of a configuration: a TOML file, the environment, the command line. Each remembers where its values stand.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use figment::{
    Metadata, Profile, Provider,
    value::{Dict, Empty, Map, Tag, Value},
};
use toml::de::{DeTable, DeValue};

use super::{
    problem::{Key, Origin, Problem},
    shape::{Shape, nearest},
};

/// What the environment's variables begin with.
pub const PREFIX: &str = "REDFLAG__";

/// Keys that hold a path. A relative one is meant from the folder of the file that names it.
const PATHS: &[&[&str]] = &[
    &["data_dir"],
    &["rules", "directory"],
    &["templates", "directory"],
    &["feeds", "*", "path"],
    &["feeds", "*", "password", "file"],
    &["channels", "*", "path"],
    &["channels", "*", "ca_file"],
    &["channels", "*", "password", "file"],
    &["channels", "*", "url", "file"],
    &["channels", "*", "secret", "file"],
    &["heartbeat", "url", "file"],
];

/// Values of one source, and the place of each.
#[derive(Clone, Debug)]
pub struct Layer {
    name: String,
    pub values: Dict,
    pub places: BTreeMap<Key, Origin>,
}

impl Layer {
    /// What stands in for absent values and depends on the main file's folder.
    #[must_use]
    pub fn defaults(folder: &Path) -> Self {
        let mut layer = Self { name: "defaults".to_owned(), values: Dict::new(), places: BTreeMap::new() };
        layer.set(&key("rules.directory"), Value::from(folder.join("rules").display().to_string()), Origin::Default);
        layer
    }

    /// Values of the command line, as dotted keys.
    #[must_use]
    pub fn command_line(overrides: &[(String, String)]) -> Self {
        let mut layer = Self { name: "command line".to_owned(), values: Dict::new(), places: BTreeMap::new() };
        for (name, value) in overrides {
            layer.set(&key(name), Value::from(value.as_str()), Origin::CommandLine);
        }
        layer
    }

    /// Reads a TOML text; `path` names it in messages.
    ///
    /// # Errors
    /// The first thing that is no TOML, with its line and column.
    pub fn toml(path: &Path, text: &str) -> Result<Self, Problem> {
        let table = DeTable::parse(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start.min(text.len()));
            let column = text[..at].rsplit('\n').next().map_or(0, |line| line.chars().count()) + 1;
            let origin = Origin::File { path: path.to_owned(), line: line_of(text, at) };
            Problem::at(Key::new(), format!("no TOML at column {column}: {}", error.message().trim())).from(origin)
        })?;
        let mut reader = TomlReader { path, text, places: BTreeMap::new() };
        let values = reader.table(table.get_ref(), &mut Key::new());
        let mut layer = Self { name: path.display().to_string(), values, places: reader.places };
        anchor(&mut layer.values, path.parent().unwrap_or(Path::new("")), &mut Vec::new());
        Ok(layer)
    }

    /// Reads the variables that begin with [`PREFIX`]. `below` are the layers that the environment overrides: its names of feeds and
    /// channels are matched with theirs.
    pub fn environment(variables: &[(String, String)], below: &[Layer], shape: &Shape, problems: &mut Vec<Problem>) -> Self {
        let mut layer = Self { name: "environment".to_owned(), values: Dict::new(), places: BTreeMap::new() };
        let mut variables: Vec<_> = variables.iter().filter(|(name, _)| name.starts_with(PREFIX)).collect();
        variables.sort();
        for (name, text) in variables {
            let origin = Origin::Environment(name.clone());
            match resolve(&name[PREFIX.len()..], below, shape) {
                Err(problem) => problems.push(problem.from(origin)),
                Ok((key, _)) if layer.places.contains_key(&key) => {
                    let other = &layer.places[&key];
                    problems.push(
                        Problem::at(key.clone(), format!("{other} sets it already")).from(origin).help("keep one of the two"),
                    );
                }
                Ok((key, shape)) => match value(text, shape) {
                    Ok(value) => layer.set(&key, value, origin),
                    Err(what) => problems.push(Problem::at(key, what).from(origin)),
                },
            }
        }
        layer
    }

    /// Takes a key and all below it out.
    pub fn remove(&mut self, key: &[String]) {
        fn take(dict: &mut Dict, key: &[String]) {
            match key {
                [] => {}
                [last] => drop(dict.remove(last)),
                [first, rest @ ..] => {
                    if let Some(Value::Dict(_, below)) = dict.get_mut(first) {
                        take(below, rest);
                    }
                }
            }
        }
        take(&mut self.values, key);
        self.places.retain(|place, _| !place.starts_with(key));
    }

    /// Keys of this layer that hold a secret's place.
    #[must_use]
    pub fn secrets(&self, shape: &Shape) -> Vec<Key> {
        fn walk(value: &Value, shape: &Shape, at: &mut Key, found: &mut Vec<Key>) {
            if let (Value::Dict(..), Shape::Either(_)) = (value, shape) {
                found.push(at.clone());
            } else if let Value::Dict(_, dict) = value {
                for (name, value) in dict {
                    if let Some(shape) = shape.below(name) {
                        at.push(name.clone());
                        walk(value, shape, at, found);
                        at.pop();
                    }
                }
            }
        }
        let mut found = Vec::new();
        walk(&Value::from(self.values.clone()), shape, &mut Key::new(), &mut found);
        found
    }

    fn set(&mut self, key: &[String], value: Value, origin: Origin) {
        let Some((last, path)) = key.split_last() else { return };
        let mut dict = &mut self.values;
        for name in path {
            let below = dict.entry(name.clone()).or_insert_with(|| Value::from(Dict::new()));
            if !matches!(below, Value::Dict(..)) {
                *below = Value::from(Dict::new());
            }
            let Value::Dict(_, inner) = below else { return };
            dict = inner;
        }
        dict.insert(last.clone(), value);
        self.places.insert(key.to_owned(), origin);
    }
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Map::from([(Profile::Default, self.values.clone())]))
    }
}

/// `a.b` as a key.
#[must_use]
pub fn key(dotted: &str) -> Key {
    dotted.split('.').map(str::to_owned).collect()
}

struct TomlReader<'a> {
    path: &'a Path,
    text: &'a str,
    places: BTreeMap<Key, Origin>,
}

impl TomlReader<'_> {
    fn table(&mut self, table: &DeTable<'_>, at: &mut Key) -> Dict {
        let mut dict = Dict::new();
        for (name, value) in table {
            at.push(name.get_ref().to_string());
            self.note(at, name.span().start);
            let value = self.value(value.get_ref(), at);
            at.pop();
            dict.insert(name.get_ref().to_string(), value);
        }
        dict
    }

    fn value(&mut self, value: &DeValue<'_>, at: &mut Key) -> Value {
        match value {
            DeValue::Table(table) => Value::from(self.table(table, at)),
            DeValue::Array(items) => {
                let mut list = Vec::new();
                for (number, item) in items.iter().enumerate() {
                    at.push(number.to_string());
                    self.note(at, item.span().start);
                    list.push(self.value(item.get_ref(), at));
                    at.pop();
                }
                Value::Array(Tag::Default, list)
            }
            scalar => plain(scalar),
        }
    }

    fn note(&mut self, at: &Key, offset: usize) {
        let origin = Origin::File { path: self.path.to_owned(), line: line_of(self.text, offset) };
        self.places.insert(at.clone(), origin);
    }
}

/// A value without places.
fn plain(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::from(text.as_ref()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or_else(|_| Value::from(number.as_str().to_owned()), Value::from),
        DeValue::Float(number) => number.as_str().parse::<f64>().map_or(Value::Empty(Tag::Default, Empty::Unit), Value::from),
        DeValue::Boolean(flag) => Value::from(*flag),
        DeValue::Datetime(stamp) => Value::from(stamp.to_string()),
        DeValue::Array(items) => Value::Array(Tag::Default, items.iter().map(|item| plain(item.get_ref())).collect()),
        DeValue::Table(table) => {
            Value::from(table.iter().map(|(name, value)| (name.get_ref().to_string(), plain(value.get_ref()))).collect::<Dict>())
        }
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes()[..offset.min(text.len())].split(|byte| *byte == b'\n').count()
}

/// Whether a path stands there.
pub(super) fn is_path(at: &[String]) -> bool {
    let fits = |path: &&&[&str]| {
        path.len() == at.len() && path.iter().zip(at).all(|(expected, name)| *expected == "*" || expected == name)
    };
    PATHS.iter().any(|path| fits(&path))
}

/// Makes relative paths start in `folder`.
fn anchor(dict: &mut Dict, folder: &Path, at: &mut Vec<String>) {
    for (name, value) in dict {
        at.push(name.clone());
        let is_path = is_path(at);
        match value {
            Value::Dict(_, below) => anchor(below, folder, at),
            Value::String(_, text) if is_path && text != "-" && !text.is_empty() => {
                let path: PathBuf = folder.join(&*text);
                // A folder's final slash says that it is one; joining keeps it.
                *text = path.display().to_string();
            }
            _ => {}
        }
        at.pop();
    }
}

/// The key that a variable means, its name without the prefix, and what stands there.
fn resolve<'s>(name: &str, below: &[Layer], shape: &'s Shape) -> Result<(Key, &'s Shape), Problem> {
    let mut key = Key::new();
    let mut shape = shape;
    let mut parts = name.split("__");
    while let Some(part) = parts.next() {
        let part = part.to_lowercase();
        let (names, free) = match shape {
            Shape::Map(_) => (names_at(below, &key), true),
            Shape::Kinds(kinds) => match kind_at(below, &key).and_then(|kind| kinds.get(&kind)) {
                Some(table) => (table.keys().cloned().collect(), false),
                None => (shape.keys().into_iter().map(str::to_owned).collect(), false),
            },
            _ => (shape.keys().into_iter().map(str::to_owned).collect(), false),
        };
        let matching: Vec<_> = names.iter().filter(|name| spelled(name) == spelled(&part)).collect();
        let next = match matching[..] {
            [one] => one.clone(),
            [] if free && !part.is_empty() => part.replace('_', "-"),
            [] => {
                let problem = Problem::at(Key::new(), "no such key, the variable has no effect");
                return Err(match nearest(&part, names.iter().map(String::as_str)) {
                    Some(near) => {
                        let rest = parts.map(str::to_owned);
                        problem.help(format!("did you mean ${}?", variable(key.into_iter().chain([near.to_owned()]).chain(rest))))
                    }
                    None if names.is_empty() => problem.help(format!("`{}` has no keys below it", key.join("."))),
                    None => problem.help(format!("here are possible: {}", names.join(", "))),
                });
            }
            [one, other, ..] => {
                return Err(Problem::at(key, format!("the variable could mean `{one}` or `{other}`"))
                    .help("rename one of them: in a variable `-` and `_` are the same"));
            }
        };
        shape = shape.below(&next).unwrap_or(shape);
        key.push(next);
    }
    Ok((key, shape))
}

/// The variable of a key.
fn variable(key: impl Iterator<Item = String>) -> String {
    format!("{PREFIX}{}", key.map(|part| spelled(&part).to_uppercase()).collect::<Vec<_>>().join("__"))
}

fn spelled(name: &str) -> String {
    name.to_lowercase().replace('-', "_")
}

/// The tables at a key, the lowest layer's first.
fn tables_at<'a>(layers: &'a [Layer], key: &'a [String]) -> impl Iterator<Item = &'a Dict> {
    layers.iter().filter_map(|layer| {
        key.iter().try_fold(&layer.values, |dict, name| match dict.get(name) {
            Some(Value::Dict(_, below)) => Some(below),
            _ => None,
        })
    })
}

fn names_at(layers: &[Layer], key: &[String]) -> Vec<String> {
    let mut names: Vec<_> = tables_at(layers, key).flat_map(|dict| dict.keys().cloned()).collect();
    names.sort();
    names.dedup();
    names
}

fn kind_at(layers: &[Layer], key: &[String]) -> Option<String> {
    tables_at(layers, key).filter_map(|dict| dict.get("kind")?.as_str().map(str::to_owned)).last()
}

/// A variable's text as the value that its key takes: texts as they are, all else as TOML; a list of one needs no brackets.
fn value(text: &str, shape: &Shape) -> Result<Value, String> {
    let listed = text.trim_start().starts_with('[');
    match shape {
        Shape::Text | Shape::Words(_) | Shape::Checked(_) => Ok(Value::from(text)),
        Shape::List(inner) if !listed && matches!(**inner, Shape::Text) => {
            Ok(Value::Array(Tag::Default, vec![Value::from(text)]))
        }
        _ => DeValue::parse(text.trim())
            .map(|value| plain(value.get_ref()))
            .map_err(|_| format!("must be {}, written as in the file", shape.expected())),
    }
}
