//! `quarantine`: what could not be decoded, and judging it after all.

use serde::{Deserialize, Serialize};

use tokio::sync::mpsc;

use super::{Office, Refusal, proposal};
use crate::{
    engine::pipeline::Control,
    model::{actor::Actor, event::QuarantineReason, hash::Digest, names::FeedName, time::Timestamp},
    store::{Change, Changed, Numbered, QuarantineFilter, QuarantineRow},
};

/// One entry, without its bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QuarantineLine {
    pub number: i64,
    pub feed: FeedName,
    pub received_at: Timestamp,
    pub reason: QuarantineReason,
    pub detail: String,
    pub size: u64,
    pub digest: Digest,
    /// `open`, `wanted`, `retried`, `dropped`.
    pub state: String,
    pub outcome: Option<String>,
}

impl Office {
    pub(super) fn quarantine(
        &self,
        feed: Option<String>,
        state: Option<String>,
        since: Option<Timestamp>,
        limit: usize,
    ) -> Result<Vec<QuarantineLine>, Refusal> {
        if let Some(feed) = &feed {
            self.known_feed(feed)?;
        }
        let rows = self.store.reader().find_quarantined(&QuarantineFilter { feed, state, since, limit })?;
        Ok(rows.into_iter().map(QuarantineLine::from).collect())
    }

    /// The wish is kept at once; the engine takes it up, now or when it starts. Answers how the entries stand then.
    pub(super) fn retry_quarantined(&self, ids: &[String], note: String, actor: &Actor) -> Result<Vec<QuarantineLine>, Refusal> {
        let reader = self.store.reader();
        let quarantined = self.entries(ids)?;
        self.act(actor, "quarantine retry", note, Change::Judge { quarantined: quarantined.clone() })?;
        if let Some(live) = &self.live {
            let (asked, mut done) = mpsc::channel(1);
            // An engine that is gone takes it up when it starts again.
            if live.engine.blocking_send(Control::Quarantine(asked)).is_ok() {
                let _ = done.blocking_recv();
            }
        }
        let entries = quarantined.into_iter().filter_map(|number| reader.quarantined_entry(number).transpose());
        Ok(entries.map(|entry| entry.map(QuarantineLine::from)).collect::<Result<_, _>>()?)
    }

    /// They stay with their bytes, and are nobody's open question any more.
    pub(super) fn drop_quarantined(&self, ids: &[String], note: String, actor: &Actor) -> Result<Vec<Changed>, Refusal> {
        let quarantined = self.entries(ids)?;
        self.act(actor, "quarantine drop", note, Change::Dismiss { quarantined })
    }

    /// Their numbers, each of which is there.
    fn entries(&self, ids: &[String]) -> Result<Vec<i64>, Refusal> {
        let reader = self.store.reader();
        let list = "`redflag quarantine list` shows them";
        let mut quarantined = Vec::with_capacity(ids.len());
        for id in ids {
            let Ok(number) = id.trim_start_matches('#').parse::<i64>() else {
                return Err(Refusal::unknown(format!("`{id}` names no entry of the quarantine: it is a number; {list}")));
            };
            if reader.quarantined_entry(number)?.is_none() {
                return Err(Refusal::unknown(match reader.highest(Numbered::Quarantine)? {
                    0 => "nothing was ever set aside".to_owned(),
                    highest => format!("there is no entry {number} in quarantine; the last one is {highest}, {list}"),
                }));
            }
            quarantined.push(number);
        }
        Ok(quarantined)
    }

    /// Configured, or known by the books.
    pub(super) fn known_feed(&self, feed: &str) -> Result<(), Refusal> {
        let books = self.store.reader().books()?;
        let mut known: Vec<&str> = self.config.feeds.keys().map(|name| &**name).collect();
        known.extend(books.iter().map(|(name, _)| &**name).filter(|name| !self.config.feeds.contains_key(*name)));
        if known.contains(&feed) {
            return Ok(());
        }
        Err(Refusal::unknown(format!("no feed is called `{feed}`; {}", proposal(feed, &known))))
    }
}

impl From<QuarantineRow> for QuarantineLine {
    fn from(row: QuarantineRow) -> Self {
        Self {
            number: row.id,
            feed: row.feed,
            received_at: row.received_at,
            reason: row.reason,
            detail: row.detail,
            size: row.size,
            digest: row.digest,
            state: row.state,
            outcome: row.outcome,
        }
    }
}
