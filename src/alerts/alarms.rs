//! Alarms about redflag itself: to the operators, never only by the way that is broken, and not more often than people can read.

use std::collections::HashMap;

use crate::model::{
    alert::{Message, Purpose},
    ids::Ids,
    names::ChannelName,
    severity::Severity,
    time::{Span, Timestamp},
    turn::Effects,
};

use super::Routes;

/// One thing that operators must know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alarm {
    /// What it is about: the same key is told once per [`Alarms::PAUSE`], and what was held back is counted in the next.
    pub key: String,
    pub severity: Severity,
    /// One line, no payload.
    pub subject: String,
    /// Sentences: what happened, what redflag did, what to do. No payload.
    pub notes: Vec<String>,
    /// Further names to tell, such as a rule's owner; unknown ones are passed over.
    pub also: Vec<String>,
    /// The channel that the alarm is about: it is not used when there is any other.
    pub broken: Option<ChannelName>,
}

impl Alarm {
    #[must_use]
    pub fn new(key: impl Into<String>, severity: Severity, subject: impl Into<String>) -> Self {
        Self { key: key.into(), severity, subject: subject.into(), notes: Vec::new(), also: Vec::new(), broken: None }
    }

    #[must_use]
    pub fn note(mut self, sentence: impl Into<String>) -> Self {
        self.notes.push(sentence.into());
        self
    }

    #[must_use]
    pub fn also(mut self, name: Option<&String>) -> Self {
        self.also.extend(name.cloned());
        self
    }

    #[must_use]
    pub fn broken(self, channel: ChannelName) -> Self {
        Self { broken: Some(channel), ..self }
    }
}

/// Turns alarms into messages.
#[derive(Debug)]
pub struct Alarms {
    environment: String,
    operators: Vec<String>,
    told: HashMap<String, Told>,
}

#[derive(Debug)]
struct Told {
    at: Timestamp,
    held_back: u64,
    /// The one that was held back last.
    latest: Option<Alarm>,
}

impl Alarms {
    /// How long the same key stays quiet.
    pub const PAUSE: Span = Span::from_secs(3_600);

    /// More keys than this are not remembered: the oldest go first.
    const KEYS: usize = 10_000;

    #[must_use]
    pub fn new(environment: &str, operators: Vec<String>) -> Self {
        Self { environment: environment.to_owned(), operators, told: HashMap::new() }
    }

    /// Adds the alarm's message and deliveries to the effects. Answers whether it was told (else it was held back and counted).
    pub fn raise(&mut self, alarm: &Alarm, routes: &Routes, now: Timestamp, ids: &mut Ids, effects: &mut Effects) -> bool {
        let mut held_back = 0;
        if let Some(told) = self.told.get_mut(&alarm.key) {
            if now < told.at + Self::PAUSE.delta() {
                told.held_back += 1;
                told.latest = Some(alarm.clone());
                return false;
            }
            held_back = told.held_back;
        }
        self.remember(alarm.key.clone(), now);
        let note = match held_back {
            0 => None,
            1 => Some("One more was held back since the last was told.".to_owned()),
            more => Some(format!("{more} more were held back since the last was told.")),
        };
        self.write(alarm, held_back, note, routes, now, ids, effects);
        true
    }

    /// What was held back for as long as it may be is told now; `all`: however short it was, because redflag stops.
    pub fn end_due(&mut self, all: bool, routes: &Routes, now: Timestamp, ids: &mut Ids, effects: &mut Effects) {
        let due = |told: &Told| told.held_back > 0 && (all || told.at + Self::PAUSE.delta() <= now);
        let keys: Vec<String> = self.told.iter().filter(|(_, told)| due(told)).map(|(key, _)| key.clone()).collect();
        for key in keys {
            let Some(told) = self.told.get_mut(&key) else { continue };
            let held_back = std::mem::take(&mut told.held_back);
            told.at = now;
            if let Some(latest) = told.latest.take() {
                let more = if held_back == 1 { "once more".to_owned() } else { format!("{held_back} more times") };
                let alarm = Alarm { subject: format!("{more}: {}", latest.subject), ..latest };
                // What it is about is the same; what it says need not be.
                let note = match held_back {
                    1 => "It was held back, since one was told shortly before.".to_owned(),
                    _ => format!("This is the last of {held_back} that were held back; what the others say may differ from it."),
                };
                self.write(&alarm, held_back, Some(note), routes, now, ids, effects);
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "two call sites; a struct would only rename them")]
    fn write(
        &self,
        alarm: &Alarm,
        held_back: u64,
        note: Option<String>,
        routes: &Routes,
        now: Timestamp,
        ids: &mut Ids,
        effects: &mut Effects,
    ) {
        let notes = alarm.notes.iter().cloned().chain(note).collect();
        let names: Vec<String> = self.operators.iter().chain(&alarm.also).cloned().collect();
        let (mut channels, _) = routes.resolve(&names);
        if let Some(broken) = &alarm.broken {
            channels.retain(|channel| channel != broken);
        }
        if channels.is_empty() {
            channels = routes.fallback();
        }
        if channels.is_empty() {
            channels.extend(alarm.broken.clone());
        }
        let message = Message {
            id: ids.message(now),
            created_at: now,
            purpose: Purpose::Alarm,
            severity: alarm.severity,
            send_to: channels.iter().map(ToString::to_string).collect(),
            subject: alarm.subject.clone(),
            masked_subject: alarm.subject.clone(),
            environment: self.environment.clone(),
            card: None,
            event: None,
            details: None,
            repeats: held_back,
            notes,
            generation: None,
        };
        effects.deliveries.extend(routes.deliveries(&message, &channels, now, ids));
        effects.messages.push(message);
    }

    fn remember(&mut self, key: String, now: Timestamp) {
        if self.told.len() >= Self::KEYS
            && let Some(oldest) = self.told.iter().min_by_key(|(_, told)| told.at).map(|(key, _)| key.clone())
        {
            self.told.remove(&oldest);
        }
        self.told.insert(key, Told { at: now, held_back: 0, latest: None });
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::Arc};

    use super::*;

    use crate::alerts::Way;

    fn routes(fallback: &[&str]) -> Routes {
        let way = |name: &str| {
            let way =
                Way { recipients: vec![name.to_owned()], identity: Arc::new(|id| id.to_string()), give_up: Span::from_secs(60) };
            (ChannelName::new(name), way)
        };
        Routes::new(BTreeMap::from([way("mail"), way("chat"), way("archive")]), BTreeMap::new(), names(fallback))
    }

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(ToString::to_string).collect()
    }

    fn told(alarms: &mut Alarms, fallback: &[&str], alarm: &Alarm, seconds: i64) -> Vec<String> {
        let mut effects = Effects::default();
        let now = Timestamp::from_timestamp(1_700_000_000 + seconds, 0).unwrap();
        alarms.raise(alarm, &routes(fallback), now, &mut Ids::seeded(1), &mut effects);
        effects.deliveries.iter().map(|delivery| delivery.channel.to_string()).collect()
    }

    #[test]
    fn an_alarm_never_travels_only_by_the_channel_it_is_about() {
        let mut alarms = Alarms::new("test", names(&["mail", "chat"]));
        let dead = |key: &str| Alarm::new(key, Severity::High, "A delivery was given up").broken("mail".into());
        assert_eq!(told(&mut alarms, &["archive"], &dead("1"), 0), ["chat"]);
        let mut alone = Alarms::new("test", names(&["mail"]));
        assert_eq!(told(&mut alone, &["archive"], &dead("1"), 0), ["archive"]);
        let mut lonely = Alarms::new("test", names(&["mail"]));
        assert_eq!(told(&mut lonely, &[], &dead("1"), 0), ["mail"], "a broken way is better than none");
    }

    #[test]
    fn the_same_alarm_is_held_back_for_an_hour_and_then_says_how_often() {
        let mut alarms = Alarms::new("test", names(&["chat"]));
        let alarm = Alarm::new("rule KYC-001 undecided", Severity::High, "KYC-001 could not judge");
        assert_eq!(told(&mut alarms, &[], &alarm, 0), ["chat"]);
        assert!(told(&mut alarms, &[], &alarm, 10).is_empty());
        assert!(told(&mut alarms, &[], &alarm, 3_599).is_empty());
        let mut effects = Effects::default();
        let now = Timestamp::from_timestamp(1_700_003_600, 0).unwrap();
        assert!(alarms.raise(&alarm, &routes(&[]), now, &mut Ids::seeded(1), &mut effects));
        assert_eq!(effects.messages[0].notes, ["2 more were held back since the last was told."]);
    }
    #[test]
    fn what_was_held_back_is_told_when_the_hour_is_over_or_redflag_stops() {
        let mut alarms = Alarms::new("test", names(&["chat"]));
        let alarm = |subject: &str| Alarm::new("rule KYC-001 undecided", Severity::High, subject);
        for (seconds, subject) in [(0, "event 1"), (10, "event 2"), (20, "event 3")] {
            told(&mut alarms, &[], &alarm(subject), seconds);
        }
        let mut end = |all: bool, seconds: i64| {
            let mut effects = Effects::default();
            let now = Timestamp::from_timestamp(1_700_000_000 + seconds, 0).unwrap();
            alarms.end_due(all, &routes(&[]), now, &mut Ids::seeded(1), &mut effects);
            effects
                .messages
                .into_iter()
                .map(|message| format!("{}: {}", message.subject, message.notes.join(" ")))
                .collect::<Vec<_>>()
        };
        assert!(end(false, 3_599).is_empty());
        let last = "This is the last of 2 that were held back; what the others say may differ from it.";
        assert_eq!(end(false, 3_600), [format!("2 more times: event 3: {last}")]);
        assert!(end(false, 9_999).is_empty(), "told once");
        assert!(end(true, 9_999).is_empty());
        told(&mut alarms, &[], &alarm("event 4"), 3_700);
        let mut effects = Effects::default();
        alarms.end_due(
            true,
            &routes(&[]),
            Timestamp::from_timestamp(1_700_003_701, 0).unwrap(),
            &mut Ids::seeded(1),
            &mut effects,
        );
        assert_eq!(effects.messages[0].subject, "once more: event 4");
    }
}
