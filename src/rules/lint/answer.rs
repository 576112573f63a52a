//! What an entry point answers: `when` true or false, `severity` one of the names, and so on. Only what is plain from the text.

use rhai::{Expr, Stmt};

use super::{Function, World, at};
use crate::{
    model::severity::Severity,
    rules::{card::unknown_recipient, codes, diagnostic::Diagnostic, literal::Place, source::did_you_mean},
};

/// Something a function may answer with.
enum Answer<'a> {
    Value(&'a Expr),
    /// Nothing: the text of what stands there instead.
    Nothing(&'static str, Place),
}

/// Checks everything the function may answer.
pub fn check(world: &World<'_>, function: &Function, out: &mut Vec<Diagnostic>) {
    let mut answers = Vec::new();
    tail(&function.body, world.source.function(&function.name), &mut answers);
    for statement in &function.body {
        returns(statement, &mut answers);
    }
    for answer in answers {
        check_one(world, function.name.as_str(), &answer, out);
    }
}

fn check_one(world: &World<'_>, function: &str, answer: &Answer<'_>, out: &mut Vec<Diagnostic>) {
    let source = world.source;
    let expected = match function {
        "when" => "true or false",
        "severity" => "one of info, low, medium, high, critical",
        "subject" => "a text",
        "details" => "a map",
        _ => "a list of channel or group names",
    };
    let (found, place) = match answer {
        Answer::Nothing(what, place) => (*what, *place),
        Answer::Value(expr) => {
            let place = at(expr.start_position());
            match (function, expr) {
                ("severity", Expr::StringConstant(text, _)) => {
                    if text.parse::<Severity>().is_err() {
                        let label = did_you_mean(text, Severity::ALL.map(Severity::as_str), "none of them");
                        let finding = source.error(codes::WRONG_VALUE, place, format!("`{text}` is no severity")).label(label);
                        out.push(finding.help(format!("`fn severity` answers {expected}")));
                    }
                    return;
                }
                ("send_to", Expr::Array(items, _)) => {
                    for item in items {
                        if let Expr::StringConstant(name, position) = item
                            && let Some(label) = unknown_recipient(name, world.declared)
                        {
                            let message = format!("`{name}` is neither a channel nor a group of the configuration");
                            out.push(source.error(codes::UNKNOWN_RECIPIENT, at(*position), message).label(label));
                        }
                    }
                    return;
                }
                ("when", Expr::BoolConstant(..))
                | ("subject", Expr::StringConstant(..) | Expr::InterpolatedString(..))
                | ("details", Expr::Map(..)) => return,
                (_, Expr::Unit(_)) if function != "when" => return,
                (_, Expr::StringConstant(..) | Expr::InterpolatedString(..)) => ("a text", place),
                (_, Expr::IntegerConstant(..) | Expr::FloatConstant(..)) => ("a number", place),
                (_, Expr::BoolConstant(..) | Expr::And(..) | Expr::Or(..)) if function != "when" => ("true or false", place),
                (_, Expr::Array(..)) => ("a list", place),
                (_, Expr::Map(..)) => ("a map", place),
                (_, Expr::Unit(_)) => ("nothing", place),
                (_, Expr::FnCall(call, position))
                    if function == "when" && call.is_operator_call() && is_arithmetic(&call.name) =>
                {
                    ("something computed", at(*position))
                }
                (_, Expr::Dot(..)) if function == "when" => match ends_with_len(expr) {
                    Some(place) => ("a number", place),
                    None => return,
                },
                _ => return,
            }
        }
    };
    let finding = source.error(codes::WRONG_ANSWER, place, format!("`fn {function}` answers {found}; it must answer {expected}"));
    let help = match (function, found) {
        ("when", "a number") => Some("compare it: … > 0"),
        (_, "nothing") => Some("the last line of a function is its answer: without `;`, and in both branches of an `if`"),
        _ => None,
    };
    let finding = finding.label(format!("this is {found}"));
    out.push(if let Some(help) = help { finding.help(help) } else { finding });
}

fn is_arithmetic(operator: &str) -> bool {
    matches!(operator, "+" | "-" | "*" | "/" | "%" | "**")
}

fn ends_with_len(expr: &Expr) -> Option<Place> {
    let (_, links) = super::shape::chain(expr);
    match links.last()? {
        super::shape::Link::Call(call, position) if call.name == "len" => Some(at(*position)),
        super::shape::Link::Name("len", position) => Some(at(*position)),
        _ => None,
    }
}

/// What the last statement of a block answers with.
fn tail<'a>(statements: &'a [Stmt], place: Place, answers: &mut Vec<Answer<'a>>) {
    let last = statements.iter().rev().find(|statement| !matches!(statement, Stmt::Noop(_)));
    let Some(last) = last else {
        answers.push(Answer::Nothing("nothing", place));
        return;
    };
    let position = last.position();
    let place = if position.is_none() { place } else { at(position) };
    match last {
        Stmt::Expr(expr) => tail_expression(expr, place, answers),
        Stmt::If(flow, _) => {
            tail(flow.body.statements(), place, answers);
            tail(flow.branch.statements(), place, answers);
        }
        Stmt::Block(block) => tail(block.statements(), place, answers),
        // Told as a comparison with a single `=`.
        Stmt::Assignment(assignment)
            if !assignment.0.is_op_assignment() && matches!(assignment.1.lhs, Expr::Dot(..) | Expr::Index(..)) => {}
        Stmt::Var(..) | Stmt::For(..) | Stmt::Assignment(..) => answers.push(Answer::Nothing("nothing", place)),
        _ => {}
    }
}

fn tail_expression<'a>(expr: &'a Expr, place: Place, answers: &mut Vec<Answer<'a>>) {
    match expr {
        Expr::Stmt(block) => tail(block.statements(), place, answers),
        _ => answers.push(Answer::Value(expr)),
    }
}

/// Every `return` outside callbacks; their bodies are functions of their own.
fn returns<'a>(statement: &'a Stmt, answers: &mut Vec<Answer<'a>>) {
    let mut visit = |statements: &'a [Stmt]| {
        for statement in statements {
            returns(statement, answers);
        }
    };
    match statement {
        Stmt::If(flow, _) | Stmt::While(flow, _) | Stmt::Do(flow, ..) | Stmt::TryCatch(flow, _) => {
            visit(flow.body.statements());
            visit(flow.branch.statements());
        }
        Stmt::For(for_, _) => visit(for_.2.body.statements()),
        Stmt::Block(block) => visit(block.statements()),
        Stmt::Expr(expr) => {
            if let Expr::Stmt(block) = expr.as_ref() {
                visit(block.statements());
            }
        }
        Stmt::Return(value, flags, position) if !flags.contains(rhai::ASTFlags::BREAK) => answers.push(match value {
            Some(value) => Answer::Value(value),
            None => Answer::Nothing("nothing", at(*position)),
        }),
        _ => {}
    }
}
