//! The walk through a function's body: names, fields, comparisons, callbacks.

use std::collections::BTreeSet;

use rhai::{Expr, FnCallExpr, Position, Stmt};

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
        lint::unknown_list,
        literal::Place,
        source::{did_you_mean, proposal},
    },
};

/// Built-ins that call their callback and do not keep it. The callback is the first argument behind the list.
const CALLBACKS: &[&str] =
    &["filter", "map", "some", "all", "find", "find_map", "index_of", "reduce", "reduce_rev", "for_each", "sort"];

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

/// More arguments than these, and the engine may search for seconds for a function that fits.
const MOST_ARGUMENTS: usize = 8;

/// What the sandbox must not meet.
const FORBIDDEN: &[&str] = &["Fn", "curry", "call", "eval", "is_def_fn", "is_def_var", "is_shared", "sleep"];

type Environment<'a> = Vec<(&'a str, Shape)>;

/// Walks one function.
pub struct Walker<'w, 'a, 'o> {
    world: &'w World<'a>,
    functions: &'a [Function],
    out: &'o mut Vec<Diagnostic>,
    calls: BTreeSet<String>,
    /// The `=` of an assignment that stands where the function's answer is due.
    answer: Option<Place>,
    /// How deep in callbacks: a bound against callbacks that hold each other.
    depth: usize,
}

impl<'w, 'a, 'o> Walker<'w, 'a, 'o> {
    pub fn new(world: &'w World<'a>, functions: &'a [Function], out: &'o mut Vec<Diagnostic>) -> Self {
        Self { world, functions, out, calls: BTreeSet::new(), answer: None, depth: 0 }
    }

    fn named(&self) -> impl Iterator<Item = &'a Function> + use<'a> {
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

    fn body(&mut self, function: &'a Function, environment: &mut Environment<'a>) {
        self.answer = function.body.last().and_then(|last| match last {
            Stmt::Assignment(assignment) if !assignment.0.is_op_assignment() => Some(at(assignment.0.position())),
            _ => None,
        });
        self.block(&function.body, environment);
    }

    fn error(&mut self, code: &'static str, place: Place, message: impl Into<String>, label: impl Into<String>) {
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

    fn expression(&mut self, expr: &'a Expr, environment: &mut Environment<'a>) -> Shape {
        if let Some((name, _)) = callback(expr) {
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
            self.callback_body(&name, &[], Shape::Unknown, environment);
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
        let label =
            missing.proposal.as_deref().map_or_else(|| "no such field".to_owned(), |name| format!("did you mean `{name}`?"));
        self.out.push(source.error(codes::UNKNOWN_FIELD, place, message).label(label));
    }

    /// `receiver.name(args)`.
    fn method(&mut self, receiver: Shape, call: &'a FnCallExpr, place: Place, environment: &mut Environment<'a>) -> Shape {
        let name = call.name.as_str();
        self.allowed(name, call.args.len() + 1, place);
        self.arguments(receiver, name, &call.args, environment);
        let own = self.named().any(|function| function.name == name && function.parameters.len() == call.args.len());
        if own {
            self.calls.insert(name.to_owned());
        } else {
            self.known(name, call.args.len(), call.args.len() + 1, place);
        }
        result(name, receiver)
    }

    /// The arguments behind a list; the first of them may be a built-in's callback.
    fn arguments(&mut self, receiver: Shape, name: &str, arguments: &'a [Expr], environment: &mut Environment<'a>) {
        for (index, argument) in arguments.iter().enumerate() {
            let found = callback(argument).filter(|_| CALLBACKS.contains(&name) && index == 0);
            let Some((function, captured)) = found else {
                self.expression(argument, environment);
                continue;
            };
            let element = if let Shape::List(fields) = receiver { Shape::Entry(fields) } else { Shape::Unknown };
            if name == "sort" {
                self.comparator(&function, at(argument.start_position()));
            }
            self.callback_body(&function, &captured, element, environment);
        }
    }

    fn callback_body(&mut self, name: &str, captured: &[&str], element: Shape, environment: &Environment<'a>) {
        let Some(function) = self.functions.iter().find(|function| function.name == name) else { return };
        if self.depth > 16 {
            return;
        }
        let own = function.parameters.len().saturating_sub(captured.len());
        let mut inner: Environment<'a> = environment.clone();
        for (index, parameter) in function.parameters.iter().enumerate().skip(function.parameters.len() - own) {
            let first = index == function.parameters.len() - own;
            inner.push((parameter.as_str(), if first { element } else { Shape::Unknown }));
        }
        let answer = self.answer;
        self.depth += 1;
        self.body(function, &mut inner);
        self.depth -= 1;
        self.answer = answer;
    }

    /// A sort swallows its comparator's errors and leaves the list unsorted: it may only read and compare.
    fn comparator(&mut self, name: &str, place: Place) {
        let Some(function) = self.functions.iter().find(|function| function.name == name) else { return };
        let mut throws = false;
        for statement in &function.body {
            statement.walk(&mut Vec::new(), &mut |path| {
                throws |= match path.last() {
                    Some(rhai::ASTNode::Stmt(Stmt::Return(_, flags, _))) => flags.contains(rhai::ASTFlags::BREAK),
                    Some(rhai::ASTNode::Expr(Expr::FnCall(call, _))) => {
                        !call.is_operator_call() || matches!(call.name.as_str(), "/" | "%")
                    }
                    Some(
                        rhai::ASTNode::Stmt(Stmt::FnCall(..) | Stmt::While(..) | Stmt::Do(..) | Stmt::For(..))
                        | rhai::ASTNode::Expr(Expr::MethodCall(..) | Expr::Index(..)),
                    ) => true,
                    _ => false,
                };
                true
            });
        }
        if throws {
            let finding =
                self.world.source.error(codes::SORT_THROWS, place, "this comparison could fail, and `sort` would hide it");
            self.out.push(
                finding
                    .label("only read and compare here")
                    .help("compute what you sort by first, with map, then sort by it: list.sort(|a, b| a.key - b.key)"),
            );
        }
    }

    /// `name(args)`, an operator, or `module::name(args)`.
    fn call(&mut self, call: &'a FnCallExpr, position: Position, environment: &mut Environment<'a>) -> Shape {
        let (name, place) = (call.name.as_str(), at(position));
        if call.is_operator_call() {
            return self.operator(call, place, environment);
        }
        if call.is_qualified() {
            for argument in &call.args {
                self.expression(argument, environment);
            }
            self.allowed(name, call.args.len(), place);
            self.module_function(call, place);
            return Shape::Unknown;
        }
        self.allowed(name, call.args.len(), place);
        if let ("list", [Expr::StringConstant(list, position)]) = (name, call.args.as_slice()) {
            self.list(list, at(*position));
        }
        if CALLBACKS.contains(&name) && call.args.len() > 1 {
            let receiver = self.expression(&call.args[0], environment);
            self.arguments(receiver, name, &call.args[1..], environment);
            return result(name, receiver);
        }
        let mut first = Shape::Unknown;
        for (index, argument) in call.args.iter().enumerate() {
            let shape = self.expression(argument, environment);
            if index == 0 {
                first = shape;
            }
        }
        let same_name: Vec<usize> =
            self.named().filter(|function| function.name == name).map(|function| function.parameters.len()).collect();
        if same_name.is_empty() {
            self.known(name, call.args.len(), call.args.len(), place);
        } else {
            self.calls.insert(name.to_owned());
            if !same_name.contains(&call.args.len()) {
                let message = format!("`{name}` takes {}, not {}", values(same_name.iter().copied()), call.args.len());
                self.error(codes::UNKNOWN_FUNCTION, place, message, "called with another number of values");
            }
        }
        result(name, first)
    }

    /// A list that is not there holds nothing, and a rule that asks it stays silent.
    fn list(&mut self, name: &str, place: Place) {
        if self.world.lists.get(name).is_none() {
            self.out.push(unknown_list(self.world.source, self.world.lists, name, place));
        }
    }

    fn module_function(&mut self, call: &FnCallExpr, place: Place) {
        let name = call.name.as_str();
        let Some(alias) = call.namespace.path.first().map(|ident| ident.name.as_str()) else { return };
        // An unknown alias is told by the parser, a broken module at its import.
        let Some(module) = self.world.aliases.get(alias).and_then(|path| self.world.modules.get(path)) else { return };
        let functions: Vec<(&str, usize)> = module.functions.iter().map(|(name, arity)| (name.as_str(), *arity)).collect();
        if functions.iter().any(|(known, arity)| *known == name && *arity == call.args.len()) {
            return;
        }
        let arities: Vec<usize> = functions.iter().filter(|(known, _)| *known == name).map(|(_, arity)| *arity).collect();
        if arities.is_empty() {
            let label = did_you_mean(name, functions.iter().map(|(name, _)| *name), "not in that module");
            self.error(codes::UNKNOWN_FUNCTION, place, format!("the module `{alias}` has no function `{name}`"), label);
        } else {
            let message = format!("`{alias}::{name}` takes {}, not {}", values(arities.into_iter()), call.args.len());
            self.error(codes::UNKNOWN_FUNCTION, place, message, "called with another number of values");
        }
    }

    fn allowed(&mut self, name: &str, arguments: usize, place: Place) {
        if arguments > MOST_ARGUMENTS {
            let message = format!("`{name}` is called with {arguments} values; at most {MOST_ARGUMENTS} are allowed");
            self.error(codes::TOO_MANY_ARGUMENTS, place, message, "hand over a map or a list");
        }
        if FORBIDDEN.contains(&name) {
            self.error(codes::FORBIDDEN, place, format!("`{name}` is not allowed in rules"), "not allowed");
        }
    }

    /// Whether a native function takes that many arguments, as a function or as a method.
    fn known(&mut self, name: &str, written: usize, arguments: usize, place: Place) {
        if FORBIDDEN.contains(&name) || matches!(name, "print" | "debug" | "type_of") {
            return;
        }
        if name == "earlier" {
            let finding = self.world.source.error(
                codes::LATER,
                place,
                "`earlier`, the look into the past, comes with a later version of redflag",
            );
            self.out.push(finding.label("not yet").help("until then, a rule sees one event at a time"));
            return;
        }
        if let Some(arities) = self.world.natives.get(name) {
            if !arities.contains(&arguments) {
                let receiver = arguments - written;
                let takes = values(arities.iter().filter(|arity| **arity >= receiver).map(|arity| arity - receiver));
                self.error(
                    codes::UNKNOWN_FUNCTION,
                    place,
                    format!("`{name}` takes {takes}, not {written}"),
                    "called with another number of values",
                );
            }
            return;
        }
        let own: Vec<String> = self.named().map(|function| function.name.clone()).collect();
        let host = crate::rules::functions::NAMES.iter().map(|(name, _)| *name);
        let natives = self
            .world
            .natives
            .keys()
            .map(String::as_str)
            .filter(|name| name.starts_with(char::is_alphabetic) && !name.contains('$'));
        let label = proposal(name, own.iter().map(String::as_str).chain(host))
            .or_else(|| proposal(name, natives))
            .map_or_else(|| "not known".to_owned(), |name| format!("did you mean `{name}`?"));
        self.error(codes::UNKNOWN_FUNCTION, place, format!("there is no function `{name}`"), label);
    }

    fn operator(&mut self, call: &'a FnCallExpr, place: Place, environment: &mut Environment<'a>) -> Shape {
        let shapes: Vec<Shape> = call.args.iter().map(|argument| self.expression(argument, environment)).collect();
        match (call.name.as_str(), shapes.as_slice()) {
            ("==" | "!=" | "<" | ">" | "<=" | ">=", [left, right]) => {
                let plain = |shape: &Shape| matches!(shape, Shape::Text | Shape::Number | Shape::Bool);
                if plain(left) && plain(right) && left != right {
                    let name = |index: usize| {
                        let expr: &Expr = &call.args[index];
                        written(expr).unwrap_or_else(|| self.world.source.word(at(expr.start_position())).to_owned())
                    };
                    let (a, b) = (name(0), name(1));
                    let message = format!(
                        "{} compared with {}: {}",
                        left.words(),
                        right.words(),
                        if matches!(call.name.as_str(), "==" | "!=") { "they are never equal" } else { "they have no order" }
                    );
                    let finding = self.world.source.error(codes::TEXT_WITH_NUMBER, place, message);
                    let mended = match (*left, *right, &call.args[0], &call.args[1]) {
                        (Shape::Text, Shape::Number, _, Expr::IntegerConstant(number, _)) => {
                            Some(format!("{a} {} \"{number}\"", call.name))
                        }
                        (Shape::Number, Shape::Text, _, Expr::StringConstant(text, _)) if text.parse::<i64>().is_ok() => {
                            Some(format!("{a} {} {text}", call.name))
                        }
                        _ => None,
                    };
                    let finding = finding.label(format!("`{a}` is {}, `{b}` is {}", left.words(), right.words()));
                    self.out.push(if let Some(line) = mended {
                        finding.help(format!("write it like this: {line}"))
                    } else {
                        finding
                    });
                }
                Shape::Bool
            }
            ("<<" | ">>" | "<<=" | ">>=", _) => {
                self.error(codes::FORBIDDEN, place, "shifting bits is not allowed in rules", "did you mean `<` or `>`?");
                Shape::Number
            }
            ("!" | "contains" | "in" | "!in", _) => Shape::Bool,
            ("+", [Shape::Text, _] | [_, Shape::Text]) => Shape::Text,
            ("+" | "-" | "*" | "/" | "%" | "**", [Shape::Number, Shape::Number]) | ("-" | "+", [Shape::Number]) => Shape::Number,
            _ => Shape::Unknown,
        }
    }
}

fn lookup(environment: &Environment<'_>, name: &str) -> Option<Shape> {
    environment.iter().rev().find(|(known, _)| *known == name).map(|(_, shape)| *shape)
}

/// What a call answers, where that is sure.
fn result(name: &str, receiver: Shape) -> Shape {
    match (name, receiver) {
        ("filter", list) => list,
        ("find", Shape::List(fields)) => Shape::Entry(fields),
        (
            "some" | "all" | "blank" | "matches" | "same_country" | "same_name" | "working_hours" | "is_empty" | "starts_with"
            | "ends_with",
            _,
        ) => Shape::Bool,
        ("len" | "count" | "days_between" | "hours_between" | "age_on" | "name_similarity", _) => Shape::Number,
        ("to_upper" | "to_lower" | "to_string" | "sub_string" | "fold", _) => Shape::Text,
        _ => Shape::Unknown,
    }
}

fn values(arities: impl Iterator<Item = usize>) -> String {
    let mut arities: Vec<usize> = arities.collect();
    arities.sort_unstable();
    arities.dedup();
    match arities.as_slice() {
        [] | [0] => "no value".to_owned(),
        [1] => "1 value".to_owned(),
        many => format!("{} values", many.iter().map(usize::to_string).collect::<Vec<_>>().join(" or ")),
    }
}
