//! The search for everything that one topic sent in a window. There is no `until`, and an answer says nothing about what it left out:
//! a count that is not reached may be the provider's own cap. So an answer is believed to be whole when it reaches back to what the
//! journal has from before the window's unknown part, or, where there is no such thing, when the provider gave a longer one before. Else `since` is
//! bisected for the earliest answer that is whole; what lies before it is the gap.
//!
//! Pure: no clock, no socket. [`Search::request`] says what to ask; the answer comes to [`Search::answered`], [`Search::too_long`] or
//! [`Search::unanswered`].

use chrono::{DateTime, SubsecRound, TimeDelta};

use super::methods::Ask;
use crate::model::{
    signal::{Ground, PastMessages},
    time::Timestamp,
};

/// No request asks for more. What an answer may weigh is `max_message`'s to say, and binds before this does where messages have 70 bytes or more.
const LARGEST_COUNT: u32 = 1_000_000;
/// A full answer is asked for again with so many times the count.
const GROWTH: u32 = 4;
/// Fewer messages than this of a topic of which nothing is journaled are believed to be all: nobody has so small a cap.
const FEW: usize = 10;
/// How exact a gap's end is.
const PRECISION: TimeDelta = TimeDelta::seconds(1);
/// The most steps of a bisection: 2^24 s are half a year.
const STEPS: u32 = 24;
/// Why a gap is told where no request comes to an answer.
const BREAKS: &str = "the connection ended each time that its past messages were asked for";

/// Since when messages of a topic may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    /// What is asked from: reaches back into what is known.
    pub(super) since: Timestamp,
    /// The last that is known to be journaled.
    pub(super) known: Option<Timestamp>,
    /// What a gap begins with.
    pub(super) from: Timestamp,
}

/// What the provider has shown of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Provider {
    /// It wraps its answers: ordinary frames are no answer.
    pub(super) wraps: bool,
    /// It answers by ordinary frames.
    pub(super) frames: bool,
    /// The most messages in one answer.
    pub(super) largest: usize,
}

/// How a search goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Ask,
    /// Everything since the window's beginning is there.
    Whole,
    /// Everything from here on is there; before it, nobody knows.
    Gap {
        until: Timestamp,
        reason: String,
    },
}

#[derive(Clone, Debug)]
enum Step {
    /// Since the window's beginning, with growing counts.
    Grow { count: u32, last: usize },
    /// The answer of so many messages has nothing to be measured by: does the provider give more at once, from any time?
    Probe { number: usize, all: bool },
    /// `low`: known to be cut there; `high`: whole from there. `limit`: so many messages may be all that the provider gives at once;
    /// where none came, what it gave otherwise.
    Bisect { low: Timestamp, mid: Timestamp, high: Timestamp, count: u32, limit: usize, left: u32 },
}

#[derive(Clone, Debug)]
pub(super) struct Search {
    /// As the provider spells it; none: all topics at once.
    pub(super) topic: Option<String>,
    window: Window,
    /// How far before `known` an answer must reach.
    margin: TimeDelta,
    first_count: u32,
    step: Step,
    ground: Ground,
    /// How many messages the first answer to the present request had. It may have been live events in their array form.
    doubted: Option<usize>,
    /// Why it bisects.
    reason: String,
    /// `high` was answered; otherwise it is only the present.
    proven: bool,
}

impl Search {
    pub(super) fn new(topic: Option<String>, window: Window, count: u32, margin: TimeDelta) -> Self {
        let count = count.clamp(1, LARGEST_COUNT);
        Self {
            topic,
            window,
            margin,
            first_count: count,
            step: Step::Grow { count, last: 0 },
            ground: Ground::None,
            doubted: None,
            reason: String::new(),
            proven: false,
        }
    }

    pub(super) fn window(&self) -> Window {
        self.window
    }

    pub(super) fn request(&self) -> Ask {
        let topics = self.topic.iter().cloned().collect();
        let (since, count, known) = match self.step {
            Step::Grow { count, .. } => (self.window.since, count, self.window.known),
            Step::Bisect { mid, count, .. } => (mid, count, None),
            Step::Probe { number, all } => {
                let topics = if all { Vec::new() } else { topics };
                let count = u32::try_from(number).unwrap_or(u32::MAX).saturating_add(1);
                return Ask::Probe(PastMessages { since: DateTime::UNIX_EPOCH, topics, count, known: None });
            }
        };
        Ask::PastMessages(PastMessages { since, topics, count, known })
    }

    /// An answer of so many messages came, and was compared with the journal.
    pub(super) fn answered(&mut self, number: usize, ground: Ground, provider: Provider, now: Timestamp) -> Next {
        let first = self.doubted.take();
        // What does not reach back to known ground is asked for twice, and the fuller answer counts.
        if first.is_none() && self.is_doubtful(number, ground) {
            self.doubted = Some(number);
            return Next::Ask;
        }
        let number = number.max(first.unwrap_or_default());
        match self.step {
            Step::Grow { count, last } => {
                if self.ground != Ground::Met {
                    self.ground = ground;
                }
                if number >= count as usize {
                    if number > last && count < LARGEST_COUNT {
                        self.step = Step::Grow { count: count.saturating_mul(GROWTH).min(LARGEST_COUNT), last: number };
                        return Next::Ask;
                    }
                    return self.cut(number, count, now);
                }
                match self.ground {
                    Ground::Met => Next::Whole,
                    // To measure it would bring what was sent before the journal began.
                    Ground::None if number < FEW && self.window.known.is_none() => Next::Whole,
                    // Of a topic that sends nothing there is nothing to be had, and nothing to measure it by.
                    Ground::None if number == 0 || number < provider.largest => Next::Whole,
                    // It must hold what the journal has of this time: the provider forgot it, or does not answer in earnest.
                    Ground::Missed if number == 0 => Next::Gap {
                        until: now,
                        reason: "the provider gave none of its past messages, not even those that are journaled".to_owned(),
                    },
                    Ground::None if provider.wraps => {
                        self.step = Step::Probe { number, all: false };
                        Next::Ask
                    }
                    Ground::None | Ground::Missed => self.cut(number, count, now),
                }
            }
            Step::Probe { number: before, all } => match (number > before, all || self.topic.is_none()) {
                (true, _) => Next::Whole,
                (false, false) => {
                    self.step = Step::Probe { number: before, all: true };
                    Next::Ask
                }
                (false, true) => self.cut(before, self.first_count.max(u32::try_from(before).unwrap_or(u32::MAX)), now),
            },
            Step::Bisect { count, limit, .. } => {
                let limit = if limit == 0 { provider.largest.max(1) } else { limit };
                self.narrow(number < limit.min(count as usize), now)
            }
        }
    }

    fn is_doubtful(&self, number: usize, ground: Ground) -> bool {
        let count = match self.step {
            Step::Grow { count, .. } | Step::Bisect { count, limit: 0, .. } => count as usize,
            Step::Bisect { count, limit, .. } => limit.min(count as usize),
            Step::Probe { .. } => return false,
        };
        number < count && if number == 0 { ground == Ground::Missed } else { ground != Ground::Met && self.ground != Ground::Met }
    }

    /// The answer was longer than a message may be, or held too many values; the connection is gone with it.
    pub(super) fn too_long(&mut self, now: Timestamp) -> Next {
        match self.step {
            // What was had with a smaller count is too little to go by.
            Step::Grow { count, last } if last > 0 => {
                self.reason = format!(
                    "more than {last} past messages at once are longer than max_message, or hold more values than are read at once"
                );
                self.bisect(count / GROWTH, last, now)
            }
            Step::Grow { count, .. } => {
                "a message of the topic, or what it sent in this time, is longer than max_message, or holds more values than are read at once".clone_into(&mut self.reason);
                self.bisect(count, usize::MAX, now)
            }
            Step::Probe { number, .. } => self.cut(number, self.first_count, now),
            Step::Bisect { .. } => self.narrow(false, now),
        }
    }

    /// The connection ended at this request, again and again: something that is asked for does that.
    pub(super) fn broke(&mut self, now: Timestamp) -> Next {
        match self.step {
            Step::Grow { count, last } => {
                BREAKS.clone_into(&mut self.reason);
                let count = if last > 0 { count / GROWTH } else { count };
                self.bisect(count, last, now)
            }
            Step::Probe { number, .. } => self.cut(number, self.first_count, now),
            Step::Bisect { .. } => self.narrow(false, now),
        }
    }

    /// It never ended otherwise.
    pub(super) fn given_up(&self, now: Timestamp) -> Option<Next> {
        (!self.proven).then(|| Next::Gap { until: now, reason: BREAKS.to_owned() })
    }

    /// Nothing came in time.
    pub(super) fn unanswered(&mut self, provider: Provider, now: Timestamp) -> Next {
        self.doubted = None;
        match self.step {
            // An empty answer of ordinary frames is nothing.
            Step::Grow { .. } if provider.frames && self.window.known.is_none() => Next::Whole,
            Step::Grow { .. } => {
                Next::Gap { until: now, reason: "the provider did not answer the request for past messages".to_owned() }
            }
            Step::Probe { number, .. } => self.cut(number, self.first_count, now),
            Step::Bisect { .. } => self.narrow(provider.frames, now),
        }
    }

    /// The connection was lost and stands again: what was whole from `high` on is not any more.
    pub(super) fn resumed(&mut self, now: Timestamp) {
        self.doubted = None;
        let proven = self.proven;
        match &mut self.step {
            Step::Bisect { mid, high, .. } if proven => *mid = *high,
            Step::Bisect { low, mid, high, .. } => {
                *high = now;
                *mid = middle(*low, *high);
            }
            Step::Grow { .. } | Step::Probe { .. } => self.step = Step::Grow { count: self.first_count, last: 0 },
        }
    }

    /// Whether it has begun to bisect: worth to be kept when the connection is lost.
    pub(super) fn bisects(&self) -> bool {
        matches!(self.step, Step::Bisect { .. })
    }

    fn cut(&mut self, number: usize, count: u32, now: Timestamp) -> Next {
        self.reason = if number >= LARGEST_COUNT as usize {
            format!("no more than {LARGEST_COUNT} past messages of a topic are asked for at once")
        } else {
            format!("the provider gives no more than {number} past messages at once")
        };
        self.bisect(count, number, now)
    }

    fn bisect(&mut self, count: u32, limit: usize, now: Timestamp) -> Next {
        let low = self.window.since;
        let high = now.max(low);
        // Mostly it is enough to reach back a little behind what is known.
        let ground = self.window.known.map(|known| (known - self.margin).trunc_subsecs(3));
        let mid = ground.filter(|ground| low < *ground && *ground < high).unwrap_or_else(|| middle(low, high));
        self.proven = false;
        self.step = Step::Bisect { low, mid, high, count: count.max(1), limit, left: STEPS };
        if high - low <= PRECISION { self.gap(high) } else { Next::Ask }
    }

    fn narrow(&mut self, whole: bool, now: Timestamp) -> Next {
        let Step::Bisect { low, mid, high, left, .. } = &mut self.step else { return Next::Whole };
        if whole {
            (*high, self.proven) = (*mid, true);
        } else if mid == high {
            // What was whole is not any more: too much came since.
            (*low, *high, self.proven) = (*mid, now, false);
        } else {
            *low = *mid;
        }
        *left = left.saturating_sub(1);
        let until = *high;
        if *high - *low <= PRECISION || *left == 0 {
            return self.gap(until);
        }
        *mid = middle(*low, *high);
        Next::Ask
    }

    fn gap(&self, until: Timestamp) -> Next {
        if self.window.known.is_some_and(|known| until <= known - self.margin) {
            return Next::Whole;
        }
        Next::Gap { until, reason: self.reason.clone() }
    }
}

/// Cut to what a request can say.
fn middle(low: Timestamp, high: Timestamp) -> Timestamp {
    (low + (high - low) / 2).trunc_subsecs(3)
}

#[cfg(test)]
mod tests;
