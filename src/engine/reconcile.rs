//! What an answer to a request for past messages brings, against what the journal has: nothing twice, no twin swallowed.
//!
//! Messages carry no identity, so hashes are compared as a multiset: two equal events are two events. An answer in an array, or in an
//! object that holds one, is told from live frames by that; each of its elements uses up one copy that was journaled within the window
//! or came live while the request was open, and what finds no copy left was missed. An answer may also come as ordinary frames: then
//! each uses up one copy that was journaled before the request, at most as many as there are, and only the surplus is appended. If
//! the answer then proves to be an array, or none came at all, those frames were live events after all and are given back.
//!
//! Pure: no clock, no store. [`Reconciler::open`] at `Signal::RequestOpened`, [`Reconciler::take`] for every element of that feed until
//! `Signal::RequestClosed`, then [`Reconciler::close`].

use std::collections::HashMap;

use crate::model::{
    event::{Element, Origin},
    hash::Digest,
    signal::{Answer, PastMessages},
    topic,
};

#[cfg(test)]
mod tests;

/// What becomes of an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// To be journaled; its origin and marks are set.
    Append,
    /// The journal has it: counted, nothing else.
    AlreadyHad,
}

/// What a request came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReconcileStats {
    /// Elements that the journal had; those given back are not among them.
    pub had: u64,
    /// Appended from the answer: they were missed.
    pub back_filled: u64,
    /// Appended as live.
    pub live: u64,
    /// Ordinary frames that may have been an answer or a live event.
    pub ambiguous: u64,
    /// Appended and marked, since they were known from before the window.
    pub maybe_repeats: u64,
}

/// The end of a request.
#[derive(Debug)]
pub struct Closed {
    pub stats: ReconcileStats,
    /// Elements that were taken for the answer and were live events: to be appended now, in this order.
    pub given_back: Vec<Element>,
    /// An array brought only what was missed, and nothing of what the journal has from the same window: it does not reach back to
    /// known ground, however few it holds, and what lies between may be missing.
    pub detached: bool,
}

/// One open request.
#[derive(Debug)]
pub struct Reconciler {
    request: PastMessages,
    copies: HashMap<Digest, Copies>,
    /// What ordinary frames used up.
    withheld: Vec<Element>,
    /// An array came: ordinary frames from here on are live.
    answered: bool,
    stats: ReconcileStats,
}

/// Of one hash.
#[derive(Clone, Copy, Debug, Default)]
struct Copies {
    /// Journaled in the window before the request was opened.
    journaled: u64,
    /// Appended as live since.
    live: u64,
    used_by_array: u64,
    used_by_frames: u64,
    /// Elements of the answer beyond every copy.
    surplus: u64,
}

impl Reconciler {
    /// `journaled`: how often each hash was journaled from `request.since` on, for its topics.
    #[must_use]
    pub fn open(request: PastMessages, journaled: Vec<(Digest, u64)>) -> Self {
        let mut copies: HashMap<Digest, Copies> = HashMap::with_capacity(journaled.len());
        for (hash, count) in journaled {
            copies.entry(hash).or_default().journaled += count;
        }
        Self { request, copies, withheld: Vec::new(), answered: false, stats: ReconcileStats::default() }
    }

    #[must_use]
    pub fn request(&self) -> &PastMessages {
        &self.request
    }

    /// Decides about one element that arrived. `wrapped`: its frame was an array or held one. `known_before`: whether the journal has
    /// this hash from before the window; asked only for a surplus.
    pub fn take(&mut self, element: &mut Element, wrapped: bool, known_before: impl FnOnce(&Digest) -> bool) -> Taken {
        if wrapped { self.take_wrapped(element, known_before) } else { self.take_frame(element, known_before) }
    }

    fn take_wrapped(&mut self, element: &mut Element, known_before: impl FnOnce(&Digest) -> bool) -> Taken {
        self.answered = true;
        let copies = self.copies.entry(element.hash).or_default();
        if copies.used_by_array < copies.journaled + copies.live {
            copies.used_by_array += 1;
            self.stats.had += 1;
            return Taken::AlreadyHad;
        }
        copies.surplus += 1;
        element.origin = Origin::BackFill;
        element.late = true;
        self.stats.back_filled += 1;
        self.mark_repeat(element, known_before);
        Taken::Append
    }

    fn take_frame(&mut self, element: &mut Element, known_before: impl FnOnce(&Digest) -> bool) -> Taken {
        let may_answer = !self.answered && self.asks_for(&element.topic);
        let copies = self.copies.entry(element.hash).or_default();
        if may_answer && copies.used_by_frames < copies.journaled {
            copies.used_by_frames += 1;
            self.stats.had += 1;
            self.stats.ambiguous += 1;
            self.withheld.push(element.clone());
            return Taken::AlreadyHad;
        }
        copies.live += 1;
        self.stats.live += 1;
        if may_answer && self.mark_repeat(element, known_before) {
            self.stats.ambiguous += 1;
        }
        Taken::Append
    }

    /// A surplus that the window has no copy of, and the time before it has, may be one that was judged already.
    fn mark_repeat(&mut self, element: &mut Element, known_before: impl FnOnce(&Digest) -> bool) -> bool {
        let in_window = self.copies.get(&element.hash).is_some_and(|copies| copies.journaled > 0);
        element.maybe_repeat = !in_window && known_before(&element.hash);
        self.stats.maybe_repeats += u64::from(element.maybe_repeat);
        element.maybe_repeat
    }

    fn asks_for(&self, name: &str) -> bool {
        let canonical = |asked: &str| topic::find(asked).map_or(asked == name, |topic| topic.name == name);
        self.request.topics.is_empty() || self.request.topics.iter().any(|asked| canonical(asked))
    }

    /// The request is over.
    #[must_use]
    pub fn close(mut self, answer: &Answer) -> Closed {
        let mut given_back = Vec::new();
        if self.answered || matches!(answer, Answer::Wrapped { .. } | Answer::None) {
            for element in std::mem::take(&mut self.withheld) {
                match self.copies.get_mut(&element.hash) {
                    // The array brought it as a surplus.
                    Some(copies) if copies.surplus > 0 => copies.surplus -= 1,
                    _ => given_back.push(element),
                }
            }
        }
        let count = given_back.len() as u64;
        self.stats.had -= count;
        self.stats.live += count;
        let known = self.copies.values().any(|copies| copies.journaled > 0);
        let met = self.copies.values().any(|copies| copies.journaled > 0 && copies.used_by_array > 0);
        let detached = self.stats.back_filled > 0 && known && !met;
        Closed { stats: self.stats, given_back, detached }
    }
}
