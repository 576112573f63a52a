//! Watches the store's disk: says when room gets low or will be gone soon, says when it is full, and gives the reserve back when there is
//! room again.
//!
//! While the disk is full the engine takes no frames, so the sockets are not read; everything else goes on in the reserve's room.

use std::{io, sync::Arc, time::Duration};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::pipeline::Control;
use crate::{
    alerts::Alarm,
    config::upkeep::DiskConfig,
    model::{
        severity::Severity,
        time::{Clock, Span, Timestamp},
    },
    store::{Space, breaks_trust},
    telemetry::{Metrics, Progress},
};

/// How often it looks.
const EVERY: Duration = Duration::from_secs(1);

/// Growth is not told from less than this.
const LONG_ENOUGH: chrono::TimeDelta = chrono::TimeDelta::hours(6);

/// Owns what was told of the disk.
pub struct Watch {
    space: Arc<Space>,
    limits: DiskConfig,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    progress: Progress,
    /// The first look, and how large the store was.
    first: Option<(Timestamp, u64)>,
    told: Told,
}

#[derive(Debug, Default)]
struct Told {
    full: bool,
    low: bool,
    soon: bool,
}

impl Watch {
    #[must_use]
    pub fn new(space: Arc<Space>, limits: DiskConfig, clock: Arc<dyn Clock>, metrics: Arc<Metrics>, progress: Progress) -> Self {
        Self { space, limits, clock, metrics, progress, first: None, told: Told::default() }
    }

    /// Looks until `stop`.
    pub async fn run(mut self, control: mpsc::Sender<Control>, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            let looked = tokio::task::spawn_blocking(move || {
                let alarms = self.look();
                (self, alarms)
            });
            let alarms;
            (self, alarms) = match looked.await {
                Ok((watch, Ok(alarms))) => (watch, alarms),
                // A watch that ends unasked ends the service.
                Ok((_, Err(error))) => return tracing::error!(%error, "the disk can't be trusted: the reserve can't be made"),
                Err(error) => return tracing::error!(%error, "the watch of the disk broke"),
            };
            for alarm in alarms {
                // A full queue must not keep the disk from being looked at: what is not told now is told by the next look's state.
                if let Err(mpsc::error::TrySendError::Full(_)) = control.try_send(Control::Alarm(alarm)) {
                    tracing::warn!("an alarm about the disk has to wait");
                    self.told = Told::default();
                }
            }
        }
    }

    /// Looks once.
    ///
    /// # Errors
    /// When the disk can't be trusted any more.
    pub fn look(&mut self) -> io::Result<Vec<Alarm>> {
        let mut alarms = Vec::new();
        // Waiting for room is no hanging: a restart would not help.
        self.progress.excuse(self.space.is_waiting());
        let mut full = self.space.is_short();
        if full {
            match self.space.set_up() {
                Ok(whole) => full = !whole,
                Err(error) if breaks_trust(&error) => return Err(error),
                Err(error) => tracing::debug!(%error, "the reserve can't be made again yet"),
            }
        }
        let room = match self.space.room() {
            Ok(room) => room,
            Err(error) => {
                tracing::error!(%error, "the disk's room can't be read");
                return Ok(alarms);
            }
        };
        let now = self.clock.now();
        let used = self.space.used();
        let days = self.days_left(room.free, used, now);
        self.metrics.disk_free_bytes.set(signed(room.free));
        self.metrics.store_bytes.set(signed(used));
        self.metrics.disk_full_days.set(days.unwrap_or(f64::INFINITY));
        let low = room.free < self.limits.low.0;
        let soon = days.is_some_and(|days| days * 86_400.0 < self.limits.forecast.get().as_secs_f64());
        if changed(&mut self.told.full, full) {
            alarms.push(if full { disk_full(room.free, now) } else { room_again(room.free, now) });
        }
        if changed(&mut self.told.low, low) && low {
            alarms.push(disk_low(room.free, room.total, self.limits.low.0, days));
        }
        if changed(&mut self.told.soon, soon) && soon {
            alarms.push(full_soon(days.unwrap_or_default(), self.limits.forecast));
        }
        Ok(alarms)
    }

    /// In how many days the store's growth since the first look fills the disk.
    fn days_left(&mut self, free: u64, used: u64, now: Timestamp) -> Option<f64> {
        let (since, then) = *self.first.get_or_insert((now, used));
        let time = now - since;
        let grown = used.checked_sub(then).filter(|grown| *grown > 0)?;
        (time >= LONG_ENOUGH).then(|| free as f64 / grown as f64 * time.as_seconds_f64() / 86_400.0)
    }
}

fn changed(told: &mut bool, is: bool) -> bool {
    std::mem::replace(told, is) != is
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

fn disk_full(free: u64, now: Timestamp) -> Alarm {
    tracing::error!(free, "the disk is full: no frames are taken until there is room");
    Alarm::new(format!("disk full {now}"), Severity::Critical, "The disk is full")
        .note(
            "The reserve is given up, and this alarm was written in its room. The feeds are not read until there is room again.",
        )
        .note("Nothing is lost that the provider still has: what it sends meanwhile is asked for afterwards.")
        .note("Make room on the disk that holds data_dir. redflag goes on by itself.")
}

fn room_again(free: u64, now: Timestamp) -> Alarm {
    tracing::info!(free, "the disk has room again");
    Alarm::new(format!("disk room {now}"), Severity::Info, "The disk has room again")
        .note(format!("{} are free, the reserve is made again, and the feeds are read.", mib(free)))
}

fn disk_low(free: u64, total: u64, low: u64, days: Option<f64>) -> Alarm {
    tracing::warn!(free, total, "the disk gets full");
    let growth = days.map_or_else(String::new, |days| format!(" By the growth since the start it is full in {days:.0} days."));
    Alarm::new("disk low", Severity::High, format!("The disk gets full: {} of {} are free", mib(free), mib(total)))
        .note(format!("It holds data_dir, and [disk] low is {}.{growth}", mib(low)))
        .note("Make room, move data_dir, or let [retention] delete what is old.")
}

fn full_soon(days: f64, forecast: Span) -> Alarm {
    tracing::warn!(days, "the disk will be full soon");
    Alarm::new("disk forecast", Severity::Medium, format!("The disk will be full in {days:.0} days"))
        .note(format!("That is by the store's growth since the start; [disk] forecast is {forecast}."))
        .note("Make room, move data_dir, or let [retention] delete what is old.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::time::ManualClock;

    fn watch(folder: &std::path::Path, limits: DiskConfig, clock: &ManualClock) -> Watch {
        let space = Arc::new(Space::new(folder, 1 << 20));
        assert!(space.set_up().unwrap(), "this machine's disk is full");
        Watch::new(space, limits, Arc::new(clock.clone()), Arc::new(Metrics::new()), Progress::default())
    }

    fn subjects(alarms: &[Alarm]) -> Vec<&str> {
        alarms
            .iter()
            .map(|alarm| alarm.subject.split(&[':', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9']).next().unwrap())
            .collect()
    }

    #[test]
    fn a_disk_that_gets_full_is_told_once() {
        let folder = tempfile::tempdir().unwrap();
        let clock = ManualClock::at(Timestamp::from_timestamp(1_700_000_000, 0).unwrap());
        let everything = DiskConfig { low: crate::config::feeds::ByteSize(u64::MAX), ..DiskConfig::default() };
        let mut watch = watch(folder.path(), everything, &clock);
        assert_eq!(subjects(&watch.look().unwrap()), ["The disk gets full"]);
        assert!(watch.look().unwrap().is_empty());
        assert!(watch.metrics.disk_free_bytes.get() > 0);
    }

    #[test]
    fn growth_is_told_when_the_disk_will_be_full_soon() {
        let folder = tempfile::tempdir().unwrap();
        let clock = ManualClock::at(Timestamp::from_timestamp(1_700_000_000, 0).unwrap());
        let limits = DiskConfig { low: crate::config::feeds::ByteSize(1), ..DiskConfig::default() };
        let mut watch = watch(folder.path(), limits, &clock);
        std::fs::write(folder.path().join(crate::store::DATABASE), b"").unwrap();
        assert!(watch.look().unwrap().is_empty());
        // A file with a hole: large, and no burden.
        let file = std::fs::File::options().write(true).open(folder.path().join(crate::store::DATABASE)).unwrap();
        file.set_len(watch.space.room().unwrap().free / 10).unwrap();
        clock.advance(Duration::from_hours(1));
        assert!(watch.look().unwrap().is_empty(), "an hour says nothing");
        clock.advance(Duration::from_hours(5));
        assert_eq!(subjects(&watch.look().unwrap()), ["The disk will be full in "]);
    }
}
