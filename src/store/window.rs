//! What back-fill asks of the journal: how often something is in it, and since when a feed is known.

use std::collections::{HashMap, HashSet};

use rusqlite::{Connection, OptionalExtension as _, params};

use super::{
    Copies, KNOWN_RUNS, Reader, StoreError, open,
    read::whole,
    rows::{At, Hash, Named, Whole},
};
use crate::model::{hash::Digest, ids::Seq, names::FeedName, signal::Latest, time::Timestamp};

/// `events_hash` is cut into runs of so many events.
const RUN: u64 = 1 << 14;
/// Live events pass an answer that waits or is being taken: what was received later than it may stand before it, by this many runs at most.
const PASSED: u64 = 4;
/// A look-up costs about as much as reading so many entries of the window in order.
const LOOK_UP: u64 = 8;

impl Reader {
    /// When each topic of this feed was last received. Not after `now`: what was received while the clock was ahead is asked for again
    /// and compared.
    pub(super) fn latest(&self, feed: &FeedName, now: Timestamp) -> Result<Latest, StoreError> {
        let mut latest: Latest = self.with("reading when a feed was last heard", |connection| {
            // What a store that was set aside knew stands under no topic.
            connection
                .prepare_cached(
                    "SELECT topic, last_at FROM heard WHERE feed = ?1 \
                     UNION ALL SELECT '', received_at FROM carried_receipts WHERE feed = ?1",
                )?
                .query_map(params![feed.as_str()], |row| Ok((row.get::<_, Named<_>>(0)?.0, row.get::<_, At>(1)?.0)))?
                .collect()
        })?;
        if latest.values().any(|at| *at > now) {
            let steady = self.last_received(feed, now)?;
            latest.retain(|_, at| *at <= now || steady.is_some());
            latest.values_mut().filter(|at| **at > now).for_each(|at| *at = steady.unwrap_or(*at));
        }
        Ok(latest)
    }

    pub(super) fn copies(
        &self,
        feed: &FeedName,
        since: Timestamp,
        upto: Seq,
        hashes: &[Digest],
    ) -> Result<HashMap<Digest, Copies>, StoreError> {
        self.with("comparing with a window of the journal", |connection| {
            let first = connection
                .prepare_cached("SELECT seq FROM events WHERE feed = ?1 AND received_at >= ?2 ORDER BY received_at LIMIT 1")?
                .query_row(params![feed.as_str(), since.timestamp_micros()], |row| row.get::<_, Whole>(0).map(|seq| seq.0))
                .optional()?;
            let Some(first) = first.map(|first| first.min(upto.0)) else { return Ok(HashMap::new()) };
            let from = (first / RUN).saturating_sub(PASSED);
            let (size, runs) = (upto.0 - first + 1, (upto.0 / RUN) - from + 1);
            if (hashes.len() as u64).saturating_mul(runs) * LOOK_UP < size {
                looked_up(connection, feed, since, (from * RUN, upto.0), hashes)
            } else {
                read_through(connection, feed, since, upto, hashes)
            }
        })
    }

    /// One look into the index for each hash and run of 16,384 events, newest first.
    pub(super) fn known_before(
        &self,
        feed: &FeedName,
        hashes: &[Digest],
        before: Timestamp,
    ) -> Result<HashSet<Digest>, StoreError> {
        self.with("looking for elements", |connection| {
            let newest = open::last(connection)?.0 / RUN;
            let mut look = connection.prepare_cached(
                "SELECT 1 FROM events INDEXED BY events_hash WHERE seq >> 14 = ?1 AND substr(hash, 1, 8) = ?2 \
                 AND hash = ?3 AND feed = ?4 AND received_at < ?5",
            )?;
            let mut known = HashSet::new();
            // In the order of the index, so that a run's pages are read once.
            let mut wanted: Vec<&Digest> = hashes.iter().collect();
            wanted.sort_unstable_by_key(|hash| *hash.as_bytes());
            wanted.dedup();
            for run in (newest.saturating_sub(KNOWN_RUNS - 1)..=newest).rev() {
                let mut unknown = Vec::with_capacity(wanted.len());
                for hash in wanted {
                    let bytes = hash.as_bytes();
                    if look.exists(params![whole(run), &bytes[..8], bytes, feed.as_str(), before.timestamp_micros()])? {
                        known.insert(*hash);
                    } else {
                        unknown.push(hash);
                    }
                }
                wanted = unknown;
                if wanted.is_empty() {
                    break;
                }
            }
            Ok(known)
        })
    }

    pub(super) fn has_live(
        &self,
        feed: &FeedName,
        topics: &[&str],
        from: Timestamp,
        until: Timestamp,
    ) -> Result<bool, StoreError> {
        self.with("looking for known ground", |connection| {
            let mut rows = connection.prepare_cached(
                "SELECT topic FROM events WHERE feed = ?1 AND received_at BETWEEN ?2 AND ?3 AND origin = 'live' \
                 ORDER BY received_at DESC",
            )?;
            let mut rows = rows.query(params![feed.as_str(), from.timestamp_micros(), until.timestamp_micros()])?;
            while let Some(row) = rows.next()? {
                if topics.is_empty() || topics.contains(&row.get_ref(0)?.as_str()?) {
                    return Ok(true);
                }
            }
            Ok(false)
        })
    }

    pub(super) fn hours_heard(&self, feed: &FeedName, since: Timestamp) -> Result<Vec<Timestamp>, StoreError> {
        self.with("reading when a feed was heard", |connection| {
            connection
                .prepare_cached("SELECT DISTINCT hour FROM books WHERE hour >= ?2 AND feed = ?1 AND journaled > 0 ORDER BY hour")?
                .query_map(params![feed.as_str(), since.timestamp_micros()], |row| Ok(row.get::<_, At>(0)?.0))?
                .collect()
        })
    }

    pub(super) fn quarantined_before(&self, feed: &FeedName, digest: &Digest) -> Result<bool, StoreError> {
        self.with("looking for quarantined bytes", |connection| {
            connection
                .prepare_cached("SELECT 1 FROM quarantine WHERE digest = ?1 AND feed = ?2")?
                .exists(params![digest.as_bytes(), feed.as_str()])
        })
    }
}

/// For few hashes in a large window.
fn looked_up(
    connection: &Connection,
    feed: &FeedName,
    since: Timestamp,
    (first, last): (u64, u64),
    hashes: &[Digest],
) -> rusqlite::Result<HashMap<Digest, Copies>> {
    let mut look = connection.prepare_cached(
        "SELECT count(*), min(CASE origin WHEN 'live' THEN received_at END) FROM events INDEXED BY events_hash \
         WHERE seq >> 14 = ?1 AND substr(hash, 1, 8) = ?2 AND hash = ?3 AND feed = ?4 AND received_at >= ?5 AND seq <= ?6",
    )?;
    let mut found = HashMap::new();
    for hash in hashes {
        let bytes = hash.as_bytes();
        if found.contains_key(hash) {
            continue;
        }
        for run in first / RUN..=last / RUN {
            let key = params![whole(run), &bytes[..8], bytes, feed.as_str(), since.timestamp_micros(), whole(last)];
            let (count, live) = look.query_row(key, |row| Ok((row.get::<_, Whole>(0)?.0, row.get::<_, Option<At>>(1)?)))?;
            if count > 0 {
                add(&mut found, *hash, count, live.map(|at| at.0));
            }
        }
    }
    Ok(found)
}

/// For many: the whole window, of which the index holds all that is needed but the origin of what was found.
fn read_through(
    connection: &Connection,
    feed: &FeedName,
    since: Timestamp,
    upto: Seq,
    hashes: &[Digest],
) -> rusqlite::Result<HashMap<Digest, Copies>> {
    let wanted: HashSet<&Digest> = hashes.iter().collect();
    let mut found: HashMap<Digest, Copies> = HashMap::new();
    let mut window = connection.prepare_cached(
        "SELECT hash, seq, received_at FROM events INDEXED BY events_received \
         WHERE feed = ?1 AND received_at >= ?2 AND seq <= ?3 ORDER BY received_at",
    )?;
    let mut live = connection.prepare_cached("SELECT 1 FROM events WHERE seq = ?1 AND origin = 'live'")?;
    let mut rows = window.query(params![feed.as_str(), since.timestamp_micros(), whole(upto.0)])?;
    while let Some(row) = rows.next()? {
        let hash = row.get::<_, Hash>(0)?.0;
        if !wanted.contains(&hash) {
            continue;
        }
        // In the order of time: the first live one is all that is asked for.
        let known = found.get(&hash).is_some_and(|copies| copies.first_live.is_some());
        let at = if !known && live.exists(params![row.get::<_, i64>(1)?])? { Some(row.get::<_, At>(2)?.0) } else { None };
        add(&mut found, hash, 1, at);
    }
    Ok(found)
}

fn add(found: &mut HashMap<Digest, Copies>, hash: Digest, count: u64, live: Option<Timestamp>) {
    let copies = found.entry(hash).or_insert(Copies { count: 0, first_live: None });
    copies.count += count;
    copies.first_live = copies.first_live.into_iter().chain(live).min();
}
