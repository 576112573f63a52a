//! Reading a `where` table off its literal, with everything that is wrong with it at its place.

use std::cmp::Ordering;

use super::{Bound, Check, FieldCheck, Fields, Found, Path, Scalar, Table, Test};
use crate::{
    model::{time::Timestamp, topic::Kind, value::Value},
    rules::{
        diagnostic::Diagnostic,
        lists::Lists,
        literal::{Entry, Literal, Node},
    },
};

/// The same as in functions.
const UNKNOWN_FIELD: &str = "R012";
const BAD_PATH: &str = "R102";
const UNKNOWN_OPERATOR: &str = "R103";
const BAD_OPERAND: &str = "R104";
const WRONG_TYPE: &str = "R105";
const NEVER_HOLDS: &str = "R106";
const NO_TABLE: &str = "R107";
const NO_LIST: &str = "R108";
const NO_TEST: &str = "R109";

/// Every operator.
const OPERATORS: [&str; 13] = [
    "not",
    "one_of",
    "none_of",
    "above",
    "below",
    "at_least",
    "at_most",
    "blank",
    "starts_with",
    "contains",
    "in_list",
    "not_in_list",
    "some",
];

/// What people write for an operator who know another language.
const MEANT: [(&str, &str); 20] = [
    ("gt", "above"),
    ("greater", "above"),
    ("more_than", "above"),
    ("after", "above"),
    ("lt", "below"),
    ("less", "below"),
    ("less_than", "below"),
    ("before", "below"),
    ("gte", "at_least"),
    ("min", "at_least"),
    ("lte", "at_most"),
    ("max", "at_most"),
    ("in", "one_of"),
    ("any_of", "one_of"),
    ("ne", "not"),
    ("is_not", "not"),
    ("not_in", "none_of"),
    ("empty", "blank"),
    ("includes", "contains"),
    ("any", "some"),
];

/// What may be compared with a field.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Type {
    Text,
    Number,
    Flag,
    Time,
    List,
    Unchecked,
}

impl Type {
    fn words(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Number => "a whole number",
            Self::Flag => "true or false",
            Self::Time => "a time",
            Self::List => "a list",
            Self::Unchecked => "of unknown type",
        }
    }
}

pub(super) fn condition(literal: &Literal, file: &str, known: &dyn Fields) -> Result<Table, Vec<Diagnostic>> {
    let mut parser = Parser { file, known, found: Vec::new() };
    let table = parser.table(literal, None, "where");
    if parser.found.is_empty() { Ok(table) } else { Err(parser.found) }
}

struct Parser<'a> {
    file: &'a str,
    known: &'a dyn Fields,
    found: Vec<Diagnostic>,
}

impl Parser<'_> {
    fn error_at(&self, code: &'static str, literal: &Literal, message: impl Into<String>) -> Diagnostic {
        Diagnostic::error(code, self.file, literal.place, width(literal), message)
    }

    fn error_on(&self, code: &'static str, entry: &Entry, message: impl Into<String>) -> Diagnostic {
        Diagnostic::error(code, self.file, entry.place, entry.name.chars().count(), message)
    }

    /// `within`: the list whose entries the table is about.
    fn table(&mut self, literal: &Literal, within: Option<&Path>, what: &str) -> Table {
        let mut table = Table { checks: Box::default(), any: None };
        let Node::Map(entries) = &literal.node else {
            let error = self.error_at(NO_TABLE, literal, format!("`{what}` takes a table, this is {}", literal.kind()));
            self.found.push(error.label("expected #{ field: value }"));
            return table;
        };
        let mut checks = Vec::with_capacity(entries.len());
        for entry in entries {
            if entry.name == "any" {
                table.any = self.alternatives(&entry.value, within);
            } else {
                self.entry(entry, within, &mut checks);
            }
        }
        table.checks = checks.into();
        table
    }

    fn alternatives(&mut self, literal: &Literal, within: Option<&Path>) -> Option<Box<[Table]>> {
        let Node::List(list) = &literal.node else {
            let error = self.error_at(NO_TABLE, literal, format!("`any` takes a list of tables, this is {}", literal.kind()));
            self.found.push(error.label("expected [ #{ … }, #{ … } ]"));
            return None;
        };
        if list.is_empty() {
            let error = self.error_at(NEVER_HOLDS, literal, "`any` without alternatives can never hold");
            self.found.push(error.label("expected at least one table"));
        }
        for alternative in list {
            if matches!(&alternative.node, Node::Map(entries) if entries.is_empty()) {
                let error = self.error_at(NO_TEST, alternative, "an alternative without a test makes `any` hold for every event");
                self.found.push(error.label("expected a field"));
            }
        }
        Some(list.iter().map(|alternative| self.table(alternative, within, "any")).collect())
    }

    fn entry(&mut self, entry: &Entry, within: Option<&Path>, checks: &mut Vec<Check>) {
        let path = match Path::parse(&entry.name) {
            Ok(path) => path,
            Err(reason) => {
                let error = self.error_on(BAD_PATH, entry, format!("`{}` is no field: {reason}", entry.name));
                self.found.push(error.label("expected a name such as `status` or \"mismatches[0].value\""));
                return;
            }
        };
        let kind = self.kind(entry, &path, within);
        let mut tests = Vec::new();
        match &entry.value.node {
            Node::Map(operators) => {
                if operators.is_empty() {
                    let error = self.error_at(NO_TEST, &entry.value, format!("`{}` is not tested for anything", entry.name));
                    self.found.push(error.label("expected an operator, such as #{ not: \"success\" }"));
                }
                let whole = within.map_or_else(|| path.clone(), |list| list.entry(&path));
                for operator in operators {
                    tests.extend(self.operator(operator, &entry.name, &whole, kind));
                }
            }
            Node::List(_) => {
                let error = self.error_at(BAD_OPERAND, &entry.value, format!("`{}` can't equal a list", entry.name));
                self.found.push(error.label("for one of several values: #{ one_of: [ … ] }"));
            }
            _ => tests.extend(self.scalar(&entry.value, &entry.name, kind).map(Test::Is)),
        }
        if let Some(reason) = contradiction(&tests, kind) {
            let error = self.error_on(NEVER_HOLDS, entry, format!("the tests of `{}` can never hold together", entry.name));
            self.found.push(error.label(reason));
        }
        checks.extend(tests.into_iter().map(|test| Check { path: path.clone(), test }));
    }

    fn kind(&mut self, entry: &Entry, path: &Path, within: Option<&Path>) -> Type {
        let whole = match within {
            Some(list) => list.entry(path),
            None if path.is_common() => {
                return match path.root() {
                    "topic" => Type::Text,
                    "late" => Type::Flag,
                    _ => Type::Time,
                };
            }
            None => path.clone(),
        };
        match self.known.known(&whole) {
            FieldCheck::Known(Kind::Text) => Type::Text,
            FieldCheck::Known(Kind::Number) => Type::Number,
            FieldCheck::Known(Kind::List(_)) => Type::List,
            FieldCheck::Unchecked => Type::Unchecked,
            FieldCheck::Unknown { proposal } => {
                let error = self.error_on(UNKNOWN_FIELD, entry, format!("unknown field `{}`", entry.name));
                let prefix = within.map(|list| format!("{list}[0].")).unwrap_or_default();
                let proposal = proposal.map(|name| name.strip_prefix(&prefix).map_or(name.clone(), str::to_owned));
                self.found.push(error.label(match proposal {
                    Some(name) => format!("did you mean `{name}`?"),
                    None => "no topic of this rule has it".to_owned(),
                }));
                Type::Unchecked
            }
        }
    }

    fn operator(&mut self, entry: &Entry, field: &str, whole: &Path, kind: Type) -> Option<Test> {
        let value = &entry.value;
        match entry.name.as_str() {
            "not" => self.scalar(value, field, kind).map(Test::Not),
            "one_of" => self.scalars(entry, field, kind).map(Test::OneOf),
            "none_of" => self.scalars(entry, field, kind).map(Test::NoneOf),
            "above" => self.bound(Bound::Above, entry, field, kind),
            "at_least" => self.bound(Bound::AtLeast, entry, field, kind),
            "below" => self.bound(Bound::Below, entry, field, kind),
            "at_most" => self.bound(Bound::AtMost, entry, field, kind),
            "blank" => {
                if let Node::Bool(wanted) = value.node {
                    return Some(Test::Blank(wanted));
                }
                self.operand(entry, "true or false");
                None
            }
            "starts_with" => self.text(entry, field, kind, &[Type::Text]).map(Test::StartsWith),
            "contains" => self.text(entry, field, kind, &[Type::Text]).map(Test::Contains),
            "in_list" => self.text(entry, field, kind, &[Type::Text, Type::Number]).map(Test::InList),
            "not_in_list" => self.text(entry, field, kind, &[Type::Text, Type::Number]).map(Test::NotInList),
            "some" => {
                if !matches!(kind, Type::List | Type::Unchecked) {
                    let error = self.error_on(NO_LIST, entry, format!("`some` looks into a list, `{field}` is {}", kind.words()));
                    self.found.push(error.label(format!("write the test at `{field}` itself")));
                    return None;
                }
                if matches!(&value.node, Node::Map(entries) if entries.is_empty()) {
                    let error = self.error_at(NO_TEST, value, "`some` does not say what the entry must be");
                    self.found.push(error.label("for any entry at all: #{ blank: false }"));
                }
                Some(Test::Some(self.table(value, Some(whole), "some")))
            }
            unknown => {
                let error = self.error_on(UNKNOWN_OPERATOR, entry, format!("unknown operator `{unknown}`"));
                self.found.push(match proposal(unknown) {
                    Some(name) => error.label(format!("did you mean `{name}`?")),
                    None if kind == Type::List => error
                        .label("not an operator")
                        .help(format!("for entries of the list: {field}: #{{ some: #{{ {unknown}: … }} }}")),
                    None => error.label("not an operator").help(format!("operators: {}", OPERATORS.join(", "))),
                });
                None
            }
        }
    }

    fn operand(&mut self, entry: &Entry, expected: &str) {
        let message = format!("`{}` takes {expected}, this is {}", entry.name, entry.value.kind());
        let error = self.error_at(BAD_OPERAND, &entry.value, message).label(format!("expected {expected}"));
        self.found.push(error);
    }

    fn scalars(&mut self, entry: &Entry, field: &str, kind: Type) -> Option<Box<[Scalar]>> {
        let Node::List(list) = &entry.value.node else {
            self.operand(entry, "a list");
            return None;
        };
        if list.is_empty() {
            let (code, message) = if entry.name == "one_of" {
                (NEVER_HOLDS, "`one_of` without values can never hold")
            } else {
                (NO_TEST, "`none_of` without values holds for every event")
            };
            let error = self.error_at(code, &entry.value, message);
            self.found.push(error.label("expected at least one value"));
            return None;
        }
        Some(list.iter().filter_map(|value| self.scalar(value, field, kind)).collect())
    }

    fn bound(&mut self, bound: Bound, entry: &Entry, field: &str, kind: Type) -> Option<Test> {
        if kind == Type::Flag || matches!(entry.value.node, Node::Bool(_) | Node::Unit) {
            self.operand(entry, "a number, a text or a time");
            return None;
        }
        self.scalar(&entry.value, field, kind).map(|scalar| Test::Order(bound, scalar))
    }

    fn text(&mut self, entry: &Entry, field: &str, kind: Type, allowed: &[Type]) -> Option<Box<str>> {
        if kind != Type::Unchecked && !allowed.contains(&kind) {
            let message = format!("`{}` is for {}, `{field}` is {}", entry.name, allowed[0].words(), kind.words());
            let error = self.error_on(WRONG_TYPE, entry, message);
            self.found.push(match kind {
                Type::List => error.label("look into its entries: #{ some: #{ … } }"),
                _ => error.label("compare it with one_of, above, below …"),
            });
            return None;
        }
        match &entry.value.node {
            Node::Text(text) if !text.is_empty() => Some(text.as_str().into()),
            Node::Text(_) => {
                self.operand(entry, "a text that is not empty");
                None
            }
            _ => {
                self.operand(entry, if entry.name.ends_with("in_list") { "a list's name" } else { "a text" });
                None
            }
        }
    }

    fn scalar(&mut self, literal: &Literal, field: &str, kind: Type) -> Option<Scalar> {
        let scalar = match &literal.node {
            Node::Unit => Scalar::Nothing,
            Node::Bool(value) => Scalar::Bool(*value),
            Node::Int(number) => Scalar::Int(*number),
            Node::Float(number) if number.is_finite() => Scalar::Float(*number),
            Node::Text(text) => Scalar::Text(text.as_str().into()),
            Node::Float(_) | Node::List(_) | Node::Map(_) => {
                let error = self.error_at(BAD_OPERAND, literal, format!("`{field}` can't be compared with {}", literal.kind()));
                self.found.push(error.label("expected a text, a number, true, false or ()"));
                return None;
            }
        };
        if kind == Type::Time
            && let Scalar::Text(text) = &scalar
        {
            if let Ok(time) = text.parse::<Timestamp>() {
                return Some(Scalar::Time(time));
            }
            let error = self.error_at(BAD_OPERAND, literal, format!("`{field}` is a time, and this text is none"));
            self.found.push(error.label("expected a form such as \"2023-06-01T13:23:17Z\""));
            return None;
        }
        let fits = match kind {
            Type::Unchecked => true,
            Type::Text => matches!(scalar, Scalar::Text(_) | Scalar::Nothing),
            Type::Number => matches!(scalar, Scalar::Int(_) | Scalar::Float(_) | Scalar::Nothing),
            Type::Flag => matches!(scalar, Scalar::Bool(_)),
            Type::Time | Type::List => false,
        };
        if !fits {
            let message = format!("`{field}` is {} and can't be compared with {}", kind.words(), literal.kind());
            let error = self.error_at(WRONG_TYPE, literal, message);
            self.found.push(match (kind, &scalar) {
                (Type::Text, Scalar::Int(number)) => error.label(format!("write \"{number}\"")),
                (Type::Number, Scalar::Text(text)) if text.parse::<i64>().is_ok() => error.label(format!("write {text}")),
                (Type::List, _) => error.label("look into its entries: #{ some: #{ … } }, or test #{ blank: true }"),
                _ => error.label(format!("expected {}", kind.words())),
            });
            return None;
        }
        Some(scalar)
    }
}

/// The operator that was meant.
fn proposal(unknown: &str) -> Option<&'static str> {
    let folded = unknown.to_lowercase();
    if let Some((_, meant)) = MEANT.iter().find(|(word, _)| *word == folded) {
        return Some(meant);
    }
    OPERATORS
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&folded, name), name))
        .filter(|(distance, name)| *distance <= 1 + name.len() / 4)
        .min()
        .map(|(_, name)| name)
}

/// Why the tests of one field exclude each other, if they do. Finds the plain cases; it never finds one that isn't there.
fn contradiction(tests: &[Test], kind: Type) -> Option<String> {
    let candidates: Option<&[Scalar]> = tests.iter().find_map(|test| match test {
        Test::Is(scalar) => Some(std::slice::from_ref(scalar)),
        Test::OneOf(scalars) => Some(&**scalars),
        _ => None,
    });
    if let Some(candidates) = candidates {
        let possible = candidates.iter().any(|candidate| tests.iter().all(|test| admits(test, candidate)));
        return (!possible).then(|| "no value it allows passes the other tests".to_owned());
    }
    let needs_value = tests
        .iter()
        .any(|test| matches!(test, Test::Order(..) | Test::StartsWith(_) | Test::Contains(_) | Test::InList(_) | Test::Some(_)));
    if needs_value && tests.contains(&Test::Blank(true)) {
        return Some("what is blank passes no other test".to_owned());
    }
    let bounds = |lower: bool| {
        tests.iter().filter_map(move |test| match test {
            Test::Order(bound, scalar) if bound.is_lower() == lower => Some((*bound, scalar)),
            _ => None,
        })
    };
    for (lower, from) in bounds(true) {
        for (upper, to) in bounds(false) {
            let empty = match (from, to) {
                // Between two whole numbers of a field of whole numbers there may be none.
                (Scalar::Int(from), Scalar::Int(to)) if kind == Type::Number => {
                    from.saturating_add(i64::from(lower == Bound::Above)) > to.saturating_sub(i64::from(upper == Bound::Below))
                }
                _ => match with_found(from, |found| to.order(found)) {
                    None | Some(Ordering::Greater) => true,
                    Some(Ordering::Equal) => lower == Bound::Above || upper == Bound::Below,
                    Some(Ordering::Less) => false,
                },
            };
            if empty {
                return Some("nothing lies between the bounds".to_owned());
            }
        }
    }
    None
}

/// Whether the test would pass this value; look-ups in lists may.
fn admits(test: &Test, candidate: &Scalar) -> bool {
    match test {
        Test::InList(_) | Test::NotInList(_) => !matches!((test, candidate), (Test::InList(_), Scalar::Nothing)),
        _ => with_found(candidate, |found| test.holds(found, &Lists::empty())),
    }
}

fn with_found<T>(scalar: &Scalar, ask: impl FnOnce(Found<'_>) -> T) -> T {
    match scalar {
        Scalar::Nothing => ask(Found::Absent),
        Scalar::Bool(value) => ask(Found::Value(&Value::Bool(*value))),
        Scalar::Int(number) => ask(Found::Value(&Value::Int(*number))),
        Scalar::Float(number) => ask(Found::Value(&Value::Float(*number))),
        Scalar::Text(text) => ask(Found::Text(text)),
        Scalar::Time(time) => ask(Found::Time(*time)),
    }
}

/// How many characters to underline.
fn width(literal: &Literal) -> usize {
    match &literal.node {
        Node::Unit => 2,
        Node::Text(text) => text.chars().count() + 2,
        Node::Bool(_) | Node::Int(_) | Node::Float(_) => literal.to_value().display().chars().count(),
        Node::List(_) | Node::Map(_) => 1,
    }
}
