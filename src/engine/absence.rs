//! Feeds that are away: a connection that stays lost is an alarm, a refused login is another, and the end of each is told as well.
//!
//! A provider that accepts each connection and ends it at once is away too: an absence ends only with a connection that proved itself,
//! by standing for a while or by bringing an event.

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
/// A connection that stood for this long is no mere try.
const PROVEN: Span = Span::from_secs(10);

/// Which feeds are connected, and since when the others are away.
#[derive(Debug, Default)]
pub struct Absence {
    feeds: HashMap<FeedName, Standing>,
    /// Logins that are refused; an unreachable provider in between changes nothing about that.
    refused: HashMap<FeedName, Timestamp>,
    /// Why each try since has failed.
    tries: BTreeMap<FeedName, LastTry>,
}

#[derive(Debug, Default)]
struct Standing {
    /// Since when the present connection stands.
    up: Option<Timestamp>,
    /// Outlives connections that proved nothing.
    away: Option<Away>,
}

#[derive(Debug)]
struct Away {
    since: Timestamp,
    reason: String,
    told: bool,
    /// Connections that were accepted since, and ended before they proved anything.
    brief: u32,
}

impl Standing {
    /// The end of the absence, if the connection has stood for long enough by then.
    fn proven_by(&mut self, feed: &FeedName, now: Timestamp) -> Option<Alarm> {
        let up = self.up.filter(|up| *up + PROVEN.delta() <= now)?;
        self.returned(feed, up)
    }

    fn returned(&mut self, feed: &FeedName, at: Timestamp) -> Option<Alarm> {
        let away = self.away.take().filter(|away| away.told)?;
        let key = format!("back {feed} {at}");
        Some(
            Alarm::new(key, Severity::Info, format!("Feed {feed} is connected again"))
                .note(format!("It was away for {}. What it sent meanwhile is being asked for.", lasted(at - away.since))),
        )
    }
}

impl Absence {
    #[must_use]
    pub fn new(tries: BTreeMap<FeedName, LastTry>) -> Self {
        Self { tries, ..Self::default() }
    }

    /// The connection is lost; further tries that fail, or prove nothing, change nothing but the reason. Tells the end of an absence
    /// that the lost connection had ended.
    pub fn lost(&mut self, feed: &FeedName, at: Timestamp, reason: &str) -> Option<Alarm> {
        let standing = self.feeds.entry(feed.clone()).or_default();
        let back = standing.proven_by(feed, at);
        let accepted = standing.up.take().is_some();
        let reason = reason.to_owned();
        match &mut standing.away {
            Some(away) => {
                away.brief += u32::from(accepted);
                away.reason = reason;
            }
            None => standing.away = Some(Away { since: at, reason, told: false, brief: 0 }),
        }
        back
    }

    /// The login is refused: told once, until it works again.
    pub fn refused(&mut self, feed: &FeedName, at: Timestamp, status: u16) -> Option<Alarm> {
        self.feeds.entry(feed.clone()).or_default().up = None;
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

    /// A connection stands. That the login works is told at once, if it was refused; whether the feed is back is still to be seen.
    pub fn connected(&mut self, feed: &FeedName, at: Timestamp) -> Option<Alarm> {
        self.feeds.entry(feed.clone()).or_default().up = Some(at);
        let since = self.refused.remove(feed)?;
        let key = format!("login works {feed} {at}");
        Some(
            Alarm::new(key, Severity::Info, format!("Feed {feed}: the login works again"))
                .note(format!("It was refused for {}. What was sent meanwhile is being asked for.", lasted(at - since))),
        )
    }

    /// The connection brought an event: the feed is back, told if its absence was.
    pub fn heard(&mut self, feed: &FeedName, at: Timestamp) -> Option<Alarm> {
        let standing = self.feeds.get_mut(feed).filter(|standing| standing.up.is_some_and(|up| up <= at))?;
        standing.returned(feed, at)
    }

    /// Whether the feed counts as connected: once its absence was told, only a connection that proved itself does.
    #[must_use]
    pub fn is_connected(&self, feed: &FeedName) -> bool {
        let told = |standing: &Standing| standing.away.as_ref().is_some_and(|away| away.told);
        self.feeds.get(feed).is_some_and(|standing| standing.up.is_some() && !told(standing))
    }

    /// Alarms about feeds that are back, or have been away for too long, each once.
    pub fn due(&mut self, now: Timestamp) -> Vec<(FeedName, Alarm)> {
        let mut alarms = Vec::new();
        for (feed, standing) in &mut self.feeds {
            alarms.extend(standing.proven_by(feed, now).map(|alarm| (feed.clone(), alarm)));
            let Some(away) = standing.away.as_mut().filter(|away| !away.told && away.since + PATIENCE.delta() <= now) else {
                continue;
            };
            away.told = true;
            alarms.push((feed.clone(), away.alarm(feed, self.tries.get(feed))));
        }
        alarms
    }
}

impl Away {
    fn alarm(&self, feed: &FeedName, last_try: Option<&LastTry>) -> Alarm {
        let newest = last_try.and_then(LastTry::failure);
        let reason = newest.as_ref().map_or(&self.reason, |failed| &failed.reason);
        let key = format!("away {feed} {}", self.since);
        let alarm = Alarm::new(key, Severity::High, format!("Feed {feed} has been away for {PATIENCE}"))
            .note(format!("The last try ended with: {reason}."));
        let alarm = if self.brief == 0 {
            alarm
        } else {
            let brief = self.brief;
            alarm.note(format!("Connections that the provider accepted meanwhile: {brief}. Each ended within {PROVEN}, before an event came. Ask it whether the account is still served."))
        };
        alarm.note("No events arrive from it. redflag goes on trying, and asks for what was missed once it is back.")
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
        second(minutes * 60)
    }

    fn second(seconds: i64) -> Timestamp {
        Timestamp::from_timestamp(1_700_000_000 + seconds, 0).unwrap()
    }

    fn subjects(alarms: impl IntoIterator<Item = Alarm>) -> Vec<String> {
        alarms.into_iter().map(|alarm| alarm.subject).collect()
    }

    fn due(absence: &mut Absence, now: Timestamp) -> Vec<String> {
        subjects(absence.due(now).into_iter().map(|(_, alarm)| alarm))
    }

    #[test]
    fn a_feed_that_stays_away_is_told_once_and_its_return_as_well() {
        let feed = FeedName::new("concedus");
        let mut absence = Absence::default();
        absence.lost(&feed, at(0), "refused");
        absence.lost(&feed, at(8), "timed out");
        assert!(due(&mut absence, at(9)).is_empty());
        assert_eq!(due(&mut absence, at(10)), ["Feed concedus has been away for 10m"]);
        assert!(due(&mut absence, at(11)).is_empty());
        absence.connected(&feed, at(30));
        assert!(due(&mut absence, second(30 * 60 + 9)).is_empty() && !absence.is_connected(&feed), "it has proved nothing yet");
        assert_eq!(due(&mut absence, second(30 * 60 + 10)), ["Feed concedus is connected again"]);
        assert!(absence.is_connected(&feed));
    }

    #[test]
    fn a_provider_that_accepts_and_closes_at_once_is_away_until_a_connection_proves_itself() {
        let feed = FeedName::new("concedus");
        let mut absence = Absence::default();
        absence.connected(&feed, second(0));
        let mut told = Vec::new();
        // The longest wait between two tries; the connection stands for a moment less than it has to.
        for round in 0..30 {
            absence.lost(&feed, second(round * 39), "closed (1008)");
            told.extend(absence.due(second(round * 39)).into_iter().map(|(_, alarm)| (round * 39, alarm)));
            absence.connected(&feed, second(round * 39 + 30));
            assert_eq!(absence.is_connected(&feed), told.is_empty(), "round {round}");
        }
        let [(when, alarm)] = &told[..] else { panic!("{told:?}") };
        assert_eq!((*when, &*alarm.subject), (624, "Feed concedus has been away for 10m"), "at the first look after ten minutes");
        let notes = format!("{alarm:?}");
        assert!(notes.contains("closed (1008)") && notes.contains("accepted meanwhile: 16."), "{notes}");

        // An event of an earlier connection says nothing about this one; its own do, however short it is.
        let up = 29 * 39 + 30;
        assert!(absence.heard(&feed, second(up - 1)).is_none() && !absence.is_connected(&feed));
        assert_eq!(subjects(absence.heard(&feed, second(up + 1))), ["Feed concedus is connected again"]);
        assert!(absence.is_connected(&feed) && due(&mut absence, at(600)).is_empty());
    }

    #[test]
    fn a_connection_that_stood_long_enough_ends_the_absence_though_nobody_looked_before_it_was_lost() {
        let feed = FeedName::new("concedus");
        let mut absence = Absence::default();
        absence.lost(&feed, at(0), "refused");
        assert_eq!(due(&mut absence, at(10)).len(), 1);
        absence.connected(&feed, at(20));
        assert_eq!(subjects(absence.lost(&feed, at(24), "closed")), ["Feed concedus is connected again"]);
        assert!(due(&mut absence, at(33)).is_empty(), "another absence");
        assert_eq!(due(&mut absence, at(34)).len(), 1);
    }

    #[test]
    fn the_alarm_says_what_the_last_try_ended_with() {
        let feed = FeedName::new("concedus");
        let last_try = LastTry::default();
        let mut absence = Absence::new(BTreeMap::from([(feed.clone(), last_try.clone())]));
        absence.lost(&feed, at(0), "the socket ended without a close");
        last_try.failed("the token endpoint can't be reached", None);
        assert_eq!(absence.due(at(10))[0].1.notes[0], "The last try ended with: the token endpoint can't be reached.");
    }

    #[test]
    fn a_short_break_is_nobody_s_business() {
        let feed = FeedName::new("concedus");
        let mut absence = Absence::default();
        absence.lost(&feed, at(0), "refused");
        absence.connected(&feed, at(5));
        assert!(absence.is_connected(&feed), "as long as nobody was told otherwise");
        assert!(due(&mut absence, at(60)).is_empty());
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
            absence.connected(&feed, at(minutes)).unwrap().notes.remove(0)
        };
        assert_eq!(said(0), "It was refused for less than a minute. What was sent meanwhile is being asked for.");
        assert_eq!(said(1), "It was refused for a minute. What was sent meanwhile is being asked for.");
        assert_eq!(said(75), "It was refused for 75 minutes. What was sent meanwhile is being asked for.");
    }
}
