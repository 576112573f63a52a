//! From what arrived to what is judged: a frame holds elements, a journaled element is an event.

use std::ops::Deref;

use serde::{Deserialize, Serialize};

use super::{
    hash::Digest,
    ids::{BatchId, Seq},
    names::{FeedName, TopicName},
    time::Timestamp,
    value::Map,
};

/// How an element reached us.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// From the open socket, nothing asked.
    #[default]
    Live,
    /// Brought by a request for past messages, and not yet journaled.
    BackFill,
    /// From a file, a folder or standard input.
    File,
    /// Looked up, after a gap: no message said it.
    Rest,
}

impl Origin {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::BackFill => "back-fill",
            Self::File => "file",
            Self::Rest => "rest",
        }
    }
}

/// Values in one frame, lists and objects included: what a frame costs in memory is bounded, not only its bytes.
pub const MAX_VALUES: usize = 1_000_000;

/// What a source read in one piece, untouched.
#[derive(Clone, Debug)]
pub struct Frame {
    pub feed: FeedName,
    /// When it was read off the socket.
    pub received_at: Timestamp,
    pub origin: Origin,
    pub bytes: Vec<u8>,
    /// Where the source goes on after this frame, in the source's own words (a file's name and offset); committed with the events.
    pub position: Option<String>,
}

/// An entry's place in the frame it came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    pub id: BatchId,
    /// From 0.
    pub position: u32,
    pub size: u32,
}

/// One canonical entry of a frame, decoded and not yet journaled.
#[derive(Clone, Debug, PartialEq)]
pub struct Element {
    pub feed: FeedName,
    /// The canonical topic.
    pub topic: TopicName,
    /// The topic as it was spelled, where that differs.
    pub spelled: Option<String>,
    pub origin: Origin,
    pub received_at: Timestamp,
    /// The event's own time, if it carries one that can be read.
    pub own_time: Option<Timestamp>,
    /// The own time had no zone; the configured one was assumed.
    pub zone_assumed: bool,
    /// Back-filled or looked up: it happened before it was received.
    pub late: bool,
    /// Known from before the window of the request that brought it: it may be one that was judged already.
    pub maybe_repeat: bool,
    pub batch: Option<Batch>,
    /// The vendor's fields under their canonical names.
    pub body: Map,
    /// The original element's text; attachments and secrets in it are replaced.
    pub raw: String,
    /// Of the element with sorted names: equal for equal content, however it was wrapped or spaced.
    pub hash: Digest,
    /// What was odd about it, for people: no payload.
    pub warnings: Vec<String>,
}

impl Element {
    /// The event's own time, else the receive time.
    #[must_use]
    pub fn at(&self) -> Timestamp {
        self.own_time.unwrap_or(self.received_at)
    }
}

/// A journaled element: what rules see.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub seq: Seq,
    pub element: Element,
}

impl Deref for Event {
    type Target = Element;

    fn deref(&self) -> &Element {
        &self.element
    }
}

/// Why bytes were set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum QuarantineReason {
    InvalidUtf8,
    InvalidJson,
    DuplicateName,
    TooDeep,
    TooLarge,
    /// JSON, but neither an object nor an array of objects.
    NotAnObject,
    /// An object without a topic, or with one that is no text.
    NoTopic,
    /// A known topic whose entries have a shape that can't be read.
    WrongShape,
}

impl QuarantineReason {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidUtf8 => "invalid-utf8",
            Self::InvalidJson => "invalid-json",
            Self::DuplicateName => "duplicate-name",
            Self::TooDeep => "too-deep",
            Self::TooLarge => "too-large",
            Self::NotAnObject => "not-an-object",
            Self::NoTopic => "no-topic",
            Self::WrongShape => "wrong-shape",
        }
    }
}

/// What could not be decoded, with its bytes: kept until a person has looked.
#[derive(Clone, Debug, PartialEq)]
pub struct Quarantined {
    pub feed: FeedName,
    pub received_at: Timestamp,
    pub origin: Origin,
    pub reason: QuarantineReason,
    /// Where and what, for people; no payload.
    pub detail: String,
    /// The frame's bytes or, of a batch, the bad entry's. Empty where only size and digest are kept ([`QuarantineReason::TooLarge`]).
    pub bytes: Vec<u8>,
    pub size: u64,
    pub digest: Digest,
}
