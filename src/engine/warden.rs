//! The warden: sees to deliveries that are late or were given up.
//!
//! The message of each goes by the fallback as well, at once; the operators hear of the channel, one alarm for an outage. What is in trouble
//! stands in the store until the transaction that does both, so neither a stop nor a kill leaves one untold. It also gives the store its
//! signs of life, by which the time without a running redflag is left out of a delivery's horizon.

use std::{sync::Arc, time::Duration};

use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use super::pipeline::Control;
use crate::{
    alerts::{Alarm, Outages, Routes, Standing},
    model::{
        causes,
        delivery::{Mark, State, Trouble},
        ids::Ids,
        names::ChannelName,
        time::{Clock, Timestamp},
        turn::Effects,
    },
    store::{Reader, SqliteStore, StoreError},
    telemetry::Metrics,
};

/// How often it looks; a delivery that is given up wakes it.
pub const EVERY: Duration = Duration::from_secs(5);

/// What fell late while redflag was down is given so long to go out by itself.
const GRACE: chrono::TimeDelta = chrono::TimeDelta::seconds(60);

/// A sign of life is written after so many looks.
const ALIVE: u32 = 12;

/// Deliveries in one look; when there are more, it looks again at once.
const MANY: usize = 500;

pub struct Warden {
    store: SqliteStore,
    routes: Routes,
    clock: Arc<dyn Clock>,
    ids: Ids,
    metrics: Arc<Metrics>,
    outages: Outages,
    began: Timestamp,
    looks: u32,
}

/// What one look came to.
#[derive(Debug, Default)]
pub struct Findings {
    pub effects: Effects,
    pub alarms: Vec<Alarm>,
    /// There is more to do than one look does.
    pub more: bool,
}

impl Warden {
    /// # Errors
    /// When the store can't be read.
    pub fn new(
        store: &SqliteStore,
        routes: Routes,
        clock: Arc<dyn Clock>,
        ids: Ids,
        metrics: Arc<Metrics>,
    ) -> Result<Self, StoreError> {
        let began = clock.now();
        let mut outages = Outages::default();
        for (channel, _) in store.reader().owed()? {
            if store.reader().overdue(&channel)? > 0 {
                outages.resume(channel, began);
            }
        }
        metrics.dead_alarms.set(whole(store.reader().dead_alarm_count()?));
        Ok(Self { store: store.clone(), routes, clock, ids, metrics, outages, began, looks: 0 })
    }

    /// Looks until `stop`.
    pub async fn run(mut self, control: mpsc::Sender<Control>, trouble: Arc<Notify>, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(EVERY);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = trouble.notified() => {}
                () = stop.cancelled() => return,
            }
            if self.looks.is_multiple_of(ALIVE)
                && let Err(error) = self.store.alive().committed().await
            {
                tracing::error!(error = causes::chain(&error), "the sign of life can't be written");
            }
            self.looks = self.looks.wrapping_add(1);
            loop {
                let looked = tokio::task::spawn_blocking(move || {
                    let findings = self.look();
                    (self, findings)
                });
                let findings;
                (self, findings) = match looked.await {
                    Ok(looked) => looked,
                    Err(error) => {
                        return tracing::error!(%error, "the warden broke");
                    }
                };
                let Findings { effects, alarms, more } = match findings {
                    Ok(findings) => findings,
                    Err(error) => {
                        tracing::error!(error = causes::chain(&error), "deliveries in trouble can't be read");
                        break;
                    }
                };
                if effects.is_empty() && alarms.is_empty() {
                    break;
                }
                let (answer, mut committed) = mpsc::channel(1);
                // Gone only when the process ends; what is in trouble stays so for the next one.
                if control.send(Control::Warned(Box::new(effects), alarms, answer)).await.is_err()
                    || committed.recv().await.is_none()
                {
                    return;
                }
                if !more {
                    break;
                }
            }
        }
    }

    /// Looks once.
    ///
    /// # Errors
    /// When the store can't be read.
    pub fn look(&mut self) -> Result<Findings, StoreError> {
        let now = self.clock.now();
        let mut findings = Findings::default();
        let late = self.reader().late(now, MANY)?;
        findings.more = late.len() == MANY && now >= self.began + GRACE;
        // What is dead is dead; what is late may still go out while redflag begins.
        let ready = |trouble: &&Trouble| trouble.state == State::Dead || now >= self.began + GRACE;
        let late: Vec<Trouble> = late.iter().filter(ready).cloned().collect();
        for trouble in &late {
            self.reroute(trouble, now, &mut findings.effects)?;
        }
        self.tell(now, &mut findings)?;
        self.metrics.dead_alarms.set(whole(self.reader().dead_alarm_count()?));
        Ok(findings)
    }

    fn reader(&self) -> &Reader {
        self.store.reader()
    }

    /// The message goes by the fallback, where it does not go yet.
    fn reroute(&mut self, trouble: &Trouble, now: Timestamp, effects: &mut Effects) -> Result<(), StoreError> {
        effects.marks.push(Mark::Rerouted(trouble.delivery));
        let has: Vec<ChannelName> = self.reader().deliveries_of(trouble.message)?.into_iter().map(|row| row.channel).collect();
        let planned =
            |way: &ChannelName| effects.deliveries.iter().any(|one| one.message == trouble.message && one.channel == *way);
        let ways: Vec<ChannelName> =
            self.routes.fallback().into_iter().filter(|way| !has.contains(way) && !planned(way)).collect();
        if ways.is_empty() {
            return Ok(());
        }
        let Some(message) = self.store.reader().message(trouble.message)? else { return Ok(()) };
        let mut deliveries = self.routes.deliveries(&message, &ways, now, &mut self.ids);
        for delivery in &mut deliveries {
            // The last resort has no other way: its trouble is told when it is given up.
            delivery.late_at = Some(delivery.expires_at);
        }
        effects.deliveries.extend(deliveries);
        Ok(())
    }

    /// One alarm for each channel in trouble whose turn it is.
    fn tell(&mut self, now: Timestamp, findings: &mut Findings) -> Result<(), StoreError> {
        let mut channels = self.reader().troubled_channels()?;
        for known in self.outages.channels() {
            if !channels.contains(&known) {
                channels.push(known);
            }
        }
        let fallback = self.routes.fallback();
        for channel in channels {
            if !self.outages.is_due(&channel, now) {
                continue;
            }
            let untold = self.reader().untold_counts(&channel)?;
            let named = self.reader().untold(&channel, Standing::NAMED)?;
            let overdue = self.reader().overdue(&channel)?;
            let rules = named.iter().map(|trouble| {
                let message = self.reader().message(trouble.message)?;
                Ok(message.and_then(|message| message.card.as_ref().map(|card| card.id.to_string())))
            });
            let rules = rules.collect::<Result<Vec<_>, StoreError>>()?;
            let standing = Standing { channel: &channel, untold, named: &named, rules: &rules, overdue, fallback: &fallback };
            findings.alarms.extend(self.outages.tell(&standing, now));
            if untold.up_to > 0 {
                findings.effects.marks.push(Mark::Told { channel, up_to: untold.up_to });
            }
        }
        Ok(())
    }
}

fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
