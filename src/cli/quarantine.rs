//! `redflag quarantine`: what could not be decoded, judging it after all, and closing what needs no judging.

use chrono_tz::Tz;
use clap::{Args, Subcommand, ValueEnum};

use super::{
    Exit, Global,
    table::{self, Owner, changed, local, moment, or_dash, show, size, table},
    talk,
};
use crate::{
    engine::control::{Ask, QuarantineLine},
    model::time::Timestamp,
    store::Changed,
};

#[derive(Subcommand, Debug)]
pub enum QuarantineCommand {
    /// List what was set aside, newest first
    List(ListArgs),
    /// Decode entries again and judge them by today's rules; they stay, marked as retried
    Retry(RetryArgs),
    /// Close entries that need no judging; they stay, marked as dropped
    Drop(DropArgs),
}

#[derive(Args, Debug)]
pub struct ListArgs {
    /// Of this feed
    #[arg(long, value_name = "NAME")]
    feed: Option<String>,
    /// In this state; otherwise all
    #[arg(long, value_enum, value_name = "STATE")]
    state: Option<State>,
    /// Received since: 24h, 7d, 2026-01-31, 2026-01-31T08:00:00Z
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    since: Option<Timestamp>,
    /// At most so many
    #[arg(long, value_name = "NUMBER", default_value_t = 50)]
    limit: usize,
}

#[derive(Args, Debug)]
pub struct RetryArgs {
    /// Numbers
    #[arg(value_name = "ENTRY", required = true)]
    ids: Vec<String>,
    #[command(flatten)]
    note: table::Note,
}

#[derive(Args, Debug)]
pub struct DropArgs {
    /// Numbers
    #[arg(value_name = "ENTRY", required = true)]
    ids: Vec<String>,
    /// Why, for whoever reads the audit record
    #[arg(long, value_name = "TEXT")]
    note: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum State {
    /// No rule has judged it
    Open,
    /// Somebody wants it judged, and it will be
    Wanted,
    /// Judged after all
    Retried,
    /// Closed by a person, unjudged
    Dropped,
}

/// # Errors
/// Nobody can be asked, or there is no such entry.
pub fn run(command: QuarantineCommand, global: &Global) -> anyhow::Result<Exit> {
    let owner = Owner::of(global)?;
    let zone = owner.zone;
    match command {
        QuarantineCommand::List(args) => {
            let state = args.state.map(|state| match state {
                State::Open => "open".to_owned(),
                State::Wanted => "wanted".to_owned(),
                State::Retried => "retried".to_owned(),
                State::Dropped => "dropped".to_owned(),
            });
            let limit = args.limit;
            let quarantine = Ask::Quarantine { feed: args.feed, state, since: args.since, limit };
            let lines = owner.ask::<Vec<QuarantineLine>>("quarantine list", quarantine)?.answer;
            show(global, &lines, |lines| list(lines, zone))?;
            if lines.len() == limit {
                talk(&format!("the newest {limit}; --limit shows more"));
            }
            Ok(Exit::Fine)
        }
        QuarantineCommand::Retry(args) => {
            let retry = Ask::RetryQuarantined { ids: args.ids, note: args.note.note };
            let answered = owner.ask::<Vec<QuarantineLine>>("quarantine retry", retry)?;
            show(global, &answered.answer, |lines| outcome(lines))?;
            let refused = answered.live && answered.answer.iter().any(|line| line.state != "retried");
            Ok(if refused { Exit::Findings } else { Exit::Fine })
        }
        QuarantineCommand::Drop(args) => {
            let drop = Ask::DropQuarantined { ids: args.ids, note: args.note };
            changed(global, &owner.ask::<Vec<Changed>>("quarantine drop", drop)?)
        }
    }
}

fn list(lines: &[QuarantineLine], zone: Tz) -> String {
    if lines.is_empty() {
        return "nothing was set aside\n".to_owned();
    }
    let rows = lines.iter().map(|line| {
        [
            line.number.to_string(),
            line.state.clone(),
            line.feed.to_string(),
            local(line.received_at, zone),
            size(line.size),
            line.reason.as_str().to_owned(),
            line.detail.clone(),
            or_dash(line.outcome.clone()),
        ]
    });
    table(["entry", "state", "feed", "received", "size", "reason", "detail", "outcome"], rows)
}

fn outcome(lines: &[QuarantineLine]) -> String {
    let line = |line: &QuarantineLine| match (line.state.as_str(), &line.outcome) {
        ("wanted", _) => format!("entry {}: judged when redflag runs\n", line.number),
        (state, outcome) => format!("entry {}: {state}: {}\n", line.number, or_dash(outcome.clone())),
    };
    lines.iter().map(line).collect()
}

#[cfg(test)]
mod tests;
