//! Channels that don't deliver: one alarm for an outage, not one for each message, and again at growing intervals as long as it lasts.
//!
//! Owns since when a channel is in trouble and when that is told next. What the troubles are is read from the store by whoever asks, and
//! stays there until an alarm that counts it is on disk, so that neither a stop nor a kill leaves one untold.

use std::collections::HashMap;

use super::Alarm;
use crate::model::{
    delivery::{State, Trouble, Untold},
    names::ChannelName,
    severity::Severity,
    time::{Span, Timestamp},
};

/// The waits from one alarm about an outage to the next; the last one is repeated.
const WAITS: [Span; 5] = [
    Span::from_secs(900),
    Span::from_secs(3_600),
    Span::from_secs(4 * 3_600),
    Span::from_secs(12 * 3_600),
    Span::from_secs(86_400),
];

/// Which channels are in trouble.
#[derive(Debug, Default)]
pub struct Outages(HashMap<ChannelName, Outage>);

#[derive(Debug)]
struct Outage {
    since: Timestamp,
    next: Timestamp,
    /// How often it was told.
    told: usize,
    dead: u64,
    late: u64,
}

/// What an alarm about a channel is to say.
#[derive(Debug)]
pub struct Standing<'a> {
    pub channel: &'a ChannelName,
    pub untold: Untold,
    /// The first few of them, at most [`Standing::NAMED`].
    pub named: &'a [Trouble],
    /// The rule of each of these.
    pub rules: &'a [Option<String>],
    /// Owed, late, and told before or now.
    pub overdue: u64,
    /// The channels that stand in.
    pub fallback: &'a [ChannelName],
}

impl Standing<'_> {
    /// So many messages are named in one alarm.
    pub const NAMED: usize = 5;
}

impl Outages {
    /// Channels that were in trouble when an earlier run ended: it was told then.
    pub fn resume(&mut self, channel: ChannelName, now: Timestamp) {
        self.0.insert(channel, Outage { since: now, next: now + WAITS[0].delta(), told: 1, dead: 0, late: 0 });
    }

    /// Channels that are in trouble as far as was told.
    pub fn channels(&self) -> Vec<ChannelName> {
        self.0.keys().cloned().collect()
    }

    /// Whether the channel's troubles are to be told now; else they wait for the next alarm about it.
    #[must_use]
    pub fn is_due(&self, channel: &ChannelName, now: Timestamp) -> bool {
        self.0.get(channel).is_none_or(|outage| outage.next <= now)
    }

    /// What is to be said at a moment that [`Self::is_due`]; none when nothing is wrong.
    pub fn tell(&mut self, standing: &Standing<'_>, now: Timestamp) -> Option<Alarm> {
        let Untold { dead, late, .. } = standing.untold;
        if dead + late == 0 && standing.overdue == 0 {
            let over = self.0.remove(standing.channel)?;
            return (over.late > 0).then(|| works_again(standing.channel, &over, now));
        }
        let outage =
            self.0.entry(standing.channel.clone()).or_insert(Outage { since: now, next: now, told: 0, dead: 0, late: 0 });
        let wait = WAITS[outage.told.min(WAITS.len() - 1)];
        outage.told += 1;
        outage.next = now + wait.delta();
        outage.dead += dead;
        outage.late += late;
        Some(alarm(standing, outage, wait, now))
    }
}

fn alarm(standing: &Standing<'_>, outage: &Outage, wait: Span, now: Timestamp) -> Alarm {
    let Standing { channel, untold: Untold { dead, late, worst, .. }, .. } = *standing;
    let worst = worst.unwrap_or(Severity::High).max(Severity::High);
    let subject = match (dead, late, standing.rules.first()) {
        (1, 0, Some(Some(rule))) => format!("Channel {channel}: an alert of rule {rule} was given up"),
        (1, 0, _) => format!("Channel {channel}: a message was given up"),
        (0, 0, _) => format!("Channel {channel} still does not deliver: {} messages are late", standing.overdue),
        (0, 1, _) => format!("Channel {channel}: a message is late"),
        (0, late, _) => format!("Channel {channel}: {late} messages are late"),
        (dead, 0, _) => format!("Channel {channel}: {dead} messages were given up"),
        (dead, late, _) => format!("Channel {channel}: {dead} messages were given up, {late} are late"),
    };
    // Each is a telling of its own: the intervals are kept here.
    let mut alarm = Alarm::new(format!("outage {channel} {now}"), worst, subject).broken(channel.clone());
    for (trouble, rule) in standing.named.iter().zip(standing.rules) {
        let rule = rule.as_ref().map(|rule| format!(" of rule {rule}")).unwrap_or_default();
        let what = if trouble.state == State::Dead { "was given up" } else { "is late" };
        let last = match &trouble.detail {
            Some(detail) => format!("attempt {} ended with: {detail}", trouble.attempts),
            None => "no attempt has ended".to_owned(),
        };
        alarm = alarm.note(format!("Message {}{rule} ({}) {what}; {last}.", trouble.message, trouble.severity));
    }
    let others = (dead + late).saturating_sub(standing.named.len() as u64);
    if others > 0 {
        alarm = alarm.note(format!("So it is with {others} more."));
    }
    if outage.told > 1 {
        alarm = alarm.note(format!(
            "Since {} (UTC) {} were given up and {} were late; {} are still owed.",
            outage.since.format("%Y-%m-%d %H:%M"),
            outage.dead,
            outage.late,
            standing.overdue
        ));
    }
    let fallback: Vec<&str> = standing.fallback.iter().filter(|way| *way != channel).map(|way| &**way).collect();
    if fallback.is_empty() {
        alarm = alarm.note("There is no other way for them: [fallback] names none. See to it that their readers learn of them.");
    } else {
        alarm = alarm.note(format!("They go by the fallback instead: {}. Late ones are tried on.", fallback.join(", ")));
    }
    alarm.note(format!("Mend the channel. What happens on it from now on is told together in {wait}."))
}

fn works_again(channel: &ChannelName, over: &Outage, now: Timestamp) -> Alarm {
    Alarm::new(format!("outage over {channel} {now}"), Severity::Info, format!("Channel {channel} delivers again"))
        .note(format!(
            "Since {} (UTC) {} messages were late and {} were given up.",
            over.since.format("%Y-%m-%d %H:%M"),
            over.late,
            over.dead
        ))
        .note("Nothing is late on it now.")
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;
    use crate::model::{alert::Purpose, ids::Ids};

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_timestamp(1_700_000_000 + minutes * 60, 0).unwrap()
    }

    fn troubles(dead: usize, late: usize) -> Vec<Trouble> {
        let mut ids = Ids::seeded(1);
        let mut one = |state| Trouble {
            delivery: ids.delivery(at(0)),
            message: ids.message(at(0)),
            channel: "mail".into(),
            severity: Severity::Medium,
            purpose: Purpose::Alert,
            state,
            attempts: 9,
            detail: Some("451 later".to_owned()),
            late_at: None,
        };
        (0..dead + late).map(|n| one(if n < dead { State::Dead } else { State::Waiting })).collect()
    }

    fn tell(outages: &mut Outages, dead: usize, late: usize, overdue: u64, minutes: i64) -> Option<Alarm> {
        let channel = ChannelName::new("mail");
        if !outages.is_due(&channel, at(minutes)) {
            return None;
        }
        let mut named = troubles(dead, late);
        named.truncate(Standing::NAMED);
        let rules = vec![Some("KYC-001".to_owned()); named.len()];
        let untold = Untold { dead: dead as u64, late: late as u64, worst: named.first().map(|one| one.severity), up_to: 9 };
        let fallback = ["archive".into()];
        let standing = Standing { channel: &channel, untold, named: &named, rules: &rules, overdue, fallback: &fallback };
        outages.tell(&standing, at(minutes))
    }

    fn subject(alarm: Option<Alarm>) -> String {
        alarm.map_or_else(String::new, |alarm| alarm.subject)
    }

    #[test]
    fn an_outage_is_one_alarm_with_counts_renewed_at_growing_intervals_until_it_is_over() {
        let mut outages = Outages::default();
        let mut told = Vec::new();
        // Ten messages fall late every minute for two days.
        for minute in 0..2_880 {
            if let Some(alarm) = tell(&mut outages, 0, 10, 50, minute) {
                told.push(minute);
                assert_eq!(alarm.broken, Some("mail".into()));
            }
        }
        assert_eq!(told, [0, 15, 75, 315, 1_035, 2_475]);
        assert_eq!(subject(tell(&mut outages, 0, 0, 0, 2_900)), "", "the end is told when the next alarm would be");
        let over = tell(&mut outages, 0, 0, 0, 5_000).unwrap();
        assert_eq!(over.subject, "Channel mail delivers again");
        assert_eq!(
            subject(tell(&mut outages, 0, 1, 0, 5_001)),
            "Channel mail: a message is late",
            "a new outage is told at once"
        );
    }

    #[test]
    fn what_an_alarm_about_an_outage_says() {
        let mut outages = Outages::default();
        let mut text = String::new();
        for (dead, late, overdue, minutes) in [(1, 0, 0, 0), (7, 2, 40, 15), (0, 0, 40, 75)] {
            let alarm = tell(&mut outages, dead, late, overdue, minutes).unwrap();
            writeln!(text, "{} [{}]\n  {}", alarm.subject, alarm.severity, alarm.notes.join("\n  ")).unwrap();
        }
        insta::assert_snapshot!(text);
    }
}
