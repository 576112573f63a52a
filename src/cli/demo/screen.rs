//! What the demo shows: a welcome, the alerts as they come with the state of their deliveries, reloads, and the summary.
//!
//! On a terminal the newest alerts stand in a table that is drawn again in place; elsewhere each alert is a line, written once its deliveries
//! have ended.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt::Write as _,
    io::{self, IsTerminal as _, Write as _},
    path::{Path, PathBuf},
};

use chrono_tz::Tz;
use comfy_table::{ContentArrangement, Table, presets};

use super::{Args, summary::Summary};
use crate::{
    engine::{Running, reload::Report},
    model::{alert::Role, delivery::State, severity::Severity},
    rules::diagnostic::Diagnostic,
    store::{AlertRow, DeliveryRow, Reader, StoreError},
};

/// How many alerts the table shows.
const SHOWN: usize = 12;

pub struct Screen {
    reader: Reader,
    dir: PathBuf,
    /// Of the mails: one moment has one time.
    zone: Tz,
    terminal: bool,
    /// So many characters of a subject fit into the table.
    subject: usize,
    last: i64,
    /// Alerts that started a message and whose deliveries have not all ended.
    open: VecDeque<AlertRow>,
    /// The newest alerts, with the state of their deliveries.
    shown: VecDeque<(AlertRow, String)>,
    /// Lines of the table as it stands on the terminal.
    drawn: usize,
    repeats: u64,
    /// What was found at the last reload.
    findings: Vec<Diagnostic>,
}

impl Screen {
    pub fn new(reader: Reader, dir: &Path, zone: Tz) -> Self {
        let subject = subject_width();
        Self {
            reader,
            dir: dir.to_owned(),
            zone,
            terminal: io::stdout().is_terminal() && subject.is_some(),
            subject: subject.unwrap_or_default(),
            last: 0,
            open: VecDeque::new(),
            shown: VecDeque::new(),
            drawn: 0,
            repeats: 0,
            findings: Vec::new(),
        }
    }

    pub fn welcome(&mut self, running: &Running, args: &Args) {
        let dir = self.dir.display();
        let end = args.duration.map_or_else(|| "Ctrl-C ends it.".to_owned(), |duration| format!("It ends after {duration}."));
        println!(
            "redflag demo: an embedded feed, {} events a second; {} rules judge them. {end}",
            args.rate, running.first_load.rules
        );
        println!();
        println!("  mails      {dir}/mail/*.eml      rendered, as the mail server got them");
        println!("  chat       {dir}/chat/*.json     without personal data: this channel is not cleared");
        println!("  rules      {dir}/rules/          plain files");
        println!("  health     http://{}/healthz, /readyz, /metrics", running.http);
        println!();
        println!(
            "Try it: open {dir}/rules/identity/ident_failed.rhai, change its severity to \"critical\", and save: the next alert of"
        );
        println!(
            "rule KYC-001 has it within a second. Make a mistake there: the last good version goes on, and the mistake is shown."
        );
        println!();
        // An earlier demo in the same folder has its alerts in the store: only new ones are shown.
        while let Ok(rows) = self.reader.alerts_after(self.last, 1_000) {
            let Some(newest) = rows.last() else { break };
            self.last = newest.n;
        }
    }

    /// Shows what has happened since the last call.
    pub fn update(&mut self) -> Result<(), StoreError> {
        let rows = self.reader.alerts_after(self.last, 1_000)?;
        for row in rows {
            self.last = row.n;
            match row.role {
                Role::First => self.open.push_back(row),
                Role::Repeat => self.repeats += 1,
                Role::Shadow => {}
            }
        }
        let mut still_open = VecDeque::new();
        let mut changed = false;
        for row in std::mem::take(&mut self.open) {
            let deliveries = row.message.map(|message| self.reader.deliveries_of(message)).transpose()?.unwrap_or_default();
            let state = states(&deliveries);
            let ended = deliveries.iter().all(|delivery| matches!(delivery.state, State::Delivered | State::Dead));
            changed |= self.note(&row, &state, ended);
            if !ended {
                still_open.push_back(row);
            }
        }
        self.open = still_open;
        if changed && self.terminal {
            self.draw();
        }
        Ok(())
    }

    /// Takes one alert's state over; answers whether the table changes.
    fn note(&mut self, row: &AlertRow, state: &str, ended: bool) -> bool {
        if !self.terminal {
            if ended {
                println!("{}", line(row, state, self.zone));
            }
            return false;
        }
        if let Some((_, known)) = self.shown.iter_mut().find(|(known, _)| known.n == row.n) {
            let changed = known != state;
            state.clone_into(known);
            return changed;
        }
        self.shown.push_back((row.clone(), state.to_owned()));
        if self.shown.len() > SHOWN {
            self.shown.pop_front();
        }
        true
    }

    fn draw(&mut self) {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
        table.set_header(["time", "severity", "rule", "subject of the mail", "delivered"]);
        for (row, state) in &self.shown {
            table.add_row([
                row.raised_at.with_timezone(&self.zone).format("%H:%M:%S").to_string(),
                row.severity.to_string(),
                row.rule.to_string(),
                cut(&row.subject, self.subject),
                state.clone(),
            ]);
        }
        let repeats = if self.repeats == 1 { "1 repeat was".to_owned() } else { format!("{} repeats were", self.repeats) };
        let text = format!("{table}\n{repeats} held back by quiet periods.\n");
        let mut out = String::new();
        if self.drawn > 0 {
            // Up over the old table, and clear from there.
            let _ = write!(out, "\x1b[{}A\x1b[J", self.drawn);
        }
        out.push_str(&text);
        self.drawn = text.lines().count();
        Self::put(&out);
    }

    pub fn reloaded(&mut self, report: &Report) {
        let text = told(report, &self.findings, &|finding| {
            let source = std::fs::read_to_string(self.dir.join("rules").join(&finding.file)).ok();
            finding.render(source.as_deref(), "rules", self.terminal)
        });
        self.findings.clone_from(&report.diagnostics);
        if text.is_empty() {
            return;
        }
        if self.terminal {
            // The text stands above the next table.
            self.drawn = 0;
            Self::put(&format!("\n{text}\n"));
        } else {
            Self::put(&text);
        }
    }

    pub fn end(&mut self, summary: &Summary) {
        Self::put(&format!("\n{summary}\nEverything lies in {}.\n", self.dir.display()));
    }

    fn put(text: &str) {
        let mut out = io::stdout().lock();
        // A reader that went away (a closed pipe) is no reason to stop the demo.
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }
}

/// A reload in words. What was `known` from the one before is not shown at length again.
fn told(report: &Report, known: &[Diagnostic], render: &dyn Fn(&Diagnostic) -> String) -> String {
    let mut text = String::new();
    if report.changed {
        let (took, rules, set) = (report.took.as_millis(), report.rules, report.generation.short());
        let _ = writeln!(text, "↻ rules reloaded in {took} ms: {rules} rules judge from the next event on (set {set}).");
    }
    for file in &report.mended {
        let _ = writeln!(text, "↻ {file} is mended.");
    }
    for id in &report.withdrawn {
        let _ = writeln!(text, "  withdrawn: {id}");
    }
    if let Some(why) = &report.held_back {
        let _ = writeln!(text, "  held back: {why}");
    }
    for finding in report.diagnostics.iter().filter(|finding| !known.contains(finding)) {
        let _ = writeln!(text, "{}\n", render(finding));
    }
    let refused: BTreeSet<&str> =
        report.diagnostics.iter().filter(|finding| finding.is_error()).map(|finding| &*finding.file).collect();
    for file in refused {
        let still = if report.diagnostics.iter().any(|finding| finding.file == file && !known.contains(finding)) {
            ""
        } else {
            "still refused; "
        };
        let what = if report.stale.iter().any(|stale| stale == file) {
            "its last good version goes on"
        } else if file.starts_with("lists/") {
            "the lists that were live go on"
        } else {
            "nothing judges by this file until it is mended"
        };
        let _ = writeln!(text, "  {file}: {still}{what}.");
    }
    text
}

/// What a table leaves for the subject where it can be drawn again in place: on a small terminal it would wrap, or reach beyond the screen.
fn subject_width() -> Option<usize> {
    /// The other columns and the room between them.
    const OTHERS: usize = 76;
    let (width, height) = terminal_size::terminal_size()?;
    let left = usize::from(width.0).checked_sub(OTHERS)?;
    (left >= 20 && usize::from(height.0) >= SHOWN + 6).then_some(left.min(64))
}

/// `mail 1/1, chat 1/1`, or what went wrong.
fn states(deliveries: &[DeliveryRow]) -> String {
    let mut channels: BTreeMap<&str, (usize, usize, usize)> = BTreeMap::new();
    for delivery in deliveries {
        let (all, delivered, dead) = channels.entry(delivery.channel.as_str()).or_default();
        *all += 1;
        *delivered += usize::from(delivery.state == State::Delivered);
        *dead += usize::from(delivery.state == State::Dead);
    }
    let texts = channels.iter().map(|(channel, (all, delivered, dead))| match (delivered, dead) {
        (delivered, _) if delivered == all => format!("{channel} ✓"),
        (_, 0) => format!("{channel} …"),
        (delivered, dead) => format!("{channel} {delivered} of {all}, {dead} given up"),
    });
    texts.collect::<Vec<_>>().join("  ")
}

/// One line of the table.
fn cut(subject: &str, longest: usize) -> String {
    match subject.char_indices().nth(longest) {
        Some(_) => subject.chars().take(longest.saturating_sub(1)).chain(['…']).collect(),
        None => subject.to_owned(),
    }
}

fn line(row: &AlertRow, state: &str, zone: Tz) -> String {
    let width = Severity::ALL.map(|severity| severity.as_str().len()).into_iter().max().unwrap_or(0);
    let time = row.raised_at.with_timezone(&zone).format("%H:%M:%S");
    format!("{time}  {:width$}  {:<8}  {}  [{state}]", row.severity, row.rule, row.subject)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{hash::Digest, time::Timestamp},
        rules::{codes, literal::Place},
    };

    #[test]
    fn a_mistake_is_shown_once_and_its_end_is_shown_too() {
        let mistake = |file: &str| {
            let place = Place { line: 5, column: 8 };
            Diagnostic::error(codes::UNKNOWN_FIELD, file, place, 6, "unknown field `staus`")
        };
        let (old, new) = ("identity/ident_failed.rhai", "first/new.rhai");
        let report = |files: &[&str], mended: &[&str], changed: bool| Report {
            at: Timestamp::default(),
            generation: Digest::of(b"rules"),
            changed,
            rules: 19,
            diagnostics: files.iter().map(|file| mistake(file)).collect(),
            stale: files.iter().filter(|file| **file == old).map(ToString::to_string).collect(),
            mended: mended.iter().map(ToString::to_string).collect(),
            withdrawn: Vec::new(),
            held_back: None,
            template_errors: Vec::new(),
            took: std::time::Duration::from_millis(40),
        };
        let mut text = String::new();
        let mut known = Vec::new();
        for report in [
            report(&[old], &[], false),
            report(&[old], &[], true),
            report(&[old, new], &[], false),
            report(&[new], &[old], false),
        ] {
            let _ = writeln!(text, "saved:\n{}", told(&report, &known, &|finding| finding.render(None, "rules", false)));
            known = report.diagnostics;
        }
        insta::assert_snapshot!(text);
    }
}
