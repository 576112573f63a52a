//! The books in the store: what turns add, what the store itself counts of its rows, and what the auditor reads.

use std::collections::HashMap;

use rusqlite::{Connection, Row, Statement, params, params_from_iter, types::Value};

use super::{
    Reader, StoreError,
    read::whole,
    rows::{At, Named, Whole, failed},
};
use crate::model::{
    books::{Books, BooksDelta, BooksRow, Counts, Imbalance, Seam},
    ids::{MessageId, Seq},
    names::{FeedName, TopicName},
    time::Timestamp,
    turn::Turn,
};

/// Adds what the turn brings, and what the store counts of its own rows.
pub(super) fn add(connection: &Connection, turn: &Turn) -> Result<(), StoreError> {
    let operation = "keeping the books";
    let kept = kept(connection, turn).map_err(failed(operation))?;
    if turn.books.is_empty() && kept.is_empty() {
        return Ok(());
    }
    let mut add = connection.prepare_cached(&adding()).map_err(failed(operation))?;
    turn.books.iter().chain(&kept).try_for_each(|delta| row(&mut add, delta)).map_err(failed(operation))
}

fn row(add: &mut Statement<'_>, delta: &BooksDelta) -> rusqlite::Result<()> {
    let key = [
        Value::Integer(delta.hour.timestamp_micros()),
        Value::Text(delta.feed.to_string()),
        Value::Text(delta.topic.to_string()),
    ];
    let counts = delta.counts.values();
    add.execute(params_from_iter(key.into_iter().chain(counts.iter().map(|count| Value::Integer(whole(*count))))))?;
    Ok(())
}

fn adding() -> String {
    let columns = Counts::NAMES.join(", ");
    let places: Vec<String> = (4..4 + Counts::NAMES.len()).map(|place| format!("?{place}")).collect();
    let sums: Vec<String> = Counts::NAMES.iter().map(|name| format!("{name} = {name} + excluded.{name}")).collect();
    format!(
        "INSERT INTO books (hour, feed, topic, {columns}) VALUES (?1, ?2, ?3, {}) ON CONFLICT (hour, feed, topic) DO UPDATE SET {}",
        places.join(", "),
        sums.join(", ")
    )
}

/// The rows that this turn writes, by the feed, topic and hour of the event that they come from.
fn kept(connection: &Connection, turn: &Turn) -> rusqlite::Result<Vec<BooksDelta>> {
    let mut books = Books::default();
    for event in turn.events.iter() {
        books.of(&event.feed, &event.topic, event.received_at).journaled += 1;
    }
    let nothing = TopicName::new("");
    for quarantined in &turn.quarantined {
        books.of(&quarantined.feed, &nothing, quarantined.received_at).set_aside += 1;
    }
    let effects = &turn.effects;
    for alert in &effects.alerts {
        let (feed, topic, at) = origin(connection, alert.seq)?;
        books.of(&feed, &topic, at).alerts += 1;
    }
    for missing in &effects.undecided {
        let (feed, topic, at) = origin(connection, missing.seq)?;
        books.of(&feed, &topic, at).undecided_kept += 1;
    }
    if !effects.deliveries.is_empty() {
        let own = (FeedName::new(""), nothing);
        let messages: HashMap<MessageId, _> = effects.messages.iter().map(|message| (message.id, message)).collect();
        for delivery in &effects.deliveries {
            // One of an older message is another way for it, and no part of what the message owed.
            let Some(message) = messages.get(&delivery.message) else { continue };
            match &message.event {
                Some(event) => books.of(&event.feed, &event.topic, event.received_at).deliveries += 1,
                None => books.of(&own.0, &own.1, message.created_at).deliveries += 1,
            }
        }
    }
    Ok(books.take())
}

fn origin(connection: &Connection, seq: Seq) -> rusqlite::Result<(FeedName, TopicName, Timestamp)> {
    connection
        .prepare_cached("SELECT feed, topic, received_at FROM events WHERE seq = ?1")?
        .query_row(params![whole(seq.0)], |row| {
            Ok((row.get::<_, Named<_>>(0)?.0, row.get::<_, Named<_>>(1)?.0, row.get::<_, At>(2)?.0))
        })
}

/// Begins an imbalance, changes its sums, or ends it.
pub(super) fn imbalances(connection: &Connection, rows: &[Imbalance]) -> Result<(), StoreError> {
    let operation = "writing what does not balance";
    for row in rows {
        connection
            .prepare_cached(
                "INSERT INTO imbalances (hour, feed, topic, seam, left_sum, right_sum, found_at, settled_at) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (hour, feed, topic, seam) DO UPDATE SET \
                 left_sum = excluded.left_sum, right_sum = excluded.right_sum, settled_at = excluded.settled_at",
            )
            .and_then(|mut write| {
                write.execute(params![
                    row.hour.timestamp_micros(),
                    row.feed.as_str(),
                    row.topic.as_str(),
                    row.seam.as_str(),
                    whole(row.left),
                    whole(row.right),
                    row.found_at.timestamp_micros(),
                    row.settled_at.map(|at| at.timestamp_micros()),
                ])
            })
            .map_err(failed(operation))?;
    }
    Ok(())
}

impl Reader {
    /// The books of each feed, all topics and hours together. The feed without a name is redflag itself.
    pub fn books(&self) -> Result<Vec<(FeedName, Counts)>, StoreError> {
        let sums: Vec<String> = Counts::NAMES.iter().map(|name| format!("sum({name})")).collect();
        let sql = format!("SELECT feed, {} FROM books GROUP BY feed ORDER BY feed", sums.join(", "));
        self.with("reading the books", |connection| {
            connection.prepare_cached(&sql)?.query_map([], |row| Ok((row.get::<_, Named<_>>(0)?.0, counts(row, 1)?)))?.collect()
        })
    }

    /// Every row of the books from that hour on, with what waits, as of one moment.
    pub fn books_since(&self, hour: Timestamp) -> Result<Vec<BooksRow>, StoreError> {
        let sql = format!("SELECT hour, feed, topic, {} FROM books WHERE hour >= ?1", Counts::NAMES.join(", "));
        self.with("reading the books", |connection| {
            // One snapshot: what moves from waiting to evaluated meanwhile is in exactly one of them.
            let snapshot = connection.unchecked_transaction()?;
            let mut waiting: HashMap<(FeedName, TopicName, i64), u64> = HashMap::new();
            let judged = super::open::judged(&snapshot)?;
            let above = "SELECT feed, topic, received_at / 3600000000, count(*) FROM events WHERE seq > ?1 GROUP BY 1, 2, 3";
            let mut above = snapshot.prepare_cached(above)?;
            let mut found = above.query(params![whole(judged.0)])?;
            while let Some(row) = found.next()? {
                let key = (row.get::<_, Named<_>>(0)?.0, row.get::<_, Named<_>>(1)?.0, row.get(2)?);
                waiting.insert(key, row.get::<_, Whole>(3)?.0);
            }
            snapshot
                .prepare_cached(&sql)?
                .query_map(params![hour.timestamp_micros()], |row| {
                    let hour = row.get::<_, At>(0)?.0;
                    let (feed, topic) = (row.get::<_, Named<FeedName>>(1)?.0, row.get::<_, Named<TopicName>>(2)?.0);
                    let key = (feed, topic, hour.timestamp() / 3_600);
                    let waiting = waiting.get(&key).copied().unwrap_or_default();
                    Ok(BooksRow { feed: key.0, topic: key.1, hour, counts: counts(row, 3)?, waiting })
                })?
                .collect()
        })
    }

    /// What does not balance and is told; the newest first.
    pub fn imbalances(&self) -> Result<Vec<Imbalance>, StoreError> {
        let sql = "SELECT hour, feed, topic, seam, left_sum, right_sum, found_at, settled_at FROM imbalances \
                   WHERE settled_at IS NULL ORDER BY found_at DESC";
        self.rows("reading what does not balance", sql, [], |row| {
            Ok(Imbalance {
                hour: row.get::<_, At>(0)?.0,
                feed: row.get::<_, Named<_>>(1)?.0,
                topic: row.get::<_, Named<_>>(2)?.0,
                seam: row.get::<_, super::rows::Word<Seam>>(3)?.0,
                left: row.get::<_, Whole>(4)?.0,
                right: row.get::<_, Whole>(5)?.0,
                found_at: row.get::<_, At>(6)?.0,
                settled_at: row.get::<_, Option<At>>(7)?.map(|at| at.0),
            })
        })
    }
}

fn counts(row: &Row<'_>, from: usize) -> rusqlite::Result<Counts> {
    let mut values = Counts::default().values();
    for (place, value) in values.iter_mut().enumerate() {
        *value = row.get::<_, Whole>(from + place)?.0;
    }
    Ok(Counts::from_values(values))
}
