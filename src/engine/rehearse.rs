//! The `TESTS` of a rule file, run as the live path runs: sample → decode → verdict → quiet periods → rendered body. Nothing is stored or sent,
//! and nothing that is live is looked at: a test says the same in every set.

use std::sync::Arc;

use chrono::TimeDelta;

use super::samples::sample;
use crate::{
    alerts::{Desk, Judged, Routes},
    decode::{Decoder, Options},
    model::{
        alert::{Message, Role},
        card::{Card, Stage},
        event::{Element, Event, Frame, Origin},
        ids::{Ids, Seq},
        names::FeedName,
        time::{Span, Timestamp},
        topic,
        turn::Effects,
        value::{Map, Value},
        verdict::{Judgement, Verdict},
    },
    rules::{
        codes,
        diagnostic::Diagnostic,
        evaluate::Evaluator,
        lists::Lists,
        rehearsal::{Case, Expect, Step},
        rule::CompiledRule,
        set::Generation,
    },
};

/// Renders a message's text for a cleared reader, for `body_has` and `body_lacks`.
pub type Body<'a> = &'a (dyn Fn(&Message) -> String + Sync);

/// Of the events of a failed test at most so much is shown.
const LONGEST_EVENTS: usize = 1_000;

/// Runs the tests of one rule after the other.
pub struct Rehearser<'a> {
    body: Body<'a>,
    evaluator: Evaluator,
    decoder: Decoder,
    /// In the place of what is live.
    nothing: Generation,
}

impl<'a> Rehearser<'a> {
    #[must_use]
    pub fn new(body: Body<'a>) -> Self {
        let options = Options { naive_zone: Some(chrono_tz::UTC), ..Options::default() };
        let decoder = Decoder::new(FeedName::new("test"), options);
        Self { body, evaluator: Evaluator::new(), decoder, nothing: Generation::empty() }
    }

    /// Runs every case of the rule's `TESTS`; each that fails is a diagnostic at its expectation.
    #[must_use]
    pub fn rehearse(&mut self, rule: &CompiledRule) -> Vec<Diagnostic> {
        // What one rule left behind is nothing to the next.
        let mut rehearsal = Rehearsal { by: self, rule, ids: Ids::seeded(0) };
        let failed = rule.cases.iter().filter_map(|case| {
            let (failure, help) = match rehearsal.play(case) {
                Ok(played) => (played.against(&case.expect, rehearsal.by.body)?, Some(played.told())),
                Err(failure) => (failure, None),
            };
            let message = format!("test `{}` fails", case.name);
            let finding = Diagnostic::error(codes::TEST_FAILED, &rule.card.file, case.place, 1, message).label(failure);
            Some(match help {
                Some(help) => finding.help(help),
                None => finding,
            })
        });
        failed.collect()
    }
}

struct Rehearsal<'a, 'r> {
    by: &'a mut Rehearser<'r>,
    rule: &'a CompiledRule,
    ids: Ids,
}

/// What happened in one case.
#[derive(Debug, Default)]
struct Played {
    /// Of each alert that started a message: when, since the start, and the message.
    first: Vec<(Span, Message)>,
    /// The events, each as its topic and fields.
    events: Vec<String>,
    undecided: Vec<String>,
}

/// The start of every case: a fixed moment, so that a verdict never depends on the day of the test.
fn start() -> Timestamp {
    Timestamp::from_timestamp(1_767_261_600, 0).unwrap_or_default()
}

impl Rehearsal<'_, '_> {
    fn play(&mut self, case: &Case) -> Result<Played, String> {
        let once =
            [Step { at: Span::from_secs(0), like: None, set: Vec::new(), unset: Vec::new(), late: false, place: case.place }];
        let steps = if case.feed.is_empty() { &once[..] } else { &case.feed[..] };
        // Every list is empty unless the case fills it: a live list never changes a test's result.
        let lists = Arc::new(Lists::of(case.lists.clone()));
        let card = Arc::new(Card { stage: Stage::Live, ..(*self.rule.card).clone() });
        let mut desk = Desk::new("test", Vec::new());
        let routes = Routes::default();
        let mut played = Played::default();
        let mut messages: Vec<Message> = Vec::new();
        for (index, step) in steps.iter().enumerate() {
            let event = Event { seq: Seq(index as u64 + 1), element: self.element(case, step)? };
            played.events.push(format!("{} {}", event.topic, Value::Map(event.body.clone()).json()));
            let covered = card.on.contains(&event.topic);
            let verdict = covered
                .then(|| {
                    let Rehearser { evaluator, nothing, .. } = self.by;
                    evaluator.judge_one(nothing, self.rule, &event, Some(&lists), case.settings.as_ref())
                })
                .flatten();
            let Some(verdict) = verdict else { continue };
            if let Verdict::Undecided(why) = &verdict {
                let line = why.line.map_or_else(String::new, |line| format!("line {line}: "));
                played.undecided.push(format!("{line}{}", why.detail));
            }
            let judgement = Judgement { card: Arc::clone(&card), verdict };
            let mut effects = Effects::default();
            let known = messages.clone();
            let first = |id| known.iter().find(|message| message.id == id).cloned();
            let judged = Judged { event: &event, generation: self.by.nothing.hash, now: event.received_at, late: false };
            desk.take(&judgement, judged, &routes, &mut self.ids, &first, &mut effects);
            messages.extend(effects.messages.iter().cloned());
            for alert in effects.alerts.iter().filter(|alert| alert.role == Role::First) {
                let message = effects.messages.iter().find(|message| Some(message.id) == alert.message);
                if let Some(message) = message {
                    played.first.push((step.at, message.clone()));
                }
            }
        }
        Ok(played)
    }

    /// The canonical event of one step: the sample, with the case's and the step's changes, through the decoder like any frame.
    fn element(&mut self, case: &Case, step: &Step) -> Result<Element, String> {
        let name = step.like.as_deref().or(case.like.as_deref());
        let name = name.map_or_else(|| self.rule.card.on.first().map(ToString::to_string).unwrap_or_default(), str::to_owned);
        let frame = match sample(&name) {
            Some(text) => text.to_owned(),
            // A declared topic has no sample: the test sets what it needs.
            None if case.like.is_none() && step.like.is_none() => {
                Value::Map(Map::from_iter([("topic", Value::from(name.clone()))])).json()
            }
            None => return Err(format!("`like: \"{name}\"` names no topic that has a sample")),
        };
        let received_at = start() + step.at.delta();
        let mut element = self.decode(&frame, start())?;
        let changes = [(&case.set, &case.unset), (&step.set, &step.unset)];
        let set = || changes.iter().flat_map(|(set, _)| set.iter());
        if let Some(field) = topic::find(&element.topic).and_then(|topic| topic.own_time)
            && !set().any(|(path, _)| path.to_string() == field)
            && let Some(own) = element.own_time
        {
            // The sample's own time moves with the receive time, one minute before it.
            let shifted = received_at - TimeDelta::minutes(1) - TimeDelta::microseconds(i64::from(own.timestamp_subsec_micros()));
            element.body.set(field, Value::from(shifted.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)));
        }
        for (set, unset) in changes {
            for (path, value) in set {
                path.set(&mut element.body, value.clone()).map_err(|why| format!("`set` of `{path}`: {why}"))?;
            }
            for path in unset {
                path.unset(&mut element.body);
            }
        }
        let mut element = self.decode(&reframed(element), received_at)?;
        element.late = step.late;
        Ok(element)
    }

    fn decode(&mut self, frame: &str, received_at: Timestamp) -> Result<Element, String> {
        let bytes = frame.as_bytes().to_vec();
        let frame = Frame { feed: FeedName::new("test"), received_at, origin: Origin::Live, bytes, position: None };
        let decoded = self.by.decoder.decode(&frame, &mut self.ids);
        if let Some(bad) = decoded.quarantined.first() {
            return Err(format!("the event would be set aside ({}): {}", bad.reason.as_str(), bad.detail));
        }
        decoded.elements.into_iter().next().ok_or_else(|| "the sample holds no event".to_owned())
    }
}

/// The frame that would bring this canonical event.
fn reframed(element: Element) -> String {
    let topic = Value::from(element.topic.as_str());
    let frame = match topic::find(&element.topic).and_then(|topic| topic.entries) {
        Some(entries) => Map::from_iter([("topic", topic), (entries, Value::List(vec![Value::Map(element.body)]))]),
        None => [("topic".into(), topic)].into_iter().chain(element.body).collect(),
    };
    Value::Map(frame).json()
}

impl Played {
    /// What was judged and what came of it, for whoever looks for the reason.
    fn told(&self) -> String {
        let judged: String = self.events.join("; ").chars().take(LONGEST_EVENTS).collect();
        let alerts: Vec<String> = self.first.iter().map(|(_, message)| format!("`{}`", message.subject)).collect();
        let alerts = if alerts.is_empty() { "no alert".to_owned() } else { alerts.join(", ") };
        format!("judged: {judged}; what came of it: {alerts}")
    }

    /// The first way in which it differs from the expectation, in words.
    fn against(&self, expect: &Expect, body: Body<'_>) -> Option<String> {
        if let Some(undecided) = self.undecided.first() {
            return Some(format!("the verdict is undecided: {undecided}"));
        }
        let count = self.first.len() as u64;
        if let Some(alerts) = expect.alerts
            && alerts != count
        {
            return Some(format!("expected {}, got {count}", counted(alerts)));
        }
        if let Some(at) = &expect.at {
            let got: Vec<Span> = self.first.iter().map(|(at, _)| *at).collect();
            if &got != at {
                return Some(format!("expected alerts at {}, got {}", spans(at), spans(&got)));
            }
        }
        let wants = expect.severity.is_some()
            || expect.subject_has.is_some()
            || expect.sent_to.is_some()
            || expect.body_has.is_some()
            || expect.body_lacks.is_some();
        if wants && self.first.is_empty() {
            return Some("expected an alert, got none".to_owned());
        }
        self.first.iter().find_map(|(_, message)| differs(message, body, expect))
    }
}

fn differs(message: &Message, body: Body<'_>, expect: &Expect) -> Option<String> {
    if let Some(severity) = expect.severity
        && severity != message.severity
    {
        return Some(format!("expected severity {severity}, got {}", message.severity));
    }
    if let Some(part) = &expect.subject_has
        && !message.subject.contains(part.as_str())
    {
        return Some(format!("expected a subject with `{part}`, got `{}`", message.subject));
    }
    if let Some(sent_to) = &expect.sent_to
        && sent_to != &message.send_to
    {
        return Some(format!("expected to be sent to {}, got {}", sent_to.join(", "), message.send_to.join(", ")));
    }
    if expect.body_has.is_none() && expect.body_lacks.is_none() {
        return None;
    }
    let body = body(message);
    if let Some(part) = &expect.body_has
        && !body.contains(part.as_str())
    {
        return Some(format!("expected a body with `{part}`"));
    }
    if let Some(part) = &expect.body_lacks
        && body.contains(part.as_str())
    {
        return Some(format!("expected a body without `{part}`"));
    }
    None
}

fn counted(alerts: u64) -> String {
    if alerts == 1 { "1 alert".to_owned() } else { format!("{alerts} alerts") }
}

fn spans(spans: &[Span]) -> String {
    let texts: Vec<String> = spans.iter().map(ToString::to_string).collect();
    format!("[{}]", texts.join(", "))
}
