//! The `where` table: which events a rule looks at, without code.
//!
//! A condition is total: on every event it holds or it doesn't, never an error. The semantics in one place:
//! - Values of different types are never equal and never in order: text `"5"` is not the number `5`, and neither is above the other. A
//!   whole number equals the same number with a fraction of zero. Where the field's type is known, a comparison with another type is
//!   refused at load.
//! - An absent field and one that is null are alike: they equal `()` and are blank; no other comparison of them holds.
//! - `not`, `none_of` and `not_in_list` are the exact opposites of the plain value, `one_of` and `in_list`. So they hold for what is
//!   absent: anything unknown counts.
//! - Text is compared exactly, and ordered character by character, which is the order of time for dates in one format. A list file is
//!   compared as lists are: trimmed, folded, countries as their code.
//! - `some` holds if one entry of a list meets all its tests together.
//!
//! Checking allocates nothing.

mod guards;
mod parse;
mod path;
#[cfg(test)]
mod tests;

use std::{cmp::Ordering, fmt::Write as _};

pub use path::{Found, Path};

use super::{diagnostic::Diagnostic, lists::Lists, literal::Literal};
use crate::model::{
    event::Event,
    time::Timestamp,
    topic::Kind,
    value::{Map, Value},
};

/// What is known of a rule's fields: the topics' own and the declared ones.
pub trait Fields {
    /// A path inside a list's entry has the index 0: `mismatches[0].fieldName`.
    fn known(&self, path: &Path) -> FieldCheck;
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldCheck {
    Known(Kind),
    /// None of the rule's topics has it. The proposal is the whole path that may have been meant.
    Unknown {
        proposal: Option<String>,
    },
    /// It can't be told: a topic without a known shape.
    Unchecked,
}

/// A rule's `where`.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition(Table);

impl Condition {
    /// Holds for every event.
    #[must_use]
    pub fn always() -> Self {
        Self(Table { checks: Box::default(), any: None })
    }

    /// Reads a `where` table.
    ///
    /// # Errors
    /// Everything that is wrong with it, codes R012 and R102 to R109.
    pub fn parse(literal: &Literal, file: &str, known: &dyn Fields) -> Result<Self, Vec<Diagnostic>> {
        parse::condition(literal, file, known).map(Self)
    }

    #[must_use]
    pub fn holds(&self, event: &Event, lists: &Lists) -> bool {
        self.0.holds(Root::Event(event), lists)
    }

    /// The list files that it looks into, each once.
    #[must_use]
    pub fn lists(&self) -> Vec<&str> {
        let mut names = Vec::new();
        self.0.collect_lists(&mut names);
        names.sort_unstable();
        names.dedup();
        names
    }
}

/// Checks that must all hold and, if there are alternatives, one of these.
#[derive(Clone, Debug, PartialEq)]
struct Table {
    checks: Box<[Check]>,
    any: Option<Box<[Table]>>,
}

#[derive(Clone, Debug, PartialEq)]
struct Check {
    path: Path,
    test: Test,
}

#[derive(Clone, Debug, PartialEq)]
enum Test {
    Is(Scalar),
    Not(Scalar),
    OneOf(Box<[Scalar]>),
    NoneOf(Box<[Scalar]>),
    Order(Bound, Scalar),
    Blank(bool),
    StartsWith(Box<str>),
    /// Text that holds this text, or a list with this text as an entry.
    Contains(Box<str>),
    InList(Box<str>),
    NotInList(Box<str>),
    Some(Table),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bound {
    Above,
    AtLeast,
    Below,
    AtMost,
}

impl Bound {
    fn admits(self, order: Ordering) -> bool {
        match self {
            Self::Above => order.is_gt(),
            Self::AtLeast => order.is_ge(),
            Self::Below => order.is_lt(),
            Self::AtMost => order.is_le(),
        }
    }

    fn is_lower(self) -> bool {
        matches!(self, Self::Above | Self::AtLeast)
    }
}

/// One side of a comparison, as the rule wrote it.
#[derive(Clone, Debug, PartialEq)]
enum Scalar {
    Nothing,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Box<str>),
    Time(Timestamp),
}

/// What paths start from.
#[derive(Clone, Copy)]
enum Root<'a> {
    Event(&'a Event),
    /// An entry of a list.
    Entry(&'a Map),
}

impl Table {
    fn holds(&self, root: Root<'_>, lists: &Lists) -> bool {
        self.checks.iter().all(|check| check.holds(root, lists))
            && self.any.as_ref().is_none_or(|tables| tables.iter().any(|table| table.holds(root, lists)))
    }

    fn collect_lists<'a>(&'a self, names: &mut Vec<&'a str>) {
        for check in &self.checks {
            match &check.test {
                Test::InList(name) | Test::NotInList(name) => names.push(name),
                Test::Some(table) => table.collect_lists(names),
                _ => {}
            }
        }
        for table in self.any.iter().flatten() {
            table.collect_lists(names);
        }
    }
}

impl Check {
    fn holds(&self, root: Root<'_>, lists: &Lists) -> bool {
        let found = match root {
            Root::Event(event) => self.path.get(event),
            Root::Entry(entry) => self.path.get_in(entry),
        };
        self.test.holds(found, lists)
    }
}

impl Test {
    fn holds(&self, found: Found<'_>, lists: &Lists) -> bool {
        match self {
            Self::Is(scalar) => scalar.is(found),
            Self::Not(scalar) => !scalar.is(found),
            Self::OneOf(scalars) => scalars.iter().any(|scalar| scalar.is(found)),
            Self::NoneOf(scalars) => !scalars.iter().any(|scalar| scalar.is(found)),
            Self::Order(bound, scalar) => scalar.order(found).is_some_and(|order| bound.admits(order)),
            Self::Blank(wanted) => found.is_blank() == *wanted,
            Self::StartsWith(start) => found.text().is_some_and(|text| text.starts_with(&**start)),
            Self::Contains(part) => match found {
                Found::Value(Value::List(list)) => list.iter().any(|item| item.as_str() == Some(&**part)),
                _ => found.text().is_some_and(|text| text.contains(&**part)),
            },
            Self::InList(name) => is_listed(found, name, lists),
            Self::NotInList(name) => !is_listed(found, name, lists),
            Self::Some(table) => match found {
                Found::Value(Value::List(list)) => {
                    list.iter().any(|entry| entry.as_map().is_some_and(|entry| table.holds(Root::Entry(entry), lists)))
                }
                _ => false,
            },
        }
    }
}

/// A list that isn't there is empty here; at load it is an error.
fn is_listed(found: Found<'_>, name: &str, lists: &Lists) -> bool {
    let Some(list) = lists.get(name) else { return false };
    if let Some(text) = found.text() {
        return list.contains(text);
    }
    let Found::Value(Value::Int(number)) = found else { return false };
    let mut digits = Digits::default();
    write!(digits, "{number}").is_ok() && list.contains(digits.as_str())
}

/// A whole number's digits, on the stack.
#[derive(Default)]
struct Digits {
    bytes: [u8; 20],
    length: usize,
}

impl Digits {
    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.length]).unwrap_or_default()
    }
}

impl std::fmt::Write for Digits {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let end = self.length + text.len();
        self.bytes.get_mut(self.length..end).ok_or(std::fmt::Error)?.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

impl Scalar {
    fn is(&self, found: Found<'_>) -> bool {
        self.order(found) == Some(Ordering::Equal)
    }

    /// How what was found stands to this: none where they can't be compared. Nothing only ever equals nothing.
    fn order(&self, found: Found<'_>) -> Option<Ordering> {
        match (found, self) {
            (Found::Absent | Found::Value(Value::Null), Self::Nothing) => Some(Ordering::Equal),
            (Found::Value(Value::Int(found)), Self::Int(number)) => Some(found.cmp(number)),
            (Found::Value(Value::Int(found)), Self::Float(number)) => order_mixed(*found, *number),
            (Found::Value(Value::Float(found)), Self::Int(number)) => order_mixed(*number, *found).map(Ordering::reverse),
            (Found::Value(Value::Float(found)), Self::Float(number)) => found.partial_cmp(number),
            (Found::Value(Value::Bool(found)), Self::Bool(value)) => Some(found.cmp(value)),
            (Found::Flag(found), Self::Bool(value)) => Some(found.cmp(value)),
            (Found::Time(found), Self::Time(time)) => Some(found.cmp(time)),
            (_, Self::Text(text)) => found.text().map(|found| found.cmp(text)),
            _ => None,
        }
    }
}

/// Exact where a conversion to a double would round.
fn order_mixed(whole: i64, number: f64) -> Option<Ordering> {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    if number.is_nan() {
        return None;
    }
    if number >= LIMIT {
        return Some(Ordering::Less);
    }
    if number < -LIMIT {
        return Some(Ordering::Greater);
    }
    let floor = number.floor();
    let rest = if number > floor { Ordering::Less } else { Ordering::Equal };
    Some(whole.cmp(&(floor as i64)).then(rest))
}
