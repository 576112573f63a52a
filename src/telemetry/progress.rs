//! Whether the loops of the alert path get on. Each loop (committing, judging, one dispatcher a channel) holds a [`Hand`] and ticks with each
//! step, and on a timer when it has nothing to do. Whoever speaks for the whole (the watchdog, an outbound heartbeat) asks which of them has
//! stood still the longest: a process that answers while its path stands must not count as alive.
//!
//! Time is the machine's monotonic one, never the injected clock: a hang is a fact of this machine, and a clock that jumps must not look like one.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// A loop without work ticks at least this often.
pub const IDLE_TICK: Duration = Duration::from_secs(2);

/// All loops of one service. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<Loops>);

#[derive(Debug, Default)]
struct Loops {
    all: Mutex<Vec<Arc<Loop>>>,
    /// They wait for something that no restart would bring.
    excused: AtomicBool,
}

#[derive(Debug)]
struct Loop {
    name: String,
    born: Instant,
    /// Milliseconds from birth to the last tick.
    ticked: AtomicU64,
}

/// The loop that has stood still the longest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lag {
    pub step: String,
    pub since: Duration,
}

impl Progress {
    /// Takes in a loop. It belongs to the whole until its hand is dropped: a loop that ended in order hangs no more.
    #[must_use]
    pub fn hand(&self, name: impl Into<String>) -> Hand {
        let own = Arc::new(Loop { name: name.into(), born: Instant::now(), ticked: AtomicU64::new(0) });
        self.loops().push(Arc::clone(&own));
        Hand { own, progress: self.clone() }
    }

    /// As long as the loops are excused, nothing counts as standing still: they wait for room on a full disk, and a restart would wait too.
    pub fn excuse(&self, excused: bool) {
        self.0.excused.store(excused, Ordering::Relaxed);
    }

    /// None when no loop runs.
    #[must_use]
    pub fn longest(&self) -> Option<Lag> {
        let loops = self.loops();
        let lags = loops.iter().map(|one| {
            let ticked = Duration::from_millis(one.ticked.load(Ordering::Relaxed));
            let excused = self.0.excused.load(Ordering::Relaxed);
            (one, if excused { Duration::ZERO } else { one.born.elapsed().saturating_sub(ticked) })
        });
        lags.max_by_key(|(_, since)| *since).map(|(one, since)| Lag { step: one.name.clone(), since })
    }

    /// Whether every loop ticked within this time, and there is one.
    #[must_use]
    pub fn moves(&self, within: Duration) -> bool {
        self.longest().is_some_and(|lag| lag.since <= within)
    }

    fn loops(&self) -> MutexGuard<'_, Vec<Arc<Loop>>> {
        self.0.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One loop's way to say that it gets on.
#[derive(Debug)]
pub struct Hand {
    own: Arc<Loop>,
    progress: Progress,
}

impl Hand {
    /// Cheap enough for each event.
    pub fn tick(&self) {
        let elapsed = u64::try_from(self.own.born.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.own.ticked.store(elapsed, Ordering::Relaxed);
    }
}

impl Drop for Hand {
    fn drop(&mut self) {
        self.progress.loops().retain(|one| !Arc::ptr_eq(one, &self.own));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Busy, but bounded by the clock itself.
    fn pass(time: Duration) {
        let begun = Instant::now();
        while begun.elapsed() < time {
            std::hint::spin_loop();
        }
    }

    #[test]
    fn one_loop_that_stands_still_is_named_however_busy_the_others_are() {
        let progress = Progress::default();
        assert_eq!(progress.longest(), None);
        assert!(!progress.moves(Duration::MAX), "nothing runs, so nothing moves");
        let (judging, dispatch) = (progress.hand("judging"), progress.hand("channel mail"));
        pass(Duration::from_millis(5));
        judging.tick();
        let lag = progress.longest().unwrap();
        assert_eq!(lag.step, "channel mail");
        assert!(lag.since >= Duration::from_millis(5) && !progress.moves(Duration::from_millis(4)), "{lag:?}");
        dispatch.tick();
        assert!(progress.moves(Duration::from_mins(1)));
    }

    #[test]
    fn a_loop_that_ended_hangs_no_more() {
        let progress = Progress::default();
        let (engine, channel) = (progress.hand("judging"), progress.hand("channel mail"));
        pass(Duration::from_millis(2));
        engine.tick();
        drop(channel);
        assert_eq!(progress.longest().unwrap().step, "judging");
    }
}
