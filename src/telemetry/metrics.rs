//! Every metric of redflag, by name. Served at `/metrics` in the OpenMetrics text form.

use std::sync::atomic::AtomicU64;

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Feed {
    pub feed: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct FeedTopic {
    pub feed: String,
    pub topic: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct FeedReason {
    pub feed: String,
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct FeedSeam {
    pub feed: String,
    pub seam: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RuleOutcome {
    pub rule: String,
    pub outcome: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ChannelOutcome {
    pub channel: String,
    pub outcome: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ResultLabel {
    pub result: String,
}

/// All counters, gauges and histograms of one process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    pub frames: Family<Feed, Counter>,
    pub method_replies: Family<Feed, Counter>,
    pub quarantined: Family<FeedReason, Counter>,
    pub journaled: Family<FeedTopic, Counter>,
    pub already_had: Family<Feed, Counter>,
    pub ambiguous: Family<Feed, Counter>,
    pub books_difference: Family<FeedSeam, Gauge>,
    pub books_looked_unix_seconds: Gauge<f64, AtomicU64>,
    pub connected: Family<Feed, Gauge>,
    pub judged: Counter,
    pub owed: Counter,
    pub decided: Counter,
    pub undecided: Counter,
    pub parked: Counter,
    pub asked_again: Counter,
    pub verdicts_waiting: Gauge,
    /// By rule: first, repeat, shadow, undecided, parked.
    pub verdicts: Family<RuleOutcome, Counter>,
    /// By channel: delivered, retry, dead.
    pub attempts: Family<ChannelOutcome, Counter>,
    pub delivery_seconds: Histogram,
    pub turn_seconds: Histogram,
    pub last_sequence: Gauge,
    pub judged_sequence: Gauge,
    pub rules: Gauge,
    pub rules_stale: Gauge,
    pub rules_parked: Gauge,
    pub reloads: Family<ResultLabel, Counter>,
    pub dead_alarms: Gauge,
    pub disk_free_bytes: Gauge,
    pub disk_full_days: Gauge<f64, AtomicU64>,
    pub store_bytes: Gauge,
    pub heartbeats: Family<ResultLabel, Counter>,
    pub last_alert_unix_seconds: Gauge<f64, AtomicU64>,
}

impl Metrics {
    #[must_use]
    pub fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("redflag"),
            frames: Family::default(),
            method_replies: Family::default(),
            quarantined: Family::default(),
            journaled: Family::default(),
            already_had: Family::default(),
            ambiguous: Family::default(),
            books_difference: Family::default(),
            books_looked_unix_seconds: Gauge::default(),
            connected: Family::default(),
            judged: Counter::default(),
            owed: Counter::default(),
            decided: Counter::default(),
            undecided: Counter::default(),
            parked: Counter::default(),
            asked_again: Counter::default(),
            verdicts_waiting: Gauge::default(),
            verdicts: Family::default(),
            attempts: Family::default(),
            delivery_seconds: Histogram::new(exponential_buckets(0.001, 2.0, 20)),
            turn_seconds: Histogram::new(exponential_buckets(0.000_1, 2.0, 18)),
            last_sequence: Gauge::default(),
            judged_sequence: Gauge::default(),
            rules: Gauge::default(),
            rules_stale: Gauge::default(),
            rules_parked: Gauge::default(),
            reloads: Family::default(),
            dead_alarms: Gauge::default(),
            disk_free_bytes: Gauge::default(),
            disk_full_days: Gauge::default(),
            store_bytes: Gauge::default(),
            heartbeats: Family::default(),
            last_alert_unix_seconds: Gauge::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register("frames", "Frames read off a feed", self.frames.clone());
        registry.register("method_replies", "Frames that answered a method", self.method_replies.clone());
        registry.register("quarantined", "Frames and entries set aside", self.quarantined.clone());
        registry.register("events_journaled", "Events on disk", self.journaled.clone());
        registry.register("elements_already_had", "Entries of an answer that the journal had", self.already_had.clone());
        registry.register("elements_ambiguous", "Entries that may have been an answer or a live event", self.ambiguous.clone());
        registry.register(
            "books_difference",
            "What two sums of the books differ by, which must be equal",
            self.books_difference.clone(),
        );
        registry.register_with_unit(
            "books_looked_timestamp",
            "When the books were last compared",
            Unit::Seconds,
            self.books_looked_unix_seconds.clone(),
        );
        registry.register("feed_connected", "1 while the feed is connected", self.connected.clone());
        registry.register("events_judged", "Events judged by every rule of their topic", self.judged.clone());
        registry.register("evaluations_owed", "Events times rules of their topic", self.owed.clone());
        registry.register("evaluations_decided", "Verdicts match or no match", self.decided.clone());
        registry.register("evaluations_undecided", "Verdicts that are missing", self.undecided.clone());
        registry.register("evaluations_parked", "Verdicts put off, because their rule is parked", self.parked.clone());
        registry.register(
            "evaluations_asked_again",
            "Missing verdicts that a rule was asked for again",
            self.asked_again.clone(),
        );
        registry.register("verdicts_waiting", "Missing verdicts that are open", self.verdicts_waiting.clone());
        registry.register("verdicts", "Matches and undecided verdicts by rule", self.verdicts.clone());
        registry.register("delivery_attempts", "Attempts by channel and outcome", self.attempts.clone());
        registry.register_with_unit(
            "delivery_latency",
            "From the event's receipt to the channel's acknowledgement",
            Unit::Seconds,
            self.delivery_seconds.clone(),
        );
        registry.register_with_unit("turn", "One transaction of the engine", Unit::Seconds, self.turn_seconds.clone());
        registry.register("journal_last_sequence", "The last journaled event", self.last_sequence.clone());
        registry.register("journal_judged_sequence", "Events up to here are judged", self.judged_sequence.clone());
        registry.register("rules_live", "Rules that judge", self.rules.clone());
        registry.register("rules_stale", "Files that run as their last good version", self.rules_stale.clone());
        registry.register("rules_parked", "Rules that are not asked, since they took too long", self.rules_parked.clone());
        registry.register("reloads", "Reloads of rules and templates by result", self.reloads.clone());
        registry.register("dead_alarms", "Alarms that were given up and reached no operator", self.dead_alarms.clone());
        registry.register_with_unit("disk_free", "Room on the store's disk", Unit::Bytes, self.disk_free_bytes.clone());
        registry.register(
            "disk_full_days",
            "In how many days the store's growth since the start fills the disk",
            self.disk_full_days.clone(),
        );
        registry.register_with_unit("store", "What the store's files take up", Unit::Bytes, self.store_bytes.clone());
        registry.register("heartbeats", "Signs of life to somebody outside by result", self.heartbeats.clone());
        registry.register_with_unit(
            "last_alert_timestamp",
            "When the last alert was raised",
            Unit::Seconds,
            self.last_alert_unix_seconds.clone(),
        );
    }

    /// The page of `/metrics`.
    #[must_use]
    pub fn page(&self) -> String {
        let mut page = String::new();
        if encode(&mut page, &self.registry).is_err() {
            tracing::error!("the metrics page could not be written");
        }
        page
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_names_every_metric_with_its_help() {
        let metrics = Metrics::new();
        metrics.frames.get_or_create(&Feed { feed: "concedus".to_owned() }).inc();
        metrics.turn_seconds.observe(0.002);
        let page = metrics.page();
        let names: Vec<_> = page.lines().filter_map(|line| line.strip_prefix("# HELP ")).collect();
        insta::assert_snapshot!(names.join("\n"));
        assert!(page.contains("redflag_frames_total{feed=\"concedus\"} 1"));
    }
}
