//! Quiet periods, and the step from a verdict to rows.
//!
//! A period belongs to a rule's id and the values of its key, and runs on receive time from the message that opened it. The first match
//! starts a message at once; later ones are repeats, recorded and counted, and told in one follow-up at the period's end. A higher
//! severity breaks through.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use crate::model::{
    alert::{Alert, EventFacts, Message, Purpose, QuietPeriod, Role},
    card::{Card, Stage},
    event::{Event, Origin},
    hash::Digest,
    ids::{Ids, MessageId},
    names::{ChannelName, RuleId},
    time::Timestamp,
    turn::{Effects, UndecidedRow},
    verdict::{Finding, Judgement, Verdict},
};

use super::Routes;

type Key = (RuleId, Vec<String>);

/// What judging an event means to the desk.
#[derive(Clone, Copy, Debug)]
pub struct Judged<'a> {
    pub event: &'a Event,
    pub generation: Digest,
    /// When what it causes is due. Quiet periods run on receive time all the same.
    pub now: Timestamp,
    /// The verdict was missing before.
    pub late: bool,
}

/// Owns the running quiet periods.
#[derive(Debug)]
pub struct Desk {
    environment: String,
    quiet: HashMap<Key, QuietPeriod>,
    /// The ends of the running periods, soonest first.
    ends: BTreeSet<(Timestamp, Key)>,
    /// Ended, with repeats that can't be told by a follow-up.
    untold: Vec<QuietPeriod>,
}

impl Desk {
    /// A desk that goes on with the periods that the store has.
    #[must_use]
    pub fn new(environment: &str, running: Vec<QuietPeriod>) -> Self {
        let mut desk =
            Self { environment: environment.to_owned(), quiet: HashMap::new(), ends: BTreeSet::new(), untold: Vec::new() };
        for period in running {
            desk.keep(period);
        }
        desk
    }

    /// Turns one judgement into rows. `first` finds the message that opened a period, for its follow-up.
    pub fn take(
        &mut self,
        judgement: &Judgement,
        judged: Judged<'_>,
        routes: &Routes,
        ids: &mut Ids,
        first: &dyn Fn(MessageId) -> Option<Message>,
        effects: &mut Effects,
    ) {
        match &judgement.verdict {
            Verdict::Match(finding) => self.matched(&judgement.card, finding, judged, routes, ids, first, effects),
            Verdict::Undecided(why) => effects.undecided.push(UndecidedRow {
                seq: judged.event.seq,
                rule: judgement.card.id.clone(),
                rule_hash: judgement.card.hash,
                at: judged.event.received_at,
                why: why.clone(),
            }),
        }
    }

    #[expect(clippy::too_many_arguments, reason = "one call site; a struct would only rename them")]
    fn matched(
        &mut self,
        card: &Arc<Card>,
        finding: &Finding,
        judged: Judged<'_>,
        routes: &Routes,
        ids: &mut Ids,
        first: &dyn Fn(MessageId) -> Option<Message>,
        effects: &mut Effects,
    ) {
        let now = judged.event.received_at;
        if card.stage == Stage::Shadow {
            effects.alerts.push(alert(card, finding, judged, Role::Shadow, None, ids));
            return;
        }
        let key = quiet_key(card, finding);
        if let Some(key) = &key {
            if self.quiet.get(key).is_some_and(|period| period.until <= now) {
                self.end(key, now, routes, ids, first, effects);
            }
            if let Some(period) = self.quiet.get_mut(key)
                && finding.severity <= period.severity
            {
                period.repeats += 1;
                let (message, changed) = (period.message, period.clone());
                effects.quiet.push(changed);
                effects.alerts.push(alert(card, finding, judged, Role::Repeat, Some(message), ids));
                return;
            }
        }
        let mut message = self.message(card, finding, judged, ids);
        let channels = ways(&mut message, routes);
        effects.deliveries.extend(routes.deliveries(&message, &channels, judged.now, ids));
        effects.alerts.push(alert(card, finding, judged, Role::First, Some(message.id), ids));
        if let (Some((rule, key)), Some(quiet)) = (key, &card.quiet) {
            // A break-through takes the period over; what it had counted is told by the new period's follow-up.
            let repeats = self.forget(&(rule.clone(), key.clone())).map_or(0, |period| period.repeats);
            let period = QuietPeriod {
                rule,
                key,
                severity: finding.severity,
                message: message.id,
                from: now,
                until: now + quiet.within.delta(),
                repeats,
            };
            effects.quiet_ended.retain(|ended| (&ended.0, &ended.1) != (&period.rule, &period.key));
            effects.quiet.push(period.clone());
            self.keep(period);
        }
        effects.messages.push(message);
    }

    /// Ends the periods that are over at `now`; those with repeats are told.
    pub fn end_due(
        &mut self,
        now: Timestamp,
        routes: &Routes,
        ids: &mut Ids,
        first: &dyn Fn(MessageId) -> Option<Message>,
        effects: &mut Effects,
    ) {
        while let Some((until, key)) = self.ends.first().cloned() {
            if until > now {
                break;
            }
            self.end(&key, now, routes, ids, first, effects);
        }
    }

    /// Periods that have ended with repeats which no follow-up tells, because the message that opened them can't be read: each once.
    pub fn untold(&mut self) -> Vec<QuietPeriod> {
        std::mem::take(&mut self.untold)
    }

    /// When the next period ends.
    #[must_use]
    pub fn next_end(&self) -> Option<Timestamp> {
        self.ends.first().map(|(until, _)| *until)
    }

    fn end(
        &mut self,
        key: &Key,
        now: Timestamp,
        routes: &Routes,
        ids: &mut Ids,
        first: &dyn Fn(MessageId) -> Option<Message>,
        effects: &mut Effects,
    ) {
        let Some(period) = self.forget(key) else { return };
        // One transaction holds each key once: either its period as it is now, or its end.
        effects.quiet.retain(|changed| (&changed.rule, &changed.key) != (&key.0, &key.1));
        effects.quiet_ended.push(key.clone());
        if period.repeats == 0 {
            return;
        }
        // The opening message may still stand in this very transaction.
        let opened = effects.messages.iter().find(|message| message.id == period.message).cloned();
        let Some(opened) = opened.or_else(|| first(period.message)) else {
            tracing::error!(rule = %period.rule, message_id = %period.message, "the message that opened a quiet period can't be read; its follow-up can't be told");
            self.untold.push(period);
            return;
        };
        let mut message = follow_up(&opened, &period, now, ids);
        let channels = ways(&mut message, routes);
        effects.deliveries.extend(routes.deliveries(&message, &channels, now, ids));
        effects.messages.push(message);
    }

    fn message(&self, card: &Arc<Card>, finding: &Finding, judged: Judged<'_>, ids: &mut Ids) -> Message {
        let event = judged.event;
        let mut notes = finding.fallbacks.clone();
        if event.maybe_repeat {
            notes.push(
                "The event may be a repeat of one that was judged before: the feed sent it again without a mark.".to_owned(),
            );
        }
        if event.origin == Origin::Rest {
            notes.push(
                "No message said this: it was looked up after a gap. When it happened, and why it ended so, is not known."
                    .to_owned(),
            );
        } else if event.late {
            notes.push(
                "The event is late: it was brought by a request for past messages and happened before it was received."
                    .to_owned(),
            );
        }
        if judged.late {
            notes.push("The verdict is late: the rule could not judge the event when it came, and was asked again.".to_owned());
        }
        if event.zone_assumed {
            notes.push("The event's own time came without a zone; the configured zone was assumed.".to_owned());
        }
        if !finding.unknown_words.is_empty() {
            notes.push(format!(
                "{} of the event's words stood in no table (a country, a status code) and were compared as they are.",
                finding.unknown_words.len()
            ));
        }
        Message {
            id: ids.message(judged.now),
            created_at: judged.now,
            purpose: Purpose::Alert,
            severity: finding.severity,
            send_to: finding.send_to.clone(),
            subject: finding.subject.clone(),
            masked_subject: finding.masked_subject.clone(),
            environment: self.environment.clone(),
            card: Some(Arc::clone(card)),
            event: Some(EventFacts::from(event)),
            details: finding.details.clone(),
            repeats: 0,
            notes,
            generation: Some(judged.generation),
        }
    }

    fn keep(&mut self, period: QuietPeriod) {
        let key = (period.rule.clone(), period.key.clone());
        self.ends.insert((period.until, key.clone()));
        self.quiet.insert(key, period);
    }

    fn forget(&mut self, key: &Key) -> Option<QuietPeriod> {
        let period = self.quiet.remove(key)?;
        self.ends.remove(&(period.until, key.clone()));
        Some(period)
    }
}

/// The channels that a message goes to, with a note for each name that means nothing: the configuration may have changed since the rule
/// was loaded, or the message that a follow-up follows was sent.
fn ways(message: &mut Message, routes: &Routes) -> Vec<ChannelName> {
    let (mut channels, unknown) = routes.resolve(&message.send_to);
    message
        .notes
        .extend(unknown.iter().map(|name| format!("{name}; the configuration has no such name, so nothing went there.")));
    if channels.is_empty() {
        channels = routes.fallback();
        message.notes.push("None of the rule's recipients exists, so this came by the fallback.".to_owned());
    }
    channels
}

/// The key of the quiet period that the match falls under: a blank value never groups.
fn quiet_key(card: &Card, finding: &Finding) -> Option<Key> {
    card.quiet.as_ref()?;
    Some((card.id.clone(), finding.quiet_key.clone()?))
}

fn alert(
    card: &Arc<Card>,
    finding: &Finding,
    judged: Judged<'_>,
    role: Role,
    message: Option<MessageId>,
    ids: &mut Ids,
) -> Alert {
    Alert {
        id: ids.alert(judged.event.received_at),
        raised_at: judged.event.received_at,
        seq: judged.event.seq,
        card: Arc::clone(card),
        severity: finding.severity,
        subject: finding.subject.clone(),
        masked_subject: finding.masked_subject.clone(),
        role,
        message,
    }
}

fn follow_up(opened: &Message, period: &QuietPeriod, now: Timestamp, ids: &mut Ids) -> Message {
    let times = if period.repeats == 1 { "once more".to_owned() } else { format!("{} more times", period.repeats) };
    Message {
        id: ids.message(now),
        created_at: now,
        purpose: Purpose::FollowUp,
        subject: format!("{times}: {}", opened.subject),
        masked_subject: format!("{times}: {}", opened.masked_subject),
        repeats: period.repeats,
        notes: vec![format!(
            "Between {} and {} (UTC) the same rule matched {times} for the same key. The event shown is the first one's.",
            period.from.format("%Y-%m-%d %H:%M:%S"),
            period.until.format("%Y-%m-%d %H:%M:%S"),
        )],
        ..opened.clone()
    }
}

#[cfg(test)]
mod tests;
