//! `redflag coverage`: what arrived and what became of it, and what no rule has decided.

use std::fmt::Write as _;

use chrono_tz::Tz;
use clap::Args;

use super::{
    Exit, Global, gaps,
    table::{Owner, local, moment, or_dash, show, table},
};
use crate::{
    engine::control::{Ask, Coverage},
    model::time::Timestamp,
};

#[derive(Args, Debug)]
pub struct CoverageArgs {
    /// Of this feed
    #[arg(long, value_name = "NAME")]
    feed: Option<String>,
    /// Of this topic
    #[arg(long, value_name = "NAME")]
    topic: Option<String>,
    /// Since: 24h, 7d, 2026-01-31, 2026-01-31T08:00:00Z; otherwise everything
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    since: Option<Timestamp>,
}

/// # Errors
/// Nobody can be asked, or there is no such feed or topic.
pub fn run(args: CoverageArgs, global: &Global) -> anyhow::Result<Exit> {
    let owner = Owner::of(global)?;
    let coverage = Ask::Coverage { feed: args.feed, topic: args.topic, since: args.since };
    let coverage = owner.ask::<Coverage>("coverage", coverage)?.answer;
    show(global, &coverage, |coverage| page(coverage, owner.zone))?;
    Ok(if coverage.not_covered.is_empty() { Exit::Fine } else { Exit::Findings })
}

fn page(coverage: &Coverage, zone: Tz) -> String {
    let rows = coverage.hours.iter().map(|hour| {
        [
            local(hour.hour, zone),
            hour.feed.to_string(),
            or_dash(hour.topic.as_ref().map(ToString::to_string)),
            or_dash(hour.topic.is_none().then(|| hour.received.to_string())),
            or_dash(hour.topic.is_some().then(|| hour.received.to_string())),
            hour.already_had.to_string(),
            hour.journaled.to_string(),
            hour.quarantined.to_string(),
            hour.evaluated.to_string(),
            hour.owed.to_string(),
            hour.decided.to_string(),
            hour.undecided.to_string(),
            hour.parked.to_string(),
            hour.asked_again.to_string(),
        ]
    });
    let hour = format!("hour ({zone})");
    let header = [
        &*hour,
        "feed",
        "topic",
        "frames",
        "entries",
        "had",
        "journaled",
        "set aside",
        "evaluated",
        "owed",
        "decided",
        "undecided",
        "parked",
        "asked again",
    ];
    let mut out = table(header, rows);
    out.push_str("\nWhich rules judged\n");
    if coverage.ledger.is_empty() {
        out.push_str(" nothing is judged yet\n");
    } else {
        let rows = coverage.ledger.iter().map(|line| {
            [
                format!("{} to {}", line.from, line.to),
                line.generation.short(),
                line.rules.to_string(),
                or_dash(line.live_from.map(|at| local(at, zone))),
            ]
        });
        out.push_str(&table(["events", "generation", "rules", "first live"], rows));
    }
    out.push_str("\nGaps\n");
    if coverage.gaps.is_empty() {
        out.push_str(" none\n");
    }
    for gap in &coverage.gaps {
        let (from, until) = (local(gap.from, zone), local(gap.until, zone));
        let (number, feed, topics, reason) = (gap.number, &gap.feed, gap.topics(), &gap.reason);
        let _ = writeln!(out, " {number} {feed}, {topics}: {from} to {until}: {reason}; {}", gaps::outcome(gap, zone));
    }
    out.push_str("\nNot covered\n");
    if coverage.not_covered.is_empty() {
        out.push_str(" nothing: every event that arrived was judged by every rule of its topic\n");
    }
    for line in &coverage.not_covered {
        let _ = writeln!(out, " ! {line}");
    }
    out
}

#[cfg(test)]
mod tests;
