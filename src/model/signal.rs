//! What a source tells the engine, in the order in which it happened: one channel, so that order is kept.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwapOption;
use tokio::sync::oneshot;

use super::{
    event::{Frame, Quarantined},
    lookup::LookedUp,
    names::{FeedName, TopicName},
    time::Timestamp,
};

/// When the topics of a feed were last received, as far as the journal goes.
pub type Latest = BTreeMap<TopicName, Timestamp>;

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

/// Why a feed is away, as its source saw it last. Shared: a signal tells only that a state changed, and whoever asks wants the newest reason.
#[derive(Clone, Debug, Default)]
pub struct LastTry(Arc<ArcSwapOption<Failed>>);

/// A try to connect that failed, or a connection that ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// A clause; no payload, no secret.
    pub reason: String,
    /// When it is tried again, if that is known.
    pub next: Option<Timestamp>,
}

impl LastTry {
    pub fn failed(&self, reason: impl Into<String>, next: Option<Timestamp>) {
        self.0.store(Some(Arc::new(Failed { reason: reason.into(), next })));
    }

    pub fn succeeded(&self) {
        self.0.store(None);
    }

    /// None: the feed is connected, or was not tried yet.
    #[must_use]
    pub fn failure(&self) -> Option<Arc<Failed>> {
        self.0.load_full()
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
    /// A request for past messages is open until [`Signal::RequestClosed`].
    RequestOpened {
        feed: FeedName,
        request: PastMessages,
        /// Whether ordinary frames may be its answer: the provider was not seen to wrap its answers.
        frames: bool,
    },
    /// The answer to a request, in one frame. It may come after the request was closed.
    Answered {
        request: PastMessages,
        frame: Frame,
    },
    RequestClosed {
        feed: FeedName,
        request: PastMessages,
        answer: Answer,
        /// Who waits to learn how far back it reaches.
        ground: Option<oneshot::Sender<Ground>>,
    },
    /// What was sent in this interval may be missing, and no request can find out.
    Unproven {
        feed: FeedName,
        /// Empty: all topics.
        topics: Vec<String>,
        since: Timestamp,
        until: Timestamp,
        /// A clause that says why; no payload.
        reason: String,
    },
    /// What was asked about single identifications because of a gap.
    LookedUp(LookedUp),
    /// Where the source goes on, once everything before this is on disk.
    Position {
        feed: FeedName,
        position: String,
    },
    /// What the provider says it could send, and sends.
    Topics {
        feed: FeedName,
        available: Vec<String>,
        enabled: Vec<String>,
        /// What it had named last, in this process or an earlier one.
        before: Option<Vec<String>>,
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
            Self::Frame(frame) | Self::Answered { frame, .. } => &frame.feed,
            Self::Refused(refused) => &refused.feed,
            Self::LookedUp(looked) => &looked.feed,
            Self::MethodReply { feed }
            | Self::Connection { feed, .. }
            | Self::RequestOpened { feed, .. }
            | Self::RequestClosed { feed, .. }
            | Self::Unproven { feed, .. }
            | Self::Position { feed, .. }
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
    /// What the feed sent up to here is journaled: an answer that reaches back to `since` holds some of it, if there was any.
    pub known: Option<Timestamp>,
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

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wrapped { messages } => write!(f, "{messages} in one frame"),
            Self::Unwrapped { messages } => write!(f, "{messages} one by one"),
            Self::None => f.write_str("none in time"),
            Self::Broken => f.write_str("none: the connection ended"),
        }
    }
}

/// Whether an answer reaches back to what was known before (see [`PastMessages::known`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ground {
    /// It holds some of it.
    Met,
    /// There is some, and it holds none of it: the answer was cut.
    Missed,
    /// There is none to meet.
    None,
}
