//! What can be asked of a simulator. Every default is the provider's documented behaviour, or the likeliest where nothing is documented.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use super::faults::Faults;
use crate::model::time::{Clock, SystemClock};

/// How to start a simulator; see each field.
#[derive(Clone)]
pub struct Options {
    /// Port 0 takes a free one.
    pub listen: SocketAddr,
    /// Frames a second, evenly spaced. 0: only what is pushed. Infinite: as fast as the sockets take them.
    pub rate: f64,
    /// The same seed tells the same story.
    pub seed: u64,
    /// How long a token is good.
    pub token_life: Duration,
    /// Whether token answers carry a refresh token; the provider's documents show both.
    pub refresh_tokens: bool,
    /// User name and password; without them any are right.
    pub credentials: Option<(String, String)>,
    /// A recorded feed to play instead of inventing one: a frame a line, sent as it is.
    pub events: Option<PathBuf>,
    /// The feed ends (the sockets stay open) after so many frames.
    pub limit: Option<u64>,
    /// What goes wrong.
    pub faults: Faults,
    /// How many people there are.
    pub people: usize,
    /// What is told.
    pub mix: Mix,
    /// Topics switched on for the account; `None`: all.
    pub topics: Option<Vec<String>>,
    /// The shape of answers.
    pub answers: Answers,
    /// How many frames `getLastMessages` can reach back.
    pub history: usize,
    /// Whether a socket is closed when the token it was opened with ends.
    pub close_at_expiry: bool,
    /// Whether the story begins with the first socket; otherwise at once.
    pub wait: bool,
    /// Stamps in frames, the life of tokens, and what `since` is compared with.
    pub clock: Arc<dyn Clock>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            rate: 5.0,
            seed: 1,
            token_life: Duration::from_mins(4),
            refresh_tokens: true,
            credentials: None,
            events: None,
            limit: None,
            faults: Faults::default(),
            people: 200,
            mix: Mix::Realistic,
            topics: None,
            answers: Answers::default(),
            history: 10_000,
            close_at_expiry: false,
            wait: true,
            clock: Arc::new(SystemClock),
        }
    }
}

/// What the invented feed consists of.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Mix {
    /// People who are identified, fail, try again, differ from what their partner says and are decided upon.
    #[default]
    Realistic,
    /// Small plain messages, cheap to make. Exactly this share (0 to 1) are identifications with the status `failed`; nothing else
    /// in them is out of order.
    Load { alerting: f64 },
}

/// The shape in which methods are answered. The provider documents none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Answers {
    /// An array of messages; topics as an array of texts.
    #[default]
    Array,
    /// `{"topic":"method","method":…,"messages":[…]}`; topics in `topics`.
    Messages,
    /// `{"data":[…]}`; topics as objects with a name.
    Data,
    /// The messages one by one as ordinary frames; topics as an array of texts.
    Unwrapped,
    /// No answer at all.
    Nothing,
}
