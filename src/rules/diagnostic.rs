//! What is wrong with a rule file, where, and what to do: one struct, shown like a compiler's message or as JSON.

use annotate_snippets::{AnnotationKind, Group, Level as Shown, Renderer, Snippet};
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

    /// The finding as text: code, place, the line with the place underlined, what was expected, a proposal. `source` is the file's
    /// text, `root` the rules' folder as the reader knows it.
    #[must_use]
    pub fn render(&self, source: Option<&str>, root: &str, colour: bool) -> String {
        let path = if root.is_empty() { self.file.clone() } else { format!("{root}/{}", self.file) };
        let level = match self.level {
            Level::Error => Shown::ERROR,
            Level::Warning => Shown::WARNING,
        };
        let title = level.primary_title(self.message.clone()).id(self.code);
        let place = self.span.and_then(|span| Some((span, source?.lines().nth(span.line - 1)?)));
        let mut report: Group<'_> = if let Some((span, line)) = place {
            let line = line.strip_prefix('\u{feff}').unwrap_or(line);
            let offset = |column: usize| line.char_indices().nth(column).map_or(line.len(), |(at, _)| at);
            let start = offset(span.column - 1);
            let end = offset(span.column - 1 + span.length).max(start);
            let mut underline = AnnotationKind::Primary.span(start..end);
            if !self.label.is_empty() {
                underline = underline.label(self.label.clone());
            }
            title.element(Snippet::source(line.to_owned()).line_start(span.line).path(path).annotation(underline))
        } else {
            let origin = annotate_snippets::Origin::path(path);
            let group = match self.span {
                Some(span) => title.element(origin.line(span.line).char_column(span.column)),
                None => title.element(origin),
            };
            if self.label.is_empty() { group } else { group.element(Shown::NOTE.message(self.label.clone())) }
        };
        if let Some(help) = &self.help {
            report = report.element(Shown::HELP.message(help.clone()));
        }
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        renderer.render(&[report])
    }
}

/// Findings as one JSON array, for editors and pipelines.
#[must_use]
pub fn to_json(findings: &[Diagnostic]) -> String {
    serde_json::to_string(findings).unwrap_or_else(|_| "[]".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Diagnostic {
        let place = Place { line: 2, column: 15 };
        Diagnostic::error("R012", "identity/ident_failed.rhai", place, 5, "unknown field `staus` on topic identResult")
            .label("did you mean `status`?")
    }

    #[test]
    fn a_finding_reads_like_a_compilers_message() {
        let text = sample().render(Some("const RULE = #{\n    where: #{ staus: #{ not: \"success\" } },\n"), "rules", false);
        insta::assert_snapshot!(text, @r#"
        error[R012]: unknown field `staus` on topic identResult
         --> rules/identity/ident_failed.rhai:2:15
          |
        2 |     where: #{ staus: #{ not: "success" } },
          |               ^^^^^ did you mean `status`?
        "#);
    }

    #[test]
    fn a_finding_is_one_json_object() {
        insta::assert_snapshot!(
            to_json(&[sample()]),
            @r#"[{"code":"R012","level":"error","message":"unknown field `staus` on topic identResult","file":"identity/ident_failed.rhai","span":{"line":2,"column":15,"length":5},"label":"did you mean `status`?","help":null}]"#
        );
    }
}
