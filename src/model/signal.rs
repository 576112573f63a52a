//! What a source tells the engine, in the order in which it happened: one channel, so that order is kept.

use super::{
    event::{Frame, Quarantined},
    names::FeedName,
    time::Timestamp,
};

/// One thing that happened at a feed.
#[derive(Debug)]
pub enum Signal {
    /// A frame that may hold events.
    Frame(Frame),
    /// A frame that the source itself could not take (over-long): size and digest remain.
    Refused(Quarantined),
    /// A frame that answered a method of ours and holds no events; it is counted, nothing else.
    MethodReply {
        feed: FeedName,
    },
    Connection {
        feed: FeedName,
        at: Timestamp,
        state: Connection,
    },
    /// A request for past messages is open: until [`Signal::RequestClosed`], frames may be its answer.
    RequestOpened {
        feed: FeedName,
        request: PastMessages,
    },
    RequestClosed {
        feed: FeedName,
        request: PastMessages,
        answer: Answer,
    },
    /// What was sent since then may be missing, and no request can find out; until now.
    Unproven {
        feed: FeedName,
        since: Timestamp,
        /// A clause that says why; no payload.
        reason: String,
    },
    /// What the provider says it could send, and sends.
    Topics {
        feed: FeedName,
        available: Vec<String>,
        enabled: Vec<String>,
    },
    /// A source with an end (a file, standard input) has reached it.
    Ended {
        feed: FeedName,
    },
}

/// The state of a feed's connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Connection {
    Connected,
    /// The socket ended or could not be opened; the source is trying again.
    Lost {
        reason: String,
    },
    /// The token endpoint or the socket refused our credentials.
    LoginRefused {
        status: u16,
    },
}

/// A request for past messages, `getLastMessages`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastMessages {
    pub since: Timestamp,
    /// Empty: all topics.
    pub topics: Vec<String>,
    pub count: u32,
}

/// How a request for past messages ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// An array, or an object that holds one.
    Wrapped { messages: usize },
    /// Ordinary frames, one by one.
    Unwrapped { messages: usize },
    /// Nothing came in time.
    None,
    /// The socket ended first.
    Broken,
}
