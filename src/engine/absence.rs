//! Feeds that are away: a connection that stays lost is an alarm, and its return is told as well.

use std::collections::HashMap;

use crate::{
    alerts::Alarm,
    model::{
        names::FeedName,
        severity::Severity,
        time::{Span, Timestamp},
    },
};

/// How long a feed may be away before somebody is told. Short breaks are every feed's daily life.
pub const PATIENCE: Span = Span::from_secs(600);

/// Since when feeds are away.
#[derive(Debug, Default)]
pub struct Absence(HashMap<FeedName, Away>);

#[derive(Debug)]
struct Away {
    since: Timestamp,
    reason: String,
    told: bool,
}

impl Absence {
    /// The connection is lost; further tries that fail change nothing but the reason.
    pub fn lost(&mut self, feed: &FeedName, at: Timestamp, reason: &str) {
        let away = self.0.entry(feed.clone()).or_insert_with(|| Away { since: at, reason: String::new(), told: false });
        reason.clone_into(&mut away.reason);
    }

    /// It is back: told if its absence was.
    pub fn connected(&mut self, feed: &FeedName, at: Timestamp) -> Option<Alarm> {
        let away = self.0.remove(feed).filter(|away| away.told)?;
        let key = format!("back {feed} {at}");
        Some(Alarm::new(key, Severity::Info, format!("Feed {feed} is connected again")).note(format!(
            "It was away for {} minutes. What it sent meanwhile is being asked for.",
            (at - away.since).num_minutes()
        )))
    }

    /// Alarms about feeds that have been away for too long, each once.
    pub fn due(&mut self, now: Timestamp) -> Vec<Alarm> {
        let long = self.0.iter_mut().filter(|(_, away)| !away.told && away.since + PATIENCE.delta() <= now);
        long.map(|(feed, away)| {
            away.told = true;
            let key = format!("away {feed} {}", away.since);
            Alarm::new(key, Severity::High, format!("Feed {feed} has been away for {PATIENCE}"))
                .note(format!("The last try ended with: {}.", away.reason))
                .note("No events arrive from it. redflag goes on trying, and asks for what was missed once it is back.")
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_timestamp(1_700_000_000 + minutes * 60, 0).unwrap()
    }

    fn subjects(alarms: impl IntoIterator<Item = Alarm>) -> Vec<String> {
        alarms.into_iter().map(|alarm| alarm.subject).collect()
    }

    #[test]
    fn a_feed_that_stays_away_is_told_once_and_its_return_as_well() {
        let feed = FeedName::new("concedus");
        let mut absence = Absence::default();
        absence.lost(&feed, at(0), "refused");
        absence.lost(&feed, at(8), "timed out");
        assert!(absence.due(at(9)).is_empty());
        assert_eq!(subjects(absence.due(at(10))), ["Feed concedus has been away for 10m"]);
        assert!(absence.due(at(11)).is_empty());
        assert_eq!(subjects(absence.connected(&feed, at(30))), ["Feed concedus is connected again"]);
    }

    #[test]
    fn a_short_break_is_nobody_s_business() {
        let feed = FeedName::new("concedus");
        let mut absence = Absence::default();
        absence.lost(&feed, at(0), "refused");
        assert!(absence.connected(&feed, at(5)).is_none());
        assert!(absence.due(at(60)).is_empty());
    }
}
