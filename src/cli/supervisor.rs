//! What systemd is told: ready, reloading, stopping, one line of status, and that the path gets on.
//!
//! A start may take as long as it gets on: after an unclean stop the whole store is read, and a large one takes longer than
//! `TimeoutStartSec=`. If systemd ended that, the next start would have to begin anew, and so for ever.
//!
//! The watchdog is fed only while every loop of the path ticks. A loop that has stood still for half of `WatchdogSec=` is named in the log and
//! the feeding ends; at the whole of it redflag asks to be ended at once, so that one hung loop takes no longer than a hung process.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::{MissedTickBehavior, interval};

use crate::telemetry::{Progress, progress::Lag};

/// Without systemd there is nobody to tell.
pub fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "systemd can't be told");
    }
}

/// The time of the watchdog that waits for this process, if one does.
#[must_use]
pub fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

/// How often a start that gets on asks for more time.
const ASKS: Duration = Duration::from_secs(5);

/// What it asks for, from then on.
const MORE: Duration = Duration::from_mins(1);

/// Asks for more time for as long as the start gets on.
pub async fn extend(progress: Progress) {
    let mut ticks = interval(ASKS);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Some(more) = more(&progress, ASKS * 2) {
            tell(&[more, NotifyState::Status("starting: checking the store, or judging what an earlier run left")]);
        }
    }
}

fn more(progress: &Progress, within: Duration) -> Option<NotifyState<'static>> {
    progress.moves(within).then(|| NotifyState::ExtendTimeoutUsec(u32::try_from(MORE.as_micros()).unwrap_or(u32::MAX)))
}

/// What the watchdog gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    Alive,
    Nothing,
    End,
}

fn word(lag: Option<&Lag>, period: Duration) -> Word {
    match lag {
        Some(lag) if lag.since >= period => Word::End,
        Some(lag) if lag.since >= period / 2 => Word::Nothing,
        None | Some(_) => Word::Alive,
    }
}

/// Feeds the watchdog for as long as the path gets on, and tells the status whenever it is another.
pub async fn feed(progress: Progress, period: Duration, status: impl Fn() -> String + Send + 'static) {
    // A quarter leaves room for a busy machine; a second at most, so that a hang is not found later than it need be.
    let mut ticks = interval((period / 4).min(Duration::from_secs(1)).max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told = String::new();
    let mut named = false;
    loop {
        ticks.tick().await;
        let lag = progress.longest();
        let (step, seconds) = lag.as_ref().map_or(("", 0), |lag| (lag.step.as_str(), lag.since.as_secs()));
        match word(lag.as_ref(), period) {
            Word::Alive => {
                named = false;
                let status = status();
                if status == told {
                    tell(&[NotifyState::Watchdog]);
                } else {
                    tell(&[NotifyState::Watchdog, NotifyState::Status(&status)]);
                    told = status;
                }
            }
            Word::Nothing if named => {}
            Word::Nothing => {
                named = true;
                tracing::error!(step, seconds, "the path stands still; the watchdog is not fed any more");
                tell(&[NotifyState::Status(&format!("stands still: {step}"))]);
                told.clear();
            }
            Word::End => {
                tracing::error!(
                    step,
                    seconds,
                    "the path stands still; redflag asks to be ended, the journal goes on at the next start"
                );
                tell(&[NotifyState::WatchdogTrigger]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_gets_more_time_only_while_it_gets_on() {
        let progress = Progress::default();
        let minute = Duration::from_mins(1);
        assert!(more(&progress, minute).is_none(), "nothing is checked");
        let checking = progress.hand("checking the store");
        checking.tick();
        assert_eq!(more(&progress, minute).unwrap().to_string(), "EXTEND_TIMEOUT_USEC=60000000");
        std::thread::park_timeout(Duration::from_millis(20));
        assert!(more(&progress, Duration::ZERO).is_none(), "it stands still");
        drop(checking);
        assert!(more(&progress, minute).is_none(), "it is over");
    }

    #[test]
    fn the_watchdog_is_fed_while_the_slowest_loop_gets_on_and_bites_when_it_does_not() {
        let period = Duration::from_secs(30);
        let after = |seconds| word(Some(&Lag { step: "judging".to_owned(), since: Duration::from_secs(seconds) }), period);
        assert_eq!(word(None, period), Word::Alive, "everything has ended in order");
        assert_eq!([0, 5, 14].map(after), [Word::Alive; 3]);
        assert_eq!([15, 29].map(after), [Word::Nothing; 2]);
        assert_eq!([30, 300].map(after), [Word::End; 2]);
    }
}
