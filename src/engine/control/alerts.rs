//! `alerts`: what was raised, how far people are with it, and their notes.
//!
//! Facts are masked as for a channel without clearance. Whoever asks for personal data is in the audit record before they get it.

use std::{collections::BTreeSet, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::{DeliveryLine, Office, Refusal, outbox, proposal};
use crate::{
    model::{
        actor::Actor,
        alert::{AlertState, EventFacts, Message, Purpose, Role},
        hash::Digest,
        ids::{AlertId, MessageId, Seq},
        names::RuleId,
        rendered::{Clearance, Form, Rendered},
        severity::Severity,
        time::Timestamp,
    },
    render::{Options, Templates},
    store::{AlertFilter, AlertRow, AuditRow, Change, Changed, Numbered},
};

/// One alert in a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AlertLine {
    pub number: i64,
    pub id: AlertId,
    pub raised_at: Timestamp,
    pub severity: Severity,
    pub rule: RuleId,
    pub title: String,
    pub subject: String,
    pub state: AlertState,
    pub role: Role,
    pub event: Seq,
    pub message: Option<MessageId>,
}

/// One alert with all that belongs to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AlertPage {
    pub alert: AlertLine,
    pub rule_hash: Digest,
    /// As `redflag.message.v1`.
    pub facts: Json,
    pub deliveries: Vec<DeliveryLine>,
    pub history: Vec<HistoryLine>,
}

/// What somebody did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HistoryLine {
    pub at: Timestamp,
    pub who: Actor,
    pub action: String,
    pub note: String,
    pub before: Option<String>,
    pub after: Option<String>,
}

impl Office {
    pub(super) fn alerts(
        &self,
        rule: Option<String>,
        since: Option<Timestamp>,
        state: Option<AlertState>,
        limit: usize,
        personal: bool,
        actor: &Actor,
    ) -> Result<Vec<AlertLine>, Refusal> {
        if let Some(rule) = &rule {
            self.known_rule(rule)?;
        }
        if personal {
            self.act(actor, "alerts list --personal", String::new(), Change::Done { object: "alerts".to_owned() })?;
        }
        let filter = AlertFilter { rule, since, state, message: None, limit };
        let rows = self.store.reader().find_alerts(&filter)?;
        Ok(rows.into_iter().map(|row| line(row, personal)).collect())
    }

    pub(super) fn alert(&self, id: &str, personal: bool, actor: &Actor) -> Result<AlertPage, Refusal> {
        let row = self.find_alert(id)?;
        let object = format!("alert {}", row.n);
        if personal {
            self.act(actor, "alerts show --personal", String::new(), Change::Done { object: object.clone() })?;
        }
        let reader = self.store.reader();
        let deliveries = match row.message {
            Some(message) => reader.deliveries_of(message)?,
            None => Vec::new(),
        };
        Ok(AlertPage {
            facts: self.facts(&row, personal)?,
            rule_hash: row.rule_hash,
            deliveries: deliveries.into_iter().map(|row| outbox::line(row, None)).collect(),
            history: reader.history(&object)?.into_iter().map(HistoryLine::from).collect(),
            alert: line(row, personal),
        })
    }

    pub(super) fn set_alerts(
        &self,
        ids: &[String],
        to: Option<AlertState>,
        note: String,
        actor: &Actor,
    ) -> Result<Vec<Changed>, Refusal> {
        let alerts = ids.iter().map(|id| Ok(self.find_alert(id)?.n)).collect::<Result<_, Refusal>>()?;
        let action = match to {
            Some(AlertState::Acknowledged) => "alerts ack",
            Some(AlertState::Closed) => "alerts close",
            Some(AlertState::Open) => "alerts reopen",
            None => "alerts note",
        };
        self.act(actor, action, note, Change::Alerts { alerts, to })
    }

    /// By its number, its identity, or the message that it started.
    fn find_alert(&self, id: &str) -> Result<AlertRow, Refusal> {
        let reader = self.store.reader();
        let list = "`redflag alerts list` shows them";
        if let Ok(n) = id.trim_start_matches('#').parse::<i64>() {
            let highest = reader.highest(Numbered::Alerts)?;
            return reader.alert(n)?.ok_or_else(|| {
                Refusal::unknown(match highest {
                    0 => "there is no alert yet".to_owned(),
                    highest => format!("there is no alert {n}; the last one is {highest}, {list}"),
                })
            });
        }
        let Ok(uuid) = id.parse::<AlertId>() else {
            return Err(Refusal::unknown(format!(
                "`{id}` names no alert: it is a number as in {list}, or the id of an alert or a message"
            )));
        };
        if let Some(row) = reader.alert_of_id(uuid)? {
            return Ok(row);
        }
        let of_message = AlertFilter { message: Some(MessageId(uuid.0)), limit: usize::MAX, ..AlertFilter::default() };
        // The first alert started the message; those behind it are repeats.
        reader
            .find_alerts(&of_message)?
            .pop()
            .ok_or_else(|| Refusal::unknown(format!("there is no alert and no message {id}; {list}")))
    }

    fn known_rule(&self, rule: &str) -> Result<(), Refusal> {
        let mut known = self.store.reader().alerting_rules()?;
        if let Some(kept) = self.store.reader().last_generation()? {
            known.extend(kept.cards.iter().map(|card| card.id.to_string()));
        }
        if known.iter().any(|name| name == rule) {
            return Ok(());
        }
        let known: Vec<&str> = known.iter().map(String::as_str).collect::<BTreeSet<_>>().into_iter().collect();
        Err(Refusal::unknown(format!("no rule is called `{rule}`; {}", proposal(rule, &known))))
    }

    /// What a channel of that clearance would be told, of the alert's own event: a repeat's message is about another.
    fn facts(&self, row: &AlertRow, personal: bool) -> Result<Json, Refusal> {
        let reader = self.store.reader();
        let message = match row.message {
            Some(id) if row.role == Role::First => reader.message(id)?,
            _ => None,
        };
        let message = match message {
            Some(message) => message,
            None => self.told_of(row)?,
        };
        let clearance = if personal { Clearance::Personal } else { Clearance::Masked };
        // JSON needs no template; the shipped ones can always be loaded.
        let options = Options { directory: None, language: self.config.language, zone: self.config.time_zone.0 };
        let templates = Templates::load(&options).map_err(|errors| {
            Refusal::failed(&std::io::Error::other(errors.iter().map(ToString::to_string).collect::<String>()))
        })?;
        Ok(match templates.render(&message, Form::Json, clearance) {
            Rendered::Json(json) => json,
            Rendered::Mail(mail) => Json::from(mail.text),
        })
    }

    fn told_of(&self, row: &AlertRow) -> Result<Message, Refusal> {
        let reader = self.store.reader();
        let event = reader.event(row.seq)?;
        let judged = reader.ledger()?.into_iter().find(|judged| judged.from <= row.seq && row.seq <= judged.to);
        let generation = judged.map(|judged| judged.generation);
        let kept = generation.map(|hash| reader.generation(&hash)).transpose()?.flatten();
        let card = kept.and_then(|kept| kept.cards.into_iter().find(|card| card.id == row.rule));
        Ok(Message {
            id: row.message.unwrap_or(MessageId(row.id.0)),
            created_at: row.raised_at,
            purpose: Purpose::Alert,
            severity: row.severity,
            send_to: Vec::new(),
            subject: row.subject.clone(),
            masked_subject: row.masked_subject.clone(),
            environment: self.config.environment.as_str().to_owned(),
            card: card.map(Arc::new),
            event: event.as_ref().map(EventFacts::from),
            details: None,
            repeats: 0,
            notes: Vec::new(),
            generation,
        })
    }
}

fn line(row: AlertRow, personal: bool) -> AlertLine {
    AlertLine {
        number: row.n,
        id: row.id,
        raised_at: row.raised_at,
        severity: row.severity,
        rule: row.rule,
        title: row.title,
        subject: if personal { row.subject } else { row.masked_subject },
        state: row.state,
        role: row.role,
        event: row.seq,
        message: row.message,
    }
}

impl From<AuditRow> for HistoryLine {
    fn from(row: AuditRow) -> Self {
        Self { at: row.at, who: row.actor, action: row.action, note: row.detail, before: row.before, after: row.after }
    }
}
