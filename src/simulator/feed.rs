//! The feed itself: tells the story at its pace, remembers what happened, and hands every socket its copy.

use std::{
    collections::VecDeque,
    fs::File,
    io::{BufRead, BufReader},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Mutex as AsyncMutex, mpsc, watch},
    time::{Instant, sleep_until},
};

use super::{events::World, frame::Frame, load::Load, register::Register, stats::Counters};
use crate::model::{
    time::{Clock, Timestamp},
    topic,
};

/// What happened at one moment.
pub(super) type Batch = Arc<[Frame]>;

/// How many batches may wait for a socket before the feed waits with them.
const QUEUE: usize = 8;

/// The largest batch: enough for few, large writes, little enough to spread.
const BATCH: u64 = 256;

/// A rate from which no clock is asked any more.
const UNPACED: f64 = 2e6;

/// Where frames come from.
#[derive(Debug)]
pub(super) enum Story {
    World(Box<World>),
    Load(Box<Load>),
    Recording { lines: BufReader<File>, path: PathBuf },
}

impl Story {
    /// The next frame; `None` at the end of a recording.
    fn next(&mut self, now: Timestamp) -> Option<Frame> {
        match self {
            Self::World(world) => Some(world.next(now)),
            Self::Load(load) => Some(load.next(now)),
            Self::Recording { lines, path } => loop {
                let mut line = Vec::new();
                match lines.read_until(b'\n', &mut line) {
                    Ok(0) => return None,
                    Ok(_) => {
                        let text = line.trim_ascii();
                        if !text.is_empty() {
                            return Some(Frame::read(text.to_vec()));
                        }
                    }
                    Err(error) => {
                        tracing::error!(path = %path.display(), %error, "the recorded feed ends here: it can't be read further");
                        return None;
                    }
                }
            },
        }
    }
}

/// What happened, and who is to hear of it.
#[derive(Debug)]
pub(super) struct Feed {
    state: Mutex<State>,
    /// Keeps batches in one order for all sockets.
    order: AsyncMutex<()>,
    /// How many sockets have ever joined.
    joined: watch::Sender<u64>,
    /// The story has been told to its end.
    ended: watch::Sender<bool>,
    /// Topics switched on, by their canonical names; `None`: all.
    topics: Option<Vec<String>>,
    reach: usize,
    /// What look-ups are answered from. None: a load run, which can't spare the time to read its own frames.
    pub(super) register: Option<Register>,
}

#[derive(Debug, Default)]
struct State {
    history: VecDeque<(Timestamp, Frame)>,
    sockets: Vec<mpsc::Sender<Batch>>,
}

impl Feed {
    pub(super) fn new(topics: Option<&[String]>, reach: usize, register: Option<Register>) -> Self {
        let canonical = |name: &String| topic::find(name).map_or_else(|| name.clone(), |known| known.name.to_owned());
        Self {
            state: Mutex::default(),
            order: AsyncMutex::new(()),
            joined: watch::Sender::new(0),
            ended: watch::Sender::new(false),
            topics: topics.map(|names| names.iter().map(canonical).collect()),
            reach,
            register,
        }
    }

    /// A queue for a new socket, and the socket's number.
    pub(super) fn join(&self) -> (u64, mpsc::Receiver<Batch>) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        self.state().sockets.push(sender);
        self.joined.send_modify(|number| *number += 1);
        (*self.joined.borrow(), receiver)
    }

    /// What has just happened: remembered, and handed to every socket that is open now.
    pub(super) async fn publish(&self, mut frames: Vec<Frame>, now: Timestamp, counters: &Counters) {
        if let Some(register) = &self.register {
            for frame in &frames {
                register.note(frame);
            }
        }
        if let Some(enabled) = &self.topics {
            frames.retain(|frame| topic::find(&frame.topic).is_none() || enabled.iter().any(|name| *name == frame.topic));
        }
        if frames.is_empty() {
            return;
        }
        counters.told_frames.add(frames.len() as u64);
        counters.told_elements.add(frames.iter().map(|frame| u64::from(frame.elements)).sum());
        let _order = self.order.lock().await;
        let batch: Batch = frames.into();
        let sockets = {
            let mut state = self.state();
            state.history.extend(batch.iter().map(|frame| (now, frame.clone())));
            let surplus = state.history.len().saturating_sub(self.reach);
            state.history.drain(..surplus);
            state.sockets.retain(|socket| !socket.is_closed());
            state.sockets.clone()
        };
        for socket in sockets {
            // A socket that closes meanwhile hears no more; the history still does.
            let _ = socket.send(batch.clone()).await;
        }
    }

    /// The newest `count` frames since then, oldest first, of these topics (canonical names; empty: all).
    pub(super) fn last(&self, since: Option<Timestamp>, count: Option<usize>, topics: &[String]) -> Vec<Frame> {
        let state = self.state();
        let wanted = |frame: &Frame| topics.is_empty() || topics.iter().any(|name| *name == frame.topic);
        let mut frames: Vec<Frame> = state
            .history
            .iter()
            .rev()
            .take_while(|(at, _)| since.is_none_or(|since| *at >= since))
            .filter(|(_, frame)| wanted(frame))
            .take(count.unwrap_or(usize::MAX))
            .map(|(_, frame)| frame.clone())
            .collect();
        frames.reverse();
        frames
    }

    /// The topics that are switched on.
    pub(super) fn enabled(&self) -> Vec<&str> {
        let all = topic::KNOWN.iter().map(|topic| topic.name);
        self.topics.as_ref().map_or_else(|| all.collect(), |names| names.iter().map(String::as_str).collect())
    }

    /// Returns once the story is over. A story without an end never is.
    pub(super) async fn ended(&self) {
        // The sender lives in self: the wait can't fail.
        let _ = self.ended.subscribe().wait_for(|ended| *ended).await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How the story is told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    pub(super) rate: f64,
    pub(super) limit: Option<u64>,
    /// Begin with the first socket.
    pub(super) wait: bool,
}

/// Tells the story to its end.
pub(super) async fn tell(feed: &Feed, mut story: Story, pace: Pace, clock: &dyn Clock, counters: &Counters) {
    let limit = pace.limit.unwrap_or(u64::MAX);
    if pace.rate > 0.0 {
        let mut joined = feed.joined.subscribe();
        if pace.wait {
            let _ = joined.wait_for(|number| *number > 0).await;
        }
        let start = Instant::now();
        let mut told = 0;
        while told < limit {
            let due = if pace.rate >= UNPACED { u64::MAX } else { (start.elapsed().as_secs_f64() * pace.rate) as u64 };
            if due <= told {
                sleep_until(start + Duration::from_secs_f64((told + 1) as f64 / pace.rate)).await;
                continue;
            }
            if pace.rate >= UNPACED && feed.state().sockets.is_empty() {
                // As fast as the sockets take them: without a socket that is not at all.
                joined.mark_unchanged();
                if feed.state().sockets.is_empty() {
                    let _ = joined.changed().await;
                }
            }
            let number = (due - told).min(limit - told).min(BATCH);
            let now = clock.now();
            let frames: Vec<Frame> = std::iter::from_fn(|| story.next(now)).take(number as usize).collect();
            let over = (frames.len() as u64) < number;
            told += frames.len() as u64;
            feed.publish(frames, now, counters).await;
            if over {
                break;
            }
        }
    }
    if pace.rate > 0.0 {
        feed.ended.send_replace(true);
    }
}
