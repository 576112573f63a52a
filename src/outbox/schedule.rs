//! What becomes of a delivery after an attempt: delivered, tried again later, or given up.

use std::time::Duration;

use crate::{
    config::channels::RetryConfig,
    model::{
        delivery::{Next, Outcome},
        time::Timestamp,
    },
};

/// The step after attempt number `attempt` (from 1) that ended `now`. `jitter` is in `0.0..1.0`.
///
/// Waits double from `first` to `longest`, shortened by up to a half so that a recovered peer is not stormed. The peer's own wish counts, up
/// to `longest`. The last try is at the horizon; after it the delivery is dead.
#[must_use]
pub fn next(retry: &RetryConfig, outcome: &Outcome, attempt: u32, now: Timestamp, expires_at: Timestamp, jitter: f64) -> Next {
    let after = match outcome {
        Outcome::Delivered { .. } => return Next::Delivered,
        Outcome::Reject { .. } => return Next::Dead,
        Outcome::Retry { after, .. } => *after,
    };
    if now >= expires_at {
        return Next::Dead;
    }
    let longest = retry.longest.get();
    let doubled = retry.first.get().saturating_mul(1_u32.checked_shl(attempt.saturating_sub(1)).unwrap_or(u32::MAX)).min(longest);
    let jittered = doubled.mul_f64(1.0 - jitter.clamp(0.0, 1.0) / 2.0);
    let wait = jittered.max(after.unwrap_or(Duration::ZERO).min(longest));
    let due_at = chrono::TimeDelta::from_std(wait).ok().and_then(|wait| now.checked_add_signed(wait)).unwrap_or(expires_at);
    Next::Retry { due_at: due_at.min(expires_at) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_timestamp(1_700_000_000 + seconds, 0).unwrap()
    }

    fn retry(after: Option<u64>) -> Outcome {
        Outcome::Retry { detail: String::new(), after: after.map(Duration::from_secs) }
    }

    fn wait(outcome: &Outcome, attempt: u32) -> i64 {
        match next(&RetryConfig::default(), outcome, attempt, at(0), at(1_000_000), 0.0) {
            Next::Retry { due_at } => (due_at - at(0)).num_seconds(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn waits_double_up_to_the_longest() {
        let waits: Vec<_> = [1, 2, 3, 4, 10, 11, 40].into_iter().map(|attempt| wait(&retry(None), attempt)).collect();
        assert_eq!(waits, [5, 10, 20, 40, 1_800, 1_800, 1_800]);
    }

    #[test]
    fn the_peer_s_wish_counts_but_not_beyond_the_longest() {
        assert_eq!(wait(&retry(Some(60)), 1), 60);
        assert_eq!(wait(&retry(Some(315_360_000)), 1), 1_800);
    }

    #[test]
    fn a_rejection_is_dead_at_once_and_an_expired_delivery_after_its_last_try() {
        let reject = Outcome::Reject { detail: String::new() };
        assert_eq!(next(&RetryConfig::default(), &reject, 1, at(0), at(100), 0.0), Next::Dead);
        assert_eq!(next(&RetryConfig::default(), &retry(None), 9, at(100), at(100), 0.0), Next::Dead);
        assert_eq!(next(&RetryConfig::default(), &retry(None), 9, at(99), at(100), 0.0), Next::Retry { due_at: at(100) });
    }

    proptest! {
        #[test]
        fn every_series_of_retries_ends(seed in any::<u64>(), wish in proptest::option::of(0_u64..1_000_000)) {
            let mut random = fastrand::Rng::with_seed(seed);
            let expires_at = at(3 * 86_400);
            let mut now = at(0);
            for attempt in 1..2_000 {
                match next(&RetryConfig::default(), &retry(wish), attempt, now, expires_at, random.f64()) {
                    Next::Retry { due_at } => {
                        prop_assert!(due_at > now && due_at <= expires_at);
                        now = due_at;
                    }
                    Next::Dead => return Ok(()),
                    Next::Delivered => prop_assert!(false, "nothing was delivered"),
                }
            }
            prop_assert!(false, "still retrying after 2,000 attempts");
        }
    }
}
