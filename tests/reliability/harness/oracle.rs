//! The reference model: what was handed to the feed, and what must come of it, read from the frames themselves by one line of arithmetic
//! (an `identResult` whose `status` is `failed` is an alert, named by its `identId`). And the judgement: the four properties.
//!
//! - **Conservation**: each obligated event is in the journal once, and each obligated alert reached every channel.
//! - **Integrity**: the journal has the bytes that were sent; an alert shows the event's own values; copies of one message are equal.
//! - **No invention**: no alert that the model lacks; a second copy carries the first one's identity.
//! - **Liveness** is what [`super::world::World::settle`] waits for.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::bail;
use redflag::{model::ids::Seq, store::Reader};
use serde_json::Value as Json;

/// What the feed was given so far.
#[derive(Clone, Debug, Default)]
pub struct Oracle {
    frames: Arc<Mutex<Vec<String>>>,
}

/// An alert as it arrived.
#[derive(Clone, Debug)]
pub struct Received {
    pub channel: &'static str,
    /// Message-ID or Idempotency-Key.
    pub identity: String,
    /// The event that it tells of.
    pub ident: String,
    /// What it shows of the event, by name.
    pub shown: BTreeMap<String, String>,
    pub bytes: Vec<u8>,
}

impl Received {
    /// It says of itself that it may be a repeat. Only what is JSON is read.
    pub fn may_be_a_repeat(&self) -> bool {
        serde_json::from_slice::<Json>(&self.bytes).is_ok_and(|body| body["event"]["maybeRepeat"] == true)
    }
}

/// What differs from the model. Empty lists everywhere but in `duplicates` is what must be.
#[derive(Clone, Debug, Default)]
pub struct Judgement {
    pub events: usize,
    pub alerts: usize,
    /// Events and alerts that are missing, with where.
    pub lost: Vec<String>,
    /// Other bytes than were sent.
    pub altered: Vec<String>,
    /// Events and alerts that nobody sent, or too often.
    pub invented: Vec<String>,
    /// Copies under another identity.
    pub renamed: Vec<String>,
    /// Further copies under the same identity, by channel.
    pub duplicates: BTreeMap<&'static str, usize>,
}

impl Oracle {
    /// A frame was handed to the feed, or lies where back-fill finds it.
    pub fn handed(&self, frame: &str) {
        self.frames.lock().unwrap_or_else(PoisonError::into_inner).push(frame.to_owned());
    }

    /// Every element that was handed over.
    pub fn elements(&self) -> Vec<Json> {
        let frames = self.frames.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let parsed = frames.iter().filter_map(|frame| serde_json::from_str(frame).ok());
        parsed.flat_map(|frame: Json| if let Json::Array(elements) = frame { elements } else { vec![frame] }).collect()
    }

    /// The alerts that must arrive, by identId.
    pub fn obligated(&self) -> BTreeMap<String, Json> {
        let alerting = self.elements().into_iter().filter(must_alert);
        alerting.map(|element| (text(&element, "identId"), element)).collect()
    }

    /// Compares what arrived by each channel, and what the journal holds, with the model.
    pub fn judge(&self, channels: &[&'static str], received: &[Received], reader: &Reader) -> anyhow::Result<Judgement> {
        let mut judgement = self.judge_alerts(channels, received);
        self.judge_journal(reader, &mut judgement)?;
        Ok(judgement)
    }

    /// As [`Oracle::judge`], without the journal: where the store was set aside, say.
    pub fn judge_alerts(&self, channels: &[&'static str], received: &[Received]) -> Judgement {
        let obligated = self.obligated();
        let mut judgement = Judgement { alerts: obligated.len(), ..Judgement::default() };
        for channel in channels {
            let mut by_ident: BTreeMap<&str, Vec<&Received>> = BTreeMap::new();
            for one in received.iter().filter(|one| one.channel == *channel) {
                by_ident.entry(&one.ident).or_default().push(one);
            }
            let lost = obligated.keys().filter(|ident| !by_ident.contains_key(ident.as_str()));
            judgement.lost.extend(lost.map(|ident| format!("{ident} by {channel}")));
            let mut duplicates = 0;
            for (ident, copies) in by_ident {
                let Some(sent) = obligated.get(ident) else {
                    judgement.invented.push(format!("{ident} by {channel}"));
                    continue;
                };
                duplicates += copies.len() - 1;
                if copies.iter().any(|copy| copy.identity != copies[0].identity) {
                    judgement.renamed.push(format!("{ident} by {channel}"));
                }
                let shows = |copy: &Received| copy.shown.iter().all(|(name, value)| text(sent, name) == *value);
                if copies.iter().any(|copy| copy.bytes != copies[0].bytes || !shows(copy)) {
                    judgement.altered.push(format!("{ident} by {channel}"));
                }
            }
            judgement.duplicates.insert(channel, duplicates);
        }
        judgement
    }

    fn judge_journal(&self, reader: &Reader, judgement: &mut Judgement) -> anyhow::Result<()> {
        let mut sent: BTreeMap<String, i64> = BTreeMap::new();
        for element in self.elements() {
            *sent.entry(element.to_string()).or_default() += 1;
            judgement.events += 1;
        }
        let idents: BTreeSet<String> = self.elements().iter().map(|element| text(element, "identId")).collect();
        let (mut after, mut again) = (Seq(0), Vec::new());
        loop {
            let events = reader.events_after(after, 1_000)?;
            let Some(last) = events.last() else { break };
            after = last.seq;
            for event in &events {
                // Equal as JSON text: names in their order, numbers as they were spelled.
                let raw: Json = serde_json::from_str(&event.raw)?;
                match sent.get_mut(&raw.to_string()) {
                    Some(count) => {
                        *count -= 1;
                        if *count < 0 {
                            let mark = if event.maybe_repeat { "marked" } else { "not marked" };
                            again.push(format!("event {} in the journal, {} and {mark}", event.seq, event.origin.as_str()));
                        }
                    }
                    None if idents.contains(&text(&raw, "identId")) => {
                        judgement.altered.push(format!("event {} in the journal", event.seq));
                    }
                    None => judgement.invented.push(format!("event {} in the journal", event.seq)),
                }
            }
        }
        judgement.invented.extend(again);
        for (element, _) in sent.iter().filter(|(_, count)| **count > 0) {
            let ident = serde_json::from_str(element).map_or_else(|_| element.clone(), |element| text(&element, "identId"));
            judgement.lost.push(format!("{ident} in the journal"));
        }
        Ok(())
    }
}

impl Judgement {
    pub fn holds(&self) -> bool {
        self.lost.is_empty() && self.altered.is_empty() && self.invented.is_empty() && self.renamed.is_empty()
    }

    pub fn duplicates(&self) -> usize {
        self.duplicates.values().sum()
    }

    /// # Errors
    /// When conservation, integrity or "no invention" does not hold.
    pub fn assert(&self) -> anyhow::Result<()> {
        if !self.holds() {
            bail!("{self}");
        }
        Ok(())
    }
}

impl std::fmt::Display for Judgement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = String::new();
        let lists = [("lost", &self.lost), ("altered", &self.altered), ("invented", &self.invented), ("renamed", &self.renamed)];
        for (what, list) in lists {
            let _ = write!(text, ", {} {what}", list.len());
            if !list.is_empty() {
                let _ = write!(text, " ({})", list[..list.len().min(8)].join(", "));
            }
        }
        let duplicates: Vec<_> = self
            .duplicates
            .iter()
            .filter(|(_, count)| **count > 0)
            .map(|(channel, count)| format!("{count} by {channel}"))
            .collect();
        let duplicates = if duplicates.is_empty() { "no".to_owned() } else { duplicates.join(", ") };
        write!(f, "{} events, {} alerts{text}, {duplicates} duplicates", self.events, self.alerts)
    }
}

/// The model: what is an alert.
pub fn must_alert(element: &Json) -> bool {
    element["topic"] == "identResult" && element["status"] == "failed"
}

/// A field as text, as a message shows it.
pub fn text(element: &Json, name: &str) -> String {
    match &element[name] {
        Json::String(text) => text.clone(),
        Json::Null => String::new(),
        other => other.to_string(),
    }
}
