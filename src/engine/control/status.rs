//! `status`: one screen of how redflag is, and what somebody should look at.
//!
//! A further part of redflag that has something to say adds a line to [`Status`] and, where somebody must act, to [`Status::findings`].

use std::fs;

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use super::{GapLine, ImbalanceLine, Office, Refusal, coverage};
use crate::{
    model::{
        hash::Digest,
        ids::Seq,
        names::{ChannelName, FeedName, RuleId},
        severity::Severity,
        time::Timestamp,
    },
    store::{AlertFilter, DATABASE},
    telemetry::metrics::Feed,
};

/// What happened longer ago is in `coverage`, and no finding any more.
const RECENT: TimeDelta = TimeDelta::days(7);

/// How redflag is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    pub version: String,
    pub at: Timestamp,
    /// None: nothing runs, and what follows is what the store says.
    pub service: Option<Service>,
    pub feeds: Vec<FeedLine>,
    /// What the books don't account for; empty when they balance.
    pub books: Vec<ImbalanceLine>,
    pub rules: Rules,
    pub channels: Vec<ChannelLine>,
    /// Those of the last days, newest first, and how many there are in all, and open.
    pub gaps: Vec<GapLine>,
    pub gaps_ever: u64,
    pub gaps_open: u64,
    /// Entries of the quarantine that nobody has judged.
    pub quarantined: u64,
    pub last_alert: Option<LastAlert>,
    pub store: StoreLine,
    /// What somebody should look at; empty: all is well.
    pub findings: Vec<String>,
}

/// The process that runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Service {
    pub pid: u32,
    pub since: Timestamp,
}

/// One feed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FeedLine {
    pub feed: FeedName,
    /// None: nothing runs.
    pub connected: Option<bool>,
    /// Events of it that wait to be judged.
    pub waiting: u64,
    pub last_event: Option<Timestamp>,
}

/// The rules, as they are loaded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rules {
    pub generation: Option<Digest>,
    pub loaded_at: Option<Timestamp>,
    pub live: usize,
    /// Files that run as their last good version.
    pub stale: Vec<String>,
    /// Rules that judge nothing until somebody looks at them.
    pub parked: Vec<RuleId>,
    pub held_back: Option<String>,
    /// Errors of the last load, templates included.
    pub errors: usize,
    /// Verdicts that are still missing, and those of the last days among them.
    pub undecided: u64,
    pub undecided_lately: u64,
}

/// One channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChannelLine {
    pub channel: ChannelName,
    /// Whether the configuration has it.
    pub configured: bool,
    pub owed: u64,
    /// When the oldest message that it owes was made.
    pub oldest: Option<Timestamp>,
    pub last_delivered: Option<Timestamp>,
    pub dead: u64,
}

/// The alert that was raised last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LastAlert {
    pub number: i64,
    pub at: Timestamp,
    pub rule: RuleId,
    pub severity: Severity,
}

/// The store.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoreLine {
    pub folder: String,
    pub bytes: u64,
    /// None where the system does not say.
    pub disk_free: Option<u64>,
    pub last: Seq,
    pub judged: Seq,
}

impl Office {
    pub(super) fn status(&self) -> Result<Status, Refusal> {
        let reader = self.store.reader();
        let now = self.clock.now();
        let gaps: Vec<GapLine> = reader.gaps()?.into_iter().map(GapLine::from).collect();
        let gaps_ever = gaps.len() as u64;
        let gaps_open = gaps.iter().filter(|gap| gap.is_open()).count() as u64;
        let last_alert = reader.find_alerts(&AlertFilter { limit: 1, ..AlertFilter::default() })?.pop();
        let mut status = Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            at: now,
            service: self.live.as_ref().map(|live| Service { pid: std::process::id(), since: live.since }),
            feeds: self.feeds()?,
            books: self.books(now)?,
            rules: self.rules(now)?,
            channels: self.channels()?,
            gaps: gaps.into_iter().rev().filter(|gap| now - gap.found_at < RECENT).collect(),
            gaps_ever,
            gaps_open,
            quarantined: reader.quarantine_count()?,
            last_alert: last_alert.map(|alert| LastAlert {
                number: alert.n,
                at: alert.raised_at,
                rule: alert.rule,
                severity: alert.severity,
            }),
            store: self.store_line()?,
            findings: Vec::new(),
        };
        status.findings = self.findings(&status);
        Ok(status)
    }

    fn feeds(&self) -> Result<Vec<FeedLine>, Refusal> {
        let line = |feed: &FeedName| {
            let (last_event, waiting) = self.store.reader().feed_marks(feed)?;
            let connected = self.live.as_ref().map(|live| {
                let label = Feed { feed: feed.to_string() };
                live.metrics.connected.get_or_create(&label).get() != 0
            });
            Ok(FeedLine { feed: feed.clone(), connected, waiting, last_event })
        };
        self.config.feeds.keys().map(line).collect()
    }

    fn rules(&self, now: Timestamp) -> Result<Rules, Refusal> {
        let reader = self.store.reader();
        let undecided = reader.undecided_by_rule(None)?.iter().map(|(_, count)| count).sum();
        let undecided_lately = reader.undecided_by_rule(Some(now - RECENT))?.iter().map(|(_, count)| count).sum();
        let parked: Vec<RuleId> = reader.parked()?.into_iter().map(|parked| parked.rule).collect();
        let Some(live) = &self.live else {
            let kept = reader.last_generation()?;
            return Ok(Rules {
                generation: kept.as_ref().map(|kept| kept.hash),
                loaded_at: kept.as_ref().map(|kept| kept.live_from),
                live: kept.map_or(0, |kept| kept.cards.iter().filter(|card| card.stage.runs()).count()),
                stale: Vec::new(),
                parked,
                held_back: None,
                errors: 0,
                undecided,
                undecided_lately,
            });
        };
        let generation = live.generation.load();
        let report = live.last_load.load();
        Ok(Rules {
            generation: Some(generation.hash),
            loaded_at: Some(report.at),
            live: generation.rules.iter().filter(|rule| rule.card.stage.runs()).count(),
            stale: report.stale.clone(),
            parked,
            held_back: report.held_back.clone(),
            errors: report.diagnostics.iter().filter(|finding| finding.is_error()).count() + report.template_errors.len(),
            undecided,
            undecided_lately,
        })
    }

    /// What is off in the last days, and what the auditor found before and nobody has mended.
    fn books(&self, now: Timestamp) -> Result<Vec<ImbalanceLine>, Refusal> {
        let reader = self.store.reader();
        let mut lines: Vec<ImbalanceLine> = reader.books_since(now - RECENT)?.iter().flat_map(coverage::imbalances).collect();
        for found in reader.imbalances()? {
            let topic = Some(found.topic).filter(|topic| !topic.is_empty());
            let told = ImbalanceLine {
                seam: found.seam,
                feed: found.feed,
                topic,
                hour: found.hour,
                left: found.left,
                right: found.right,
            };
            if told.hour < now - RECENT {
                lines.push(told);
            }
        }
        Ok(lines)
    }

    fn channels(&self) -> Result<Vec<ChannelLine>, Refusal> {
        let known: Vec<ChannelName> = self.config.channels.keys().cloned().collect();
        let states = self.store.reader().channel_states(&known)?;
        let line = |state: crate::store::ChannelState| ChannelLine {
            configured: self.config.channels.contains_key(&state.channel),
            channel: state.channel,
            owed: state.owed,
            oldest: state.oldest,
            last_delivered: state.last_delivered,
            dead: state.dead,
        };
        Ok(states.into_iter().map(line).collect())
    }

    fn store_line(&self) -> Result<StoreLine, Refusal> {
        let folder = &self.config.data_dir;
        let size = |name: String| fs::metadata(folder.join(name)).map_or(0, |metadata| metadata.len());
        let disk = rustix::fs::statvfs(folder).ok();
        let reader = self.store.reader();
        Ok(StoreLine {
            folder: super::store_of(folder).display().to_string(),
            bytes: size(DATABASE.to_owned()) + size(format!("{DATABASE}-wal")),
            disk_free: disk.map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize)),
            last: reader.last()?,
            judged: reader.judged()?,
        })
    }

    fn findings(&self, status: &Status) -> Vec<String> {
        let mut found = Vec::new();
        match &self.live {
            None => found.push("redflag does not run: no event is received, no alert goes out".to_owned()),
            // Not ready: each reason, feeds that are away among them.
            Some(live) => found.extend(live.findings.iter().cloned().chain(live.health.reasons())),
        }
        for imbalance in &status.books {
            found.push(format!("the books don't balance: {}", imbalance.told()));
        }
        let rules = &status.rules;
        if self.live.is_some() && rules.live == 0 {
            found.push("no rule judges: no event can raise an alert".to_owned());
        }
        if let Some(held_back) = &rules.held_back {
            found.push(format!("a change of the rules is held back: {held_back}; if it is meant, `redflag reload --confirm`"));
        }
        if !rules.stale.is_empty() {
            found.push(format!("run as their last good version: {}; `redflag check` says why", rules.stale.join(", ")));
        } else if rules.errors > 0 {
            found.push(format!("errors in the last load: {}; `redflag check` shows them", rules.errors));
        }
        if !rules.parked.is_empty() {
            let parked: Vec<&str> = rules.parked.iter().map(|rule| &**rule).collect();
            found.push(format!("rules are parked: {}", parked.join(", ")));
        }
        if rules.undecided_lately > 0 {
            found.push(format!(
                "verdicts missing in the last 7 days: {}; somebody must look at those events",
                rules.undecided_lately
            ));
        }
        for channel in &status.channels {
            if channel.dead > 0 {
                let (name, dead) = (&channel.channel, channel.dead);
                found.push(format!(
                    "channel {name}: {dead} given up; `redflag outbox list` shows them, `outbox retry` sends them again"
                ));
            }
            if channel.owed > 0 && !channel.configured {
                found.push(format!("channel {} is gone from the configuration and owes {}", channel.channel, channel.owed));
            }
        }
        let open = status.gaps.iter().filter(|gap| gap.is_open()).count();
        if open > 0 {
            found.push(format!(
                "gaps that can't be ruled out in the last 7 days: {open}; once somebody knows what was in them, `redflag gaps close`"
            ));
        }
        if status.quarantined > 0 {
            found.push(format!("set aside and judged by no rule: {}; `redflag quarantine list` shows them", status.quarantined));
        }
        let low = self.config.disk.low;
        if let Some(free) = status.store.disk_free.filter(|free| *free < low.0) {
            found.push(format!("only {} MiB are left on the disk of the store; [disk] low is {low}", free >> 20));
        }
        found
    }
}
