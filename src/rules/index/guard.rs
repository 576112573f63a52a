//! What an event must show for a rule to have anything to say.

use std::fmt;

/// One of these must show. None at all: the rule never has anything to say.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Guard(pub Vec<Test>);

/// A value at a place.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Test {
    pub place: Place,
    pub key: Key,
}

/// A field's name; before it, from the outside to the inside, those of the lists whose entries have it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place(pub Vec<Box<str>>);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// Not there, where that is an error.
    Missing,
    /// Absent or null.
    Nothing,
    Bool(bool),
    Int(i64),
    Text(Box<str>),
    /// A text that starts so.
    Prefix(Box<str>),
    /// A text that starts so, or no text at all: asking that is an error.
    PrefixOrNoText(Box<str>),
    /// A text that folds to this.
    Folded(Box<str>),
}

impl Guard {
    /// Either of two.
    #[must_use]
    pub fn or(mut self, other: Self) -> Self {
        for test in other.0 {
            if !self.0.contains(&test) {
                self.0.push(test);
            }
        }
        self
    }
}

impl fmt::Display for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [] => f.write_str("nothing: it never holds"),
            [first] => write!(f, "{first}"),
            [first, rest @ ..] => write!(f, "{first} or {} more", rest.len()),
        }
    }
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.place.0.join("[].");
        match &self.key {
            Key::Missing => write!(f, "{place} is missing"),
            Key::Nothing => write!(f, "{place} is nothing"),
            Key::Bool(value) => write!(f, "{place} is {value}"),
            Key::Int(number) => write!(f, "{place} is {number}"),
            Key::Text(text) => write!(f, "{place} is \"{text}\""),
            Key::Prefix(start) | Key::PrefixOrNoText(start) => write!(f, "{place} starts with \"{start}\""),
            Key::Folded(text) => write!(f, "fold({place}) is \"{text}\""),
        }
    }
}
