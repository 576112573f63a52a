//! The walk through calls: known functions and modules, callbacks, operators.

use rhai::{Expr, FnCallExpr, Position, Stmt};

use super::{
    at,
    shape::{Shape, callback, written},
    unknown_list,
    walk::{Environment, Walker},
};
use crate::rules::{
    codes,
    literal::Place,
    source::{did_you_mean, proposal},
};

/// Built-ins that call their callback and do not keep it. The callback is the first argument behind the list.
const CALLBACKS: &[&str] =
    &["filter", "map", "some", "all", "find", "find_map", "index_of", "reduce", "reduce_rev", "for_each", "sort"];

/// More arguments than these, and the engine may search for seconds for a function that fits.
const MOST_ARGUMENTS: usize = 8;

/// What the sandbox must not meet.
const FORBIDDEN: &[&str] = &["Fn", "curry", "call", "eval", "is_def_fn", "is_def_var", "is_shared", "sleep"];

impl<'a> Walker<'_, 'a, '_> {
    /// `receiver.name(args)`.
    pub(super) fn method(
        &mut self,
        receiver: Shape,
        call: &'a FnCallExpr,
        place: Place,
        environment: &mut Environment<'a>,
    ) -> Shape {
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
            let elements = match name {
                "reduce" | "reduce_rev" => [Shape::Unknown, element],
                "sort" => [element, element],
                _ => [element, Shape::Unknown],
            };
            self.callback_body(&function, &captured, &elements, environment);
        }
    }

    /// Walks a callback's body; `elements` are the shapes of its own parameters, as far as they are known.
    pub(super) fn callback_body(&mut self, name: &str, captured: &[&str], elements: &[Shape], environment: &Environment<'a>) {
        let Some(function) = self.functions.iter().find(|function| function.name == name) else { return };
        if self.depth > 16 {
            return;
        }
        let own = function.parameters.len().saturating_sub(captured.len());
        let mut inner: Environment<'a> = environment.clone();
        for (index, parameter) in function.parameters.iter().enumerate().skip(function.parameters.len() - own) {
            let own_index = index - (function.parameters.len() - own);
            inner.push((parameter.as_str(), elements.get(own_index).copied().unwrap_or(Shape::Unknown)));
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
    pub(super) fn call(&mut self, call: &'a FnCallExpr, position: Position, environment: &mut Environment<'a>) -> Shape {
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
