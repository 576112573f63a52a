//! The walk through a function's body: names, fields, comparisons, callbacks.

use std::collections::BTreeSet;

use rhai::{Expr, Stmt};

use super::{
    Function, World, at, never,
    shape::{Link, Shape, callback, chain, variable, written},
};
use crate::{
    model::topic::COMMON,
    rules::{
        card::secret,
        codes,
        diagnostic::Diagnostic,
        fields::{Found, Missing, Step, named},
        literal::Place,
        source::did_you_mean,
    },
};

/// Methods that change what they are called on.
const MUTATORS: &[&str] = &[
    "push",
    "pop",
    "shift",
    "insert",
    "append",
    "remove",
    "clear",
    "truncate",
    "chop",
    "retain",
    "drain",
    "splice",
    "sort",
    "reverse",
    "dedup",
    "pad",
    "set",
    "mixin",
    "fill_with",
    "for_each",
];

pub(super) type Environment<'a> = Vec<(&'a str, Shape)>;

/// Walks one function.
pub struct Walker<'w, 'a, 'o> {
    pub(super) world: &'w World<'a>,
    pub(super) functions: &'a [Function],
    pub(super) out: &'o mut Vec<Diagnostic>,
    pub(super) calls: BTreeSet<String>,
    /// The `=` of an assignment that stands where the function's answer is due.
    pub(super) answer: Option<Place>,
    /// How deep in callbacks: a bound against callbacks that hold each other.
    pub(super) depth: usize,
}

impl<'w, 'a, 'o> Walker<'w, 'a, 'o> {
    pub fn new(world: &'w World<'a>, functions: &'a [Function], out: &'o mut Vec<Diagnostic>) -> Self {
        Self { world, functions, out, calls: BTreeSet::new(), answer: None, depth: 0 }
    }

    pub(super) fn named(&self) -> impl Iterator<Item = &'a Function> + use<'a> {
        self.functions.iter().filter(|function| !function.is_callback())
    }

    /// The script's functions that were called.
    pub fn into_calls(self) -> BTreeSet<String> {
        self.calls
    }

    /// Walks the body. An entry point's parameters are the event and the settings whatever their names; elsewhere the names tell.
    pub fn function(&mut self, function: &'a Function, entry_point: bool) {
        let mut environment: Environment<'a> = function
            .parameters
            .iter()
            .enumerate()
            .map(|(index, name)| {
                let shape = match (entry_point, index, name.as_str()) {
                    (true, 0, _) | (_, _, "event") => Shape::Event,
                    (true, 1, _) | (_, _, "settings") => Shape::Settings,
                    _ => Shape::Unknown,
                };
                (name.as_str(), shape)
            })
            .collect();
        self.body(function, &mut environment);
    }

    pub(super) fn body(&mut self, function: &'a Function, environment: &mut Environment<'a>) {
        self.answer = function.body.last().and_then(|last| match last {
            Stmt::Assignment(assignment) if !assignment.0.is_op_assignment() => Some(at(assignment.0.position())),
            _ => None,
        });
        self.block(&function.body, environment);
    }

    pub(super) fn error(&mut self, code: &'static str, place: Place, message: impl Into<String>, label: impl Into<String>) {
        self.out.push(self.world.source.error(code, place, message).label(label));
    }

    fn block(&mut self, statements: &'a [Stmt], environment: &mut Environment<'a>) {
        let outer = environment.len();
        for statement in statements {
            self.statement(statement, environment);
        }
        environment.truncate(outer);
    }

    fn statement(&mut self, statement: &'a Stmt, environment: &mut Environment<'a>) {
        match statement {
            Stmt::If(flow, _) | Stmt::While(flow, _) | Stmt::Do(flow, ..) | Stmt::TryCatch(flow, _) => {
                self.expression(&flow.expr, environment);
                self.block(flow.body.statements(), environment);
                let outer = environment.len();
                if let (Stmt::TryCatch(..), Some(name)) = (statement, variable(&flow.expr)) {
                    environment.push((name, Shape::Unknown));
                }
                self.block(flow.branch.statements(), environment);
                environment.truncate(outer);
            }
            Stmt::Switch(switch, _) => {
                self.expression(&switch.0, environment);
                for pair in &switch.1.expressions {
                    self.expression(&pair.lhs, environment);
                    self.expression(&pair.rhs, environment);
                }
            }
            Stmt::For(for_, _) => {
                let shape = match self.expression(&for_.2.expr, environment) {
                    Shape::List(fields) => Shape::Entry(fields),
                    _ => Shape::Unknown,
                };
                let outer = environment.len();
                environment.push((for_.0.name.as_str(), shape));
                if let Some(counter) = &for_.1 {
                    environment.push((counter.name.as_str(), Shape::Number));
                }
                self.block(for_.2.body.statements(), environment);
                environment.truncate(outer);
            }
            Stmt::Var(variable, ..) => {
                let shape = self.expression(&variable.1, environment);
                environment.push((variable.0.name.as_str(), shape));
            }
            Stmt::Assignment(assignment) => {
                let (operator, pair) = assignment.as_ref();
                self.expression(&pair.rhs, environment);
                self.assignment(&pair.lhs, operator.is_op_assignment(), at(operator.position()), environment);
            }
            Stmt::FnCall(call, position) => {
                self.call(call, *position, environment);
            }
            Stmt::Block(block) => self.block(block.statements(), environment),
            Stmt::BreakLoop(Some(expr), ..) | Stmt::Return(Some(expr), ..) => {
                self.expression(expr, environment);
            }
            Stmt::Expr(expr) => {
                self.expression(expr.as_ref(), environment);
            }
            Stmt::Import(_, position) => {
                self.error(codes::IMPORT, at(*position), "an import inside a function", "move it to the top of the file");
            }
            _ => {}
        }
    }

    fn assignment(&mut self, target: &'a Expr, compound: bool, operator: Place, environment: &mut Environment<'a>) {
        let (root, links) = chain(target);
        let shape = variable(root).and_then(|name| lookup(environment, name));
        let named = links.iter().any(|link| matches!(link, Link::Name(..)));
        match shape {
            Some(shape) if shape == Shape::Settings || shape.is_of_event() => {
                if self.answer == Some(operator) {
                    self.error(codes::SINGLE_EQUALS, operator, "a single `=` sets a value; it does not compare", "write `==`");
                    return;
                }
                let what = if shape == Shape::Settings { "the settings" } else { "the event" };
                let finding = self.world.source.error(
                    codes::EVENT_CHANGED,
                    operator,
                    format!("this would change {what}; a rule only reads them"),
                );
                let text = written(target).unwrap_or_else(|| what.to_owned());
                self.out.push(if compound {
                    finding.label("not allowed").help(format!("compute into a value of your own: let changed = {text} …;"))
                } else {
                    finding.label("write `==` to compare").help("to compute with a changed copy, name it first: let mine = …;")
                });
            }
            _ => {
                // The target is read for its names, but an index or a field of an own map needs no check.
                if named {
                    self.expression(root, environment);
                } else {
                    self.expression(target, environment);
                }
            }
        }
    }

    pub(super) fn expression(&mut self, expr: &'a Expr, environment: &mut Environment<'a>) -> Shape {
        if let Some((name, captured)) = callback(expr) {
            let place = at(expr.start_position());
            let finding = self.world.source.error(
                codes::CLOSURE_KEPT,
                place,
                "a callback stands only directly in a call such as filter, some or map",
            );
            self.out.push(
                finding
                    .label("this one would be kept")
                    .help("write it where it is used: list.filter(|m| …); what is used twice becomes a function of its own"),
            );
            self.callback_body(&name, &captured, &[], environment);
            return Shape::Unknown;
        }
        match expr {
            Expr::Dot(..) | Expr::Index(..) => self.chain(expr, environment),
            Expr::BoolConstant(..) => Shape::Bool,
            Expr::IntegerConstant(..) | Expr::FloatConstant(..) => Shape::Number,
            Expr::StringConstant(..) => Shape::Text,
            Expr::CharConstant(_, position) => {
                let place = at(*position);
                let text = self.world.source.word(place).trim_matches('\'').to_owned();
                self.error(codes::SINGLE_QUOTES, place, "a text in single quotes", format!("write \"{text}\""));
                Shape::Text
            }
            Expr::InterpolatedString(parts, _) => {
                for part in parts {
                    self.expression(part, environment);
                }
                Shape::Text
            }
            Expr::Array(items, _) => {
                for item in items {
                    self.expression(item, environment);
                }
                Shape::Array
            }
            Expr::Map(members, _) => {
                for (_, value) in &members.0 {
                    self.expression(value, environment);
                }
                Shape::Map
            }
            Expr::Unit(_) => Shape::Nothing,
            Expr::Variable(_, _, position) => self.variable(expr, at(*position), environment),
            Expr::Stmt(block) => {
                self.block(block.statements(), environment);
                Shape::Unknown
            }
            Expr::FnCall(call, position) => self.call(call, *position, environment),
            Expr::And(parts, position) => {
                for part in parts.iter() {
                    self.expression(part, environment);
                }
                never::and(self.world, parts, at(*position), self.out);
                Shape::Bool
            }
            Expr::Or(parts, position) => {
                for part in parts.iter() {
                    self.expression(part, environment);
                }
                never::or(self.world, parts, at(*position), self.out);
                Shape::Bool
            }
            Expr::Coalesce(parts, _) => {
                for part in parts.iter() {
                    self.expression(part, environment);
                }
                Shape::Unknown
            }
            _ => Shape::Unknown,
        }
    }

    fn variable(&mut self, expr: &'a Expr, place: Place, environment: &Environment<'a>) -> Shape {
        let Some(name) = variable(expr) else { return Shape::Unknown };
        if let Some(shape) = lookup(environment, name) {
            return shape;
        }
        if self.named().any(|function| function.name == name) {
            self.calls.insert(name.to_owned());
            return Shape::Unknown;
        }
        if !environment.is_empty() || name != "this" {
            let label = did_you_mean(name, environment.iter().map(|(name, _)| *name), "not known");
            self.error(codes::UNKNOWN_VARIABLE, place, format!("nothing is called `{name}` here"), label);
        }
        Shape::Unknown
    }

    /// `root.name[index].call(…)`, link by link.
    fn chain(&mut self, expr: &'a Expr, environment: &mut Environment<'a>) -> Shape {
        let (root, links) = chain(expr);
        let root_name = variable(root);
        let root_shape = self.expression(root, environment);
        let mut shape = root_shape;
        let mut receiver = root_name.map(str::to_owned);
        for link in links {
            match link {
                Link::Name(name, position) => {
                    shape = self.property(shape, name, at(position));
                    receiver = receiver.map(|text| format!("{text}.{name}"));
                }
                Link::Index(index) => {
                    self.expression(index, environment);
                    shape = match (shape, index) {
                        (Shape::Event | Shape::Entry(_) | Shape::Settings, Expr::StringConstant(name, position)) => {
                            self.property(shape, name.as_str(), at(*position))
                        }
                        (Shape::List(fields), _) => Shape::Entry(fields),
                        _ => Shape::Unknown,
                    };
                    receiver = None;
                }
                Link::Call(call, position) => {
                    let name = call.name.as_str();
                    let changes = MUTATORS.contains(&name) && !(name == "set" && call.args.is_empty());
                    if changes && matches!(root_shape, Shape::Event | Shape::Settings) && receiver.is_some() && name != "for_each"
                    {
                        let what = receiver.clone().unwrap_or_default();
                        let finding = self.world.source.error(
                            codes::EVENT_CHANGED,
                            at(position),
                            format!("`{name}` would change `{what}`; a rule only reads it"),
                        );
                        self.out.push(finding.label("not on the event").help(format!("take a copy first: let mine = {what};")));
                    }
                    shape = self.method(shape, call, at(position), environment);
                    // What a call answers is a value of its own.
                    receiver = None;
                }
            }
        }
        shape
    }

    fn property(&mut self, shape: Shape, name: &'a str, place: Place) -> Shape {
        match shape {
            Shape::Event => {
                let steps = [Step::Name(name)];
                if self.world.fields.is_secret(&steps) {
                    self.out.push(secret(self.world.source, name, place));
                    return Shape::Unknown;
                }
                if let Some(missing) = self.world.fields.missing(&steps) {
                    self.unknown_field(&missing, place);
                    return self.world.fields.field(&steps).map_or(Shape::Unknown, Shape::of);
                }
                if COMMON.contains(&name) {
                    return match name {
                        "late" => Shape::Bool,
                        "topic" => Shape::Text,
                        _ => Shape::Unknown,
                    };
                }
                self.world.fields.field(&steps).map_or(Shape::Unknown, Shape::of)
            }
            Shape::Entry(fields) => match named(fields, name, &[]) {
                Found::Known(field) => Shape::of(field),
                Found::Unknown { name, proposal } => {
                    let label = proposal.map_or_else(
                        || format!("an entry has {}", fields.iter().map(|field| field.name).collect::<Vec<_>>().join(", ")),
                        |name| format!("did you mean `{name}`?"),
                    );
                    self.error(codes::UNKNOWN_FIELD, place, format!("unknown field `{name}` of an entry"), label);
                    Shape::Unknown
                }
                _ => Shape::Unknown,
            },
            Shape::List(fields) if !matches!(name, "len" | "is_empty") => {
                let known = matches!(named(fields, name, &[]), Found::Known(_));
                let label = if known {
                    format!("pick entries: .some(|m| m.{name} == …), or one: [0].{name}")
                } else {
                    "a list has no such field".to_owned()
                };
                self.error(codes::UNKNOWN_FIELD, place, format!("`{name}` is asked of a list, not of an entry"), label);
                Shape::Unknown
            }
            Shape::List(_) if name == "len" => Shape::Number,
            Shape::Settings => {
                if let Some(known) = &self.world.settings
                    && !known.iter().any(|known| known == name)
                {
                    let label = did_you_mean(name, known.iter().map(String::as_str), "add it to `settings` on the card");
                    self.error(codes::UNKNOWN_ENTRY, place, format!("the card's `settings` has no `{name}`"), label);
                }
                Shape::Unknown
            }
            _ => Shape::Unknown,
        }
    }

    fn unknown_field(&mut self, missing: &Missing, place: Place) {
        let source = self.world.source;
        let message = format!("unknown field `{}` on topic {}", missing.name, missing.topic);
        if missing.elsewhere {
            let finding = source.warning(codes::UNKNOWN_FIELD, place, message).label("other topics of this rule have it");
            self.out.push(finding.help(format!("ask for the topic first: event.topic != \"{}\" && …", missing.topic)));
            return;
        }
        let finding = source.error(codes::UNKNOWN_FIELD, place, message);
        self.out.push(match missing.proposal.as_deref() {
            Some(name) => finding.label(format!("did you mean `{name}`?")),
            None => Diagnostic { help: missing.help(), ..finding.label("no such field") },
        });
    }
}

pub(super) fn lookup(environment: &Environment<'_>, name: &str) -> Option<Shape> {
    environment.iter().rev().find(|(known, _)| *known == name).map(|(_, shape)| *shape)
}
