//! Conditions in functions that can never hold, or always do: the simple cases that people write.

use rhai::Expr;

use super::{World, shape::written};
use crate::rules::{codes, diagnostic::Diagnostic, literal::Place};

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
