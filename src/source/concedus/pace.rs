//! How fast the source tries again: full jitter and a cap after a loss, a long ladder after a refused login, and a floor under
//! everything, so that no fault of the feed turns into a tight loop.

use std::time::Duration;

use tokio::time::Instant;

use crate::model::ids::Ids;

/// The waits that no operator sets. Tests shorten them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Between the starts of two tries to connect, at least.
    pub try_spacing: Duration,
    /// Between two requests for a token, at least.
    pub token_spacing: Duration,
    /// The window of the first wait after a loss; it doubles up to the configured cap.
    pub first_window: Duration,
    /// The waits after a refused login; the last one repeats. An account may be locked by too many tries.
    pub login_ladder: Vec<Duration>,
    /// A connection that lasted this long proves that the feed is well: the waits begin anew.
    pub stable_after: Duration,
    /// How long one step of connecting (an address, TLS, the upgrade, a token) may take.
    pub step_timeout: Duration,
    /// Ordinary frames that answer a request are over when none came for this long.
    pub reply_quiet: Duration,
    /// How long a polite end may take.
    pub close_grace: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            try_spacing: Duration::from_secs(1),
            token_spacing: Duration::from_secs(1),
            // With a refresh token that is not taken, which costs a second more, a socket that ended has a successor within two.
            first_window: Duration::from_millis(500),
            login_ladder: [30, 2 * 60, 10 * 60, 30 * 60].map(Duration::from_secs).to_vec(),
            stable_after: Duration::from_secs(10),
            step_timeout: Duration::from_secs(10),
            reply_quiet: Duration::from_secs(2),
            close_grace: Duration::from_secs(1),
        }
    }
}

/// Says when the next try may start.
#[derive(Debug)]
pub(super) struct Pace {
    timing: Timing,
    cap: Duration,
    ids: Ids,
    losses: u32,
    refusals: usize,
    not_before: Option<Instant>,
}

impl Pace {
    pub(super) fn new(timing: Timing, cap: Duration, ids: Ids) -> Self {
        Self { timing, cap, ids, losses: 0, refusals: 0, not_before: None }
    }

    /// When the next try may start; the floor of the try after it begins here.
    pub(super) fn next_try(&mut self) -> Instant {
        let at = self.not_before.unwrap_or_else(Instant::now).max(Instant::now());
        self.not_before = Some(at + self.timing.try_spacing);
        at
    }

    /// A connection stood. A refused login is over at once; the waits after a loss only begin anew when it lasted.
    pub(super) fn connected(&mut self) {
        self.refusals = 0;
    }

    /// A connection ended.
    pub(super) fn ended(&mut self, lasted: Duration) -> Duration {
        if lasted >= self.timing.stable_after {
            self.losses = 0;
        }
        self.lost()
    }

    /// A try failed, or a connection ended: full jitter over a window that doubles.
    pub(super) fn lost(&mut self) -> Duration {
        let window = self.timing.first_window.saturating_mul(1_u32.checked_shl(self.losses).unwrap_or(u32::MAX)).min(self.cap);
        self.losses = self.losses.saturating_add(1);
        let wait = window.mul_f64(self.ids.jitter());
        self.wait(wait)
    }

    /// The login was refused: the next step of the ladder, up to a tenth longer.
    pub(super) fn refused(&mut self) -> Duration {
        let ladder = &self.timing.login_ladder;
        let step = ladder.get(self.refusals).or(ladder.last()).copied().unwrap_or(self.cap);
        self.refusals += 1;
        let wait = step.mul_f64(1.0 + self.ids.jitter() / 10.0);
        self.wait(wait)
    }

    fn wait(&mut self, wait: Duration) -> Duration {
        let at = Instant::now() + wait;
        self.not_before = Some(self.not_before.map_or(at, |floor| floor.max(at)));
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace() -> Pace {
        Pace::new(Timing::default(), Duration::from_secs(30), Ids::seeded(7))
    }

    #[tokio::test(start_paused = true)]
    async fn refused_logins_climb_the_ladder_and_stay_on_its_last_step() {
        let mut pace = pace();
        let steps: Vec<u64> = (0..6).map(|_| pace.refused().as_secs()).collect();
        for (step, floor) in steps.iter().zip([30, 120, 600, 1800, 1800, 1800]) {
            assert!((floor..=floor + floor / 10).contains(step), "{steps:?}");
        }
        pace.connected();
        assert!(pace.refused() < Duration::from_secs(34), "a connection in between begins the ladder anew");
    }

    #[tokio::test(start_paused = true)]
    async fn waits_after_a_loss_are_jittered_and_capped() {
        let mut pace = pace();
        let waits: Vec<Duration> = (0..40).map(|_| pace.lost()).collect();
        for (losses, wait) in waits.iter().enumerate() {
            let window = Duration::from_secs(30).min(Duration::from_millis(500 << losses.min(10)));
            assert!(*wait <= window, "{waits:?}");
        }
        assert!(waits.iter().any(|wait| *wait > Duration::from_secs(15)), "the window grows: {waits:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn tries_never_start_more_than_once_a_second() {
        let mut pace = pace();
        let mut last = pace.next_try();
        for _ in 0..20 {
            pace.ended(Duration::from_hours(1));
            let next = pace.next_try();
            assert!(next - last >= Duration::from_secs(1));
            last = next;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_breaks_at_once_does_not_reset_the_waits() {
        let mut pace = pace();
        for _ in 0..8 {
            pace.ended(Duration::from_millis(5));
        }
        assert_eq!(pace.losses, 8);
        pace.ended(Duration::from_mins(4));
        assert_eq!(pace.losses, 1);
    }
}
