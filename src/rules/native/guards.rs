//! What an event must show for `when` to have any other outcome than false.
//!
//! The order counts: a condition behind something that could fail tells nothing, since the failure has to be reported. So guards are taken
//! from a conjunction's parts only as long as all parts before are sure to be true or false, but for fields that may be missing: a guard
//! behind such a part shows as well where the field is missing.

use super::{
    Native,
    ir::{Call, Common, Comparison, Each, Node},
};
use crate::{
    model::{topic::Field, value::Value},
    rules::{
        index::{Guard, Key, Place, Test},
        lists::Lists,
    },
};

impl Native {
    /// Each of these by itself must show, or `when` is false on events of the topic.
    #[must_use]
    pub fn guards(&self, topic: &str, known: &'static [Field], settings: &Value, lists: &Lists) -> Vec<Guard> {
        Search { topic, known, settings, lists, bound: Vec::new() }.guards(&self.body)
    }
}

/// What a slot stands for.
#[derive(Clone, Debug)]
enum Meaning<'n> {
    /// An entry of the list at this place.
    Entry(Vec<Box<str>>),
    /// The value of an expression that is sure to have one.
    Value(&'n Node),
}

/// A field that is asked for, and how.
struct Asked {
    place: Vec<Box<str>>,
    folded: bool,
}

struct Search<'n> {
    topic: &'n str,
    known: &'static [Field],
    settings: &'n Value,
    lists: &'n Lists,
    bound: Vec<(u16, Meaning<'n>)>,
}

impl<'n> Search<'n> {
    fn guards(&mut self, node: &'n Node) -> Vec<Guard> {
        match node {
            Node::Const(Value::Bool(false)) => vec![Guard(Vec::new())],
            Node::Compare(op, parts) => self.of_comparison(*op, &parts[0], &parts[1]),
            Node::Call(Call::Contains, parts) => self.of_membership(parts),
            Node::Call(Call::StartsWith, parts) => self.of_start(parts),
            Node::And(parts) => self.of_all(parts.iter()),
            Node::Or(parts) => self.of_one(parts.iter()),
            Node::If(parts) => match &parts[2] {
                Node::Const(Value::Bool(false)) => self.of_all(parts[..2].iter()),
                _ => self.failures(&parts[0]).map_or_else(Vec::new, |missing| unless(&missing, self.of_one(parts[1..].iter()))),
            },
            Node::Body(body) => self.guards(body),
            Node::Block(statements) => self.of_block(statements),
            Node::Each { what: Each::Some, element, index: None, parts } => self.of_entries(*element, &parts[0], &parts[1]),
            Node::Not(inner) => match inner.as_ref() {
                Node::Call(Call::IsEmpty | Call::Blank, list) => list.first().map_or_else(Vec::new, |list| self.of_filter(list)),
                _ => Vec::new(),
            },
            _ => Vec::new(),
        }
    }

    /// Guards of the parts, up to the first that could fail.
    fn of_all(&mut self, parts: impl Iterator<Item = &'n Node>) -> Vec<Guard> {
        let mut guards = Vec::new();
        let mut missing = Vec::new();
        for part in parts {
            guards.extend(unless(&missing, self.guards(part)));
            match self.failures(part) {
                Some(more) => missing.extend(more),
                None => break,
            }
        }
        guards
    }

    /// One guard for all parts, each of which has one.
    fn of_one(&mut self, parts: impl Iterator<Item = &'n Node>) -> Vec<Guard> {
        let each: Option<Vec<Guard>> =
            parts.map(|part| self.guards(part).into_iter().min_by_key(|guard| guard.0.len())).collect();
        each.and_then(|guards| guards.into_iter().reduce(Guard::or)).into_iter().collect()
    }

    fn of_block(&mut self, statements: &'n [Node]) -> Vec<Guard> {
        let Some((last, before)) = statements.split_last() else { return Vec::new() };
        let outer = self.bound.len();
        let mut missing = Vec::new();
        let all_sure = before.iter().all(|statement| match statement {
            Node::Set(slot, value) => {
                // A slot that is set again stands for its last value.
                let sure = self.is_value(value, &mut missing);
                if sure {
                    self.bound.push((*slot, Meaning::Value(value)));
                }
                sure
            }
            // `if …  { return false; }`
            Node::If(parts) => {
                self.is_sure(&parts[0], &mut missing) && is_false_return(&parts[1]) && matches!(parts[2], Node::Const(_))
            }
            Node::Const(_) => true,
            _ => false,
        });
        let guards = if all_sure && !is_set_twice(statements) { unless(&missing, self.guards(last)) } else { Vec::new() };
        self.bound.truncate(outer);
        guards
    }

    /// `list.some(|entry| body)` over a list of the event.
    fn of_entries(&mut self, element: u16, list: &'n Node, body: &'n Node) -> Vec<Guard> {
        let Some(Asked { place, folded: false }) = self.asked(list) else { return Vec::new() };
        self.bound.push((element, Meaning::Entry(place.clone())));
        let mut guards = self.guards(body);
        self.bound.pop();
        // A guard on something else would not let through what is no list.
        guards.retain(|guard| {
            guard.0.iter().all(|test| test.place.0.len() > place.len() && test.place.0.starts_with(&place)) && !guard.0.is_empty()
        });
        guards
    }

    /// What has an entry only if `list.filter(|entry| body)` keeps one.
    fn of_filter(&mut self, list: &'n Node) -> Vec<Guard> {
        match list {
            Node::Each { what: Each::Filter, element, index: None, parts } => self.of_entries(*element, &parts[0], &parts[1]),
            Node::Body(inner) => self.of_filter(inner),
            Node::Block(statements) => match statements.as_ref() {
                [Node::Set(slot, value), rest] => {
                    let mut missing = Vec::new();
                    if !self.is_value(value, &mut missing) {
                        return Vec::new();
                    }
                    self.bound.push((*slot, Meaning::Value(value)));
                    let guards = self.of_filter(rest);
                    self.bound.pop();
                    unless(&missing, guards)
                }
                _ => Vec::new(),
            },
            _ => Vec::new(),
        }
    }

    fn of_comparison(&mut self, op: Comparison, x: &'n Node, y: &'n Node) -> Vec<Guard> {
        if let (Some(list), Node::Const(Value::Int(number))) = (length_of(x), y)
            && !holds(op, 0, *number)
        {
            return self.of_filter(list);
        }
        if op != Comparison::Equal {
            return Vec::new();
        }
        if let (Node::Common(Common::Topic), Node::Const(Value::Text(topic)))
        | (Node::Const(Value::Text(topic)), Node::Common(Common::Topic)) = (x, y)
        {
            return if topic == self.topic { Vec::new() } else { vec![Guard(Vec::new())] };
        }
        for (field, value) in [(x, y), (y, x)] {
            if let (Some(asked), Some(value)) = (self.asked(field), self.constant(value)) {
                return guard(&asked, std::slice::from_ref(value)).into_iter().collect();
            }
        }
        Vec::new()
    }

    fn of_membership(&mut self, parts: &'n [Node]) -> Vec<Guard> {
        let [list, item] = parts else { return Vec::new() };
        let Some(Value::List(values)) = self.constant(list) else { return Vec::new() };
        if let Node::Common(Common::Topic) = item {
            let is_there = values.iter().any(|value| value.as_str() == Some(self.topic));
            return if is_there { Vec::new() } else { vec![Guard(Vec::new())] };
        }
        self.asked(item).and_then(|asked| guard(&asked, values)).into_iter().collect()
    }

    fn of_start(&mut self, parts: &'n [Node]) -> Vec<Guard> {
        let [text, start] = parts else { return Vec::new() };
        match (self.asked(text), self.constant(start)) {
            (Some(Asked { place, folded: false }), Some(Value::Text(start))) => {
                vec![Guard(vec![Test { place: Place(place), key: Key::PrefixOrNoText(start.as_str().into()) }])]
            }
            _ => Vec::new(),
        }
    }

    /// A field of the event, or of an entry of a list, as it is or folded.
    fn asked(&self, node: &Node) -> Option<Asked> {
        match node {
            Node::Field { of, name } => {
                let mut place = match of.as_ref() {
                    Node::Event if Common::named(name).is_none() => Vec::new(),
                    Node::Slot(slot) => match self.meaning(*slot)? {
                        Meaning::Entry(place) => place.clone(),
                        Meaning::Value(_) => return None,
                    },
                    _ => return None,
                };
                place.push(name.clone());
                Some(Asked { place, folded: false })
            }
            Node::Slot(slot) => match self.meaning(*slot)? {
                Meaning::Value(node) => self.asked(node),
                Meaning::Entry(_) => None,
            },
            Node::Call(Call::Fold, text) => match self.asked(text.first()?)? {
                Asked { place, folded: false } => Some(Asked { place, folded: true }),
                Asked { .. } => None,
            },
            _ => None,
        }
    }

    fn meaning(&self, slot: u16) -> Option<&Meaning<'n>> {
        self.bound.iter().rev().find(|(known, _)| *known == slot).map(|(_, meaning)| meaning)
    }

    /// A literal or what stands in the settings.
    fn constant(&self, node: &'n Node) -> Option<&'n Value> {
        match node {
            Node::Const(value) => Some(value),
            Node::Field { of, name } if matches!(**of, Node::Settings) => self.settings.as_map()?.get(name),
            Node::Slot(slot) => match self.meaning(*slot)? {
                Meaning::Value(node) => self.constant(node),
                Meaning::Entry(_) => None,
            },
            _ => None,
        }
    }

    /// The known fields of the entries of the list at this place.
    fn entries(&self, place: &[Box<str>]) -> &'static [Field] {
        place.iter().fold(self.known, |known, name| known.iter().find(|field| *field.name == **name).map_or(&[], Field::entries))
    }

    /// Whether evaluating it can't fail, but for the fields that are added to `missing`, where they are.
    fn is_value(&self, node: &'n Node, missing: &mut Vec<Test>) -> bool {
        match node {
            Node::Const(_) | Node::Event | Node::Settings | Node::Common(_) => true,
            Node::Slot(slot) => self.meaning(*slot).is_some(),
            Node::Field { of, name } => {
                let known = match of.as_ref() {
                    Node::Event => Common::named(name).is_some() || is_known(self.known, name),
                    // An entry that is no map lets the rule through, whatever its key.
                    Node::Slot(slot) => {
                        matches!(self.meaning(*slot), Some(Meaning::Entry(place)) if is_known(self.entries(place), name))
                    }
                    Node::Settings => return self.settings.as_map().is_some_and(|map| map.get(name).is_some()),
                    _ => return false,
                };
                let asked = if known { None } else { self.asked(node) };
                let only_missing = known || asked.is_some();
                missing.extend(asked.map(|Asked { place, .. }| Test { place: Place(place), key: Key::Missing }));
                only_missing
            }
            Node::Call(Call::ListNamed, name) => {
                matches!(name.first(), Some(Node::Const(Value::Text(name))) if self.lists.get(name).is_some())
            }
            _ => self.is_sure(node, missing),
        }
    }

    /// Whether it is true or false, but for the fields that are added to `missing`, where they are.
    fn is_sure(&self, node: &'n Node, missing: &mut Vec<Test>) -> bool {
        match node {
            Node::Const(Value::Bool(_)) | Node::Common(Common::Late) => true,
            Node::Compare(_, parts) => {
                // Two lists, two maps and what is ours compare in ways of their own.
                let plain = |node| match self.constant(node) {
                    Some(value) => !matches!(value, Value::List(_) | Value::Map(_)),
                    None => matches!(node, Node::Common(_)),
                };
                parts.iter().all(|part| self.is_value(part, missing)) && parts.iter().any(plain)
            }
            Node::Not(inner) => self.is_sure(inner, missing),
            Node::And(parts) | Node::Or(parts) => parts.iter().all(|part| self.is_sure(part, missing)),
            Node::Call(Call::Blank, of) => of.iter().all(|of| self.is_value(of, missing)),
            Node::Call(Call::Contains, parts) => {
                matches!(parts.as_ref(), [Node::Const(Value::List(values)), Node::Common(Common::Topic)]
                if values.iter().all(|value| matches!(value, Value::Text(_))))
            }
            _ => false,
        }
    }

    /// Where alone it could be anything else than true or false; none: who knows.
    fn failures(&self, node: &'n Node) -> Option<Vec<Test>> {
        let mut missing = Vec::new();
        self.is_sure(node, &mut missing).then_some(missing)
    }
}

/// The guards, each of which shows where one of these does, too.
fn unless(missing: &[Test], guards: Vec<Guard>) -> Vec<Guard> {
    guards.into_iter().map(|guard| guard.or(Guard(missing.to_vec()))).collect()
}

/// Whether it reads as nothing where it is absent, which is no error.
fn is_known(known: &[Field], name: &str) -> bool {
    known.iter().any(|field| field.name == name)
}

/// One of these values at a place; none if one of them is nothing to look up.
fn guard(asked: &Asked, values: &[Value]) -> Option<Guard> {
    let mut tests = Vec::new();
    for value in values {
        let key = match (value, asked.folded) {
            (Value::Text(text), true) => Key::Folded(text.as_str().into()),
            // What is folded is a text.
            (Value::Null | Value::Bool(_) | Value::Int(_), true) => continue,
            (Value::Text(text), false) => Key::Text(text.as_str().into()),
            (Value::Int(number), false) => Key::Int(*number),
            (Value::Bool(value), false) => Key::Bool(*value),
            (Value::Null, false) => Key::Nothing,
            (Value::Float(_) | Value::List(_) | Value::Map(_), _) => return None,
        };
        let test = Test { place: Place(asked.place.clone()), key };
        if !tests.contains(&test) {
            tests.push(test);
        }
    }
    // To ask for the field may fail: an empty guard would hide that.
    (!tests.is_empty()).then_some(Guard(tests))
}

/// The list whose length it is.
fn length_of(node: &Node) -> Option<&Node> {
    match node {
        Node::Call(Call::Len, of) => of.first(),
        Node::Field { of, name } if **name == *"len" => Some(of),
        _ => None,
    }
}

fn holds(op: Comparison, x: i64, y: i64) -> bool {
    match op {
        Comparison::Equal => x == y,
        Comparison::NotEqual => x != y,
        Comparison::Less => x < y,
        Comparison::AtMost => x <= y,
        Comparison::Greater => x > y,
        Comparison::AtLeast => x >= y,
    }
}

fn is_false_return(node: &Node) -> bool {
    match node {
        Node::Return(value) => matches!(**value, Node::Const(Value::Bool(false))),
        Node::Block(statements) => match statements.as_ref() {
            [first, rest @ ..] => is_false_return(first) && rest.iter().all(|node| matches!(node, Node::Const(_))),
            [] => false,
        },
        _ => false,
    }
}

/// Whether a slot gets more than one value.
fn is_set_twice(statements: &[Node]) -> bool {
    let slots: Vec<u16> =
        statements.iter().filter_map(|node| if let Node::Set(slot, _) = node { Some(*slot) } else { None }).collect();
    slots.iter().enumerate().any(|(at, slot)| slots[..at].contains(slot))
}
