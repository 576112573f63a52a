//! The fuse: ends an evaluation that takes too long, where the operation budget did not.
//!
//! It burns on the thread's own processor time, so that a machine that is busy with other things convicts nobody. The wall clock is cheap
//! to read and never slower than the processor's, so it says when to look at that. It also ends what uses no processor at all: the engine
//! sleeps when a script locks a value twice, and a process may be stopped in the middle of an evaluation; see [`Fuse::only_waited`].

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use rustix::time::{ClockId, clock_gettime};

/// Processor time that one rule may take for one event, all its functions together.
pub const FUSE: Duration = Duration::from_millis(50);

/// The same by the wall clock.
pub const PATIENCE: Duration = Duration::from_secs(1);

/// Asked on the thread on which it was armed.
#[derive(Debug)]
pub struct Fuse {
    start: Instant,
    /// When to look at the processor's clock: microseconds after `start`.
    look: AtomicU64,
    /// When the wall clock ends it: microseconds after `start`.
    end: AtomicU64,
    /// The thread's processor time at which it blows, in microseconds.
    limit: AtomicU64,
    blown: AtomicBool,
    waited: AtomicBool,
}

impl Default for Fuse {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            look: AtomicU64::new(0),
            end: AtomicU64::new(0),
            limit: AtomicU64::new(0),
            blown: AtomicBool::new(false),
            waited: AtomicBool::new(false),
        }
    }
}

impl Fuse {
    /// From now on, that much processor time.
    pub fn arm(&self, span: Duration) {
        let (now, span) = (self.now(), span.as_micros() as u64);
        self.look.store(now + span, Ordering::Relaxed);
        self.end.store(now + PATIENCE.as_micros() as u64, Ordering::Relaxed);
        self.limit.store(used() + span, Ordering::Relaxed);
        self.blown.store(false, Ordering::Relaxed);
        self.waited.store(false, Ordering::Relaxed);
    }

    /// Whether the evaluation must end now.
    pub fn is_blown(&self) -> bool {
        let now = self.now();
        if now < self.look.load(Ordering::Relaxed) {
            return false;
        }
        let left = self.limit.load(Ordering::Relaxed).saturating_sub(used());
        let ended = now >= self.end.load(Ordering::Relaxed);
        if left == 0 || ended {
            self.blown.store(true, Ordering::Relaxed);
            self.waited.store(left > 0, Ordering::Relaxed);
            return true;
        }
        self.look.store(now + left, Ordering::Relaxed);
        false
    }

    /// Whether it has ended an evaluation, since it was armed, that used less processor time than it might have: the machine may be to blame
    /// and not the rule.
    pub fn only_waited(&self) -> bool {
        self.blown.load(Ordering::Relaxed) && self.waited.load(Ordering::Relaxed)
    }

    fn now(&self) -> u64 {
        self.start.elapsed().as_micros() as u64
    }
}

/// The processor time of this thread, in microseconds.
fn used() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1_000
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spin(fuse: &Fuse) -> Duration {
        let before = used();
        while !fuse.is_blown() {
            std::hint::spin_loop();
        }
        Duration::from_micros(used() - before)
    }

    #[test]
    fn unarmed_it_is_blown() {
        assert!(Fuse::default().is_blown());
    }

    #[test]
    fn it_burns_on_processor_time_however_busy_the_machine_is() {
        let burn = || {
            let fuse = Fuse::default();
            fuse.arm(FUSE);
            (spin(&fuse), fuse.only_waited())
        };
        // More threads than processors: by the wall clock each takes longer than its span.
        let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(burn)).collect();
        for thread in threads {
            let (took, waited) = thread.join().unwrap();
            assert!(took < FUSE + Duration::from_millis(5), "{took:?}");
            // A microsecond is lost to rounding; on a machine so busy that the wall clock ends it, it says so.
            assert!(waited || took + Duration::from_micros(2) >= FUSE, "{took:?}");
        }
    }

    #[test]
    fn what_uses_no_processor_ends_by_the_wall_clock_and_is_known_by_that() {
        let fuse = Fuse::default();
        fuse.arm(FUSE);
        let begun = Instant::now();
        while !fuse.is_blown() {
            std::thread::park_timeout(Duration::from_millis(20));
        }
        assert!(fuse.only_waited() && begun.elapsed() >= PATIENCE);
        fuse.arm(FUSE);
        assert!(!fuse.only_waited() && !fuse.is_blown());
    }
}
