//! `redflag gaps`: what back-fill could not prove complete, and closing it once somebody knows.

use chrono_tz::Tz;
use clap::{Args, Subcommand};

use super::{
    Exit, Global,
    table::{Owner, changed, local, show, table},
    talk,
};
use crate::{
    engine::control::{Ask, GapLine},
    store::Changed,
};

#[derive(Subcommand, Debug)]
pub enum GapsCommand {
    /// List the intervals in which messages may be missing, newest first
    List(ListArgs),
    /// Say that nothing is missing any more, and how that is known
    Close(CloseArgs),
}

#[derive(Args, Debug)]
pub struct ListArgs {
    /// Of this feed
    #[arg(long, value_name = "NAME")]
    feed: Option<String>,
    /// Closed ones as well
    #[arg(long)]
    all: bool,
    /// At most so many
    #[arg(long, value_name = "NUMBER", default_value_t = 50)]
    limit: usize,
}

#[derive(Args, Debug)]
pub struct CloseArgs {
    /// Numbers
    #[arg(value_name = "GAP", required = true)]
    ids: Vec<String>,
    /// How it is known, for whoever reads the audit record
    #[arg(long, value_name = "TEXT")]
    note: String,
}

/// # Errors
/// Nobody can be asked, or there is no such gap.
pub fn run(command: GapsCommand, global: &Global) -> anyhow::Result<Exit> {
    let owner = Owner::of(global)?;
    let zone = owner.zone;
    match command {
        GapsCommand::List(ListArgs { feed, all, limit }) => {
            let lines = owner.ask::<Vec<GapLine>>("gaps list", Ask::Gaps { feed, all, limit })?.answer;
            show(global, &lines, |lines| list(lines, all, zone))?;
            if lines.len() == limit {
                talk(&format!("the newest {limit}; --limit shows more"));
            }
            Ok(Exit::Fine)
        }
        GapsCommand::Close(CloseArgs { ids, note }) => {
            changed(global, &owner.ask::<Vec<Changed>>("gaps close", Ask::CloseGaps { ids, note })?)
        }
    }
}

fn list(lines: &[GapLine], all: bool, zone: Tz) -> String {
    if lines.is_empty() {
        return if all { "there never was a gap\n" } else { "no gap is open\n" }.to_owned();
    }
    let rows = lines.iter().map(|line| {
        [
            line.number.to_string(),
            line.feed.to_string(),
            line.topics(),
            local(line.from, zone),
            local(line.until, zone),
            line.reason.clone(),
            outcome(line, zone),
        ]
    });
    table(["gap", "feed", "topics", "from", "until", "reason", "state"], rows)
}

/// How it stands.
pub(super) fn outcome(line: &GapLine, zone: Tz) -> String {
    let mut told = match (line.closed_at, &line.closed_by) {
        (Some(at), by) => format!("closed {} by {}", local(at, zone), by.as_deref().unwrap_or("nobody")),
        (None, _) => "open".to_owned(),
    };
    if let Some(looked_up) = &line.looked_up {
        told.push_str("; ");
        told.push_str(looked_up);
    }
    told
}

#[cfg(test)]
mod tests;
