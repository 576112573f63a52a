//! `redflag alerts`: what was raised, and what people make of it.

use std::fmt::Write as _;

use chrono_tz::Tz;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::Value as Json;

use super::{
    Exit, Global,
    table::{self, Owner, changed, local, moment, or_dash, show, table},
    talk,
};
use crate::{
    engine::control::{AlertLine, AlertPage, Ask, HistoryLine},
    model::{
        alert::{AlertState, Role},
        time::Timestamp,
    },
    store::Changed,
};

#[derive(Subcommand, Debug)]
pub enum AlertsCommand {
    /// List alerts, newest first; subjects are masked
    List(ListArgs),
    /// Show one alert: its facts (masked), where it went, and what was done
    Show {
        /// Its number, its id, or its message's
        #[arg(value_name = "ALERT")]
        id: String,
        /// Show personal data; that you asked for it is recorded
        #[arg(long)]
        personal: bool,
    },
    /// Say that you have taken alerts up
    Ack(ActArgs),
    /// Say that alerts are dealt with
    Close(ActArgs),
    /// Add a note to alerts
    Note {
        /// Numbers, ids, or messages' ids
        #[arg(value_name = "ALERT", required = true)]
        ids: Vec<String>,
        /// What there is to say
        #[arg(long = "note", value_name = "TEXT")]
        text: String,
    },
}

#[derive(Args, Debug)]
pub struct ListArgs {
    /// Alerts of this rule
    #[arg(long, value_name = "ID")]
    rule: Option<String>,
    /// Raised since: 24h, 7d, 2026-01-31, 2026-01-31T08:00:00Z
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    since: Option<Timestamp>,
    /// In this state
    #[arg(long, value_enum, value_name = "STATE")]
    state: Option<State>,
    /// At most so many
    #[arg(long, value_name = "NUMBER", default_value_t = 50)]
    limit: usize,
    /// Show personal data; that you asked for it is recorded
    #[arg(long)]
    personal: bool,
}

#[derive(Args, Debug)]
pub struct ActArgs {
    /// Numbers, ids, or messages' ids
    #[arg(value_name = "ALERT", required = true)]
    ids: Vec<String>,
    #[command(flatten)]
    note: table::Note,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum State {
    /// Nobody has taken it up
    Open,
    /// Somebody has
    Acknowledged,
    /// Dealt with
    Closed,
}

impl From<State> for AlertState {
    fn from(state: State) -> Self {
        match state {
            State::Open => Self::Open,
            State::Acknowledged => Self::Acknowledged,
            State::Closed => Self::Closed,
        }
    }
}

/// # Errors
/// Nobody can be asked, or there is no such alert.
pub fn run(command: AlertsCommand, global: &Global) -> anyhow::Result<Exit> {
    let owner = Owner::of(global)?;
    let zone = owner.zone;
    let set = |what: &str, ids: Vec<String>, to, note| {
        changed(global, &owner.ask::<Vec<Changed>>(what, Ask::SetAlerts { ids, to, note })?)
    };
    match command {
        AlertsCommand::List(args) => {
            let ListArgs { rule, since, state, limit, personal } = args;
            let alerts = Ask::Alerts { rule, since, state: state.map(Into::into), limit, personal };
            let lines = owner.ask::<Vec<AlertLine>>("alerts list", alerts)?.answer;
            show(global, &lines, |lines| list(lines, zone))?;
            if lines.len() == limit {
                talk(&format!("the newest {limit}; --limit shows more"));
            }
            Ok(Exit::Fine)
        }
        AlertsCommand::Show { id, personal } => {
            let alert = owner.ask::<AlertPage>("alerts show", Ask::Alert { id, personal })?.answer;
            show(global, &alert, |alert| page(alert, zone))?;
            Ok(Exit::Fine)
        }
        AlertsCommand::Ack(args) => set("alerts ack", args.ids, Some(AlertState::Acknowledged), args.note.note),
        AlertsCommand::Close(args) => set("alerts close", args.ids, Some(AlertState::Closed), args.note.note),
        AlertsCommand::Note { ids, text } => set("alerts note", ids, None, text),
    }
}

fn list(lines: &[AlertLine], zone: Tz) -> String {
    if lines.is_empty() {
        return "no alert\n".to_owned();
    }
    let rows = lines.iter().map(|line| {
        [
            line.number.to_string(),
            local(line.raised_at, zone),
            line.severity.to_string(),
            line.rule.to_string(),
            state(line),
            line.subject.clone(),
        ]
    });
    table(["alert", "raised", "severity", "rule", "state", "subject"], rows)
}

/// A repeat and a shadow sent nothing: that belongs beside the state.
fn state(line: &AlertLine) -> String {
    match line.role {
        Role::First => line.state.as_str().to_owned(),
        other => format!("{} ({})", line.state.as_str(), other.as_str()),
    }
}

fn page(page: &AlertPage, zone: Tz) -> String {
    let alert = &page.alert;
    let mut out = String::new();
    let _ = writeln!(out, "Alert {}: {}\n", alert.number, alert.subject);
    let mut line = |name: &str, text: String| {
        let _ = writeln!(out, " {name:<10} {text}");
    };
    line("raised", local(alert.raised_at, zone));
    line("severity", alert.severity.to_string());
    line("rule", format!("{} {} ({})", alert.rule, alert.title, page.rule_hash.short()));
    line("state", state(alert));
    line("event", alert.event.to_string());
    line("id", alert.id.to_string());
    line("message", or_dash(alert.message.map(|id| id.to_string())));
    facts(&page.facts, &mut out);
    if !page.deliveries.is_empty() {
        out.push('\n');
        let rows = page.deliveries.iter().map(|delivery| {
            [
                delivery.number.to_string(),
                delivery.channel.to_string(),
                delivery.recipient.clone(),
                delivery.state.clone(),
                delivery.attempts.to_string(),
                or_dash(delivery.detail.clone()),
            ]
        });
        out.push_str(&table(["delivery", "channel", "recipient", "state", "attempts", "last answer"], rows));
    }
    out.push_str("\nHistory\n");
    if page.history.is_empty() {
        out.push_str(" nobody has done anything about it\n");
    }
    for entry in &page.history {
        let _ = writeln!(out, " {}", history(entry, zone));
    }
    out
}

/// The fields of `redflag.message.v1`, one a line.
fn facts(message: &Json, out: &mut String) {
    let Some(fields) = message["event"]["fields"].as_object() else { return };
    let withheld: Vec<&str> = message["event"]["withheld"].as_array().into_iter().flatten().filter_map(Json::as_str).collect();
    out.push_str("\nFacts\n");
    for (name, value) in fields {
        fact(name, value, &withheld, out);
    }
    if !withheld.is_empty() {
        out.push_str(" Withheld fields are shown with --personal, which is recorded.\n");
    }
    for note in message["notes"].as_array().into_iter().flatten().filter_map(Json::as_str) {
        let _ = writeln!(out, " {note}");
    }
}

fn fact(path: &str, value: &Json, withheld: &[&str], out: &mut String) {
    match value {
        Json::Object(members) => {
            for (name, value) in members {
                fact(&format!("{path}.{name}"), value, withheld, out);
            }
        }
        Json::Array(entries) => {
            for (index, value) in entries.iter().enumerate() {
                fact(&format!("{path}[{index}]"), value, withheld, out);
            }
        }
        Json::Null if withheld.contains(&path) => {
            let _ = writeln!(out, " {path}: withheld");
        }
        Json::Null => {}
        Json::String(text) => {
            let _ = writeln!(out, " {path}: {}", one_line(text));
        }
        other => {
            let _ = writeln!(out, " {path}: {other}");
        }
    }
}

/// What came from outside moves no cursor.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// `2026-01-31 08:00:00  anna  alerts ack  open → acknowledged: called the branch`.
fn history(entry: &HistoryLine, zone: Tz) -> String {
    let mut text = format!("{}  {}  {}", local(entry.at, zone), entry.who, entry.action);
    if let (Some(before), Some(after)) = (&entry.before, &entry.after)
        && before != after
    {
        let _ = write!(text, "  {before} → {after}");
    }
    if !entry.note.is_empty() {
        let _ = write!(text, ": {}", one_line(&entry.note));
    }
    text
}

#[cfg(test)]
mod tests;
