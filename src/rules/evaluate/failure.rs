//! What went wrong in a rule's code, told without data: Rhai's own messages quote operands, thrown values and index keys, all of which
//! may come from the event.

use rhai::{AST, ASTNode, EvalAltResult, Expr, Position, Stmt};

use crate::model::verdict::{Undecided, UndecidedKind};

/// Why a function gave no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    kind: UndecidedKind,
    /// In the rule file.
    line: Option<usize>,
    what: String,
}

impl Failure {
    pub(super) fn of(error: &EvalAltResult, ast: &AST) -> Self {
        let (cause, at, module) = innermost(error, ast);
        let what = describe(cause, ast);
        Self {
            kind: match cause {
                EvalAltResult::ErrorTooManyOperations(_) => UndecidedKind::Budget,
                EvalAltResult::ErrorTerminated(..) => UndecidedKind::Fuse,
                _ => UndecidedKind::Error,
            },
            line: at.line(),
            what: if module { format!("{what}, inside what this line calls") } else { what },
        }
    }

    pub(super) fn panic() -> Self {
        Self { kind: UndecidedKind::Panic, line: None, what: "the engine panicked".to_owned() }
    }

    /// The answer has a type that is not wanted, or a value that can't be used.
    pub(super) fn unusable(kind: &str, wanted: &str) -> Self {
        Self { kind: UndecidedKind::Error, line: None, what: format!("answered {}, not {wanted}", type_words(kind)) }
    }

    pub(super) fn undecided(self, function: &str) -> Undecided {
        Undecided { kind: self.kind, line: self.line, detail: format!("`{function}`: {}", self.what) }
    }

    /// For the alert: which of the card's values stands, and why.
    pub(super) fn fallback(&self, function: &str) -> String {
        match self.line {
            Some(line) => format!("`{function}` failed in line {line}: {}", self.what),
            None => format!("`{function}` failed: {}", self.what),
        }
    }
}

/// The cause, its position in the rule file, and whether it lies in a module: there the position is the call's.
fn innermost<'a>(error: &'a EvalAltResult, ast: &AST) -> (&'a EvalAltResult, Position, bool) {
    let imports = ast.statements().iter().any(|statement| matches!(statement, Stmt::Import(..)));
    // A callback has no name of its own, and is the rule's unless a module's function was called before.
    let own = |name: &str| !imports || name.starts_with("anon$") || ast.iter_functions().any(|function| function.name == name);
    let (mut cause, mut at, mut module) = (error, error.position(), false);
    loop {
        let inner = match cause {
            EvalAltResult::ErrorInFunctionCall(name, _, inner, _) => {
                module |= !own(name);
                inner
            }
            EvalAltResult::ErrorInModule(_, inner, _) => {
                module = true;
                inner
            }
            _ => return (cause, at, module),
        };
        cause = &**inner;
        if !module && !cause.position().is_none() {
            at = cause.position();
        }
    }
}

/// Only what the rule's author wrote or a type's name, never a value.
fn describe(error: &EvalAltResult, ast: &AST) -> String {
    use EvalAltResult as E;
    let text = match error {
        E::ErrorVariableNotFound(..) | E::ErrorForbiddenVariable(..) | E::ErrorVariableExists(..) => "an unknown variable",
        E::ErrorPropertyNotFound(name, _) if is_written(ast, name) => return format!("there is no field `{name}`"),
        E::ErrorPropertyNotFound(..) => "a field that is not there",
        E::ErrorIndexNotFound(..) => "an index that is not there",
        E::ErrorFunctionNotFound(signature, _) => return function_not_found(signature, ast),
        E::ErrorModuleNotFound(..) | E::ErrorInModule(..) => "a module that is not there",
        E::ErrorUnboundThis(_) => "`this` outside of a method",
        E::ErrorMismatchDataType(expected, actual, _) | E::ErrorMismatchOutputType(expected, actual, _) => {
            return format!("expected {}, got {}", type_words(expected), type_words(actual));
        }
        E::ErrorIndexingType(..) => "an index on what has no entries",
        E::ErrorArrayBounds(length, ..) => return format!("an index beyond a list of {length}"),
        E::ErrorStringBounds(..) | E::ErrorBitFieldBounds(..) => "an index beyond the end",
        E::ErrorFor(_) => "`for` over what is no list",
        E::ErrorDataRace(..) => {
            "a callback uses the variable whose list it is called on; take the list into a variable first: `let list = event.mismatches;`"
        }
        E::ErrorNonPureMethodCallOnConstant(..) | E::ErrorAssignmentToConstant(..) => "a constant can't be changed",
        E::ErrorDotExpr(..) => "a dot after what has no fields",
        E::ErrorArithmetic(..) => "an arithmetic error: an overflow, a division by zero or a number that can't be read",
        E::ErrorTooManyOperations(_) => "the operation budget is used up",
        E::ErrorTooManyVariables(_) => "too many variables",
        E::ErrorTooManyModules(_) => "too many modules",
        E::ErrorStackOverflow(_) => "calls nest too deep",
        E::ErrorDataTooLarge(..) => "a text, list or map grew too large",
        E::ErrorTerminated(..) => "it took too long",
        E::ErrorRuntime(..) => "the rule, or a function it calls, refused with an error",
        _ => "the engine refused",
    };
    text.to_owned()
}

/// Whether the rule's text has the field or the function by this name. A computed name may hold data; a written one is the author's.
fn is_written(ast: &AST, name: &str) -> bool {
    let mut written = false;
    ast.walk(&mut |path: &[ASTNode]| {
        written |= match path.last() {
            Some(ASTNode::Expr(Expr::Property(property, _))) => property.2 == name,
            Some(ASTNode::Expr(Expr::FnCall(call, _) | Expr::MethodCall(call, _)) | ASTNode::Stmt(Stmt::FnCall(call, _))) => {
                call.name == name
            }
            _ => false,
        };
        !written
    });
    written
}

/// A signature holds a name and types.
fn function_not_found(signature: &str, ast: &AST) -> String {
    let (name, types) = signature.split_once('(').unwrap_or((signature, ""));
    let name = name.trim();
    if !is_written(ast, name) {
        return "a function that is not there".to_owned();
    }
    let types: Vec<&str> =
        types.trim_end_matches(')').split(',').map(|kind| type_words(kind.trim())).filter(|kind| !kind.is_empty()).collect();
    format!("`{name}` can't be applied to {}", if types.is_empty() { "nothing".to_owned() } else { types.join(" and ") })
}

fn type_words(kind: &str) -> &str {
    match kind.trim() {
        "" => "",
        "()" => "nothing, ()",
        "bool" => "true or false",
        "i64" | "int" => "a whole number",
        "f64" | "float" => "a number",
        "array" | "rhai::Array" => "a list",
        "map" | "rhai::Map" => "a map",
        "char" => "a letter",
        "Fn" => "a function",
        text if text.contains("str") || text.contains("String") => "a text",
        _ => "something else",
    }
}
