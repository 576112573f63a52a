//! The name of a value in an event: `status`, `a.b[0].c`.

use std::{borrow::Cow, fmt, str::FromStr};

use crate::{
    model::{
        event::Event,
        time::Timestamp,
        value::{Map, Name, Value},
    },
    rules::convert,
};

/// A dotted and indexed path. The fields of every event (`topic`, `receivedAt`, `at`, `late`) are found too.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Path {
    first: Name,
    rest: Box<[Step]>,
    common: Option<Common>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Step {
    Name(Box<str>),
    Index(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Common {
    Topic,
    ReceivedAt,
    At,
    Late,
}

/// What stands at a path.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Found<'a> {
    Absent,
    Value(&'a Value),
    /// The topic.
    Text(&'a str),
    Time(Timestamp),
    Flag(bool),
}

impl Path {
    /// # Errors
    /// What is wrong with the text, for people.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut steps = Vec::new();
        for part in text.split('.') {
            let (name, mut indices) = part.split_at(part.find('[').unwrap_or(part.len()));
            if name.is_empty() {
                return Err(if part.is_empty() {
                    "a name is missing at a dot".into()
                } else {
                    "an index needs a name before it".into()
                });
            }
            if let Some(odd) = name.chars().find(|c| c.is_whitespace() || c.is_control() || "]{}|\"`".contains(*c)) {
                return Err(format!("`{}` can't stand in a field's name", odd.escape_debug()));
            }
            steps.push(Step::Name(name.into()));
            while let Some(open) = indices.strip_prefix('[') {
                let (digits, behind) = open.split_once(']').ok_or("the index has no closing bracket")?;
                let index = digits.parse().map_err(|_| format!("`{digits}` is no index; entries are counted from 0"))?;
                steps.push(Step::Index(index));
                indices = behind;
            }
            if !indices.is_empty() {
                return Err(format!("expected a dot before `{indices}`"));
            }
        }
        let mut steps = steps.into_iter();
        let Some(Step::Name(first)) = steps.next() else { return Err("a path starts with a name".into()) };
        let rest: Box<[Step]> = steps.collect();
        let common = if rest.is_empty() { Common::named(&first) } else { None };
        Ok(Self { first: first.into(), rest, common })
    }

    /// The first name.
    #[must_use]
    pub fn root(&self) -> &str {
        &self.first
    }

    /// The name, if it is nothing but the name of one of the topic's own fields.
    #[must_use]
    pub fn plain(&self) -> Option<&str> {
        (self.rest.is_empty() && self.common.is_none()).then_some(self.first.as_ref())
    }

    /// Whether it names one of the fields that every event has.
    #[must_use]
    pub fn is_common(&self) -> bool {
        self.common.is_some()
    }

    #[must_use]
    pub fn get<'a>(&self, event: &'a Event) -> Found<'a> {
        match self.common {
            None => self.get_in(&event.body),
            Some(Common::Topic) => Found::Text(&event.element.topic),
            Some(Common::ReceivedAt) => Found::Time(event.received_at),
            Some(Common::At) => Found::Time(event.at()),
            Some(Common::Late) => Found::Flag(event.late),
        }
    }

    /// The same in a body or an entry of a list, where there are no common fields.
    #[must_use]
    pub fn get_in<'a>(&self, body: &'a Map) -> Found<'a> {
        let mut found = body.get(&self.first);
        for step in &self.rest {
            found = match (found, step) {
                (Some(Value::Map(map)), Step::Name(name)) => map.get(name),
                (Some(Value::List(list)), Step::Index(index)) => list.get(*index),
                _ => return Found::Absent,
            };
        }
        found.map_or(Found::Absent, Found::Value)
    }

    /// Puts a value there; missing maps on the way are made, and the index behind a list's last entry appends.
    ///
    /// # Errors
    /// What is in the way, for people.
    pub fn set(&self, body: &mut Map, value: Value) -> Result<(), String> {
        let mut place = slot(body, &self.first);
        for step in &self.rest {
            if place.is_null() {
                *place = match step {
                    Step::Name(_) => Value::Map(Map::new()),
                    Step::Index(_) => Value::List(Vec::new()),
                };
            }
            place = match (place, step) {
                (Value::Map(map), Step::Name(name)) => slot(map, name),
                (Value::List(list), Step::Index(index)) => {
                    let length = list.len();
                    if *index == length {
                        list.push(Value::Null);
                    }
                    list.get_mut(*index).ok_or_else(|| format!("`{self}`: there is no entry {index}, the list has {length}"))?
                }
                (_, Step::Name(name)) => return Err(format!("`{self}`: `{name}` has no map to stand in")),
                (_, Step::Index(index)) => return Err(format!("`{self}`: [{index}] stands on what is no list")),
            };
        }
        *place = value;
        Ok(())
    }

    /// Takes the value there away, if there is one. Answers whether there was.
    pub fn unset(&self, body: &mut Map) -> bool {
        let Some((last, way)) = self.rest.split_last() else { return body.remove(&self.first).is_some() };
        let mut place = body.get_mut(&self.first);
        for step in way {
            place = match (place, step) {
                (Some(Value::Map(map)), Step::Name(name)) => map.get_mut(name),
                (Some(Value::List(list)), Step::Index(index)) => list.get_mut(*index),
                _ => None,
            };
        }
        match (place, last) {
            (Some(Value::Map(map)), Step::Name(name)) => map.remove(name).is_some(),
            (Some(Value::List(list)), Step::Index(index)) if *index < list.len() => {
                list.remove(*index);
                true
            }
            _ => false,
        }
    }

    /// The path of a field in this list's entries, with the index 0.
    #[must_use]
    pub fn entry(&self, inner: &Self) -> Self {
        let name = Step::Name(inner.first.as_str().into());
        let rest = self.rest.iter().cloned().chain([Step::Index(0), name]).chain(inner.rest.iter().cloned());
        Self { first: self.first.clone(), rest: rest.collect(), common: None }
    }
}

fn slot<'a>(map: &'a mut Map, name: &str) -> &'a mut Value {
    if map.get(name).is_none() {
        map.set(name, Value::Null);
    }
    map.get_mut(name).unwrap_or_else(|| unreachable!("set above"))
}

impl Common {
    fn named(name: &str) -> Option<Self> {
        match name {
            "topic" => Some(Self::Topic),
            "receivedAt" => Some(Self::ReceivedAt),
            "at" => Some(Self::At),
            "late" => Some(Self::Late),
            _ => None,
        }
    }
}

impl FromStr for Path {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse(text)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.first)?;
        self.rest.iter().try_for_each(|step| match step {
            Step::Name(name) => write!(f, ".{name}"),
            Step::Index(index) => write!(f, "[{index}]"),
        })
    }
}

impl<'a> Found<'a> {
    /// The text, if it is text. A time is none.
    #[must_use]
    pub fn text(self) -> Option<&'a str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Value(value) => value.as_str(),
            Self::Absent | Self::Time(_) | Self::Flag(_) => None,
        }
    }

    /// Absent, null, empty text, text of spaces, an empty list or map.
    #[must_use]
    pub fn is_blank(self) -> bool {
        match self {
            Self::Absent => true,
            Self::Value(value) => value.is_blank(),
            Self::Text(text) => text.trim().is_empty(),
            Self::Time(_) | Self::Flag(_) => false,
        }
    }

    /// As one line for people.
    #[must_use]
    pub fn display(self) -> Cow<'a, str> {
        match self {
            Self::Absent => Cow::Borrowed(""),
            Self::Value(value) => value.display(),
            Self::Text(text) => Cow::Borrowed(text),
            Self::Time(time) => Cow::Owned(convert::time(time)),
            Self::Flag(flag) => Cow::Borrowed(if flag { "true" } else { "false" }),
        }
    }
}
