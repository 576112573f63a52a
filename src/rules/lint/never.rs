//! Conditions that can never hold, or always do: the simple cases that people write.

use rhai::Expr;

use super::{World, shape::written};
use crate::rules::{
    codes,
    diagnostic::Diagnostic,
    literal::{Entry, Literal, Node, Place},
    source::Source,
};

/// `event.status == "a" && event.status == "b"`.
pub fn and(world: &World<'_>, parts: &[Expr], place: Place, out: &mut Vec<Diagnostic>) {
    if let Some((path, first, second)) = clash(parts, "==") {
        let finding = world.source.error(
            codes::NEVER_HOLDS,
            place,
            format!("`{path}` can't be {first} and {second} at once: this never holds"),
        );
        out.push(finding.label("did you mean `||`?").help(format!("one of several: {path} in [{first}, {second}]")));
    }
}

/// `event.status != "a" || event.status != "b"`.
pub fn or(world: &World<'_>, parts: &[Expr], place: Place, out: &mut Vec<Diagnostic>) {
    if let Some((path, first, second)) = clash(parts, "!=") {
        let finding = world.source.error(
            codes::NEVER_HOLDS,
            place,
            format!("`{path}` is always different from {first} or {second}: this always holds"),
        );
        out.push(finding.label("did you mean `&&`?").help(format!("none of several: !({path} in [{first}, {second}])")));
    }
}

/// The same path compared with two different literals.
fn clash(parts: &[Expr], operator: &str) -> Option<(String, String, String)> {
    let mut seen: Vec<(String, String)> = Vec::new();
    for part in parts {
        let Expr::FnCall(call, _) = part else { continue };
        if call.name != operator || !call.is_operator_call() || call.args.len() != 2 {
            continue;
        }
        let sides = [(&call.args[0], &call.args[1]), (&call.args[1], &call.args[0])];
        let Some((path, value)) = sides.into_iter().find_map(|(path, value)| Some((written(path)?, shown(value)?))) else {
            continue;
        };
        if let Some((_, other)) = seen.iter().find(|(known, other)| *known == path && *other != value) {
            return Some((path, other.clone(), value));
        }
        seen.push((path, value));
    }
    None
}

fn shown(expr: &Expr) -> Option<String> {
    match expr {
        Expr::StringConstant(text, _) => Some(format!("\"{text}\"")),
        Expr::IntegerConstant(number, _) => Some(number.to_string()),
        Expr::BoolConstant(value, _) => Some(value.to_string()),
        _ => None,
    }
}

/// Entries of a `where` table that exclude each other.
pub fn contradictions(source: Source<'_>, table: &Literal, out: &mut Vec<Diagnostic>) {
    let Node::Map(entries) = &table.node else { return };
    for entry in entries {
        match &entry.value.node {
            Node::List(items) if entry.name == "any" => {
                if items.is_empty() {
                    never(source, entry.value.place, "`any` holds no alternative", out);
                }
                for item in items {
                    contradictions(source, item, out);
                }
            }
            Node::Map(_) => one_field(source, entry, out),
            _ => {}
        }
    }
}

fn one_field(source: Source<'_>, entry: &Entry, out: &mut Vec<Diagnostic>) {
    let tests = &entry.value;
    let list = |name: &str| match tests.get(name).map(|entry| &entry.value.node) {
        Some(Node::List(items)) => Some(items.iter().map(|item| item.node.clone()).collect::<Vec<_>>()),
        _ => None,
    };
    if let Some(some) = tests.get("some") {
        contradictions(source, &some.value, out);
    }
    if let (Some(wanted), Some(place)) = (list("one_of"), tests.get("one_of").map(|entry| entry.value.place)) {
        if wanted.is_empty() {
            never(source, place, "`one_of` names no value", out);
            return;
        }
        let mut excluded = list("none_of").unwrap_or_default();
        excluded.extend(tests.get("not").map(|entry| entry.value.node.clone()));
        if wanted.iter().all(|value| excluded.contains(value)) {
            never(source, place, "every value of `one_of` is excluded again", out);
        }
    }
    let number = |name: &str| match tests.get(name).map(|entry| &entry.value.node) {
        Some(Node::Int(number)) => Some(*number as f64),
        Some(Node::Float(number)) => Some(*number),
        _ => None,
    };
    let lower = number("above").map(|at| (at, true)).or(number("at_least").map(|at| (at, false)));
    let upper = number("below").map(|at| (at, true)).or(number("at_most").map(|at| (at, false)));
    if let (Some((low, open_low)), Some((high, open_high))) = (lower, upper)
        && (low > high || (low >= high && (open_low || open_high)))
    {
        never(source, tests.place, &format!("no number lies above {low} and below {high}"), out);
    }
    let blank = tests.get("blank").is_some_and(|entry| entry.value.node == Node::Bool(true));
    if blank && ["one_of", "above", "at_least", "starts_with", "contains", "in_list"].iter().any(|name| tests.get(name).is_some())
    {
        never(source, tests.place, "a blank field has no value that could be tested", out);
    }
}

fn never(source: Source<'_>, place: Place, why: &str, out: &mut Vec<Diagnostic>) {
    out.push(source.error(codes::NEVER_HOLDS, place, format!("this condition can never hold: {why}")).label("never true"));
}
