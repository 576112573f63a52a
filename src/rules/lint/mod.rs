//! Findings in a rule's syntax tree: what plain Rhai would let pass, and what the sandbox must not meet.

mod answer;
mod calls;
mod never;
mod shape;
mod walk;

use std::collections::{BTreeMap, BTreeSet};

use rhai::{AST, Stmt};

pub use shape::{Link, callback, variable};

use super::{
    codes,
    compile::ENTRY_POINTS,
    diagnostic::Diagnostic,
    fields::TopicFields,
    lists::Lists,
    literal::Place,
    set::{Declared, Modules},
    source::{Source, did_you_mean},
};

/// What a file's functions may name.
#[derive(Clone, Debug)]
pub struct World<'a> {
    pub source: Source<'a>,
    pub fields: &'a TopicFields<'a>,
    /// Native functions: names and numbers of arguments.
    pub natives: &'a BTreeMap<String, BTreeSet<usize>>,
    /// Imported modules' paths by their alias.
    pub aliases: &'a BTreeMap<String, String>,
    pub modules: &'a Modules,
    /// The names in the card's `settings`; none: not known.
    pub settings: Option<Vec<String>>,
    pub declared: &'a Declared,
    pub lists: &'a Lists,
}

/// A function of a file. The engine does not show bodies as such, so they are taken down from a walk.
#[derive(Clone, Debug)]
pub struct Function {
    pub name: String,
    pub parameters: Vec<String>,
    pub body: Vec<Stmt>,
}

impl Function {
    /// A callback, as against a function with a name.
    #[must_use]
    pub fn is_callback(&self) -> bool {
        self.name.starts_with("anon$")
    }
}

/// More functions and callbacks than these in one file are no rule.
const MOST_FUNCTIONS: usize = 512;

/// The functions and callbacks of a file, by name; none if there are too many.
#[must_use]
pub fn functions_of(ast: &AST) -> Option<Vec<Function>> {
    if ast.iter_fn_def().count() > MOST_FUNCTIONS {
        return None;
    }
    let mut functions: Vec<Function> = ast
        .iter_fn_def()
        .map(|definition| {
            let (name, arity) = (definition.name.as_str(), definition.params.len());
            let mut body = Vec::new();
            let mut one = ast.clone_functions_only();
            one.retain_functions(|_, _, known, parameters| known == name && parameters == arity);
            one.walk(&mut |path| {
                if let [rhai::ASTNode::Stmt(statement)] = path {
                    body.push((*statement).clone());
                }
                true
            });
            Function { name: name.to_owned(), parameters: definition.params.iter().map(ToString::to_string).collect(), body }
        })
        .collect();
    functions.sort_by(|a, b| (&a.name, a.parameters.len()).cmp(&(&b.name, b.parameters.len())));
    Some(functions)
}

/// Checks every function of a file. In a rule, each must be an entry point or called by one.
pub fn check(world: &World<'_>, functions: &[Function], rule: bool, out: &mut Vec<Diagnostic>) {
    let mut calls: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for function in functions.iter().filter(|function| !function.is_callback()) {
        let entry = rule && ENTRY_POINTS.contains(&function.name.as_str());
        if entry && function.parameters.len() != 2 {
            let place = world.source.function(&function.name);
            let has = match function.parameters.len() {
                0 => "no parameters".to_owned(),
                1 => "1 parameter".to_owned(),
                many => format!("{many} parameters"),
            };
            out.push(
                world
                    .source
                    .error(codes::PARAMETERS, place, format!("`{}` has {has}; redflag calls it with two", function.name))
                    .label(format!("write `fn {}(event, settings)`", function.name)),
            );
        }
        let mut walker = walk::Walker::new(world, functions, out);
        walker.function(function, entry);
        calls.entry(function.name.clone()).or_default().extend(walker.into_calls());
        if entry {
            answer::check(world, function, out);
        }
    }
    if rule {
        never_called(world, &calls, out);
    }
}

/// A function that nothing calls is a misspelt one.
fn never_called(world: &World<'_>, calls: &BTreeMap<String, BTreeSet<String>>, out: &mut Vec<Diagnostic>) {
    let mut reached: BTreeSet<&str> = BTreeSet::new();
    let mut open: Vec<&str> = ENTRY_POINTS.into_iter().filter(|name| calls.contains_key(*name)).collect();
    while let Some(name) = open.pop() {
        if reached.insert(name) {
            open.extend(calls.get(name).into_iter().flatten().map(String::as_str));
        }
    }
    for name in calls.keys().filter(|name| !reached.contains(name.as_str())) {
        let label = did_you_mean(name, ENTRY_POINTS, "call it or delete it");
        let finding =
            world.source.error(codes::NEVER_CALLED, world.source.function(name), format!("nothing calls the function `{name}`"));
        out.push(finding.label(label).help(format!("redflag itself calls only {}", super::source::enumerate(ENTRY_POINTS))));
    }
}

/// A list that has no file.
#[must_use]
pub fn unknown_list(source: Source<'_>, lists: &Lists, name: &str, place: Place) -> Diagnostic {
    let label = did_you_mean(name, lists.names(), "no such list");
    source
        .error(codes::UNKNOWN_LIST, place, format!("there is no list `{name}`"))
        .label(label)
        .help(format!("a list is a file: rules/lists/{name}.txt, one entry a line, or {name}.csv"))
}

/// The place of a position.
fn at(position: rhai::Position) -> Place {
    Place::of(position)
}
