//! The caretaker: deletes what is older than its time, as `[retention]` says, in small steps between which others write.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use crate::{
    config::upkeep::RetentionConfig,
    model::causes,
    model::time::{Clock, Span},
    store::{Shelf, SqliteStore, Step, StoreError},
};

/// How often it looks whether something is old enough.
const EVERY: Duration = Duration::from_hours(1);

/// Rows in one step: some milliseconds of the writer's time.
const STEP: usize = 200;

/// Deletes until `stop`; without a time for anything it only waits for that.
pub async fn run(config: RetentionConfig, store: SqliteStore, clock: Arc<dyn Clock>, stop: CancellationToken) {
    let shelves = shelves(&config);
    let mut ticks = tokio::time::interval(EVERY);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        for (shelf, keep) in &shelves {
            match stop.run_until_cancelled(clear(&store, *shelf, *keep, &*clock)).await {
                None => return,
                Some(Ok(0)) => {}
                Some(Ok(rows)) => tracing::info!(shelf = shelf.as_str(), rows, %keep, "what was older than its time is deleted"),
                Some(Err(error)) => {
                    tracing::error!(shelf = shelf.as_str(), error = causes::chain(&error), "what is old can't be deleted");
                }
            }
        }
    }
}

fn shelves(config: &RetentionConfig) -> Vec<(Shelf, Span)> {
    let keep = |shelf| match shelf {
        Shelf::Journal => config.journal,
        Shelf::Deliveries => config.deliveries,
        Shelf::Quarantine => config.quarantine,
    };
    // Deliveries first: a message that goes with them may be the last thing that keeps something else.
    [Shelf::Deliveries, Shelf::Quarantine, Shelf::Journal].into_iter().filter_map(|shelf| Some((shelf, keep(shelf)?))).collect()
}

/// Deletes everything on the shelf that is older than `keep`. Answers how many rows.
async fn clear(store: &SqliteStore, shelf: Shelf, keep: Span, clock: &dyn Clock) -> Result<u64, StoreError> {
    let Some(before) = clock.now().checked_sub_signed(keep.delta()) else { return Ok(0) };
    let (mut rows, mut after) = (0, 0);
    loop {
        let cleared = store.prune(Step { shelf, before, after, limit: STEP }).committed().await?;
        rows += cleared.deleted;
        let Some(next) = cleared.next else { return Ok(rows) };
        after = next;
        tokio::task::yield_now().await;
    }
}
