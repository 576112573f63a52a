//! From Rhai's syntax tree to [`Node`]: names become slots, calls become known functions, functions of the file are put in where they are
//! called. Lowering never fails: what it does not understand is [`Node::Unknown`], with its line.
//!
//! Nothing here may depend on what Rhai *usually* does. A function of the file hides a built-in of its name, a callback captures by
//! reference, a method's arguments are evaluated before what it is called on: where such a thing could make a difference, it is left to
//! Rhai.

use rhai::{ASTFlags, Expr, FnCallExpr, Position, Stmt};

use super::{
    Native,
    ir::{Call, Common, Comparison, Each, Mutator, Node, Operator},
};
use crate::{
    model::value::Value,
    rules::{
        lint::{Function, Link, callback, variable},
        sandbox::{self, Names as Copied},
    },
};

/// Something that is left to Rhai.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opaque {
    /// In the rule file.
    pub line: Option<usize>,
    /// For the rule's author.
    pub what: &'static str,
}

/// The largest form: a function that is called in many places is put in as often.
const NODES: usize = 4_000;

/// The most variables at once; Rhai's own limit is 128 in one function.
const SLOTS: u16 = 96;

/// How deep functions and callbacks may nest. Rhai's limit is 16 calls, of which a callback takes two.
const DEPTH: u8 = 5;

pub(super) fn when(functions: &[Function]) -> Option<Native> {
    let when = functions.iter().find(|function| function.name == "when" && function.parameters.len() == 2)?;
    let mut copied = Copied::new();
    for statement in functions.iter().flat_map(|function| &function.body) {
        statement.walk(&mut Vec::new(), &mut |path| {
            sandbox::note_recaptured(path, &mut copied);
            true
        });
    }
    let mut lowering = Lowering { functions, copied, slots: 0, nodes: 0, depth: 0, changes: 0, opaque: Vec::new() };
    let bound = [Bound::Event, Bound::Settings];
    let mut names: Names<'_> = when.parameters.iter().zip(bound).map(|(name, bound)| Name::fixed(name, bound)).collect();
    let body = lowering.body(when, &mut names);
    Some(Native { body, slots: usize::from(lowering.slots), opaque: lowering.opaque })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bound {
    Event,
    Settings,
    Slot(u16),
}

/// A variable in sight.
#[derive(Clone, Copy, Debug)]
struct Name<'f> {
    name: &'f str,
    bound: Bound,
    /// Made by `let` in the function at hand. What comes from outside is never changed here.
    own: bool,
}

type Names<'f> = Vec<Name<'f>>;

impl<'f> Name<'f> {
    fn fixed(name: &'f str, bound: Bound) -> Self {
        Self { name, bound, own: false }
    }
}

impl Bound {
    fn node(self) -> Node {
        match self {
            Self::Event => Node::Event,
            Self::Settings => Node::Settings,
            Self::Slot(slot) => Node::Slot(slot),
        }
    }
}

struct Lowering<'f> {
    functions: &'f [Function],
    /// Variables that the sandbox hands out as copies, which can't be changed.
    copied: Copied,
    slots: u16,
    nodes: usize,
    depth: u8,
    /// How many changes of variables were lowered: an argument must hold none.
    changes: usize,
    opaque: Vec<Opaque>,
}

impl<'f> Lowering<'f> {
    fn unknown(&mut self, position: Position, what: &'static str) -> Node {
        let found = Opaque { line: position.line(), what };
        if !self.opaque.contains(&found) {
            self.opaque.push(found);
        }
        Node::Unknown
    }

    fn slot(&mut self) -> Option<u16> {
        (self.slots < SLOTS).then(|| {
            self.slots += 1;
            self.slots - 1
        })
    }

    /// Whether one more node is too many.
    fn full(&mut self) -> bool {
        self.nodes += 1;
        self.nodes > NODES
    }

    /// A function's or a callback's body with its parameters in sight.
    fn body(&mut self, function: &'f Function, names: &mut Names<'f>) -> Node {
        let block = self.block(&function.body, names);
        if holds_return(&block) { Node::Body(Box::new(block)) } else { block }
    }

    fn block(&mut self, statements: &'f [Stmt], names: &mut Names<'f>) -> Node {
        let outer = names.len();
        let mut nodes: Vec<Node> = statements.iter().map(|statement| self.statement(statement, names)).collect();
        names.truncate(outer);
        match nodes.len() {
            0 => Node::UNIT,
            1 => nodes.remove(0),
            _ => Node::Block(nodes.into()),
        }
    }

    fn statement(&mut self, statement: &'f Stmt, names: &mut Names<'f>) -> Node {
        if self.full() {
            return self.unknown(statement.position(), "the function is too long");
        }
        match statement {
            Stmt::Noop(_) => Node::UNIT,
            Stmt::Expr(expr) => match self.mutation(expr, names) {
                Some(node) => node,
                None => self.expression(expr, names),
            },
            Stmt::FnCall(call, position) => self.call(call, *position, names),
            Stmt::Block(block) => self.block(block.statements(), names),
            Stmt::If(flow, _) => {
                let condition = self.expression(&flow.expr, names);
                let then = self.block(flow.body.statements(), names);
                let other = self.block(flow.branch.statements(), names);
                Node::If(Box::new([condition, then, other]))
            }
            Stmt::Var(variable, flags, position) => {
                let value = self.expression(&variable.1, names);
                let Some(slot) = self.slot() else { return self.unknown(*position, "too many variables") };
                let own = !flags.contains(ASTFlags::CONSTANT) && !self.copied.contains(variable.0.name.as_str());
                names.push(Name { name: variable.0.name.as_str(), bound: Bound::Slot(slot), own });
                Node::Set(slot, Box::new(value))
            }
            Stmt::Assignment(assignment) => {
                let (operator, pair) = assignment.as_ref();
                let Some((slot, true)) = variable(&pair.lhs).and_then(|name| own_slot(names, name)) else {
                    return self.unknown(operator.position(), "an assignment to what is not a variable of its own");
                };
                let Some(value) = self.arguments(std::slice::from_ref(&pair.rhs), operator.position(), names) else {
                    return Node::Unknown;
                };
                let Some(value) = value.into_iter().next() else { return Node::Unknown };
                self.changes += 1;
                let value = match operator.get_op_assignment_info().map(|(.., symbol)| symbol) {
                    None => value,
                    Some("+") => Node::Arithmetic(Operator::Add, Box::new([Node::Slot(slot), value])),
                    Some(_) => return self.unknown(operator.position(), "this assignment"),
                };
                Node::Set(slot, Box::new(value))
            }
            Stmt::For(parts, position) => {
                let (element, counter, flow) = parts.as_ref();
                let list = self.expression(&flow.expr, names);
                let outer = names.len();
                let counter = match counter {
                    None => None,
                    Some(name) => {
                        let Some(slot) = self.slot() else { return self.unknown(*position, "too many variables") };
                        names.push(Name::fixed(name.name.as_str(), Bound::Slot(slot)));
                        Some(slot)
                    }
                };
                let Some(slot) = self.slot() else { return self.unknown(*position, "too many variables") };
                names.push(Name::fixed(element.name.as_str(), Bound::Slot(slot)));
                let body = self.block(flow.body.statements(), names);
                names.truncate(outer);
                Node::For { slot, counter, list: Box::new(list), body: Box::new(body) }
            }
            Stmt::BreakLoop(None, flags, _) => {
                if flags.contains(ASTFlags::BREAK) {
                    Node::Break
                } else {
                    Node::Continue
                }
            }
            Stmt::Return(value, flags, position) => {
                if flags.contains(ASTFlags::BREAK) {
                    return self.unknown(*position, "`throw`");
                }
                let value = value.as_ref().map_or(Node::UNIT, |value| self.expression(value, names));
                Node::Return(Box::new(value))
            }
            Stmt::Switch(_, position) => self.unknown(*position, "`switch`"),
            Stmt::While(_, position) | Stmt::Do(_, _, position) => self.unknown(*position, "a loop that is not over a list"),
            Stmt::TryCatch(_, position) => self.unknown(*position, "`try`"),
            _ => self.unknown(statement.position(), "this statement"),
        }
    }

    /// `text.trim();` and the like on a variable of the function's own.
    fn mutation(&mut self, expr: &'f Expr, names: &mut Names<'f>) -> Option<Node> {
        let Expr::Dot(pair, flags, position) = expr else { return None };
        let Expr::MethodCall(call, _) = &pair.rhs else { return None };
        let mutator = Mutator::named(&call.name, call.args.len())?;
        if flags.contains(ASTFlags::NEGATED) || self.is_own(&call.name) {
            return None;
        }
        let Some((slot, true)) = variable(&pair.lhs).and_then(|name| own_slot(names, name)) else {
            return Some(self.unknown(*position, "a change of what is not a variable of its own"));
        };
        let arguments = self.arguments(&call.args, *position, names)?;
        self.changes += 1;
        Some(Node::Mutate(slot, mutator, arguments))
    }

    fn expression(&mut self, expr: &'f Expr, names: &mut Names<'f>) -> Node {
        if self.full() {
            return self.unknown(expr.position(), "the function is too long");
        }
        if let Some(value) = constant(expr) {
            return Node::Const(value);
        }
        match expr {
            Expr::Variable(_, _, position) => match variable(expr).and_then(|name| find(names, name)) {
                Some(name) => name.bound.node(),
                None => self.unknown(*position, "a name that is no variable"),
            },
            Expr::ThisPtr(position) => match find(names, THIS) {
                Some(name) => name.bound.node(),
                None => self.unknown(*position, "`this`"),
            },
            Expr::InterpolatedString(parts, _) => Node::Text(parts.iter().map(|part| self.expression(part, names)).collect()),
            Expr::Array(items, _) => Node::List(items.iter().map(|item| self.expression(item, names)).collect()),
            Expr::And(parts, _) => Node::And(parts.iter().map(|part| self.expression(part, names)).collect()),
            Expr::Or(parts, _) => Node::Or(parts.iter().map(|part| self.expression(part, names)).collect()),
            Expr::Coalesce(parts, _) => Node::Coalesce(parts.iter().map(|part| self.expression(part, names)).collect()),
            Expr::Stmt(block) => match callback(expr) {
                Some(_) => self.unknown(expr.position(), "a callback that is kept"),
                None => self.block(block.statements(), names),
            },
            Expr::FnCall(call, position) => self.call(call, *position, names),
            Expr::Dot(..) | Expr::Index(..) => self.chain(expr, names),
            Expr::CharConstant(_, position) => self.unknown(*position, "a single letter"),
            Expr::Map(_, position) => self.unknown(*position, "a map of its own"),
            _ => self.unknown(expr.position(), "this expression"),
        }
    }

    fn is_own(&self, name: &str) -> bool {
        self.functions.iter().any(|function| function.name == name)
    }

    /// Arguments, which must not change a variable: Rhai evaluates them at another time than what they belong to. None if one does.
    fn arguments(&mut self, arguments: &'f [Expr], position: Position, names: &mut Names<'f>) -> Option<Box<[Node]>> {
        let before = self.changes;
        let nodes = arguments.iter().map(|argument| self.expression(argument, names)).collect();
        if self.changes == before {
            return Some(nodes);
        }
        self.unknown(position, "an argument that changes a variable");
        None
    }

    /// An operator, or `name(args)`.
    fn call(&mut self, call: &'f FnCallExpr, position: Position, names: &mut Names<'f>) -> Node {
        if call.is_qualified() {
            return self.unknown(position, "a function of a module");
        }
        if call.capture_parent_scope {
            return self.unknown(position, "a call that hands over all variables");
        }
        let name = call.name.as_str();
        if self.is_own(name) {
            // An operator never is, but for `in`: that is a call of `contains`.
            let own = (!call.is_operator_call())
                .then(|| self.functions.iter().find(|own| own.name == name && own.parameters.len() == call.args.len()));
            return match own.flatten() {
                Some(own) => self.inline(own, call, position, names),
                None => self.unknown(position, "a built-in function's name is taken by one of the file"),
            };
        }
        let Some(arguments) = self.arguments(&call.args, position, names) else { return Node::Unknown };
        if call.is_operator_call() {
            return self.operator(name, arguments, position);
        }
        match Call::named(name, call.args.len()) {
            Some(function) => Node::Call(function, arguments),
            None => self.unknown(position, "a function that only the interpreter has"),
        }
    }

    fn operator(&mut self, name: &str, arguments: Box<[Node]>, position: Position) -> Node {
        match <Box<[Node; 2]>>::try_from(arguments) {
            Ok(pair) => {
                if let Some(comparison) = Comparison::named(name) {
                    return Node::Compare(comparison, pair);
                }
                if let Some(operator) = Operator::named(name) {
                    return Node::Arithmetic(operator, pair);
                }
                match (name, &*pair) {
                    ("contains", _) => Node::Call(Call::Contains, pair),
                    (".." | "..=", [Node::Const(Value::Int(from)), Node::Const(Value::Int(to))]) => {
                        Node::Range { from: *from, to: *to, inclusive: name == "..=" }
                    }
                    _ => self.unknown(position, "this operator"),
                }
            }
            Err(arguments) => match (name, arguments.into_iter().next()) {
                ("!", Some(operand)) => Node::Not(Box::new(operand)),
                ("-", Some(operand)) => Node::Negate(Box::new(operand)),
                _ => self.unknown(position, "this operator"),
            },
        }
    }

    /// The body of a function of the file in the place of its call.
    fn inline(&mut self, own: &'f Function, call: &'f FnCallExpr, position: Position, names: &mut Names<'f>) -> Node {
        if self.depth >= DEPTH {
            return self.unknown(position, "calls that nest too deep");
        }
        let Some(arguments) = self.arguments(&call.args, position, names) else { return Node::Unknown };
        let mut nodes = Vec::new();
        let mut inner: Names<'f> = Vec::new();
        for (parameter, argument) in own.parameters.iter().zip(arguments) {
            let bound = match argument {
                Node::Event => Bound::Event,
                Node::Settings => Bound::Settings,
                Node::Slot(slot) => Bound::Slot(slot),
                argument => {
                    let Some(slot) = self.slot() else { return self.unknown(position, "too many variables") };
                    nodes.push(Node::Set(slot, Box::new(argument)));
                    Bound::Slot(slot)
                }
            };
            inner.push(Name::fixed(parameter, bound));
        }
        self.depth += 1;
        let before = self.changes;
        nodes.push(self.body(own, &mut inner));
        self.depth -= 1;
        // What a function changes of its own is gone when it ends.
        self.changes = before;
        if nodes.len() == 1 { nodes.remove(0) } else { Node::Block(nodes.into()) }
    }

    /// `root.name[index].call(…)`.
    fn chain(&mut self, expr: &'f Expr, names: &mut Names<'f>) -> Node {
        let (root, links) = links(expr);
        let root = self.expression(root, names);
        self.links(root, &links, names)
    }

    fn links(&mut self, mut node: Node, links: &[(Link<'f>, bool)], names: &mut Names<'f>) -> Node {
        for (at, (link, elvis)) in links.iter().enumerate() {
            if *elvis {
                return self.elvis(node, &links[at..], names);
            }
            node = self.link(node, link, names);
            if matches!(node, Node::Unknown) {
                return node;
            }
        }
        node
    }

    /// `of?.…`
    fn elvis(&mut self, of: Node, links: &[(Link<'f>, bool)], names: &mut Names<'f>) -> Node {
        let Some(slot) = self.slot() else { return self.unknown(Position::NONE, "too many variables") };
        let mut arguments = Vec::new();
        for (link, _) in links {
            let (expressions, position): (&[Expr], Position) = match link {
                Link::Call(call, position) => (&call.args, *position),
                Link::Index(index) => (std::slice::from_ref(*index), index.position()),
                Link::Name(..) => (&[], Position::NONE),
            };
            let plain: Vec<&Expr> = expressions.iter().filter(|argument| callback(argument).is_none()).collect();
            if plain.len() < expressions.len() && plain.iter().any(|argument| constant(argument).is_none()) {
                return self.unknown(position, "a callback beside other arguments behind `?.`");
            }
            for argument in plain.into_iter().filter(|argument| constant(argument).is_none()) {
                let before = self.changes;
                arguments.push(self.expression(argument, names));
                if self.changes != before {
                    return self.unknown(position, "an argument that changes a variable");
                }
            }
        }
        let mut rest = links.to_vec();
        if let Some(first) = rest.first_mut() {
            first.1 = false;
        }
        let rest = self.links(Node::Slot(slot), &rest, names);
        Node::Elvis { of: Box::new(of), slot, arguments: arguments.into(), rest: Box::new(rest) }
    }

    fn link(&mut self, of: Node, link: &Link<'f>, names: &mut Names<'f>) -> Node {
        if self.full() {
            return self.unknown(Position::NONE, "the function is too long");
        }
        match *link {
            Link::Name(name, _) => match (of, Common::named(name)) {
                (Node::Event, Some(common)) => Node::Common(common),
                (of, _) => Node::Field { of: Box::new(of), name: name.into() },
            },
            Link::Index(index) => {
                let Some(arguments) = self.arguments(std::slice::from_ref(index), index.position(), names) else {
                    return Node::Unknown;
                };
                let Some(index) = arguments.into_iter().next() else { return Node::Unknown };
                Node::Index(Box::new([of, index]))
            }
            Link::Call(call, position) => self.method(of, call, position, names),
        }
    }

    fn method(&mut self, of: Node, call: &'f FnCallExpr, position: Position, names: &mut Names<'f>) -> Node {
        let name = call.name.as_str();
        if self.is_own(name) {
            return self.unknown(position, "a method of the file");
        }
        if let [argument] = &*call.args
            && let Some((function, captured)) = callback(argument)
        {
            return match Each::named(name) {
                Some(what) => self.each(what, of, &function, &captured, position, names),
                None => self.unknown(position, "a method with a callback that only the interpreter has"),
            };
        }
        let Some(function) = Call::named(name, call.args.len() + 1) else {
            return self.unknown(position, "a method that only the interpreter has");
        };
        let Some(arguments) = self.arguments(&call.args, position, names) else { return Node::Unknown };
        Node::Call(function, std::iter::once(of).chain(arguments).collect())
    }

    /// `list.some(|entry| …)` and the like.
    fn each(
        &mut self,
        what: Each,
        list: Node,
        function: &str,
        captured: &[&'f str],
        position: Position,
        names: &mut Names<'f>,
    ) -> Node {
        let Some(function) = self.functions.iter().find(|own| own.name == function) else {
            return self.unknown(position, "a callback that is not there");
        };
        if self.depth >= DEPTH {
            return self.unknown(position, "callbacks that nest too deep");
        }
        let (Some(element), Some(own)) = (self.slot(), function.parameters.get(captured.len()..)) else {
            return self.unknown(position, "too many variables");
        };
        let mut inner: Names<'f> = Vec::new();
        for (parameter, variable) in function.parameters.iter().zip(captured) {
            // The callback's own name of a captured variable is the same.
            let Some(name) = find(names, variable) else { return self.unknown(position, "a name that is no variable") };
            inner.push(Name::fixed(parameter, name.bound));
        }
        let index = match own {
            [] => {
                inner.push(Name::fixed(THIS, Bound::Slot(element)));
                None
            }
            [parameter] => {
                inner.push(Name::fixed(parameter, Bound::Slot(element)));
                None
            }
            [parameter, index] => {
                let Some(slot) = self.slot() else { return self.unknown(position, "too many variables") };
                inner.push(Name::fixed(parameter, Bound::Slot(element)));
                inner.push(Name::fixed(index, Bound::Slot(slot)));
                Some(slot)
            }
            _ => return self.unknown(position, "a callback with too many parameters"),
        };
        self.depth += 1;
        let before = self.changes;
        let body = self.body(function, &mut inner);
        self.depth -= 1;
        // What a callback changes of its own is gone when it ends.
        self.changes = before;
        Node::Each { what, element, index, parts: Box::new([list, body]) }
    }
}

/// What a callback without parameters calls its element: no variable can have this name.
const THIS: &str = "this";

fn find<'f>(names: &Names<'f>, name: &str) -> Option<Name<'f>> {
    names.iter().rev().find(|known| known.name == name).copied()
}

/// The slot of a variable, and whether the function may change it.
fn own_slot(names: &Names<'_>, name: &str) -> Option<(u16, bool)> {
    match find(names, name)? {
        Name { bound: Bound::Slot(slot), own, .. } => Some((slot, own)),
        _ => None,
    }
}

/// A literal, lists of literals too.
fn constant(expr: &Expr) -> Option<Value> {
    Some(match expr {
        Expr::Unit(_) => Value::Null,
        Expr::BoolConstant(value, _) => Value::Bool(*value),
        Expr::IntegerConstant(number, _) => Value::Int(*number),
        Expr::FloatConstant(number, _) => Value::Float(**number),
        Expr::StringConstant(text, _) => Value::from(text.as_str()),
        Expr::Array(items, _) => Value::List(items.iter().map(constant).collect::<Option<_>>()?),
        _ => return None,
    })
}

/// A chain's root and its links, each with whether it hangs on `?.`.
fn links(expr: &Expr) -> (&Expr, Vec<(Link<'_>, bool)>) {
    let (pair, flags, index) = match expr {
        Expr::Dot(pair, flags, _) => (pair, *flags, false),
        Expr::Index(pair, flags, _) => (pair, *flags, true),
        _ => return (expr, Vec::new()),
    };
    let (root, mut all) = links(&pair.lhs);
    follow(&pair.rhs, index, flags, &mut all);
    (root, all)
}

fn follow<'a>(expr: &'a Expr, index: bool, flags: ASTFlags, all: &mut Vec<(Link<'a>, bool)>) {
    let elvis = flags.contains(ASTFlags::NEGATED);
    match expr {
        Expr::Dot(pair, inner, _) if !flags.contains(ASTFlags::BREAK) => {
            push(&pair.lhs, index, elvis, all);
            follow(&pair.rhs, false, *inner, all);
        }
        Expr::Index(pair, inner, _) if !flags.contains(ASTFlags::BREAK) => {
            push(&pair.lhs, index, elvis, all);
            follow(&pair.rhs, true, *inner, all);
        }
        _ => push(expr, index, elvis, all),
    }
}

fn push<'a>(expr: &'a Expr, index: bool, elvis: bool, all: &mut Vec<(Link<'a>, bool)>) {
    match expr {
        Expr::Property(name, position) if !index => all.push((Link::Name(name.2.as_str(), *position), elvis)),
        Expr::MethodCall(call, position) | Expr::FnCall(call, position) if !index => {
            all.push((Link::Call(call, *position), elvis));
        }
        _ => all.push((Link::Index(expr), elvis)),
    }
}

/// Whether `return` stands in it, outside of bodies that end it.
fn holds_return(node: &Node) -> bool {
    match node {
        Node::Return(_) => true,
        Node::Block(nodes)
        | Node::And(nodes)
        | Node::Or(nodes)
        | Node::Coalesce(nodes)
        | Node::Text(nodes)
        | Node::List(nodes)
        | Node::Call(_, nodes)
        | Node::Mutate(_, _, nodes) => nodes.iter().any(holds_return),
        Node::If(parts) => parts.iter().any(holds_return),
        Node::Index(parts) | Node::Compare(_, parts) | Node::Arithmetic(_, parts) => parts.iter().any(holds_return),
        Node::Not(inner) | Node::Negate(inner) | Node::Set(_, inner) => holds_return(inner),
        Node::Field { of, .. } => holds_return(of),
        Node::Elvis { of, rest, arguments, .. } => holds_return(of) || holds_return(rest) || arguments.iter().any(holds_return),
        Node::For { list, body, .. } => holds_return(list) || holds_return(body),
        // Bodies end it.
        Node::Body(_)
        | Node::Each { .. }
        | Node::Const(_)
        | Node::Range { .. }
        | Node::Event
        | Node::Settings
        | Node::Slot(_)
        | Node::Common(_)
        | Node::Break
        | Node::Continue
        | Node::Unknown => false,
    }
}
