//! The parser's complaints in a rule author's words.

use rhai::{LexError, ParseError, ParseErrorType as Kind};

use super::{codes, diagnostic::Diagnostic, literal::Place, source::Source};

/// Words that other languages write where Rhai writes a sign.
const OPERATORS: [(&str, &str); 6] = [("and", "&&"), ("or", "||"), ("not", "!"), ("AND", "&&"), ("OR", "||"), ("NOT", "!")];

/// Words by which other languages say that there is nothing.
const NOTHING: [&str; 6] = ["null", "NULL", "nil", "None", "none", "undefined"];

/// A parse error as a finding: beginners' mistakes by name, everything else with the parser's words.
#[must_use]
pub fn translate(source: Source<'_>, error: &ParseError) -> Diagnostic {
    let place = place(source, error);
    let kind = error.err_type();
    let word = source.word(place);
    let previous = last_word(source.before(place));

    for (name, sign) in OPERATORS {
        let at = if word == name {
            place
        } else if previous == name && source.before(place).trim_end().ends_with(name) {
            let before = source.before(place).trim_end();
            Place { line: place.line, column: before.chars().count() + 1 - name.len() }
        } else {
            continue;
        };
        return source
            .error(codes::WORD_OPERATOR, at, format!("`{name}` is not a word of rules"))
            .label(format!("write `{sign}`"))
            .help("and is &&, or is ||, not is !");
    }

    if word == "eval" {
        return source.error(codes::FORBIDDEN, place, "`eval` is not allowed in rules").label("not allowed");
    }
    if ends(source, error)
        && matches!(
            kind,
            Kind::MissingToken(..) | Kind::UnexpectedEOF | Kind::ExprExpected(_) | Kind::BadInput(LexError::UnexpectedInput(_))
        )
        && let Some((bracket, place)) = source.unclosed()
    {
        return source
            .error(codes::SYNTAX, place, "the file ends, and this bracket is still open")
            .label(format!("its `{bracket}` is missing"));
    }

    // A function or the card that begins within an open bracket: the bracket is what is wrong.
    if matches!(word, "fn" | "const")
        && matches!(kind, Kind::MissingToken(..) | Kind::WrongFnDefinition | Kind::Reserved(_) | Kind::BadInput(_))
        && let Some((bracket, open)) = source.unclosed()
        && open.line < place.line
    {
        return source
            .error(codes::SYNTAX, open, format!("this bracket is still open where `{word}` begins in line {}", place.line))
            .label(format!("its `{bracket}` is missing"));
    }

    if let Some(finding) = habit(source, place, word) {
        return finding;
    }

    match kind {
        Kind::BadInput(LexError::MalformedChar(text)) => source
            .error(codes::SINGLE_QUOTES, place, format!("a text in single quotes: '{text}'"))
            .label(format!("write \"{}\"", text.trim_matches('\''))),
        Kind::BadInput(LexError::UnterminatedString) if word.starts_with('\'') => {
            source.error(codes::SINGLE_QUOTES, place, "a text in single quotes").label("use double quotes: \"text\"")
        }
        Kind::BadInput(LexError::UnterminatedString) => {
            source.error(codes::SYNTAX, place, "a text that does not end on its line").label("its closing \" is missing")
        }
        Kind::BadInput(LexError::ImproperSymbol(symbol, _)) if symbol == "=" => single_equals(source, place),
        Kind::BadInput(LexError::ImproperSymbol(symbol, _)) if symbol == "===" || symbol == "!==" => source
            .error(codes::SYNTAX, place, format!("`{symbol}` is not a sign of rules"))
            .label(if symbol == "===" { "write `==`" } else { "write `!=`" }),
        Kind::BadInput(LexError::ImproperSymbol(symbol, _)) => {
            source.error(codes::SYNTAX, place, format!("`{symbol}` means nothing here")).label("here")
        }
        Kind::BadInput(LexError::UnexpectedInput(text)) => {
            source.error(codes::SYNTAX, place, format!("`{text}` means nothing here")).label("here")
        }
        Kind::BadInput(LexError::MalformedEscapeSequence(text)) => source
            .error(codes::SYNTAX, place, format!("`{text}` after a backslash means nothing"))
            .label("here")
            .help("a backslash itself is written \\\\; in a text between backticks it needs no doubling"),
        Kind::Reserved(name) | Kind::ForbiddenVariable(name) if name == "eval" || name == "import" => {
            source.error(codes::FORBIDDEN, place, format!("`{name}` is not allowed in rules")).label("not allowed")
        }
        Kind::Reserved(name) => reserved(source, place, name),
        Kind::PropertyExpected if !word.is_empty() && word.starts_with(char::is_alphabetic) => reserved(source, place, word),
        Kind::VariableUndefined(name) => undefined(source, place, name),
        Kind::ModuleUndefined(name) => source
            .error(codes::IMPORT, place, format!("`{name}` is not imported"))
            .label("not known")
            .help(format!("import it at the top: import \"shared/{name}\" as {name};")),
        Kind::DuplicatedProperty(name) => source
            .error(codes::SYNTAX, place, format!("`{name}` stands twice in the same map"))
            .label("the second one; delete one of them"),
        Kind::FnDuplicatedDefinition(name, _) => {
            source.error(codes::SYNTAX, place, format!("the function `{name}` stands twice in the file")).label("the second one")
        }
        Kind::MissingToken(token, _) => missing(source, place, token),
        Kind::AssignmentToConstant(_) | Kind::AssignmentToInvalidLHS(_) => single_equals(source, place),
        Kind::UnexpectedEOF => {
            source.error(codes::SYNTAX, place, "the file ends too early").label("a closing bracket is missing above")
        }
        Kind::ExprTooDeep => source
            .error(codes::SYNTAX, place, "this is nested too deeply")
            .label("give parts of it a name with `let`, or make a function of them"),
        Kind::TooManyFunctions => {
            source.error(codes::TOO_LARGE, place, "the file has too many functions").label("at most 64 in a file")
        }
        Kind::LiteralTooLarge(what, most) => source
            .error(codes::TOO_LARGE, place, format!("{what} is too large"))
            .label(format!("at most {most}"))
            .help("long lists of values belong to rules/lists/"),
        Kind::WrongFnDefinition => source
            .error(codes::SYNTAX, place, "a function inside a function")
            .label("move it to the top level, behind the closing `}`"),
        Kind::WrongDocComment => {
            source.error(codes::SYNTAX, place, "a `///` comment stands only directly above a function").label("write `//`")
        }
        Kind::FnMissingParams(name) => source
            .error(codes::PARAMETERS, place, format!("the function `{name}` lacks its parameters"))
            .label("write `(event, settings)`"),
        Kind::FnMissingBody(name) => {
            source.error(codes::SYNTAX, place, format!("the function `{name}` lacks its body")).label("write `{ … }`")
        }
        other => {
            let said = other.to_string();
            source.error(codes::SYNTAX, place, format!("the rule can't be read: {}", lower_first(&said))).label("here")
        }
    }
}

/// Whether the parser came to the end of the text.
fn ends(source: Source<'_>, error: &ParseError) -> bool {
    let place = Place::of(error.position());
    let last = source.text.trim_end().lines().count();
    place.line == 0 || place.line > last || (place.line == last && source.rest(place).trim().is_empty())
}

/// The parser's position, else the end of the text.
fn place(source: Source<'_>, error: &ParseError) -> Place {
    let place = Place::of(error.position());
    let lines = source.text.lines().count();
    if place.line == 0 || place.line > lines {
        let last =
            source.text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).last().map_or(0, |(index, _)| index);
        let column = source.line(last + 1).trim_end().chars().count();
        return Place { line: last + 1, column: column.max(1) };
    }
    place
}

/// What other languages write so, and rules otherwise.
fn habit(source: Source<'_>, place: Place, word: &str) -> Option<Diagnostic> {
    let (before, rest) = (source.before(place), source.rest(place));
    if NOTHING.contains(&word) {
        let finding = source.error(codes::UNKNOWN_VARIABLE, place, format!("`{word}` is not a word of rules"));
        return Some(finding.label("write `()`").help("nothing is `()`; `blank(x)` is true for nothing and for an empty text"));
    }
    let unequal = if rest.starts_with("<>") { Some(place.column) } else { None };
    let unequal = unequal.or_else(|| (rest.starts_with('>') && before.ends_with('<')).then(|| place.column - 1));
    if let Some(column) = unequal {
        let place = Place { line: place.line, column };
        return Some(source.error(codes::SYNTAX, place, "`<>` is not a sign of rules").label("write `!=`"));
    }
    // `where: { … }`: a map begins with `#{`.
    let brace = before.rfind('{').filter(|at| before[..*at].trim_end().ends_with(':'))?;
    let place = Place { line: place.line, column: before[..brace].chars().count() + 1 };
    Some(source.error(codes::SYNTAX, place, "a map begins with `#{`").label("write `#{`"))
}

fn single_equals(source: Source<'_>, place: Place) -> Diagnostic {
    source.error(codes::SINGLE_EQUALS, place, "a single `=` sets a value; it does not compare").label("write `==`")
}

fn reserved(source: Source<'_>, place: Place, name: &str) -> Diagnostic {
    if name == "#" {
        return source.error(codes::SYNTAX, place, "`#` begins no comment in rules").label("write `//`");
    }
    let finding = source.error(codes::RESERVED_WORD, place, format!("`{name}` is a word of the language"));
    if source.rest(place).trim_start_matches(name).trim_start().starts_with(':') {
        return finding.label(format!("write it in quotes: \"{name}\""));
    }
    finding.label("choose another name")
}

fn undefined(source: Source<'_>, place: Place, name: &str) -> Diagnostic {
    let finding = source.error(codes::UNKNOWN_VARIABLE, place, format!("nothing is called `{name}` here"));
    if name == "RULE" || name == "TESTS" {
        return finding
            .label("functions can't see it")
            .help("put values into `settings` on the card; functions get them as their second parameter");
    }
    if name == "event" || name == "settings" {
        return finding
            .label("not known in this function")
            .help(format!("hand it in: add `{name}` to the parameters, here and where the function is called"));
    }
    finding
        .label("not known")
        .help("a text needs double quotes; a field is read as event.field; a value of your own needs `let` first")
}

/// What should stand before `place`: the word before tells more than the one at it.
fn missing(source: Source<'_>, place: Place, token: &str) -> Diagnostic {
    let word = source.word(place);
    if word == "=" && token == ":" {
        return source.error(codes::SYNTAX, place, "an entry of a map is written with a colon").label("write `:`");
    }
    if word == "=" {
        return single_equals(source, place);
    }
    if word.starts_with('\'') {
        return source.error(codes::SINGLE_QUOTES, place, "a text in single quotes").label("use double quotes: \"text\"");
    }
    if source.line(place.line).replace("\\\"", "").matches('"').count() % 2 == 1 {
        let quote = source.line(place.line).find('"').map_or(1, |at| source.line(place.line)[..at].chars().count() + 1);
        let first = Place { line: place.line, column: quote };
        return Diagnostic::error(
            codes::SYNTAX,
            source.file,
            first,
            source.rest(first).trim_end().chars().count(),
            "a text on this line does not end",
        )
        .label("one of its \" is missing");
    }
    let what = match token {
        "," => "a comma",
        ";" => "a semicolon",
        ":" => "a colon",
        ")" | "]" | "}" => "a closing bracket",
        "(" | "[" | "{" => "an opening bracket",
        _ => "a sign",
    };
    // The hole is behind the last thing before the place, which may stand on an earlier line.
    let mut hole = place;
    if source.before(place).trim().is_empty() {
        let earlier = (1..place.line).rev().find(|line| {
            let text = source.line(*line).trim();
            !text.is_empty() && !text.starts_with("//")
        });
        if let Some(line) = earlier {
            hole = Place { line, column: source.line(line).trim_end().chars().count().max(1) };
        }
    }
    let found = if word.is_empty() { "the end of the file".to_owned() } else { format!("`{word}`") };
    let finding = source.error(codes::SYNTAX, hole, format!("{what}, `{token}`, is missing before {found}"));
    let finding = finding.label(if hole == place {
        format!("expected `{token}` before this")
    } else {
        format!("expected `{token}` behind this")
    });
    match source.unclosed() {
        Some((bracket, open)) if token.starts_with(bracket) && open.line < hole.line => {
            finding.help(format!("what opens in line {}, or something inside it, is never closed", open.line))
        }
        _ => finding,
    }
}

fn last_word(text: &str) -> &str {
    text.split_whitespace().next_back().unwrap_or_default()
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}
