//! What is wrong with a rule file, where, and what to do: one struct, shown like a compiler's message or as JSON.

use serde::Serialize;

use super::literal::Place;

/// One finding in a rule file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// `R012`; each code has a page under docs/errors/.
    pub code: &'static str,
    pub level: Level,
    /// One line: what is wrong.
    pub message: String,
    /// The file, relative to the rules' folder.
    pub file: String,
    /// The underlined place; none: the whole file.
    pub span: Option<Span>,
    /// What stands at the underline: expected, or "did you mean …".
    pub label: String,
    /// A mended line or a further hint.
    pub help: Option<String>,
}

/// An error keeps a file from going live; a warning is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Warning,
    Error,
}

/// A run of characters on one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Span {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// In characters, at least 1.
    pub length: usize,
}

impl Diagnostic {
    /// An error at a place of a file.
    pub fn error(code: &'static str, file: &str, place: Place, length: usize, message: impl Into<String>) -> Self {
        Self {
            code,
            level: Level::Error,
            message: message.into(),
            file: file.to_owned(),
            span: (place.line > 0).then_some(Span { line: place.line, column: place.column.max(1), length: length.max(1) }),
            label: String::new(),
            help: None,
        }
    }

    /// A warning at a place of a file.
    pub fn warning(code: &'static str, file: &str, place: Place, length: usize, message: impl Into<String>) -> Self {
        Self { level: Level::Warning, ..Self::error(code, file, place, length, message) }
    }

    #[must_use]
    pub fn label(self, label: impl Into<String>) -> Self {
        Self { label: label.into(), ..self }
    }

    #[must_use]
    pub fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }

    #[must_use]
    pub fn is_error(&self) -> bool {
        self.level == Level::Error
    }
}
