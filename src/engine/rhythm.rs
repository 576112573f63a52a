//! Feeds that fall silent: connected, and sending nothing at hours at which they usually do.
//!
//! A feed's rhythm is learned from the hours in which its events were journaled over the last four weeks, by the hour of the week: nights
//! and weekends are part of it. Until two weeks are known nothing is said; a fixed time may be set instead.
//!
//! Silence is counted over the time in which the feed was connected, however many connections that took: providers close each after some
//! minutes. Another connection is no sign of life.

use std::collections::HashMap;

use chrono::{Datelike, TimeDelta, Timelike};

use crate::{
    alerts::Alarm,
    config::feeds::Silence,
    model::{names::FeedName, severity::Severity, time::Timestamp},
    store::{Journal, StoreError},
};

/// How far back a rhythm is learned from.
const WEEKS: i64 = 4;
/// Silent hours of those that usually are not, until it is told.
const SILENT_HOURS: usize = 2;
const HOURS_OF_A_WEEK: usize = 7 * 24;

/// The rhythm of each feed, and when it was last heard.
#[derive(Debug, Default)]
pub struct Rhythm(HashMap<FeedName, Feed>);

#[derive(Debug)]
struct Feed {
    silence: Silence,
    /// Counts from the first connect as well: before it nothing could be heard.
    last: Option<Timestamp>,
    /// How long it has been away since then, and since when it is, if it is: nothing can be heard meanwhile.
    away: TimeDelta,
    lost: Option<Timestamp>,
    told: bool,
    connected: bool,
    usual: Option<Usual>,
    /// The hour for which it was learned.
    learned: Option<i64>,
}

/// In how many of the weeks each hour of the week had events.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Usual {
    weeks: i64,
    hours: Vec<i64>,
}

impl Rhythm {
    #[must_use]
    pub fn new(feeds: impl IntoIterator<Item = (FeedName, Silence)>) -> Self {
        let feed = |silence| Feed {
            silence,
            last: None,
            away: TimeDelta::zero(),
            lost: None,
            told: false,
            connected: false,
            usual: None,
            learned: None,
        };
        Self(feeds.into_iter().map(|(name, silence)| (name, feed(silence))).collect())
    }

    pub fn connected(&mut self, feed: &FeedName, at: Timestamp) {
        if let Some(feed) = self.0.get_mut(feed) {
            feed.connected = true;
            let last = *feed.last.get_or_insert(at);
            if let Some(lost) = feed.lost.take() {
                feed.away += (at - lost.max(last)).max(TimeDelta::zero());
            }
        }
    }

    pub fn lost(&mut self, feed: &FeedName, at: Timestamp) {
        if let Some(feed) = self.0.get_mut(feed)
            && std::mem::take(&mut feed.connected)
        {
            feed.lost = Some(at);
        }
    }

    /// It was heard live. Says so if its silence was told.
    pub fn heard(&mut self, name: &FeedName, at: Timestamp) -> Option<Alarm> {
        let feed = self.0.get_mut(name)?;
        let before = feed.last.replace(at);
        feed.away = TimeDelta::zero();
        if !std::mem::take(&mut feed.told) {
            return None;
        }
        let silent = before.map_or(0, |before| (at - before).num_minutes());
        Some(
            Alarm::new(format!("heard {name} {at}"), Severity::Info, format!("Feed {name} is heard again"))
                .note(format!("It was silent for {silent} minutes.")),
        )
    }

    /// When something may fall due next; none when only by the hour.
    #[must_use]
    pub fn next_look(&self) -> Option<Timestamp> {
        let waits = self.0.values().filter(|feed| feed.connected && !feed.told);
        waits
            .filter_map(|feed| match feed.silence {
                Silence::After(span) => feed.last.map(|last| last + feed.away + span.delta()),
                Silence::Learned | Silence::Off => None,
            })
            .min()
    }

    /// Alarms about feeds that are silent for too long, each once.
    ///
    /// # Errors
    /// When the journal can't be read.
    pub fn due(&mut self, now: Timestamp, journal: &dyn Journal) -> Result<Vec<Alarm>, StoreError> {
        let mut alarms = Vec::new();
        for (name, feed) in &mut self.0 {
            let Some(last) = feed.last.filter(|_| feed.connected && !feed.told) else { continue };
            // As if it had been connected without a break, and heard so much later.
            let counted = last + feed.away;
            let silent = match feed.silence {
                Silence::Off => false,
                Silence::After(span) => counted + span.delta() <= now,
                Silence::Learned => {
                    let hour = hour_of(now);
                    if hour_of(counted) + 1 >= hour {
                        continue;
                    }
                    if feed.learned != Some(hour) {
                        let since = now - TimeDelta::weeks(WEEKS);
                        feed.usual = learn(&journal.hours_heard(name, since)?, last);
                        feed.learned = Some(hour);
                    }
                    feed.usual.as_ref().is_some_and(|usual| usual.missed(counted, now) >= SILENT_HOURS)
                }
            };
            if silent {
                feed.told = true;
                alarms.push(silent_alarm(name, last, feed.away, now));
            }
        }
        Ok(alarms)
    }
}

fn silent_alarm(name: &FeedName, last: Timestamp, away: TimeDelta, now: Timestamp) -> Alarm {
    let minutes = (now - last - away).num_minutes();
    tracing::warn!(feed = %name, minutes, "the feed is connected and silent, beyond its usual rhythm");
    Alarm::new(format!("silent {name} {last}"), Severity::High, format!("Feed {name} is silent beyond its usual rhythm"))
        .note(format!("It is connected, and no event has come for {minutes} minutes; time away is left out."))
        .note("Perhaps nothing happened. Perhaps the provider no longer sends: ask it, or look into its portal.")
        .note("What is usual is learned from the last four weeks; `silence` in the feed's section fixes it or switches this off.")
}

/// From the hours in which events were journaled, up to the last time that it was heard.
fn learn(hours: &[Timestamp], last: Timestamp) -> Option<Usual> {
    let first = hours.first()?;
    let weeks = (last - first).num_days() / 7;
    if weeks < 2 {
        return None;
    }
    let mut usual = vec![0; HOURS_OF_A_WEEK];
    let from = last - TimeDelta::weeks(weeks);
    for hour in hours.iter().filter(|hour| **hour >= from) {
        usual[hour_of_week(*hour)] += 1;
    }
    Some(Usual { weeks, hours: usual })
}

impl Usual {
    /// Full hours after `last` and before `now` that usually have events: in all weeks but one, and in two at least.
    fn missed(&self, last: Timestamp, now: Timestamp) -> usize {
        let hours = hour_of(last) + 1..hour_of(now);
        let usual = |hour: &i64| {
            let at = Timestamp::from_timestamp(hour * 3_600, 0).unwrap_or(now);
            self.hours[hour_of_week(at)] >= (self.weeks - 1).max(2)
        };
        hours.filter(usual).take(SILENT_HOURS).count()
    }
}

fn hour_of(at: Timestamp) -> i64 {
    at.timestamp().div_euclid(3_600)
}

fn hour_of_week(at: Timestamp) -> usize {
    (at.weekday().num_days_from_monday() * 24 + at.hour()) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{
            books::{BooksDelta, Counts},
            names::TopicName,
            time::Span,
            turn::Turn,
        },
        store::{Options, SqliteStore},
    };

    /// A Monday, midnight.
    fn at(hour: i64) -> Timestamp {
        Timestamp::from_timestamp(1_699_833_600 + hour * 3_600, 0).unwrap()
    }

    /// Weekdays from eight to six, for so many weeks.
    fn office(weeks: i64) -> Vec<Timestamp> {
        let days = (0..weeks * 7).filter(|day| day % 7 < 5);
        days.flat_map(|day| (8..18).map(move |hour| at(day * 24 + hour))).collect()
    }

    #[test]
    fn nights_and_weekends_are_usual_and_a_silent_morning_is_not() {
        let hours = office(3);
        let last = *hours.last().unwrap();
        let usual = learn(&hours, last).unwrap();
        let monday = 3 * 7 * 24;
        assert_eq!(usual.missed(last, at(monday + 8)), 0, "the weekend");
        assert_eq!(usual.missed(last, at(monday + 9)), 1);
        assert_eq!(usual.missed(last, at(monday + 10)), 2);
    }

    /// Four minutes connected, six seconds not, and so on; when silence is told.
    fn closed_every_few_minutes(rhythm: &mut Rhythm, store: &SqliteStore, from: Timestamp, until: Timestamp) -> Vec<Timestamp> {
        let feed = FeedName::new("concedus");
        let mut told = Vec::new();
        let mut now = from;
        while now < until {
            rhythm.connected(&feed, now);
            for _ in 0..4 {
                now += TimeDelta::minutes(1);
                told.extend(rhythm.due(now, store).unwrap().iter().map(|_| now));
            }
            rhythm.lost(&feed, now);
            now += TimeDelta::seconds(6);
            assert!(rhythm.due(now, store).unwrap().is_empty(), "away is another alarm's");
        }
        told
    }

    #[test]
    fn silence_is_told_though_the_provider_closes_the_socket_every_few_minutes() {
        let folder = tempfile::tempdir().unwrap();
        let (store, _) = SqliteStore::open(Options::new(folder.path())).unwrap();
        let feed = FeedName::new("concedus");
        let mut rhythm = Rhythm::new([(feed.clone(), Silence::After(Span::from_secs(7_200)))]);
        let told = closed_every_few_minutes(&mut rhythm, &store, at(0), at(5));
        // Thirty connections make two hours; the pauses between them are not counted.
        assert_eq!(told, [at(2) + TimeDelta::seconds(29 * 6)]);

        // Heard in the midst of it, and then no more.
        assert!(rhythm.heard(&feed, at(5)).is_some());
        let told = closed_every_few_minutes(&mut rhythm, &store, at(5), at(10));
        assert_eq!(told, [at(7) + TimeDelta::seconds(29 * 6)]);
    }

    #[test]
    fn a_day_away_is_no_silence_and_what_came_before_it_still_counts() {
        let folder = tempfile::tempdir().unwrap();
        let (store, _) = SqliteStore::open(Options::new(folder.path())).unwrap();
        let feed = FeedName::new("concedus");
        let mut rhythm = Rhythm::new([(feed.clone(), Silence::After(Span::from_secs(7_200)))]);
        rhythm.connected(&feed, at(0));
        rhythm.lost(&feed, at(1));
        rhythm.lost(&feed, at(12));
        rhythm.connected(&feed, at(25));
        assert_eq!(rhythm.next_look(), Some(at(26)));
        assert!(rhythm.due(at(26) - TimeDelta::seconds(1), &store).unwrap().is_empty());
        let alarms = rhythm.due(at(26), &store).unwrap();
        assert!(alarms[0].notes[0].contains(" 120 minutes;"), "{alarms:?}");
    }

    #[test]
    fn less_than_two_weeks_are_no_rhythm() {
        let hours = office(1);
        assert_eq!(learn(&hours, *hours.last().unwrap()), None);
        assert_eq!(learn(&[], at(0)), None);
    }

    #[test]
    fn what_the_books_know_of_four_weeks_makes_the_rhythm_and_silence_is_told_once_until_it_is_heard() {
        let folder = tempfile::tempdir().unwrap();
        let (store, _) = SqliteStore::open(Options::new(folder.path())).unwrap();
        let (feed, topic) = (FeedName::new("concedus"), TopicName::new("identResult"));
        let counts = Counts { journaled: 1, ..Counts::default() };
        let book = |hour| BooksDelta { feed: feed.clone(), topic: topic.clone(), hour, counts };
        let books = office(4).into_iter().map(book).collect();
        store.commit(Turn { books, ..Turn::default() }).wait().unwrap();

        // Connections that end every few minutes change nothing about it.
        let mut closed = Rhythm::new([(feed.clone(), Silence::Learned)]);
        let monday = 4 * 7 * 24;
        closed.connected(&feed, at(monday - 55));
        assert!(closed.heard(&feed, at(monday - 55)).is_none());
        closed.lost(&feed, at(monday - 55));
        let told = closed_every_few_minutes(&mut closed, &store, at(monday - 55), at(monday + 20));
        // In two days and a half it was away for an hour and a half: so much later.
        assert!(told.len() == 1 && told[0] >= at(monday + 10) && told[0] < at(monday + 12), "{told:?}");

        let mut rhythm = Rhythm::new([(feed.clone(), Silence::Learned)]);
        rhythm.connected(&feed, at(monday - 55));
        assert!(rhythm.heard(&feed, at(monday - 55)).is_none(), "Friday, five o'clock");
        let mut told = |hour: i64| -> Vec<String> {
            let alarms = rhythm.due(at(hour), &store).unwrap();
            alarms.into_iter().map(|alarm| alarm.subject).collect()
        };
        let quiet = (monday - 54..=monday + 9).flat_map(&mut told).collect::<Vec<_>>();
        assert!(quiet.is_empty(), "the night, the weekend and one hour: {quiet:?}");
        let silent = (monday + 10..monday + 34).flat_map(&mut told).collect::<Vec<_>>();
        assert_eq!(silent, ["Feed concedus is silent beyond its usual rhythm"]);
        let again = rhythm.heard(&feed, at(monday + 35)).unwrap();
        assert_eq!(again.subject, "Feed concedus is heard again");
        assert!(rhythm.heard(&feed, at(monday + 35)).is_none(), "once");
    }
}
