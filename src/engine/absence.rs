//! Feeds that are away: a connection that stays lost is an alarm, a refused login is another, and the end of each is told as well.

use std::collections::{BTreeMap, HashMap};

use crate::{
    alerts::Alarm,
    model::{
        names::FeedName,
        severity::Severity,
        signal::LastTry,
        time::{Span, Timestamp},
    },
};

/// How long a feed may be away before somebody is told. Short breaks are every feed's daily life.
pub const PATIENCE: Span = Span::from_secs(600);

/// Since when feeds are away.
#[derive(Debug, Default)]
pub struct Absence {
    away: HashMap<FeedName, Away>,
    /// Logins that are refused; an unreachable provider in between changes nothing about that.
    refused: HashMap<FeedName, Timestamp>,
    /// Why each try since has failed.
    tries: BTreeMap<FeedName, LastTry>,
}

#[derive(Debug)]
struct Away {
    since: Timestamp,
    reason: String,
    told: bool,
}

impl Absence {
    #[must_use]
    pub fn new(tries: BTreeMap<FeedName, LastTry>) -> Self {
        Self { tries, ..Self::default() }
    }

    /// The connection is lost.
    pub fn lost(&mut self, feed: &FeedName, at: Timestamp, reason: &str) {
        let away = self.away.entry(feed.clone()).or_insert_with(|| Away { since: at, reason: String::new(), told: false });
        reason.clone_into(&mut away.reason);
    }

    /// The login is refused: told once, until it works again.
    pub fn refused(&mut self, feed: &FeedName, at: Timestamp, status: u16) -> Option<Alarm> {
        if self.refused.contains_key(feed) {
            return None;
        }
        self.refused.insert(feed.clone(), at);
        let key = format!("login {feed} {at}");
        Some(
            Alarm::new(key, Severity::Critical, format!("Feed {feed}: the provider refuses our login ({status})"))
                .note("No events arrive until it is mended. redflag tries again after 30 s, 2, 10 and then every 30 minutes, so that the account is not locked.")
                .note("Check user name and password with the provider. A password in a file is read anew at each try. A credential is copied when redflag starts: restart it once that is mended."),
        )
    }

    /// It is back: told if its absence was.
    pub fn connected(&mut self, feed: &FeedName, at: Timestamp) -> Vec<Alarm> {
        let login = self.refused.remove(feed).map(|since| {
            let key = format!("login works {feed} {at}");
            Alarm::new(key, Severity::Info, format!("Feed {feed}: the login works again"))
                .note(format!("It was refused for {}. What was sent meanwhile is being asked for.", lasted(at - since)))
        });
        login.into_iter().chain(self.returned(feed, at)).collect()
    }

    fn returned(&mut self, feed: &FeedName, at: Timestamp) -> Option<Alarm> {
        let away = self.away.remove(feed).filter(|away| away.told)?;
        let key = format!("back {feed} {at}");
        Some(
            Alarm::new(key, Severity::Info, format!("Feed {feed} is connected again"))
                .note(format!("It was away for {}. What it sent meanwhile is being asked for.", lasted(at - away.since))),
        )
    }

    /// Alarms about feeds that have been away for too long, each once.
    pub fn due(&mut self, now: Timestamp) -> Vec<Alarm> {
        let long = self.away.iter_mut().filter(|(_, away)| !away.told && away.since + PATIENCE.delta() <= now);
        long.map(|(feed, away)| {
            away.told = true;
            let key = format!("away {feed} {}", away.since);
            let newest = self.tries.get(feed).and_then(LastTry::failure);
            let reason = newest.as_ref().map_or(&away.reason, |failed| &failed.reason);
            Alarm::new(key, Severity::High, format!("Feed {feed} has been away for {PATIENCE}"))
                .note(format!("The last try ended with: {reason}."))
                .note("No events arrive from it. redflag goes on trying, and asks for what was missed once it is back.")
        })
        .collect()
    }
}

fn lasted(length: chrono::TimeDelta) -> String {
    match length.num_minutes() {
        ..1 => "less than a minute".to_owned(),
        1 => "a minute".to_owned(),
        minutes => format!("{minutes} minutes"),
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
    fn the_alarm_says_what_the_last_try_ended_with() {
        let feed = FeedName::new("concedus");
        let last_try = LastTry::default();
        let mut absence = Absence::new(BTreeMap::from([(feed.clone(), last_try.clone())]));
        absence.lost(&feed, at(0), "the socket ended without a close");
        last_try.failed("the token endpoint can't be reached", None);
        assert_eq!(absence.due(at(10))[0].notes[0], "The last try ended with: the token endpoint can't be reached.");
    }

    #[test]
    fn a_short_break_is_nobody_s_business() {
        let feed = FeedName::new("concedus");
        let mut absence = Absence::default();
        absence.lost(&feed, at(0), "refused");
        assert!(absence.connected(&feed, at(5)).is_empty());
        assert!(absence.due(at(60)).is_empty());
    }

    #[test]
    fn a_refused_login_is_told_once_and_so_is_its_end_whatever_lies_between() {
        let feed = FeedName::new("concedus");
        let mut absence = Absence::default();
        assert_eq!(subjects(absence.refused(&feed, at(0), 401)), ["Feed concedus: the provider refuses our login (401)"]);
        absence.lost(&feed, at(1), "timed out");
        assert!(absence.refused(&feed, at(200), 403).is_none());
        assert_eq!(subjects(absence.connected(&feed, at(205))), ["Feed concedus: the login works again"]);
        assert!(absence.refused(&feed, at(210), 401).is_some(), "another time is news");
    }

    #[test]
    fn how_long_it_was_away_is_said_as_people_say_it() {
        let feed = FeedName::new("concedus");
        let mut absence = Absence::default();
        let mut said = |minutes: i64| {
            absence.refused(&feed, at(0), 401);
            absence.connected(&feed, at(minutes)).remove(0).notes.remove(0)
        };
        assert_eq!(said(0), "It was refused for less than a minute. What was sent meanwhile is being asked for.");
        assert_eq!(said(1), "It was refused for a minute. What was sent meanwhile is being asked for.");
        assert_eq!(said(75), "It was refused for 75 minutes. What was sent meanwhile is being asked for.");
    }
}
