//! A rule file's text: what it must be before it is parsed, and the places in it.

use std::{borrow::Cow, ops::Range};

use super::{codes, diagnostic::Diagnostic, literal::Place, sandbox::SOURCE_CAP};

/// A source text and the file it stands in.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// Relative to the rules' folder.
    pub file: &'a str,
    pub text: &'a str,
}

impl<'a> Source<'a> {
    /// Reads a file's bytes: UTF-8 within the size cap, without hidden characters or curly quotes in its code. A byte order mark is
    /// tolerated and dropped, and so are Windows line ends.
    pub fn read(file: &'a str, bytes: &'a [u8]) -> Result<Self, Vec<Diagnostic>> {
        if bytes.len() > SOURCE_CAP {
            let message = format!("the file has {} bytes; a rule file holds at most {SOURCE_CAP}", bytes.len());
            return Err(vec![
                Diagnostic::error(codes::TOO_LARGE, file, Place::default(), 1, message)
                    .help("move what several rules share to rules/shared/, and look-up values to rules/lists/"),
            ]);
        }
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text.strip_prefix('\u{feff}').unwrap_or(text),
            Err(error) => {
                let before = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
                let line = before.matches('\n').count() + 1;
                let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
                let message = format!("the file is not UTF-8 text: line {line}, character {column} can't be read");
                return Err(vec![
                    Diagnostic::error(codes::NOT_TEXT, file, Place::default(), 1, message)
                        .help("save the file as UTF-8 in your editor"),
                ]);
            }
        };
        let source = Self { file, text };
        let mut findings = source.hidden_characters();
        findings.extend(source.curly_quotes());
        if findings.is_empty() { Ok(source) } else { Err(findings) }
    }

    /// An error that underlines the word at a place.
    pub fn error(&self, code: &'static str, place: Place, message: impl Into<String>) -> Diagnostic {
        Diagnostic::error(code, self.file, place, self.word_length(place), message)
    }

    /// A warning that underlines the word at a place.
    pub fn warning(&self, code: &'static str, place: Place, message: impl Into<String>) -> Diagnostic {
        Diagnostic::warning(code, self.file, place, self.word_length(place), message)
    }

    /// The text of a line, from 1.
    #[must_use]
    pub fn line(&self, number: usize) -> &'a str {
        self.text.lines().nth(number.saturating_sub(1)).unwrap_or_default()
    }

    /// The rest of the line that starts at a place.
    #[must_use]
    pub fn rest(&self, place: Place) -> &'a str {
        let line = self.line(place.line);
        line.char_indices().nth(place.column.saturating_sub(1)).map_or("", |(at, _)| &line[at..])
    }

    /// What stands on the line before a place.
    #[must_use]
    pub fn before(&self, place: Place) -> &'a str {
        let line = self.line(place.line);
        &line[..line.len() - self.rest(place).len()]
    }

    /// The word at a place: a name, a quoted text, a number or a symbol.
    #[must_use]
    pub fn word(&self, place: Place) -> &'a str {
        let rest = self.rest(place);
        let Some(first) = rest.chars().next() else { return "" };
        let is_name = |c: char| c.is_alphanumeric() || c == '_';
        if matches!(first, '"' | '\'' | '`') {
            let mut escaped = false;
            for (at, c) in rest.char_indices().skip(1) {
                if c == first && !escaped {
                    return &rest[..=at];
                }
                escaped = c == '\\' && !escaped;
            }
            return rest.trim_end();
        }
        if is_name(first) {
            let number = first.is_ascii_digit();
            return &rest[..rest.find(|c| !(is_name(c) || number && c == '.')).unwrap_or(rest.len())];
        }
        for symbol in ["#{", "==", "!=", "<=", ">=", "&&", "||", "+=", "-=", "*=", "/=", "=>", "<<", ">>"] {
            if rest.starts_with(symbol) {
                return &rest[..symbol.len()];
            }
        }
        &rest[..first.len_utf8()]
    }

    fn word_length(&self, place: Place) -> usize {
        self.word(place).chars().count().max(1)
    }

    /// The place of the first word `name` at or after a place.
    #[must_use]
    pub fn find_word(&self, name: &str, from: Place) -> Option<Place> {
        for (index, line) in self.text.lines().enumerate().skip(from.line.saturating_sub(1)) {
            let is_name = |c: char| c.is_alphanumeric() || c == '_';
            for (at, _) in line.match_indices(name) {
                let column = line[..at].chars().count() + 1;
                let early = index + 1 == from.line && column < from.column;
                let whole = !line[..at].ends_with(is_name) && !line[at + name.len()..].starts_with(is_name);
                if whole && !early {
                    return Some(Place { line: index + 1, column });
                }
            }
        }
        None
    }

    /// Where `fn name` stands.
    #[must_use]
    pub fn function(&self, name: &str) -> Place {
        for (index, line) in self.text.lines().enumerate() {
            let code = line.trim_start();
            let code = code.strip_prefix("private ").unwrap_or(code).trim_start();
            if let Some(rest) = code.strip_prefix("fn ")
                && rest.trim_start().strip_prefix(name).is_some_and(|tail| tail.trim_start().starts_with('('))
            {
                let offset = line.len() - rest.trim_start().len();
                return Place { line: index + 1, column: line[..offset].chars().count() + 1 };
            }
        }
        Place::default()
    }

    /// The last bracket that is never closed, with the one that would close it.
    #[must_use]
    pub fn unclosed(&self) -> Option<(char, Place)> {
        let mut open: Vec<(char, usize)> = Vec::new();
        for range in code_ranges(self.text) {
            for (at, c) in self.text[range.clone()].char_indices() {
                match c {
                    '(' => open.push((')', range.start + at)),
                    '[' => open.push((']', range.start + at)),
                    '{' => open.push(('}', range.start + at)),
                    ')' | ']' | '}' => {
                        open.pop_if(|(closing, _)| *closing == c);
                    }
                    _ => {}
                }
            }
        }
        open.last().map(|(closing, at)| (*closing, self.place(*at)))
    }

    fn place(&self, offset: usize) -> Place {
        let before = &self.text[..offset];
        Place {
            line: before.matches('\n').count() + 1,
            column: before.rsplit('\n').next().unwrap_or_default().chars().count() + 1,
        }
    }

    /// Characters that show nothing or turn the reading direction, anywhere: what a reviewer sees must be what runs.
    fn hidden_characters(&self) -> Vec<Diagnostic> {
        let hidden = |c: char| {
            matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{061c}' | '\u{feff}' | '\u{00ad}')
                || (c.is_control() && !matches!(c, '\n' | '\r' | '\t'))
        };
        self.text
            .char_indices()
            .filter(|(_, c)| hidden(*c))
            .take(5)
            .map(|(at, c)| {
                Diagnostic::error(
                    codes::HIDDEN,
                    self.file,
                    self.place(at),
                    1,
                    format!("an invisible character, U+{:04X}, stands in the file", u32::from(c)),
                )
                .label("delete it")
                .help("type the line anew; such characters come along when text is pasted from a document or a chat")
            })
            .collect()
    }

    fn curly_quotes(&self) -> Vec<Diagnostic> {
        let mut findings = Vec::new();
        for range in code_ranges(self.text) {
            for (at, c) in self.text[range.clone()].char_indices() {
                if matches!(c, '“' | '”' | '‘' | '’' | '„' | '‚' | '«' | '»') && findings.len() < 5 {
                    findings.push(
                        Diagnostic::error(
                            codes::CURLY_QUOTES,
                            self.file,
                            self.place(range.start + at),
                            1,
                            format!("a typographic quote, {c}, stands where code is"),
                        )
                        .label("use straight quotes: \"")
                        .help("word processors turn \" into curly quotes; use a plain text editor"),
                    );
                }
            }
        }
        findings
    }
}

/// The runs of the text that are code: neither comment nor quoted text.
fn code_ranges(text: &str) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let mut start = 0;
    let mut at = 0;
    let bytes = text.as_bytes();
    while at < bytes.len() {
        let skip = match (bytes[at], bytes.get(at + 1)) {
            (b'/', Some(b'/')) => text[at..].find('\n').unwrap_or(text.len() - at),
            (b'/', Some(b'*')) => text[at + 2..].find("*/").map_or(text.len() - at, |end| end + 4),
            (quote @ (b'"' | b'`'), _) => quoted_length(&bytes[at..], quote),
            _ => {
                at += 1;
                continue;
            }
        };
        ranges.push(start..at);
        at = (at + skip).min(bytes.len());
        start = at;
    }
    ranges.push(start..text.len());
    ranges.retain(|range| range.start < range.end);
    ranges
}

/// A double-quoted text ends with its line at the latest, so that one forgotten quote does not hide the rest of the file.
fn quoted_length(bytes: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 1,
            b'\n' if quote == b'"' => return at,
            c if c == quote => return at + 1,
            _ => {}
        }
        at += 1;
    }
    bytes.len()
}

/// Of some names the one that is likely meant.
#[must_use]
pub fn proposal<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let folded = word.to_lowercase();
    names
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&folded, &name.to_lowercase()), name))
        .filter(|(distance, name)| *distance <= (name.chars().count().max(folded.chars().count()) / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// "did you mean `x`?", or what would be right.
#[must_use]
pub fn did_you_mean<'a>(word: &str, names: impl IntoIterator<Item = &'a str>, otherwise: &str) -> String {
    proposal(word, names).map_or_else(|| otherwise.to_owned(), |name| format!("did you mean `{name}`?"))
}

/// `a, b and c`.
#[must_use]
pub fn enumerate<'a>(names: impl IntoIterator<Item = &'a str>) -> Cow<'static, str> {
    let names: Vec<&str> = names.into_iter().collect();
    match names.as_slice() {
        [] => Cow::Borrowed("none"),
        [one] => Cow::Owned((*one).to_owned()),
        [first @ .., last] => Cow::Owned(format!("{} and {last}", first.join(", "))),
    }
}
