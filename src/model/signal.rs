//! What a source tells the engine, in the order in which it happened: one channel, so that order is kept.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use super::{
    event::{Frame, Quarantined},
    names::FeedName,
    time::Timestamp,
};

/// A signal, and how many messages its source had read off the socket when it handed it over: both travel together, so that a message that
/// is lost on the way leaves a hole in the count.
#[derive(Debug)]
pub struct Heard {
    pub signal: Signal,
    /// Since the source's start; see [`Meter`].
    pub read: u64,
}

/// Counts what one source reads, where it reads it, and how far the engine has taken it up.
#[derive(Clone, Debug, Default)]
pub struct Meter(Arc<(AtomicU64, AtomicU64)>);

impl Meter {
    /// One more message was read. Called at the socket, before anything is done with it.
    pub fn count(&self) {
        self.0.0.fetch_add(1, Ordering::Relaxed);
    }

    #[must_use]
    pub fn read(&self) -> u64 {
        self.0.0.load(Ordering::Relaxed)
    }

    /// The engine has taken up everything to here.
    pub fn take_to(&self, read: u64) {
        self.0.1.store(read, Ordering::Relaxed);
    }

    #[must_use]
    pub fn taken(&self) -> u64 {
        self.0.1.load(Ordering::Relaxed)
    }
}

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

impl Signal {
    #[must_use]
    pub fn feed(&self) -> &FeedName {
        match self {
            Self::Frame(frame) => &frame.feed,
            Self::Refused(refused) => &refused.feed,
            Self::MethodReply { feed }
            | Self::Connection { feed, .. }
            | Self::RequestOpened { feed, .. }
            | Self::RequestClosed { feed, .. }
            | Self::Unproven { feed, .. }
            | Self::Topics { feed, .. }
            | Self::Ended { feed } => feed,
        }
    }
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
