//! A wall clock that does not believe every jump. Retries, quiet periods and back-fill reckon with it: a machine whose clock is thrown about
//! must neither send everything at once nor wait for yesterday.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use chrono::TimeDelta;

use super::time::{Clock, SystemClock, Timestamp};

/// The machine's clock, carried on by its monotonic one. Small differences are followed smoothly; a jump only once it has held for
/// [`SteadyClock::HOLDS`], as after a correction or a machine that slept.
#[derive(Debug)]
pub struct SteadyClock(Mutex<State>);

#[derive(Debug)]
struct State {
    anchor: Timestamp,
    at: Instant,
    /// How far the machine's clock is off, and since when.
    doubt: Option<(TimeDelta, Instant)>,
}

impl SteadyClock {
    /// How long a jump must hold.
    pub const HOLDS: Duration = Duration::from_mins(1);

    /// What is no jump, but a clock that is being slewed or is read between two ticks.
    const SLACK: TimeDelta = TimeDelta::milliseconds(500);

    /// Begins with what the machine says.
    #[must_use]
    pub fn start() -> Self {
        Self::from(SystemClock.now(), Instant::now())
    }

    fn from(wall: Timestamp, at: Instant) -> Self {
        Self(Mutex::new(State { anchor: wall, at, doubt: None }))
    }

    fn reading(&self, wall: Timestamp, at: Instant) -> Timestamp {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = TimeDelta::from_std(at.saturating_duration_since(state.at)).unwrap_or_default();
        let steady = state.anchor + passed;
        let off = wall - steady;
        let now = if off.abs() <= Self::SLACK {
            state.doubt = None;
            (steady + off / 16).max(state.anchor)
        } else {
            match state.doubt {
                Some((before, since)) if (off - before).abs() <= Self::SLACK => {
                    if at.saturating_duration_since(since) < Self::HOLDS {
                        return steady;
                    }
                    tracing::warn!(seconds = off.num_seconds(), "the machine's clock has jumped and stays there: it is followed");
                    state.doubt = None;
                    wall
                }
                _ => {
                    tracing::warn!(seconds = off.num_seconds(), "the machine's clock has jumped: it is not followed yet");
                    state.doubt = Some((off, at));
                    return steady;
                }
            }
        };
        (state.anchor, state.at) = (now, at);
        now
    }
}

impl Clock for SteadyClock {
    fn now(&self) -> Timestamp {
        let now = self.reading(SystemClock.now(), Instant::now());
        Timestamp::from_timestamp_micros(now.timestamp_micros()).unwrap_or(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_timestamp(1_700_000_000 + seconds, 0).unwrap()
    }

    #[test]
    fn a_clock_that_is_thrown_about_is_not_followed() {
        let begun = Instant::now();
        let clock = SteadyClock::from(at(0), begun);
        for seconds in 1..600_u32 {
            let thrown = if seconds / 2 % 2 == 0 { 300 } else { -300 };
            let seconds_passed = i64::from(seconds);
            let told = clock.reading(at(seconds_passed + thrown), begun + Duration::from_secs(u64::from(seconds)));
            assert_eq!(told, at(seconds_passed));
        }
    }

    #[test]
    fn a_jump_that_holds_is_followed_after_a_minute_and_a_slow_drift_at_once() {
        let begun = Instant::now();
        let clock = SteadyClock::from(at(0), begun);
        let day = 86_400;
        let reading = |seconds: u64, wall: i64| clock.reading(at(wall), begun + Duration::from_secs(seconds));
        assert_eq!(reading(1, 1 - day), at(1));
        assert_eq!(reading(60, 60 - day), at(60));
        assert_eq!(reading(61, 61 - day), at(61 - day));
        assert_eq!(reading(62, 62 - day), at(62 - day));
        let slewed = at(62 - day) + TimeDelta::milliseconds(1_160);
        let told = clock.reading(slewed, begun + Duration::from_secs(63));
        assert_eq!(told - at(63 - day), TimeDelta::milliseconds(10), "a sixteenth of the way");
    }
}
