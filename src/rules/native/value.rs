//! Values while a rule runs: borrowed from the event, the settings and the lists wherever they can be, and compared as Rhai compares.

use std::{borrow::Cow, cmp::Ordering, rc::Rc};

use super::ir::Comparison;
use crate::{
    model::{
        topic::{Field, Kind},
        value::{Map, Value},
    },
    rules::lists::List,
};

#[derive(Clone, Debug)]
pub(super) enum Val<'a> {
    Unit,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Cow<'a, str>),
    /// A list as it stands; its entries have these known fields.
    List(&'a [Value], &'static [Field]),
    /// A list that the rule made.
    Made(Rc<Vec<Val<'a>>>),
    /// A map as it stands, with its known fields.
    Map(&'a Map, &'static [Field]),
    /// The event.
    Event,
    Listed(&'a List),
    /// What `compliance_status` answers: name and group.
    Status(Rc<(String, String)>),
    Range {
        from: i64,
        to: i64,
        inclusive: bool,
    },
}

/// What types compare by.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Type {
    Unit,
    Bool,
    Int,
    Float,
    Text,
    List,
    Map,
    Range,
}

impl<'a> Val<'a> {
    /// A value that has no known fields.
    pub(super) fn plain(value: &'a Value) -> Self {
        Self::of(value, &[])
    }

    /// A value; if it is a map, it has these known fields.
    pub(super) fn of(value: &'a Value, known: &'static [Field]) -> Self {
        match value {
            Value::Null => Self::Unit,
            Value::Bool(value) => Self::Bool(*value),
            Value::Int(number) => Self::Int(*number),
            Value::Float(number) => Self::Float(*number),
            Value::Text(text) => Self::Text(Cow::Borrowed(text)),
            Value::List(list) => Self::List(list, &[]),
            Value::Map(map) => Self::Map(map, known),
        }
    }

    /// A field of a map as `convert` shows it: what is known and absent reads as nothing or as an empty list. None: there is no such field.
    pub(super) fn field(map: &'a Map, known: &'static [Field], name: &str) -> Option<Self> {
        let value = map.get(name);
        if let Some(value) = value.filter(|value| !matches!(value, Value::Null | Value::List(_))) {
            return Some(Self::plain(value));
        }
        let kind = known.iter().find(|field| field.name == name).map(|field| field.kind);
        match (value, kind) {
            (None, None) => None,
            (None | Some(Value::Null), Some(Kind::List(inner))) => Some(Self::List(&[], inner)),
            (None | Some(Value::Null), Some(Kind::Text | Kind::Number)) => Some(Self::Unit),
            (Some(Value::List(list)), Some(Kind::List(inner))) => Some(Self::List(list, inner)),
            (Some(value), _) => Some(Self::plain(value)),
        }
    }

    pub(super) fn whole(number: usize) -> Option<Self> {
        i64::try_from(number).ok().map(Self::Int)
    }

    pub(super) fn owned(text: impl Into<String>) -> Self {
        Self::Text(Cow::Owned(text.into()))
    }

    /// The text that host functions read from a value; none: they refuse it.
    pub(super) fn text(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Unit => Some(Cow::Borrowed("")),
            Self::Int(number) => Some(Cow::Owned(number.to_string())),
            Self::Text(text) => Some(Cow::Borrowed(text)),
            _ => None,
        }
    }

    pub(super) fn as_str(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// How many entries a list has; none: it is no list.
    pub(super) fn entries(&self) -> Option<usize> {
        match self {
            Self::List(list, _) => Some(list.len()),
            Self::Made(list) => Some(list.len()),
            _ => None,
        }
    }

    /// An entry of a list.
    pub(super) fn entry(&self, index: usize) -> Option<Self> {
        match self {
            Self::List(list, known) => list.get(index).map(|value| Self::of(value, known)),
            Self::Made(list) => list.get(index).cloned(),
            _ => None,
        }
    }

    fn kind(&self) -> Option<Type> {
        Some(match self {
            Self::Unit => Type::Unit,
            Self::Bool(_) => Type::Bool,
            Self::Int(_) => Type::Int,
            Self::Float(_) => Type::Float,
            Self::Text(_) => Type::Text,
            Self::List(..) | Self::Made(_) => Type::List,
            Self::Map(..) | Self::Event | Self::Status(_) => Type::Map,
            Self::Range { .. } => Type::Range,
            // A type of ours: registered functions come before the built-in ones.
            Self::Listed(_) => return None,
        })
    }

    /// `x op y`; none: not certain.
    pub(super) fn compare(op: Comparison, x: &Self, y: &Self) -> Option<bool> {
        match (x, y) {
            (Self::Text(x), Self::Text(y)) => Some(admits(op, x.as_ref().cmp(y.as_ref()))),
            (Self::Int(x), Self::Int(y)) => Some(admits(op, x.cmp(y))),
            (Self::Bool(x), Self::Bool(y)) => Some(admits(op, x.cmp(y))),
            (Self::Float(x), Self::Float(y)) => Some(floats(op, *x, *y)),
            (Self::Float(x), Self::Int(y)) => Some(floats(op, *x, *y as f64)),
            (Self::Int(x), Self::Float(y)) => Some(floats(op, *x as f64, *y)),
            (Self::Unit, Self::Unit) => Some(op == Comparison::Equal),
            (Self::List(..) | Self::Made(_), Self::List(..) | Self::Made(_)) => {
                let equal = match (x.entries()?, y.entries()?) {
                    (x, y) if x != y => false,
                    (0, _) => true,
                    // Entry by entry, with errors for some.
                    _ => return None,
                };
                match op {
                    Comparison::Equal => Some(equal),
                    Comparison::NotEqual => Some(!equal),
                    _ => None,
                }
            }
            // Different types, not both numbers, are never equal and never in order.
            _ if x.kind()? != y.kind()? => Some(op == Comparison::NotEqual),
            _ => None,
        }
    }

    /// Whether a list has an entry that equals this one; none: not certain.
    pub(super) fn is_in(&self, list: &Self) -> Option<bool> {
        for index in 0..list.entries()? {
            let entry = list.entry(index)?;
            let equal = match (&entry, self) {
                (Self::Text(entry), Self::Text(item)) => entry == item,
                (Self::Unit, Self::Unit) => true,
                (Self::Bool(entry), Self::Bool(item)) => entry == item,
                (Self::Int(entry), Self::Int(item)) => entry == item,
                // A text is looked up by ours, which compares texts alone.
                (_, Self::Text(_))
                | (Self::Unit | Self::Bool(_) | Self::Int(_) | Self::Text(_), Self::Unit | Self::Bool(_) | Self::Int(_)) => false,
                _ => return None,
            };
            if equal {
                return Some(true);
            }
        }
        Some(false)
    }

    /// Entries of lists, members of maps and bytes of texts in it, as the sandbox counts them.
    pub(super) fn weight(&self) -> Weight {
        match self {
            Self::Text(text) => Weight { text: text.len(), ..Weight::default() },
            Self::List(list, known) => Weight::of_list(list, known),
            Self::Map(map, known) => Weight::of_map(map, known),
            Self::Made(list) => {
                list.iter().fold(Weight { list: list.len(), ..Weight::default() }, |sum, value| sum.plus(value.weight()))
            }
            _ => Weight::default(),
        }
    }
}

fn admits(op: Comparison, order: Ordering) -> bool {
    match op {
        Comparison::Equal => order.is_eq(),
        Comparison::NotEqual => order.is_ne(),
        Comparison::Less => order.is_lt(),
        Comparison::AtMost => order.is_le(),
        Comparison::Greater => order.is_gt(),
        Comparison::AtLeast => order.is_ge(),
    }
}

/// Rhai's comparison of numbers with a fraction: what differs by the last digit is equal.
fn floats(op: Comparison, x: f64, y: f64) -> bool {
    let max = if x * y == 0.0 { 1.0 } else { x.abs().max(y.abs()) };
    if max == 0.0 {
        return matches!(op, Comparison::Equal | Comparison::AtMost | Comparison::AtLeast);
    }
    match op {
        Comparison::Equal => (x - y).abs() / max <= f64::EPSILON,
        Comparison::NotEqual => (x - y).abs() / max > f64::EPSILON,
        Comparison::Greater => (x - y) / max > f64::EPSILON,
        Comparison::AtLeast => (x - y) / max > -f64::EPSILON,
        Comparison::Less => (y - x) / max > f64::EPSILON,
        Comparison::AtMost => (y - x) / max > -f64::EPSILON,
    }
}

/// How much of everything is in a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Weight {
    pub list: usize,
    pub map: usize,
    pub text: usize,
}

impl Weight {
    fn plus(self, other: Self) -> Self {
        Self { list: self.list + other.list, map: self.map + other.map, text: self.text + other.text }
    }

    fn of(value: &Value, known: &'static [Field]) -> Self {
        match value {
            Value::Text(text) => Self { text: text.len(), ..Self::default() },
            Value::List(list) => Self::of_list(list, &[]),
            Value::Map(map) => Self::of_map(map, known),
            Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) => Self::default(),
        }
    }

    fn of_list(list: &[Value], known: &'static [Field]) -> Self {
        list.iter().fold(Self { list: list.len(), ..Self::default() }, |sum, value| sum.plus(Self::of(value, known)))
    }

    /// Of a map with all of its known fields: at most this.
    pub(super) fn of_map(map: &Map, known: &'static [Field]) -> Self {
        let own = Self { map: map.len() + known.len(), ..Self::default() };
        map.iter().fold(own, |sum, (name, value)| {
            let kind = known.iter().find(|field| field.name == name).map(|field| field.kind);
            sum.plus(match (value, kind) {
                (Value::List(list), Some(Kind::List(inner))) => Self::of_list(list, inner),
                _ => Self::of(value, &[]),
            })
        })
    }
}
