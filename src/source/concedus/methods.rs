//! What is asked after each connect, and since when. The socket asks one thing at a time and reports each answer here.
//!
//! This is the seam of back-fill: today one request for all topics, its `count` doubled until the answer is shorter than asked or
//! stops growing. Asking topic by topic and bisecting `since` (design.md, "Back-fill") changes this file only.

use std::fmt::Write as _;

use chrono::{DateTime, SecondsFormat, SubsecRound};

use crate::{
    config::feeds::{BackfillConfig, StartFrom},
    model::{
        signal::{Answer, PastMessages},
        time::Timestamp,
    },
};

/// A position's beginning; a stamp follows.
const OWED: &str = "owed since ";

/// `count` is never doubled beyond this.
const LARGEST_COUNT: u32 = 100_000;

/// One question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    AvailableTopics,
    EnabledTopics,
    PastMessages(PastMessages),
}

impl Ask {
    pub(super) fn method(&self) -> &'static str {
        match self {
            Self::AvailableTopics => "getAvailableTopics",
            Self::EnabledTopics => "getEnabledTopics",
            Self::PastMessages(_) => "getLastMessages",
        }
    }

    /// The frame that asks.
    pub(super) fn frame(&self) -> String {
        let mut text = format!(r#"{{"topic":"method","method":"{}""#, self.method());
        if let Self::PastMessages(request) = self {
            // As documented: milliseconds and an offset with a colon. Cut, never rounded up.
            let since = request.since.format("%Y-%m-%dT%H:%M:%S%.3f+00:00");
            let _ = write!(text, r#","since":"{since}","count":{}"#, request.count);
            if !request.topics.is_empty() {
                let _ = write!(text, r#","topics":{}"#, serde_json::json!(request.topics));
            }
        }
        text.push('}');
        text
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Available,
    Enabled,
    Past,
    Done,
}

/// The questions of a connection, and what is owed across connections.
#[derive(Debug)]
pub(super) struct Plan {
    config: BackfillConfig,
    step: Step,
    /// What the next request asks for.
    count: u32,
    /// No request asks for more: an answer of this size broke the socket's limit.
    ceiling: u32,
    /// How many messages the last full answer held.
    last_full: usize,
    /// When this process first tried to connect on an empty journal that begins now.
    begun: Option<Timestamp>,
    /// Messages since here may be missing. Kept until a request was answered: live events of a connection whose request broke
    /// move the journal's last receive time on, but not past the gap.
    owed: Option<Timestamp>,
    /// What the journal has of `owed`: it must outlive the process for the same reason.
    noted: Option<Timestamp>,
    /// The provider was seen to wrap its answers: ordinary frames are then no answer.
    pub(super) wraps: bool,
}

impl Plan {
    pub(super) fn new(config: BackfillConfig) -> Self {
        let count = config.count.max(1);
        Self {
            config,
            step: Step::Done,
            count,
            ceiling: LARGEST_COUNT.max(count),
            last_full: 0,
            begun: None,
            owed: None,
            noted: None,
            wraps: false,
        }
    }

    /// Takes up what an earlier process left owed: the position that was journaled last.
    pub(super) fn resume(&mut self, position: Option<&str>) {
        self.owed = position.and_then(owed_since);
        self.noted = self.owed;
    }

    /// Fixes what a connection that is about to be tried will ask. Called before it stands, since its own events move
    /// `last_received`.
    pub(super) fn connecting(&mut self, last_received: Option<Timestamp>, now: Timestamp) {
        let since = match (last_received, self.config.start_from) {
            (Some(last), _) => {
                let since = last - self.config.overlap.delta();
                // An overlap never reaches back before a beginning that was chosen.
                Some(self.begun.map_or(since, |begun| since.max(begun)))
            }
            (None, StartFrom::At(at)) => Some(at),
            // A journal that was found empty began then: whatever happened since the first try is owed.
            (None, StartFrom::Now) => {
                let again = self.begun.is_some();
                let begun = *self.begun.get_or_insert(now);
                again.then_some(begun)
            }
        };
        // Cut to what the request can say: a window that is compared from a later moment than it was asked from takes what the journal
        // has of the time between for missed.
        let since = since.map(|since| since.trunc_subsecs(3));
        self.owed = match (self.owed, since) {
            (Some(owed), Some(since)) => Some(owed.min(since)),
            (owed, since) => owed.or(since),
        };
        self.step = Step::Available;
        self.count = self.config.count.clamp(1, self.ceiling.max(1));
        self.last_full = 0;
    }

    /// What the next frame carries as its position, committed with its events: since when messages are owed, or an empty text once none
    /// are. None as long as the journal has it.
    pub(super) fn position(&mut self) -> Option<String> {
        if self.noted == self.owed {
            return None;
        }
        self.noted = self.owed;
        Some(self.owed.map_or_else(String::new, |since| format!("{OWED}{}", since.to_rfc3339_opts(SecondsFormat::Micros, true))))
    }

    /// Whether nothing is owed: the journal begins now.
    pub(super) fn begins_now(&self) -> bool {
        self.owed.is_none()
    }

    pub(super) fn next(&mut self) -> Option<Ask> {
        match self.step {
            Step::Available => {
                self.step = Step::Enabled;
                Some(Ask::AvailableTopics)
            }
            Step::Enabled => {
                self.step = Step::Past;
                Some(Ask::EnabledTopics)
            }
            Step::Past if self.ceiling == 0 => {
                self.step = Step::Done;
                tracing::error!("past messages are not asked for: even one of them is longer than max_message; a gap may remain");
                None
            }
            Step::Past => {
                self.step = Step::Done;
                let since = self.owed?;
                Some(Ask::PastMessages(PastMessages { since, topics: Vec::new(), count: self.count }))
            }
            Step::Done => None,
        }
    }

    /// A request for past messages was closed.
    pub(super) fn answered(&mut self, request: &PastMessages, answer: &Answer) {
        let messages = match answer {
            Answer::Broken => return,
            Answer::None => {
                self.owed = None;
                return;
            }
            Answer::Wrapped { messages } => {
                self.wraps = true;
                *messages
            }
            Answer::Unwrapped { messages } => *messages,
        };
        let full = messages >= request.count as usize;
        let grew = messages > self.last_full;
        let larger = request.count.saturating_mul(2).min(self.ceiling);
        if full && grew && larger > request.count {
            self.last_full = messages;
            self.count = larger;
            self.step = Step::Past;
            return;
        }
        if full || (self.last_full > 0 && !grew) {
            tracing::warn!(
                asked = request.count,
                messages,
                since = %request.since,
                "the provider gives no more past messages than this: what lies before the oldest of them may be missing"
            );
        }
        self.owed = None;
    }

    /// The open request's answer broke the socket's limit: ask for less from now on, and in the end not at all, so that live
    /// events are not held up for ever.
    pub(super) fn too_large(&mut self, request: &PastMessages) {
        self.ceiling = request.count / 2;
    }
}

/// Reads a position back.
fn owed_since(position: &str) -> Option<Timestamp> {
    DateTime::parse_from_rfc3339(position.strip_prefix(OWED)?).map(|since| since.to_utc()).ok()
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    fn at(minute: i64) -> Timestamp {
        chrono::DateTime::from_timestamp(1_700_000_000 + minute * 60, 0).unwrap()
    }

    fn plan(start_from: StartFrom) -> Plan {
        Plan::new(BackfillConfig { start_from, ..BackfillConfig::default() })
    }

    fn past(plan: &mut Plan) -> Option<PastMessages> {
        loop {
            match plan.next()? {
                Ask::PastMessages(request) => return Some(request),
                Ask::AvailableTopics | Ask::EnabledTopics => {}
            }
        }
    }

    #[test]
    fn the_frames_are_the_documented_ones() {
        assert_eq!(Ask::AvailableTopics.frame(), r#"{"topic":"method","method":"getAvailableTopics"}"#);
        let request = PastMessages {
            since: chrono::DateTime::parse_from_rfc3339("2022-09-20T11:31:42.937999Z").unwrap().to_utc(),
            topics: vec!["identResult".to_owned()],
            count: 2,
        };
        insta::assert_snapshot!(
            Ask::PastMessages(request).frame(),
            @r#"{"topic":"method","method":"getLastMessages","since":"2022-09-20T11:31:42.937+00:00","count":2,"topics":["identResult"]}"#
        );
    }

    #[test]
    fn a_request_begins_an_overlap_before_the_last_journaled_receive_time() {
        let mut plan = plan(StartFrom::Now);
        plan.connecting(Some(at(60)), at(90));
        assert_eq!(past(&mut plan).unwrap().since, at(50));
    }

    #[test]
    fn what_is_asked_for_is_what_is_compared() {
        let mut plan = plan(StartFrom::Now);
        plan.connecting(Some(at(60) + TimeDelta::microseconds(123_456)), at(90));
        let request = past(&mut plan).unwrap();
        assert_eq!(request.since, at(50) + TimeDelta::milliseconds(123));
    }

    #[test]
    fn an_empty_journal_begins_now_and_owes_what_happens_after_the_first_try() {
        let mut plan = plan(StartFrom::Now);
        plan.connecting(None, at(0));
        assert!(plan.begins_now());
        assert_eq!(past(&mut plan), None);
        plan.connecting(None, at(5));
        assert_eq!(past(&mut plan).unwrap().since, at(0));
        plan.connecting(Some(at(6)), at(7));
        assert_eq!(past(&mut plan).unwrap().since, at(0), "the overlap does not reach back before the beginning");
    }

    #[test]
    fn a_start_from_stamp_is_taken_as_it_is_on_an_empty_journal_only() {
        let mut plan = plan(StartFrom::At(at(-100)));
        plan.connecting(None, at(0));
        assert_eq!(past(&mut plan).unwrap().since, at(-100));
        plan.answered(&PastMessages { since: at(-100), topics: vec![], count: 500 }, &Answer::Wrapped { messages: 3 });
        plan.connecting(Some(at(20)), at(30));
        assert_eq!(past(&mut plan).unwrap().since, at(10));
    }

    #[test]
    fn a_broken_request_stays_owed_though_live_events_moved_on() {
        let mut plan = plan(StartFrom::Now);
        plan.connecting(Some(at(60)), at(90));
        let request = past(&mut plan).unwrap();
        plan.answered(&request, &Answer::Broken);
        plan.connecting(Some(at(91)), at(92));
        let request = past(&mut plan).unwrap();
        assert_eq!(request.since, at(50));
        plan.answered(&request, &Answer::Unwrapped { messages: 2 });
        plan.connecting(Some(at(91)), at(92));
        assert_eq!(past(&mut plan).unwrap().since, at(91) - TimeDelta::minutes(10));
    }

    #[test]
    fn what_is_owed_outlives_the_process_until_it_was_answered() {
        let mut plan = plan(StartFrom::Now);
        assert_eq!(plan.position(), None);
        plan.connecting(Some(at(60)), at(90));
        let position = plan.position().unwrap();
        assert_eq!(position, "owed since 2023-11-14T23:03:20.000000Z");
        assert_eq!(plan.position(), None, "once is enough");
        // Killed before the answer, but after live events.
        let mut plan = self::plan(StartFrom::Now);
        plan.resume(Some(&position));
        plan.connecting(Some(at(91)), at(92));
        assert_eq!(plan.position(), None, "the journal has it");
        let request = past(&mut plan).unwrap();
        assert_eq!(request.since, at(50));
        plan.answered(&request, &Answer::Wrapped { messages: 2 });
        assert_eq!(plan.position().as_deref(), Some(""));
        let mut plan = self::plan(StartFrom::Now);
        plan.resume(Some(""));
        plan.connecting(Some(at(95)), at(96));
        assert_eq!(past(&mut plan).unwrap().since, at(85));
    }

    #[test]
    fn a_full_answer_is_asked_again_with_twice_the_count_until_it_is_short_or_stops_growing() {
        let asked = |answers: &dyn Fn(u32) -> usize| {
            let mut plan = plan(StartFrom::Now);
            plan.connecting(Some(at(60)), at(90));
            let mut counts = Vec::new();
            while let Some(request) = past(&mut plan) {
                counts.push(request.count);
                plan.answered(&request, &Answer::Wrapped { messages: answers(request.count) });
            }
            counts
        };
        assert_eq!(asked(&|_| 499), [500]);
        assert_eq!(asked(&|count| count.min(1_700) as usize), [500, 1000, 2000]);
        assert_eq!(asked(&|_| 500), [500, 1000], "the provider's cap");
        assert_eq!(asked(&|count| count as usize).last(), Some(&LARGEST_COUNT), "it ends");
    }

    #[test]
    fn an_answer_beyond_the_message_limit_is_asked_for_in_smaller_pieces_and_given_up_in_the_end() {
        let mut plan = plan(StartFrom::Now);
        let mut counts = Vec::new();
        for _ in 0..20 {
            plan.connecting(Some(at(60)), at(90));
            let Some(request) = past(&mut plan) else { break };
            counts.push(request.count);
            plan.too_large(&request);
            plan.answered(&request, &Answer::Broken);
        }
        assert_eq!(counts, [500, 250, 125, 62, 31, 15, 7, 3, 1]);
    }
}
