//! Judging again: events whose verdict is missing get it when their rule is mended, when somebody asks for it, and, if the rule was parked,
//! on trial now and then.
//!
//! Works in slices between the batches, and reads what is open from the store, so that it goes on after a restart. A verdict that came too
//! late settles the row of the missing one in the transaction that holds the alert.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use super::Pipeline;
use crate::{
    alerts::Alarm,
    model::{
        card::Card,
        event::Event,
        hash::Digest,
        ids::Seq,
        names::RuleId,
        severity::Severity,
        time::{Span, Timestamp},
        turn::{Outcome, Parked, Settled, UndecidedRow},
        verdict::{Judgement, Undecided, UndecidedKind, Verdict},
    },
    rules::{set::Generation, withheld::STRIKES},
    store::{Journal, StoreError},
};

/// Missing verdicts that are read at a time, and how long judging them may hold up what arrives.
const SLICE: usize = 64;
const AT_MOST: Duration = Duration::from_millis(20);

/// When a parked rule is tried again, by how often that was in vain.
const TRIALS: [Span; 4] = [Span::from_secs(600), Span::from_secs(1_800), Span::from_secs(3_600), Span::from_secs(6 * 3_600)];

/// What is to be judged again.
#[derive(Debug, Default)]
pub(super) struct Again {
    /// Somebody has to look which verdicts may be had now; true: those that the same rule could not give, too.
    look: Option<bool>,
    queue: VecDeque<Task>,
    parked: BTreeMap<RuleId, Parked>,
    /// Parked rules that are asked again; one that answers is no longer parked.
    trying: BTreeMap<RuleId, Parked>,
}

/// A rule whose missing verdicts are worked off.
#[derive(Clone, Debug)]
struct Task {
    rule: RuleId,
    /// Done up to here.
    after: Seq,
    all: bool,
}

/// Missing verdicts that the first slices will ask for: what a scout has to go over. After a clean stop, those that a process died of.
///
/// # Errors
/// When the store can't be read.
pub(in crate::engine) fn first_asked(
    journal: &dyn Journal,
    generation: &Generation,
    unclean: bool,
) -> Result<Vec<(Seq, RuleId)>, StoreError> {
    let mut pairs = Vec::new();
    for counts in journal.open_verdicts()?.chunk_by(|a, b| a.rule == b.rule) {
        let id = &counts[0].rule;
        let Some(rule) = generation.rule(id).filter(|rule| rule.card.stage.runs()) else { continue };
        let asked = |hash, kind| (unclean || kind == UndecidedKind::Poison) && may_have_a_verdict(hash, kind, &rule.card);
        if pairs.len() >= 2 * SLICE || !counts.iter().any(|open| asked(open.rule_hash, open.kind)) {
            continue;
        }
        let mut after = Seq(0);
        loop {
            let rows = journal.open_verdicts_of(id, after, SLICE)?;
            let Some(last) = rows.last() else { break };
            after = last.seq;
            pairs.extend(rows.iter().filter(|row| asked(row.rule_hash, row.why.kind)).map(|row| (row.seq, id.clone())));
            if pairs.len() >= 2 * SLICE {
                break;
            }
        }
    }
    Ok(pairs)
}

/// Whether the rule as it is now may give a verdict that was missing: it is another one, or was not asked.
fn may_have_a_verdict(hash: Digest, kind: UndecidedKind, card: &Card) -> bool {
    hash != card.hash || kind == UndecidedKind::Parked
}

impl Again {
    /// After a new generation, or because somebody asks for it.
    pub fn look(&mut self, all: bool) {
        self.look = Some(all || self.look.unwrap_or(false));
    }

    pub fn has_work(&self) -> bool {
        self.look.is_some() || !self.queue.is_empty()
    }

    pub fn next_trial(&self) -> Option<Timestamp> {
        self.parked.values().map(|parked| parked.next_try).min()
    }

    fn add(&mut self, rule: &RuleId, all: bool) {
        self.queue.retain(|task| task.rule != *rule);
        self.queue.push_back(Task { rule: rule.clone(), after: Seq(0), all });
    }
}

impl Pipeline {
    /// Takes up what an earlier run left.
    pub(super) fn resume_parked(&mut self) -> Result<(), StoreError> {
        for parked in self.parts.journal.parked()? {
            self.evaluator.withheld.park(parked.rule_hash);
            self.again.parked.insert(parked.rule.clone(), parked);
        }
        self.again.look(false);
        self.show_parked();
        Ok(())
    }

    /// Works off a slice.
    pub(super) fn judge_again(&mut self) -> Result<(), StoreError> {
        // What is not yet committed can't be read: it would be missed, or judged twice.
        if self.effects.undecided.is_empty()
            && self.effects.settled.is_empty()
            && let Some(all) = self.again.look.take()
        {
            self.look_for_open(all)?;
        }
        self.try_parked();
        let Some(task) = self.again.queue.front().cloned() else { return Ok(()) };
        let generation = Arc::clone(&self.parts.generation);
        let rule = generation.rule(&task.rule).filter(|rule| rule.card.stage.runs());
        let rows = self.parts.journal.open_verdicts_of(&task.rule, task.after, SLICE)?;
        let (Some(rule), false) = (rule, rows.is_empty()) else {
            self.again.queue.pop_front();
            self.answers(&task.rule);
            return Ok(());
        };
        let began = Instant::now();
        for row in rows {
            if let Some(task) = self.again.queue.front_mut() {
                task.after = row.seq;
            }
            // What a process died of is asked only if another survived it.
            let allowed =
                row.why.kind != UndecidedKind::Poison || self.parts.scouted.cleared.contains(&(row.seq, row.rule.clone()));
            let open = allowed && (task.all || may_have_a_verdict(row.rule_hash, row.why.kind, &rule.card));
            let Some(event) = open.then(|| self.event(row.seq)).transpose()?.flatten() else { continue };
            let verdict = match self.evaluator.withheld.reason(&rule.card, event.seq) {
                Some(why) => Some(Verdict::Undecided(why)),
                None => self.evaluator.judge_one(&generation, rule, &event, None, None),
            };
            self.settle(&row, &rule.card, verdict, &event);
            self.park_fresh(event.seq);
            if self.evaluator.withheld.is_parked(&rule.card.hash) {
                self.again.queue.retain(|task| task.rule != rule.card.id);
                break;
            }
            if began.elapsed() >= AT_MOST {
                break;
            }
        }
        Ok(())
    }

    fn event(&self, seq: Seq) -> Result<Option<Event>, StoreError> {
        let events = self.parts.journal.events_after(Seq(seq.0.saturating_sub(1)), 1)?;
        Ok(events.into_iter().next().filter(|event| event.seq == seq))
    }

    /// Finds the rules that may give verdicts that are missing.
    fn look_for_open(&mut self, all: bool) -> Result<(), StoreError> {
        let generation = Arc::clone(&self.parts.generation);
        for (id, parked) in self.again.parked.clone() {
            match generation.rule(&id) {
                Some(rule) if rule.card.hash != parked.rule_hash => {
                    self.again.parked.remove(&id);
                    self.unpark(&parked);
                    self.again.add(&id, false);
                }
                Some(_) if all => self.start_trial(&parked, true),
                _ => {}
            }
        }
        let open = self.parts.journal.open_verdicts()?;
        self.parts.metrics.verdicts_waiting.set(open.iter().map(|open| i64::try_from(open.count).unwrap_or(i64::MAX)).sum());
        for open in open {
            match generation.rule(&open.rule).filter(|rule| rule.card.stage.runs()) {
                Some(rule) if self.evaluator.withheld.is_parked(&rule.card.hash) => {}
                Some(rule) if all || may_have_a_verdict(open.rule_hash, open.kind, &rule.card) => {
                    self.again.add(&open.rule, all);
                }
                Some(_) => {}
                None => self.alarm_gone(&open.rule, open.count),
            }
        }
        self.show_parked();
        Ok(())
    }

    fn alarm_gone(&mut self, rule: &RuleId, count: u64) {
        let alarm = Alarm::new(
            format!("owed by {rule}"),
            Severity::High,
            format!("Rule {rule} is gone, and {count} of its verdicts are missing"),
        )
        .note("It could not judge these events when it was there, and nothing judges them now. They stay recorded as undecided.")
        .note("Put the rule's file back, mended, and they are judged; or look at the events yourself.");
        self.alarm(&alarm);
    }

    /// Asks parked rules again whose time has come.
    fn try_parked(&mut self) {
        if self.again.parked.is_empty() {
            return;
        }
        let now = self.parts.clock.now();
        let due: Vec<Parked> = self.again.parked.values().filter(|parked| parked.next_try <= now).cloned().collect();
        for parked in due {
            self.start_trial(&parked, false);
        }
    }

    fn start_trial(&mut self, parked: &Parked, all: bool) {
        tracing::info!(rule = %parked.rule, tries = parked.tries, "a parked rule is tried again");
        self.again.parked.remove(&parked.rule);
        self.evaluator.withheld.try_again(parked.rule_hash);
        self.again.trying.insert(parked.rule.clone(), parked.clone());
        self.again.add(&parked.rule, all);
    }

    /// A rule that was on trial is parked no more.
    fn answers(&mut self, rule: &RuleId) {
        if let Some(parked) = self.again.trying.remove(rule) {
            self.unpark(&parked);
        }
    }

    fn unpark(&mut self, parked: &Parked) {
        self.evaluator.withheld.forget(&parked.rule_hash);
        self.effects.parked.retain(|begun| begun.rule != parked.rule);
        self.effects.unparked.push(parked.rule.clone());
        tracing::info!(rule = %parked.rule, "a rule is parked no more; the events that it owes a verdict are judged");
        let alarm = Alarm::new(
            format!("unparked {} {}", parked.rule, parked.rule_hash.short()),
            Severity::Low,
            format!("Rule {} judges again", parked.rule),
        )
        .note("It was parked since it took too long. The events that came meanwhile are judged now, and alerts of them say so.");
        self.alarm(&alarm);
        self.show_parked();
    }

    /// Records the rules that the evaluator has parked, and says it loudly.
    pub(super) fn park_fresh(&mut self, seq: Seq) {
        for (card, why) in self.evaluator.withheld.take_fresh() {
            self.park(&card, &why, seq);
        }
    }

    fn park(&mut self, card: &Arc<Card>, why: &Undecided, seq: Seq) {
        let now = self.parts.clock.now();
        let tries = self.again.trying.remove(&card.id).map_or(0, |before| before.tries + 1);
        let next_try = now + TRIALS[(tries as usize).min(TRIALS.len() - 1)].delta();
        let place = why.line.map_or_else(|| card.file.clone(), |line| format!("{}:{line}", card.file));
        let why = format!("{place}: {}", why.detail);
        tracing::error!(rule = %card.id, event = %seq, tries, why, "a rule is parked: it is not asked any more");
        let times = if tries == 0 {
            format!("it took too long {STRIKES} times running")
        } else {
            format!("tried again, it took too long once more (trial {tries})")
        };
        let alarm = Alarm::new(
            format!("parked {} {} {tries}", card.id, card.hash.short()),
            card.severity.max(Severity::High),
            format!("Rule {} is parked: {times}", card.id),
        )
        .note(format!("{why}."))
        .note("It is not asked any more, so that it doesn't hold up the others. Every event that it should judge is recorded as owed.")
        .note(format!(
            "They are judged as soon as its file is mended. Otherwise it is tried again at {} (UTC); `redflag reload --confirm` tries it at once.",
            next_try.format("%Y-%m-%d %H:%M")
        ))
        .also(card.owner.as_ref());
        self.alarm(&alarm);
        let parked = Parked { rule: card.id.clone(), rule_hash: card.hash, at: now, seq, why, tries, next_try };
        self.effects.parked.push(parked.clone());
        self.again.parked.insert(card.id.clone(), parked);
        self.show_parked();
    }

    /// What judging an event again gave.
    fn settle(&mut self, row: &UndecidedRow, card: &Arc<Card>, verdict: Option<Verdict>, event: &Event) {
        let outcome = match &verdict {
            Some(Verdict::Undecided(_)) => Outcome::Again,
            Some(Verdict::Match(_)) => Outcome::Match,
            None => Outcome::NoMatch,
        };
        // The same rule that fails again leaves its row open, and only renews it.
        if outcome != Outcome::Again || row.rule_hash != card.hash {
            let (seq, rule, at) = (row.seq, row.rule.clone(), self.parts.clock.now());
            self.effects.settled.push(Settled { seq, rule, at, outcome, by: card.hash });
        }
        let counts = self.judged_books.of(&event.feed, &event.topic, event.received_at);
        counts.asked_again += 1;
        match outcome {
            Outcome::Again => counts.undecided += 1,
            Outcome::Match | Outcome::NoMatch => {
                counts.decided += 1;
                counts.matched += u64::from(outcome == Outcome::Match);
                self.answers(&card.id);
            }
        }
        if let Some(verdict) = verdict {
            let generation = Arc::clone(&self.parts.generation);
            let now = self.parts.clock.now();
            self.conclude(&Judgement { card: Arc::clone(card), verdict }, event, &generation, now, true);
        }
    }

    fn show_parked(&self) {
        let count = self.again.parked.len() + self.again.trying.len();
        self.parts.metrics.rules_parked.set(i64::try_from(count).unwrap_or(i64::MAX));
    }
}
