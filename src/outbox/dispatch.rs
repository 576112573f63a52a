//! One channel's dispatcher: leases what is due, sends a bounded number at once, reports how each attempt ended.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::{FutureExt as _, future::BoxFuture};
use tokio::{
    sync::{Notify, mpsc},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use crate::{
    config::channels::RetryConfig,
    model::{
        delivery::{AttemptReport, Leased, Next, Outcome},
        ids::{Ids, MessageId},
        names::ChannelName,
        time::{Clock, Timestamp},
    },
    store::{Outbox, StoreError},
    telemetry::progress::{Hand, IDLE_TICK},
};

/// Renders a leased delivery for its channel and sends it once.
pub trait Sender: Send + Sync {
    fn send<'a>(&'a self, leased: &'a Leased) -> BoxFuture<'a, Outcome>;
}

/// What one dispatcher works with.
#[derive(Clone, Debug)]
pub struct Options {
    pub channel: ChannelName,
    pub retry: RetryConfig,
    /// How many deliveries are under way at once.
    pub parallel: usize,
}

/// The dispatcher's surroundings.
pub struct Work {
    pub outbox: Arc<dyn Outbox>,
    pub sender: Arc<dyn Sender>,
    pub clock: Arc<dyn Clock>,
    pub ids: Ids,
    /// Woken when deliveries of this channel were committed.
    pub wake: Arc<Notify>,
    pub notices: mpsc::Sender<Notice>,
    /// Ticks with each round, at least every [`IDLE_TICK`].
    pub progress: Hand,
}

/// How an attempt ended, for metrics and operators. It holds no payload.
#[derive(Clone, Debug)]
pub struct Notice {
    pub channel: ChannelName,
    pub recipient: String,
    pub message: MessageId,
    pub attempt: u32,
    pub created_at: Timestamp,
    pub finished_at: Timestamp,
    pub next: Next,
    pub detail: String,
}

/// A channel ends its own attempt in time and says at which step it hung; one that does not is cut off so much later.
const BACKSTOP: Duration = Duration::from_secs(5);

/// Sends until `stop`; what is under way then is finished first (bounded by the attempt's time-out).
///
/// # Errors
/// When the store fails: the process can't go on.
pub async fn run(options: Options, mut work: Work, stop: CancellationToken) -> Result<(), StoreError> {
    let mut under_way: JoinSet<(Leased, Outcome)> = JoinSet::new();
    let timeout = options.retry.timeout.get();
    // A lease outlives the attempt, so that nobody else sends the same meanwhile.
    let lease = chrono::TimeDelta::from_std(timeout * 2 + Duration::from_secs(10)).unwrap_or(chrono::TimeDelta::MAX);
    loop {
        work.progress.tick();
        let free = options.parallel.saturating_sub(under_way.len());
        if free > 0 && !stop.is_cancelled() {
            let now = work.clock.now();
            for leased in work.outbox.lease(&options.channel, now, now + lease, free).committed().await? {
                let sender = Arc::clone(&work.sender);
                let backstop = timeout + BACKSTOP;
                under_way.spawn(async move {
                    // A panic is an attempt like another: it counts, waits, and ends as a dead letter. The log has its place.
                    let attempt = AssertUnwindSafe(tokio::time::timeout(backstop, sender.send(&leased))).catch_unwind().await;
                    let retry = |detail| Outcome::Retry { detail, after: None };
                    let outcome = match attempt {
                        Ok(Ok(outcome)) => outcome,
                        Ok(Err(_)) => retry(format!("no answer within {} s", backstop.as_secs())),
                        Err(_) => retry("the attempt broke inside redflag".to_owned()),
                    };
                    (leased, outcome)
                });
            }
        }
        if under_way.is_empty() {
            if stop.is_cancelled() {
                return Ok(());
            }
            let pause = until_due(&options.channel, &work)?;
            tokio::select! {
                () = work.wake.notified() => {}
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => {}
            }
            continue;
        }
        let full = under_way.len() >= options.parallel;
        let pause = if full { IDLE_TICK } else { until_due(&options.channel, &work)? };
        tokio::select! {
            Some(done) = under_way.join_next() => {
                let mut finished = vec![done];
                while let Some(done) = under_way.try_join_next() {
                    finished.push(done);
                }
                let finished = finished.into_iter().filter_map(|done| {
                    // Cancelled, which nobody does: its lease runs out.
                    done.inspect_err(|error| tracing::error!(channel = %options.channel, %error, "an attempt broke")).ok()
                });
                conclude(&options, &mut work, finished.collect()).await?;
            }
            () = work.wake.notified(), if !full => {}
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled(), if !stop.is_cancelled() => {}
        }
    }
}

fn until_due(channel: &ChannelName, work: &Work) -> Result<Duration, StoreError> {
    let due = work.outbox.next_due(channel)?;
    Ok(due.map_or(IDLE_TICK, |due| (due - work.clock.now()).to_std().unwrap_or(Duration::ZERO).min(IDLE_TICK)))
}

async fn conclude(options: &Options, work: &mut Work, finished: Vec<(Leased, Outcome)>) -> Result<(), StoreError> {
    let mut reports = Vec::with_capacity(finished.len());
    let mut notices = Vec::with_capacity(finished.len());
    for (leased, outcome) in finished {
        let finished_at = work.clock.now();
        let expires_at = leased.delivery.expires_at;
        let next = super::next(&options.retry, &outcome, leased.attempt, finished_at, expires_at, work.ids.jitter());
        let (Outcome::Delivered { detail } | Outcome::Retry { detail, .. } | Outcome::Reject { detail }) = outcome;
        let report = AttemptReport {
            delivery: leased.delivery.id,
            attempt: leased.attempt,
            finished_at,
            detail: detail.clone(),
            next: next.clone(),
        };
        notices.push(Notice {
            channel: options.channel.clone(),
            recipient: leased.delivery.recipient.clone(),
            message: leased.message.id,
            attempt: leased.attempt,
            created_at: leased.message.created_at,
            finished_at,
            next,
            detail,
        });
        reports.push(report);
    }
    work.outbox.report(reports).committed().await?;
    for notice in notices {
        // The engine is gone only while the process stops; the rows are committed all the same.
        let _ = work.notices.send(notice).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
