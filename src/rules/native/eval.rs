//! Evaluating the lowered form. Every way out that is not an answer is [`Stop::CantSay`].

use std::{borrow::Cow, rc::Rc};

use super::{
    host,
    ir::{Call, Common, Each, Mutator, Node, Operator},
    text,
    value::{Val, Weight},
};
use crate::{
    model::{
        event::Event,
        topic::{self, Field},
        value::Value,
    },
    rules::{convert, functions::Host, lists::Lists, sandbox},
};

/// Steps of one evaluation. Each stands for a handful of Rhai's operations at most, so that the interpreter's budget would have lasted, too.
const STEPS: u32 = 16_384;

/// What evaluations need to know of an event; once for all rules.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    event: &'a Event,
    known: &'static [Field],
    /// No part of it comes near the sandbox's limits of sizes: no call can fail for what the event brings.
    fits: bool,
}

impl<'a> Seen<'a> {
    #[must_use]
    pub fn new(event: &'a Event) -> Self {
        let known = topic::find(&event.topic).map_or(&[][..], |topic| topic.fields);
        Self { event, known, fits: fits(Weight::of_map(&event.body, known)) }
    }

    /// Whether it keeps away from the sandbox's limits of sizes; one that does not is the interpreter's for every rule.
    #[must_use]
    pub fn fits(&self) -> bool {
        self.fits
    }
}

/// Whether settings keep away from the sandbox's limits of sizes.
#[must_use]
pub fn settings_fit(settings: &Value) -> bool {
    fits(Val::plain(settings).weight())
}

/// Half of the sandbox's sizes: the other half is for what a rule makes of it.
fn fits(weight: Weight) -> bool {
    weight.list <= sandbox::ARRAY_SIZE / 2 && weight.map <= sandbox::MAP_SIZE / 2 && weight.text <= sandbox::STRING_SIZE / 2
}

/// What a rule may look at beside the event.
#[derive(Clone, Copy, Debug)]
pub struct World<'a> {
    pub settings: &'a Value,
    pub lists: &'a Lists,
    pub host: &'a Host,
}

/// Why an evaluation goes no further.
#[derive(Debug)]
pub(super) enum Stop<'a> {
    /// Rhai has to be asked.
    CantSay,
    Return(Val<'a>),
    Break,
    Continue,
}

pub(super) type Answer<'a> = Result<Val<'a>, Stop<'a>>;

/// One evaluation.
#[derive(Debug)]
pub(super) struct Run<'a> {
    seen: &'a Seen<'a>,
    pub(super) world: &'a World<'a>,
    slots: Vec<Val<'a>>,
    steps: u32,
}

pub(super) fn when(body: &Node, slots: usize, seen: &Seen<'_>, world: &World<'_>) -> Option<bool> {
    if !seen.fits {
        return None;
    }
    let mut run = Run { seen, world, slots: vec![Val::Unit; slots], steps: STEPS };
    match run.eval(body) {
        Ok(Val::Bool(answer)) => Some(answer),
        _ => None,
    }
}

impl<'a> Run<'a> {
    /// Counts work; too much of it is Rhai's.
    pub(super) fn charge(&mut self, steps: usize) -> Result<(), Stop<'a>> {
        self.steps = u32::try_from(steps).ok().and_then(|steps| self.steps.checked_sub(steps)).ok_or(Stop::CantSay)?;
        Ok(())
    }

    fn bool(&mut self, node: &'a Node) -> Result<bool, Stop<'a>> {
        match self.eval(node)? {
            Val::Bool(value) => Ok(value),
            _ => Err(Stop::CantSay),
        }
    }

    fn slot(&mut self, slot: u16) -> Result<&mut Val<'a>, Stop<'a>> {
        self.slots.get_mut(usize::from(slot)).ok_or(Stop::CantSay)
    }

    pub(super) fn eval(&mut self, node: &'a Node) -> Answer<'a> {
        self.charge(1)?;
        match node {
            Node::Const(value) => Ok(Val::plain(value)),
            Node::Range { from, to, inclusive } => Ok(Val::Range { from: *from, to: *to, inclusive: *inclusive }),
            Node::Event => Ok(Val::Event),
            Node::Settings => Ok(Val::plain(self.world.settings)),
            Node::Slot(slot) => self.slot(*slot).cloned(),
            Node::Common(common) => Ok(self.common(*common)),
            Node::Field { of, name } => self.field(of, name),
            Node::Index(parts) => self.index(&parts[0], &parts[1]),
            Node::Elvis { of, slot, arguments, rest } => {
                let of = self.eval(of)?;
                if matches!(of, Val::Unit) {
                    for argument in arguments {
                        self.eval(argument)?;
                    }
                    return Ok(Val::Unit);
                }
                *self.slot(*slot)? = of;
                self.eval(rest)
            }
            Node::Not(inner) => self.bool(inner).map(|value| Val::Bool(!value)),
            Node::Negate(inner) => match self.eval(inner)? {
                Val::Int(number) => number.checked_neg().map(Val::Int).ok_or(Stop::CantSay),
                Val::Float(number) => Ok(Val::Float(-number)),
                _ => Err(Stop::CantSay),
            },
            Node::Compare(op, parts) => {
                let (x, y) = (self.eval(&parts[0])?, self.eval(&parts[1])?);
                Val::compare(*op, &x, &y).map(Val::Bool).ok_or(Stop::CantSay)
            }
            Node::Arithmetic(op, parts) => {
                let (x, y) = (self.eval(&parts[0])?, self.eval(&parts[1])?);
                arithmetic(*op, &x, &y).ok_or(Stop::CantSay)
            }
            Node::And(parts) => {
                for part in parts {
                    if !self.bool(part)? {
                        return Ok(Val::Bool(false));
                    }
                }
                Ok(Val::Bool(true))
            }
            Node::Or(parts) => {
                for part in parts {
                    if self.bool(part)? {
                        return Ok(Val::Bool(true));
                    }
                }
                Ok(Val::Bool(false))
            }
            Node::Coalesce(parts) => {
                for part in parts {
                    let value = self.eval(part)?;
                    if !matches!(value, Val::Unit) {
                        return Ok(value);
                    }
                }
                Ok(Val::Unit)
            }
            Node::If(parts) => {
                let chosen = if self.bool(&parts[0])? { &parts[1] } else { &parts[2] };
                self.eval(chosen)
            }
            Node::Block(statements) => {
                let mut last = Val::Unit;
                for statement in statements {
                    last = self.eval(statement)?;
                }
                Ok(last)
            }
            Node::Set(slot, value) => {
                let value = self.eval(value)?;
                *self.slot(*slot)? = value;
                Ok(Val::Unit)
            }
            Node::Mutate(slot, mutator, arguments) => self.mutate(*slot, *mutator, arguments),
            Node::Return(value) => {
                let value = self.eval(value)?;
                Err(Stop::Return(value))
            }
            Node::Body(body) => match self.eval(body) {
                Err(Stop::Return(value)) => Ok(value),
                other => other,
            },
            Node::For { slot, counter, list, body } => self.run_over(*slot, *counter, list, body),
            Node::Break => Err(Stop::Break),
            Node::Continue => Err(Stop::Continue),
            Node::Text(parts) => self.interpolated(parts),
            Node::List(items) => {
                let items = items.iter().map(|item| self.eval(item)).collect::<Result<Vec<_>, _>>()?;
                made(items)
            }
            Node::Call(call, arguments) => self.call(*call, arguments),
            Node::Each { what, element, index, parts } => self.each(*what, *element, *index, &parts[0], &parts[1]),
            Node::Unknown => Err(Stop::CantSay),
        }
    }

    fn common(&self, common: Common) -> Val<'a> {
        let event = self.seen.event;
        match common {
            Common::Topic => Val::Text(Cow::Borrowed(event.topic.as_str())),
            Common::ReceivedAt => Val::owned(convert::time(event.received_at)),
            Common::At => Val::owned(convert::time(event.at())),
            Common::Late => Val::Bool(event.late),
        }
    }

    /// A field of the event or of a map; the getters of texts and lists.
    fn field(&mut self, of: &'a Node, name: &str) -> Answer<'a> {
        let found = match of {
            // Without a step in between: this is what rules do most.
            Node::Event => Val::field(&self.seen.event.body, self.seen.known, name),
            _ => match self.eval(of)? {
                Val::Event => match Common::named(name) {
                    Some(common) => Some(self.common(common)),
                    None => Val::field(&self.seen.event.body, self.seen.known, name),
                },
                Val::Map(map, known) => Val::field(map, known, name),
                Val::Status(status) => match name {
                    "name" => Some(Val::owned(status.0.as_str())),
                    "group" => Some(Val::owned(status.1.as_str())),
                    _ => None,
                },
                value @ (Val::Text(_) | Val::List(..) | Val::Made(_)) => {
                    Call::property(name).and_then(|call| text::call(call, &[value]))
                }
                _ => None,
            },
        };
        found.ok_or(Stop::CantSay)
    }

    fn index(&mut self, of: &'a Node, index: &'a Node) -> Answer<'a> {
        let (of, index) = (self.eval(of)?, self.eval(index)?);
        let found = match (&of, &index) {
            (Val::List(..) | Val::Made(_), Val::Int(index)) => of.entries().and_then(|length| {
                let length = i64::try_from(length).ok()?;
                let index = if *index < 0 { length.checked_add(*index)? } else { *index };
                of.entry(usize::try_from(index).ok()?)
            }),
            (Val::Event, Val::Text(name)) if Common::named(name).is_none() => {
                Val::field(&self.seen.event.body, self.seen.known, name)
            }
            (Val::Map(map, known), Val::Text(name)) => Val::field(map, known, name),
            _ => None,
        };
        found.ok_or(Stop::CantSay)
    }

    fn mutate(&mut self, slot: u16, mutator: Mutator, arguments: &'a [Node]) -> Answer<'a> {
        let arguments = arguments.iter().map(|argument| self.eval(argument)).collect::<Result<Vec<_>, _>>()?;
        let value = self.slot(slot)?.clone();
        let changed = match (mutator, &value, &*arguments) {
            (Mutator::Push, Val::List(..) | Val::Made(_), [item]) => {
                let length = value.entries().unwrap_or_default();
                self.charge(length)?;
                let mut items: Vec<Val<'a>> = (0..length).filter_map(|index| value.entry(index)).collect();
                items.push(item.clone());
                made(items)?
            }
            (_, Val::Text(text), _) => Val::Text(Cow::Owned(match (mutator, &*arguments) {
                (Mutator::Trim, []) => text.trim().to_owned(),
                (Mutator::Lower, []) => text::lower(text),
                (Mutator::Upper, []) => text::upper(text),
                // The sandbox looks at the size afterwards; nothing may grow far beyond it before.
                (Mutator::Replace, [Val::Text(find), Val::Text(by)])
                    if !find.is_empty() && text.len().saturating_mul(by.len()) <= 16 * sandbox::STRING_SIZE =>
                {
                    text.replace(&**find, by)
                }
                _ => return Err(Stop::CantSay),
            })),
            _ => return Err(Stop::CantSay),
        };
        let changed = sized(changed)?;
        *self.slot(slot)? = changed;
        Ok(Val::Unit)
    }

    fn run_over(&mut self, slot: u16, counter: Option<u16>, list: &'a Node, body: &'a Node) -> Answer<'a> {
        let list = self.eval(list)?;
        let length = list.entries().ok_or(Stop::CantSay)?;
        for index in 0..length {
            if let Some(counter) = counter {
                *self.slot(counter)? = Val::whole(index).ok_or(Stop::CantSay)?;
            }
            *self.slot(slot)? = list.entry(index).ok_or(Stop::CantSay)?;
            match self.eval(body) {
                Ok(_) | Err(Stop::Continue) => {}
                Err(Stop::Break) => break,
                Err(stop) => return Err(stop),
            }
        }
        Ok(Val::Unit)
    }

    fn interpolated(&mut self, parts: &'a [Node]) -> Answer<'a> {
        let mut text = String::new();
        for part in parts {
            match self.eval(part)? {
                Val::Unit => {}
                Val::Bool(value) => text.push_str(if value { "true" } else { "false" }),
                Val::Int(number) => text.push_str(&number.to_string()),
                Val::Text(part) => text.push_str(&part),
                _ => return Err(Stop::CantSay),
            }
        }
        sized(Val::owned(text))
    }

    fn call(&mut self, call: Call, arguments: &'a [Node]) -> Answer<'a> {
        // At most three: receiver and two more.
        let mut values = [Val::Unit, Val::Unit, Val::Unit];
        let values = values.get_mut(..arguments.len()).ok_or(Stop::CantSay)?;
        for (value, argument) in values.iter_mut().zip(arguments) {
            *value = self.eval(argument)?;
        }
        if let (Call::Contains, [container, item]) = (call, &*values) {
            return self.contains(container, item).map(Val::Bool);
        }
        match text::call(call, values) {
            Some(value) => sized(value),
            None => host::call(self, call, values),
        }
    }

    fn contains(&mut self, container: &Val<'a>, item: &Val<'a>) -> Result<bool, Stop<'a>> {
        let found = match (container, item) {
            (Val::List(..) | Val::Made(_), _) => {
                self.charge(container.entries().unwrap_or_default() / 4)?;
                item.is_in(container)
            }
            (Val::Text(text), Val::Text(part)) => Some(text.contains(&**part)),
            (Val::Map(map, known), Val::Text(name)) => {
                Some(map.get(name).is_some() || known.iter().any(|field| field.name == name.as_ref()))
            }
            (Val::Listed(_), Val::Unit) => Some(false),
            (Val::Listed(list), item) => item.text().map(|text| list.contains(&text)),
            (Val::Range { from, to, inclusive }, Val::Int(number)) => {
                Some(from <= number && if *inclusive { number <= to } else { number < to })
            }
            _ => None,
        };
        found.ok_or(Stop::CantSay)
    }

    fn each(&mut self, what: Each, element: u16, index: Option<u16>, list: &'a Node, body: &'a Node) -> Answer<'a> {
        let list = self.eval(list)?;
        let length = list.entries().ok_or(Stop::CantSay)?;
        let mut kept = Vec::new();
        for at in 0..length {
            let entry = list.entry(at).ok_or(Stop::CantSay)?;
            *self.slot(element)? = entry;
            if let Some(index) = index {
                *self.slot(index)? = Val::whole(at).ok_or(Stop::CantSay)?;
            }
            let answer = self.eval(body)?;
            if what == Each::Map {
                kept.push(answer);
                continue;
            }
            // What is neither true nor false counts as false.
            let holds = matches!(answer, Val::Bool(true));
            match (what, holds) {
                (Each::Some, true) => return Ok(Val::Bool(true)),
                (Each::All, false) => return Ok(Val::Bool(false)),
                (Each::Filter, true) => kept.extend(list.entry(at)),
                (Each::Find, true) => return list.entry(at).ok_or(Stop::CantSay),
                (Each::IndexOf, true) => return Val::whole(at).ok_or(Stop::CantSay),
                _ => {}
            }
        }
        Ok(match what {
            Each::Some => Val::Bool(false),
            Each::All => Val::Bool(true),
            Each::Find => Val::Unit,
            Each::IndexOf => Val::Int(-1),
            Each::Filter | Each::Map => return made(kept),
        })
    }
}

/// A list of a rule's own, within the sandbox's sizes.
fn made(items: Vec<Val<'_>>) -> Answer<'_> {
    sized(Val::Made(Rc::new(items)))
}

/// What a rule made, if it is well within the sandbox's sizes.
pub(super) fn sized(value: Val<'_>) -> Answer<'_> {
    if matches!(value, Val::Text(_) | Val::Made(_)) && !fits(value.weight()) { Err(Stop::CantSay) } else { Ok(value) }
}

fn arithmetic<'a>(op: Operator, x: &Val<'a>, y: &Val<'a>) -> Option<Val<'a>> {
    match (x, y) {
        (Val::Int(x), Val::Int(y)) => match op {
            Operator::Plus | Operator::Add => x.checked_add(*y),
            Operator::Minus => x.checked_sub(*y),
            Operator::Times => x.checked_mul(*y),
            Operator::Divide => x.checked_div(*y),
            Operator::Modulo => x.checked_rem(*y),
        }
        .map(Val::Int),
        (Val::Text(x), Val::Text(y)) if matches!(op, Operator::Plus | Operator::Add) => {
            let joined = Val::owned(format!("{x}{y}"));
            fits(joined.weight()).then_some(joined)
        }
        (Val::Float(x), Val::Float(y)) => Some(Val::Float(fraction(op, *x, *y))),
        _ if op == Operator::Add => None,
        (Val::Float(x), Val::Int(y)) => Some(Val::Float(fraction(op, *x, *y as f64))),
        (Val::Int(x), Val::Float(y)) => Some(Val::Float(fraction(op, *x as f64, *y))),
        _ => None,
    }
}

fn fraction(op: Operator, x: f64, y: f64) -> f64 {
    match op {
        Operator::Plus | Operator::Add => x + y,
        Operator::Minus => x - y,
        Operator::Times => x * y,
        Operator::Divide => x / y,
        Operator::Modulo => x % y,
    }
}
