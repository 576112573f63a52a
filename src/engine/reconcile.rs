//! What an answer to a request for past messages brings, against what the journal has: nothing twice, no twin swallowed.
//!
//! Messages carry no identity, so hashes are compared as a multiset: two equal events are two events. An answer in an array, or in an
//! object that holds one, is told from live frames by that; each of its elements uses up one copy that was journaled within the window
//! or came live while the request was open, and what finds no copy left was missed. An answer may also come as ordinary frames: then
//! each uses up one copy that was journaled before the request, at most as many as there are, and only the surplus is appended. If
//! the answer then proves to be an array, or none came at all, those frames were live events after all and are given back.
//!
//! Pure: no clock, no store. [`Reconciler::open`] at `Signal::RequestOpened`, [`Reconciler::load`] before an element's hash is first seen,
//! [`Reconciler::take`] for every element of that feed until `Signal::RequestClosed`, then [`Reconciler::close`].

use std::{collections::HashMap, fmt};

use crate::{
    model::{
        event::{Element, Origin},
        hash::Digest,
        signal::{Answer, PastMessages},
        topic,
    },
    store::Copies,
};

#[cfg(test)]
mod tests;

/// What becomes of an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// To be journaled; its origin is set.
    Append,
    /// To be journaled. The window has no copy of it that is left: if the time before it has one, it may be that, which was judged already
    /// ([`Reconciler::mark_repeat`]).
    AppendUnlessKnown,
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

impl ReconcileStats {
    /// Whether it brought anything that was not known, or may not have been.
    #[must_use]
    pub fn is_news(&self) -> bool {
        self.back_filled + self.ambiguous + self.maybe_repeats > 0
    }
}

impl fmt::Display for ReconcileStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} were missed, {} were known", self.back_filled, self.had)?;
        if self.live > 0 {
            write!(f, ", {} came live meanwhile", self.live)?;
        }
        if self.ambiguous > 0 {
            write!(f, ", {} may be either", self.ambiguous)?;
        }
        if self.maybe_repeats > 0 {
            write!(f, ", {} marked as possible repeats", self.maybe_repeats)?;
        }
        Ok(())
    }
}

/// The end of a request.
#[derive(Debug)]
pub struct Closed {
    pub stats: ReconcileStats,
    /// Elements that were taken for the answer and were live events: to be appended now, in this order.
    pub given_back: Vec<Element>,
    /// It brought something of what is known to be journaled from before the window's unknown part.
    pub met: bool,
    /// What an array brought beyond every copy, and how often. The same may still be under way as a live frame.
    pub surplus: HashMap<Digest, u64>,
}

/// One open request.
#[derive(Debug)]
pub struct Reconciler {
    request: PastMessages,
    /// Ordinary frames may be the answer.
    frames: bool,
    copies: HashMap<Digest, Tally>,
    /// What ordinary frames used up.
    withheld: Vec<Element>,
    /// An array came: ordinary frames from here on are live.
    answered: bool,
    met: bool,
    stats: ReconcileStats,
}

/// Of one hash.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    /// Journaled in the window before the request was opened; none as long as nobody looked.
    journaled: Option<u64>,
    /// One of them came live before the window's unknown part.
    ground: bool,
    /// Appended as live since.
    live: u64,
    used_by_array: u64,
    used_by_frames: u64,
    /// Elements of the answer beyond every copy.
    surplus: u64,
}

impl Tally {
    fn journaled(&self) -> u64 {
        self.journaled.unwrap_or_default()
    }
}

impl Reconciler {
    /// `frames`: ordinary frames may be the answer.
    #[must_use]
    pub fn open(request: PastMessages, frames: bool) -> Self {
        let (copies, withheld) = (HashMap::new(), Vec::new());
        Self { request, frames, copies, withheld, answered: false, met: false, stats: ReconcileStats::default() }
    }

    #[must_use]
    pub fn request(&self) -> &PastMessages {
        &self.request
    }

    /// Whether the journal has to be asked about the element before it can be taken.
    #[must_use]
    pub fn needs(&self, element: &Element, wrapped: bool) -> bool {
        (wrapped || self.may_answer(element)) && self.copies.get(&element.hash).is_none_or(|tally| tally.journaled.is_none())
    }

    /// What the journal had of these hashes when the request was opened, from `request.since` on; nothing of those that are not among
    /// `found`.
    pub fn load(&mut self, asked: &[Digest], found: &HashMap<Digest, Copies>) {
        for hash in asked {
            let tally = self.copies.entry(*hash).or_default();
            let copies = found.get(hash);
            tally.journaled = Some(copies.map_or(0, |copies| copies.count));
            let live = copies.and_then(|copies| copies.first_live);
            tally.ground = live.zip(self.request.known).is_some_and(|(live, known)| live <= known);
        }
    }

    /// Decides about one element that arrived. `wrapped`: its frame is the answer.
    pub fn take(&mut self, element: &mut Element, wrapped: bool) -> Taken {
        if wrapped { self.take_wrapped(element) } else { self.take_frame(element) }
    }

    fn take_wrapped(&mut self, element: &mut Element) -> Taken {
        self.answered = true;
        let tally = self.copies.entry(element.hash).or_default();
        self.met |= tally.ground;
        if tally.used_by_array < tally.journaled() + tally.live {
            tally.used_by_array += 1;
            self.stats.had += 1;
            return Taken::AlreadyHad;
        }
        tally.surplus += 1;
        element.origin = Origin::BackFill;
        element.late = true;
        self.stats.back_filled += 1;
        if tally.journaled() == 0 { Taken::AppendUnlessKnown } else { Taken::Append }
    }

    fn take_frame(&mut self, element: &mut Element) -> Taken {
        element.origin = Origin::Live;
        element.late = false;
        let may_answer = self.may_answer(element);
        let tally = self.copies.entry(element.hash).or_default();
        if may_answer && tally.used_by_frames < tally.journaled() {
            tally.used_by_frames += 1;
            self.met |= tally.ground;
            self.stats.had += 1;
            self.stats.ambiguous += 1;
            self.withheld.push(element.clone());
            return Taken::AlreadyHad;
        }
        tally.live += 1;
        self.stats.live += 1;
        // Of equal ones within the window and before it the answer may bring both.
        if may_answer { Taken::AppendUnlessKnown } else { Taken::Append }
    }

    /// The journal has the element from before the window: it may be one that was judged already.
    pub fn mark_repeat(&mut self, element: &mut Element) {
        element.maybe_repeat = true;
        self.stats.maybe_repeats += 1;
        self.stats.ambiguous += 1;
    }

    /// Whether ordinary frames may be the answer, still.
    #[must_use]
    pub fn frames_may_answer(&self) -> bool {
        self.frames && !self.answered
    }

    fn may_answer(&self, element: &Element) -> bool {
        self.frames_may_answer() && self.asks_for(&element.topic)
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
                    Some(tally) if tally.surplus > 0 => tally.surplus -= 1,
                    _ => given_back.push(element),
                }
            }
        }
        let count = given_back.len() as u64;
        self.stats.had -= count;
        self.stats.ambiguous -= count;
        self.stats.live += count;
        let surplus = self.copies.into_iter().filter(|(_, tally)| tally.surplus > 0);
        let surplus = surplus.map(|(hash, tally)| (hash, tally.surplus)).collect();
        Closed { stats: self.stats, given_back, met: self.met, surplus }
    }
}
