//! The built-in text that stands in for a template that failed: no template language, nothing that can fail.

use std::fmt::Write as _;

use super::context::Context;

/// Everything of the message, one thing a line.
pub fn text(context: &Context<'_>) -> String {
    let mut out = format!("{} {}\n{}\n\n", context.environment, context.severity, context.subject);
    if let Some(rule) = &context.rule {
        let _ = writeln!(out, "{} {} ({}, {})", rule.id, rule.title, rule.file, rule.hash);
        for text in [Some(&rule.what), rule.why.as_ref(), rule.act.as_ref()].into_iter().flatten() {
            let _ = writeln!(out, "{text}");
        }
    }
    if let Some(event) = &context.event {
        let _ = writeln!(out, "#{} {} {} {}", event.seq, event.topic, event.feed, event.received_at);
    }
    for fact in context.facts.iter().chain(&context.details) {
        let _ = writeln!(out, "{}: {}", fact.name, fact.value);
    }
    for note in &context.notes {
        let _ = writeln!(out, "- {note}");
    }
    let _ = writeln!(out, "- The template failed, so this plain text stands in for it.");
    out
}
