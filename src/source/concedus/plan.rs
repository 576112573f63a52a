//! What is asked after each connect, and since when: the lists of topics, then the past messages of each topic that is owed some. What is
//! owed outlives connections and, as the feed's position in the journal, the process.

use std::collections::{BTreeMap, VecDeque};

use chrono::{SubsecRound, TimeDelta};
use serde::{Deserialize, Serialize};

use super::{
    methods::Ask,
    search::{Next, Provider, Search, Window},
};
use crate::{
    config::feeds::{BackfillConfig, StartFrom},
    model::{
        signal::{Answer, Ground, Latest},
        time::Timestamp,
        topic,
    },
};

/// A topic that the provider does not name, but sent within this time before the connection was lost, is asked for as well.
const UNNAMED: TimeDelta = TimeDelta::days(1);
/// So many of them at most: their names are a stranger's.
const UNNAMED_TOPICS: usize = 20;
/// A connection ends now and then, whatever is asked; so many in a row at the requests for one topic are no chance.
const BREAKS: u32 = 3;

/// What can't be proven complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unproven {
    pub(super) topics: Vec<String>,
    pub(super) since: Timestamp,
    pub(super) until: Timestamp,
    pub(super) reason: String,
}

/// What is owed: kept until requests were answered, since live events of a connection whose requests broke move what was last heard on,
/// but not past the gap.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Owed {
    /// No request reaches back before: the beginning that was chosen for an empty journal.
    #[serde(skip_serializing_if = "Option::is_none")]
    begun: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<Timestamp>,
    /// When the feed was last heard before that.
    #[serde(skip_serializing_if = "Option::is_none")]
    known: Option<Timestamp>,
    /// Topics that are ahead of the others: answered, or owed only since later.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    ahead: BTreeMap<String, Option<Later>>,
    /// What lies before is a gap that was told: it is not asked for again.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    told: BTreeMap<String, Timestamp>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    wraps: bool,
    /// As the provider named them last.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    enabled: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Later {
    since: Timestamp,
    known: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Available,
    Enabled,
    LineUp,
    Past,
    Done,
}

/// The questions of a connection, and what is owed across connections.
#[derive(Debug)]
pub(super) struct Plan {
    config: BackfillConfig,
    step: Step,
    owed: Owed,
    /// What the journal has of `owed`.
    noted: Owed,
    /// What was heard before this connection.
    heard: Latest,
    /// As the provider named them at this connect, or the one before where it does not.
    enabled: Vec<String>,
    queue: VecDeque<Search>,
    current: Option<Search>,
    /// Searches that bisected when their connection was lost, by topic.
    broken: BTreeMap<String, Search>,
    /// How many connections ended at a topic's requests since one came to an end.
    breaks: BTreeMap<String, u32>,
    /// To be told together, when all topics were asked for, or when nothing comes of asking.
    unproven: Vec<Unproven>,
    /// To be told now.
    due: Vec<Unproven>,
    provider: Provider,
}

impl Plan {
    pub(super) fn new(config: BackfillConfig) -> Self {
        Self {
            config,
            step: Step::Done,
            owed: Owed::default(),
            noted: Owed::default(),
            heard: Latest::new(),
            enabled: Vec::new(),
            queue: VecDeque::new(),
            current: None,
            broken: BTreeMap::new(),
            breaks: BTreeMap::new(),
            unproven: Vec::new(),
            due: Vec::new(),
            provider: Provider::default(),
        }
    }

    /// Takes up what an earlier process left owed: the position that was journaled last.
    pub(super) fn resume(&mut self, position: Option<&str>) {
        let Some(position) = position.filter(|position| !position.is_empty()) else { return };
        match serde_json::from_str(position) {
            Ok(owed) => self.owed = owed,
            Err(error) => tracing::error!(%error, "what this feed owes can't be read back; going on from what was last heard"),
        }
        self.provider.wraps = self.owed.wraps;
        self.owed.enabled.clone_into(&mut self.enabled);
        self.noted = self.owed.clone();
    }

    /// Fixes what a connection that is about to be tried will ask. Called before it stands, since its own events move `heard`.
    pub(super) fn connecting(&mut self, heard: Latest, now: Timestamp) {
        let last = heard.values().max().copied();
        let since = match (last, self.config.start_from, self.owed.begun) {
            (Some(last), ..) => Some(self.not_before(last - self.config.overlap.delta())),
            // A journal that was found empty began then: whatever happened since the first try is owed.
            (None, _, Some(begun)) => Some(begun),
            (None, StartFrom::At(at), None) => {
                self.owed.begun = Some(at);
                Some(at)
            }
            (None, StartFrom::Now, None) => {
                self.owed.begun = Some(now);
                None
            }
        };
        // Cut to what a request can say: a window that is compared from a later moment than it was asked from takes what the journal
        // has of the time between for missed.
        let since = since.map(|since| since.trunc_subsecs(3));
        match (self.owed.since, since) {
            (Some(owed), Some(since)) => {
                self.owed.since = Some(owed.min(since));
                for later in self.owed.ahead.values_mut().filter(|later| later.is_none()) {
                    *later = Some(Later { since, known: last });
                }
            }
            (None, since) => {
                (self.owed.since, self.owed.known) = (since, last);
                self.owed.ahead.clear();
            }
            (Some(_), None) => {}
        }
        self.heard = heard;
        self.step = Step::Available;
        self.queue.clear();
        self.current = None;
        self.unproven.clear();
    }

    /// What the next frame carries as its position, committed with its events. None as long as the journal has it.
    pub(super) fn position(&mut self) -> Option<String> {
        if self.noted == self.owed {
            return None;
        }
        self.noted = self.owed.clone();
        // Stamps and texts always serialise.
        Some(serde_json::to_string(&self.owed).unwrap_or_default())
    }

    /// Whether nothing is owed: the journal begins now.
    pub(super) fn begins_now(&self) -> bool {
        self.owed.since.is_none()
    }

    /// Where an empty journal began.
    pub(super) fn begun(&self) -> Option<Timestamp> {
        self.owed.begun
    }

    /// Whether ordinary frames are no answer.
    pub(super) fn wraps(&self) -> bool {
        self.provider.wraps
    }

    /// The provider named the topics that it sends. Answers what it named before, if it ever did.
    pub(super) fn topics(&mut self, enabled: &[String]) -> Option<Vec<String>> {
        enabled.clone_into(&mut self.enabled);
        if enabled.is_empty() {
            return None;
        }
        let before = std::mem::replace(&mut self.owed.enabled, enabled.to_vec());
        Some(before).filter(|before| !before.is_empty())
    }

    pub(super) fn next(&mut self, now: Timestamp) -> Option<Ask> {
        match self.step {
            Step::Available => {
                self.step = Step::Enabled;
                Some(Ask::AvailableTopics)
            }
            Step::Enabled => {
                self.step = Step::LineUp;
                Some(Ask::EnabledTopics)
            }
            Step::LineUp => {
                self.step = Step::Past;
                self.line_up(now);
                self.next(now)
            }
            Step::Past => {
                if self.current.is_none() {
                    self.current = self.queue.pop_front();
                }
                if self.current.is_none() {
                    self.over();
                }
                self.current.as_ref().map(Search::request)
            }
            Step::Done => None,
        }
    }

    /// The topics that are owed something, those with troubles last.
    fn line_up(&mut self, now: Timestamp) {
        let Some(owed) = self.owed.since else { return };
        let mut topics: Vec<Option<String>> = self.enabled.iter().cloned().map(Some).collect();
        if topics.is_empty() {
            topics.push(None);
        } else {
            let recent = |at: Timestamp| self.owed.known.is_none_or(|known| at >= known - UNNAMED);
            let named: Vec<&str> = self.enabled.iter().map(|name| canonical(name)).collect();
            let unnamed =
                self.heard.iter().filter(|(name, at)| recent(**at) && !name.is_empty() && !named.contains(&name.as_str()));
            topics.extend(unnamed.take(UNNAMED_TOPICS).map(|(name, _)| Some(name.to_string())));
        }
        let mut seen = Vec::new();
        for topic in topics {
            let key = key(topic.as_deref());
            if seen.contains(&key) || matches!(self.owed.ahead.get(&key), Some(None)) {
                continue;
            }
            seen.push(key.clone());
            if let Some(mut search) = self.broken.remove(&key) {
                search.resumed(now);
                self.queue.push_back(search);
                continue;
            }
            let window = self.window(&key, owed);
            let margin = self.config.overlap.delta() / 10;
            self.queue.push_front(Search::new(topic, window, self.config.count, margin));
        }
    }

    fn window(&mut self, key: &str, owed: Timestamp) -> Window {
        let later = self.owed.ahead.get(key).copied().flatten();
        let (mut since, mut known) = later.map_or((owed, self.owed.known), |later| (later.since, later.known));
        let mut from = since;
        let last = if key.is_empty() { known } else { self.heard.get(key).copied() };
        // Back to the last message of the topic itself, however long ago: so that there is something that the answer must hold.
        if let Some(last) = last.filter(|last| known.is_none_or(|known| *last <= known)) {
            since = since.min(self.not_before((last - self.config.overlap.delta()).trunc_subsecs(3)));
            known = Some(last);
        }
        if let Some(told) = self.owed.told.get(key).copied() {
            if told <= since {
                self.owed.told.remove(key);
            }
            (since, from) = (since.max(told), from.max(told));
        }
        Window { since, known, from }
    }

    fn not_before(&self, since: Timestamp) -> Timestamp {
        self.owed.begun.map_or(since, |begun| since.max(begun))
    }

    /// A request for past messages was closed without an answer to be compared.
    pub(super) fn unanswered(&mut self, answer: &Answer, now: Timestamp) {
        if *answer != Answer::None {
            return self.broke(now);
        }
        let provider = self.provider;
        if let Some(search) = &mut self.current {
            let next = search.unanswered(provider, now);
            self.go_on(next);
        }
    }

    /// A request was answered, and how far back that reaches is known.
    pub(super) fn answered(&mut self, answer: &Answer, ground: Ground, now: Timestamp) {
        let (number, wrapped) = match answer {
            Answer::Wrapped { messages } => (*messages, true),
            Answer::Unwrapped { messages } => (*messages, false),
            Answer::None | Answer::Broken => return,
        };
        // An array that lacks what the journal has may be live events in their array form.
        self.provider.wraps |= wrapped && ground == Ground::Met;
        self.provider.frames |= !wrapped;
        self.owed.wraps = self.provider.wraps;
        let provider = Provider { wraps: self.provider.wraps || wrapped, ..self.provider };
        self.provider.largest = provider.largest.max(number);
        if let Some(search) = &mut self.current {
            let next = search.answered(number, ground, provider, now);
            self.go_on(next);
        }
    }

    /// The open request's answer is longer than a message may be: the connection ends with it.
    pub(super) fn too_long(&mut self, now: Timestamp) {
        if let Some(search) = &mut self.current {
            // Whatever is next, it is for another connection, which must see first that nothing came in between.
            search.too_long(now);
            self.keep_current();
        }
    }

    /// What is to be told now. It has to be on its way before the position that no longer owes it.
    pub(super) fn unproven(&mut self) -> Vec<Unproven> {
        std::mem::take(&mut self.due)
    }

    /// The connection ended at the open request. It is made again after the next connect; after some of these for less, and in the end
    /// what it asks for is a gap.
    fn broke(&mut self, now: Timestamp) {
        let Some(mut search) = self.current.take() else { return };
        let key = key(search.topic.as_deref());
        let breaks = self.breaks.entry(key).or_default();
        *breaks += 1;
        let next = match *breaks {
            ..BREAKS => Next::Ask,
            _ if *breaks >= 2 * BREAKS => search.given_up(now).unwrap_or_else(|| search.broke(now)),
            _ => search.broke(now),
        };
        self.current = Some(search);
        if next == Next::Ask {
            return self.keep_current();
        }
        self.go_on(next);
        // Those of other topics as well: nothing says that all will ever be asked for on one connection.
        self.tell();
    }

    fn keep_current(&mut self) {
        if let Some(search) = self.current.take().filter(Search::bisects) {
            self.broken.insert(key(search.topic.as_deref()), search);
        }
    }

    fn go_on(&mut self, next: Next) {
        let (until, reason) = match next {
            Next::Ask => return,
            Next::Whole => {
                if let Some(search) = self.current.take() {
                    self.breaks.remove(&key(search.topic.as_deref()));
                    self.owed.ahead.insert(key(search.topic.as_deref()), None);
                }
                return;
            }
            Next::Gap { until, reason } => (until, reason),
        };
        let Some(search) = self.current.take() else { return };
        self.breaks.remove(&key(search.topic.as_deref()));
        let since = search.window().from.min(until);
        let topics: Vec<String> = search.topic.into_iter().collect();
        let same = self.unproven.iter_mut().find(|told| (told.since, told.until, &told.reason) == (since, until, &reason));
        match same {
            Some(told) => told.topics.extend(topics),
            None => self.unproven.push(Unproven { topics, since, until, reason }),
        }
    }

    fn tell(&mut self) {
        for told in &self.unproven {
            let topics = if told.topics.is_empty() { vec![String::new()] } else { told.topics.clone() };
            self.owed.told.extend(topics.into_iter().map(|topic| (key(Some(&topic)), told.until)));
        }
        self.due.append(&mut self.unproven);
    }

    /// All topics were asked for: what can't be proven is told, and nothing is owed any more.
    fn over(&mut self) {
        self.step = Step::Done;
        self.tell();
        (self.owed.since, self.owed.known) = (None, None);
        self.owed.ahead.clear();
    }
}

fn key(topic: Option<&str>) -> String {
    topic.map_or_else(String::new, |topic| canonical(topic).to_owned())
}

fn canonical(name: &str) -> &str {
    topic::find(name).map_or(name, |topic| topic.name)
}

#[cfg(test)]
mod tests;
