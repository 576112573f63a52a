//! `redflag status`: one screen of how redflag is. Nothing runs: what the store says, and exit code 69.

use std::fmt::Write as _;

use chrono_tz::Tz;
use clap::Args;

use super::{
    Exit, Global, counted, gaps,
    table::{Owner, local, or_dash, show, size, span, table},
    talk,
};
use crate::engine::control::{Ask, Status};

#[derive(Args, Debug)]
pub struct StatusArgs {}

/// # Errors
/// Nobody can be asked.
pub fn run(_: &StatusArgs, global: &Global) -> anyhow::Result<Exit> {
    let owner = Owner::of(global)?;
    let status = owner.ask::<Status>("status", Ask::Status)?.answer;
    show(global, &status, |status| screen(status, owner.zone))?;
    if status.service.is_none() {
        talk("redflag does not run; this is what its store says");
        return Ok(Exit::Unreachable);
    }
    Ok(if status.findings.is_empty() { Exit::Fine } else { Exit::Findings })
}

fn screen(status: &Status, zone: Tz) -> String {
    let mut out = String::new();
    let ago = |at| span(status.at - at);
    let running = status.service.as_ref().map_or_else(
        || "does not run".to_owned(),
        |service| format!("runs for {} (pid {}, since {})", ago(service.since), service.pid, local(service.since, zone)),
    );
    let _ = writeln!(out, "redflag {} {running}", status.version);
    let _ = writeln!(out, "{} {zone}\n", local(status.at, zone));

    let feeds = status.feeds.iter().map(|feed| {
        let state = match feed.connected {
            None => "–",
            Some(true) => "connected",
            Some(false) => "away",
        };
        [
            feed.feed.to_string(),
            state.to_owned(),
            feed.waiting.to_string(),
            or_dash(feed.last_event.map(|at| local(at, zone))),
            or_dash(feed.last_event.map(ago)),
        ]
    });
    out.push_str(&table(["feed", "state", "to judge", "last event", "silent for"], feeds));
    out.push('\n');

    let channels = status.channels.iter().map(|channel| {
        let gone = if channel.configured { "" } else { " (gone)" };
        [
            format!("{}{gone}", channel.channel),
            channel.owed.to_string(),
            or_dash(channel.oldest.map(ago)),
            or_dash(channel.last_delivered.map(|at| local(at, zone))),
            channel.dead.to_string(),
        ]
    });
    out.push_str(&table(["channel", "owed", "oldest", "last delivered", "given up"], channels));
    out.push('\n');

    let rules = &status.rules;
    let mut parts = vec![format!("{} live", rules.live)];
    parts.push(format!("{} stale", rules.stale.len()));
    parts.push(format!("{} parked", rules.parked.len()));
    parts.push(if rules.held_back.is_some() { "a change held back" } else { "nothing held back" }.to_owned());
    let mut line = |name: &str, text: String| {
        let _ = writeln!(out, " {name:<11} {text}");
    };
    line("rules", parts.join(", "));
    let loaded = rules.loaded_at.map_or_else(String::new, |at| format!(", loaded {}", local(at, zone)));
    line("generation", rules.generation.map_or_else(|| "–".to_owned(), |hash| format!("{}{loaded}", hash.short())));
    line("undecided", format!("{} verdicts, {} of the last 7 days", rules.undecided, rules.undecided_lately));
    let off = status.books.len();
    line("books", if off == 0 { "balanced".to_owned() } else { format!("{off} sums are off") });
    for imbalance in &status.books {
        line("", imbalance.told());
    }
    line("quarantine", counted(status.quarantined as usize, "open").replace("opens", "open"));
    let alert = status.last_alert.as_ref().map(|alert| {
        format!("{} {} {}, {} ({} ago)", alert.number, alert.rule, alert.severity, local(alert.at, zone), ago(alert.at))
    });
    line("last alert", alert.unwrap_or_else(|| "none yet".to_owned()));
    let store = &status.store;
    let free = store.disk_free.map_or_else(String::new, |free| format!(", {} free", size(free)));
    line("store", format!("{}, {}{free}; {} of {} events judged", store.folder, size(store.bytes), store.judged, store.last));
    line("gaps", format!("{} in the last 7 days, {} ever, {} open", status.gaps.len(), status.gaps_ever, status.gaps_open));
    for gap in &status.gaps {
        let (from, until) = (local(gap.from, zone), local(gap.until, zone));
        line("", format!("{} {}, {}: {from} to {until}: {}", gap.number, gap.feed, gap.topics(), gap.reason));
        line("", format!("  {}", gaps::outcome(gap, zone)));
    }

    out.push('\n');
    if status.findings.is_empty() {
        out.push_str("Nothing to look at.\n");
    } else {
        let _ = writeln!(out, "To look at:");
        for finding in &status.findings {
            let _ = writeln!(out, " ! {finding}");
        }
    }
    out
}

#[cfg(test)]
mod tests;
