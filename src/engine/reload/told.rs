//! What a reload says: log lines for the operator, alarms for operators and owners.

use super::Report;
use crate::{alerts::Alarm, model::severity::Severity, rules::set::Generation};

/// Whatever the last run judged by and this one does not is named: few enough to be a change, and made while nothing ran.
pub(super) fn gone(report: &Report) -> Option<Alarm> {
    if report.withdrawn.is_empty() {
        return None;
    }
    let ids = report.withdrawn.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let alarm = Alarm::new(format!("gone {ids}"), Severity::High, format!("Rules are gone since the last run: {ids}"))
        .note("They judged when redflag stopped, and no file of the rules' folder has them now: nothing judges by them.")
        .note("If that was meant, nothing is to be done; else put the files back.");
    Some(alarm)
}

pub(super) fn tell(report: &Report) {
    let errors = report.diagnostics.iter().filter(|finding| finding.is_error()).count();
    tracing::info!(
        generation = %report.generation.short(),
        changed = report.changed,
        rules = report.rules,
        errors,
        stale = report.stale.join(" "),
        withdrawn = report.withdrawn.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
        took_ms = report.took.as_millis() as u64,
        "rules loaded"
    );
    for finding in &report.diagnostics {
        let line = finding.span.map_or(0, |span| span.line);
        tracing::warn!(code = finding.code, file = finding.file, line, label = finding.label, "{}", finding.message);
    }
    for file in &report.mended {
        tracing::info!(file, "mended: it is in force again as it is written");
    }
    if let Some(why) = &report.held_back {
        tracing::error!(
            why,
            "a change of the rules is held back, what was live goes on; if it is meant, `redflag reload --confirm`"
        );
    }
    for error in &report.template_errors {
        tracing::error!(error, "the templates were refused, those that were live go on");
    }
}

/// One alarm a file that failed, to its owner and the operators; one for what was held back.
pub(super) fn alarms(report: &Report, generation: &Generation) -> Vec<Alarm> {
    let mut alarms = Vec::new();
    if report.rules == 0 {
        // Everything works and nobody is ever told anything: the worst way to be silent.
        alarms.push(
            Alarm::new("no rules", Severity::Critical, "No rule judges: no event can raise an alert")
                .note("The rules' folder holds no rule that could be loaded and runs. Events are journaled and judged by nothing.")
                .note("`redflag rules` shows what would be loaded, `redflag check` what is wrong. A mended folder is taken up by itself."),
        );
    }
    let mut files: Vec<&str> = Vec::new();
    for finding in report.diagnostics.iter().filter(|finding| finding.is_error()) {
        if files.contains(&finding.file.as_str()) {
            continue;
        }
        files.push(&finding.file);
        let stale = report.stale.contains(&finding.file);
        let line = finding.span.map_or_else(String::new, |span| format!(" line {}", span.line));
        let owner = generation.rules.iter().find(|rule| rule.card.file == finding.file).and_then(|rule| rule.card.owner.as_ref());
        let list = finding.file.starts_with("lists/");
        let label = if finding.label.is_empty() { String::new() } else { format!(" ({})", finding.label) };
        alarms.push(
            Alarm::new(
                // Another mistake in the same file is news.
                format!("rule file {} {} {}", finding.file, finding.code, finding.message),
                Severity::High,
                match &*finding.file {
                    "." => "The rules' folder can't be read".to_owned(),
                    file if list => format!("List {file} was refused"),
                    file => format!("Rule file {file} was refused"),
                },
            )
            .note(format!("{}{line}: {}{label}.", finding.code, finding.message))
            .note(if finding.file == "." {
                "The rules that were live last go on judging. Once the folder can be read, it is taken up by itself."
            } else if list {
                "The lists that were live go on, if there were any; a rule that asks for a list that was never good is undecided."
            } else if stale {
                "Its last good version goes on judging."
            } else {
                "There is no earlier version of it: nothing judges by this file until it is mended."
            })
            .note("`redflag check` shows the place.")
            .also(owner),
        );
    }
    for file in &report.mended {
        let owner = generation.rules.iter().find(|rule| rule.card.file == *file).and_then(|rule| rule.card.owner.as_ref());
        let what = match &**file {
            "." => "The rules' folder can be read again".to_owned(),
            file if file.starts_with("lists/") => format!("List {file} is mended"),
            file => format!("Rule file {file} is mended"),
        };
        alarms.push(
            Alarm::new(format!("mended {file}"), Severity::Info, what)
                .note("It was refused. As it is written now it is in force from the next event on.")
                .also(owner),
        );
    }
    if let Some(held_back) = &report.held_back {
        alarms.push(
            Alarm::new(format!("held back {held_back}"), Severity::High, "A change of the rules is held back")
                .note(format!("{held_back}."))
                .note(
                    "The rules that were live go on, and would after a restart. If the change is meant, let it through: `redflag reload --confirm`.",
                ),
        );
    }
    if !report.template_errors.is_empty() {
        let mut alarm =
            Alarm::new(format!("templates {:?}", report.template_errors), Severity::High, "The templates were refused");
        for error in &report.template_errors {
            alarm = alarm.note(format!("{error}."));
        }
        alarms.push(alarm.note("The templates that were live go on."));
    }
    alarms
}
