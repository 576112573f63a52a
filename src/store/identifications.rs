//! What look-ups ask of the journal: identifications without a known success, and whether all of them are known at all.

use rusqlite::{Row, params};

use super::{
    Reader, StoreError,
    read::whole,
    rows::{At, Json},
};
use crate::model::{
    ids::Seq,
    lookup::{Identification, Outcome},
    names::FeedName,
    time::Timestamp,
    topic::{IDENT_REQUESTS_CREATED, IDENT_RESULT, IDENT_RESULT_KYC, MISMATCHES},
};

/// How far the journal's knowledge of identifications reaches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Announced {
    /// When the first was announced, and the last that was by the end of the interval.
    pub first: Option<Timestamp>,
    pub last: Option<Timestamp>,
    /// Entries of the interval that were set aside, and that nobody has judged.
    pub set_aside: u64,
}

/// Each event that tells something of an identification. `?1`: the feed, `?2`: since when.
fn steps() -> String {
    format!(
        "WITH step AS MATERIALIZED (SELECT received_at, topic = '{}' AS request, \
         nullif(coalesce(json_extract(body, '$.identId'), json_extract(body, '$.actionId')), '') AS ident, \
         nullif(json_extract(body, '$.personKey'), '') AS person, nullif(json_extract(body, '$.kyc'), '') AS kyc, \
         CASE WHEN topic IN ('{}', '{}') THEN coalesce(json_extract(body, '$.status'), '') END AS status \
         FROM events INDEXED BY events_received WHERE feed = ?1 AND received_at >= ?2 AND topic IN ('{0}', '{1}', '{2}', '{}'))",
        IDENT_REQUESTS_CREATED.name, IDENT_RESULT.name, IDENT_RESULT_KYC.name, MISMATCHES.name
    )
}

const SAID: &str = "json_group_array(DISTINCT status) FILTER (WHERE status IS NOT NULL)";
const NO_SUCCESS: &str = "count(*) FILTER (WHERE status = 'success') = 0";

impl Reader {
    /// Identifications that were told of since `since` and have no success: those announced by `until`, and those whose announcement the
    /// journal lacks. Newest first, `limit` at most.
    pub fn unfinished(
        &self,
        feed: &FeedName,
        (since, until): (Timestamp, Timestamp),
        limit: usize,
    ) -> Result<Vec<Identification>, StoreError> {
        let sql = format!(
            "{} SELECT ident, max(person), max(kyc), {SAID} FROM step WHERE ident IS NOT NULL GROUP BY ident HAVING {NO_SUCCESS} \
             AND (min(received_at) <= ?3 OR total(request) = 0) ORDER BY max(received_at) DESC, ident LIMIT ?4",
            steps()
        );
        let key = params![feed.as_str(), since.timestamp_micros(), until.timestamp_micros(), whole(limit as u64)];
        self.rows("reading unfinished identifications", &sql, key, identification)
    }

    /// People without a success of whom no identification is known by its number; `announced`: those as well whose identifications have
    /// all ended, since another may have been announced. Newest first, `limit` at most.
    pub fn unfinished_people(
        &self,
        feed: &FeedName,
        (since, until): (Timestamp, Timestamp),
        announced: bool,
        limit: usize,
    ) -> Result<Vec<Identification>, StoreError> {
        let sql = format!(
            "{} SELECT NULL, person, max(kyc), {SAID} FROM step WHERE person IS NOT NULL GROUP BY person \
             HAVING {NO_SUCCESS} AND min(received_at) <= ?3 AND (count(ident) = 0 OR (?4 AND count(status) > 0 \
             AND count(DISTINCT ident) = count(DISTINCT CASE WHEN status IS NOT NULL THEN ident END))) \
             ORDER BY max(received_at) DESC, person LIMIT ?5",
            steps()
        );
        let key = params![feed.as_str(), since.timestamp_micros(), until.timestamp_micros(), announced, whole(limit as u64)];
        self.rows("reading unfinished people", &sql, key, identification)
    }

    /// The outcomes of identifications that were journaled behind `after`.
    pub fn outcomes(&self, feed: &FeedName, after: Seq) -> Result<Vec<Outcome>, StoreError> {
        let sql = "SELECT json_extract(body, '$.identId'), json_extract(body, '$.personKey'), json_extract(body, '$.status') \
                   FROM events WHERE seq > ?1 AND feed = ?2 AND topic IN (?3, ?4)";
        let key = params![whole(after.0), feed.as_str(), IDENT_RESULT.name, IDENT_RESULT_KYC.name];
        self.rows("reading outcomes", sql, key, |row| {
            Ok(Outcome { ident_id: row.get(0)?, person_key: row.get(1)?, status: row.get(2)? })
        })
    }

    /// Whether an interval's identifications are known.
    pub fn announced(&self, feed: &FeedName, (from, until): (Timestamp, Timestamp)) -> Result<Announced, StoreError> {
        self.with("reading when identifications were announced", |connection| {
            let bound = |order: &str| {
                connection
                    .prepare_cached(&format!(
                        "SELECT received_at FROM events INDEXED BY events_received WHERE feed = ?1 AND received_at <= ?2 AND topic = ?3 \
                         ORDER BY received_at {order} LIMIT 1"
                    ))?
                    .query_map(params![feed.as_str(), until.timestamp_micros(), IDENT_REQUESTS_CREATED.name], |row| {
                        Ok(row.get::<_, At>(0)?.0)
                    })?
                    .next()
                    .transpose()
            };
            let set_aside = connection
                .prepare_cached(
                    "SELECT count(*) FROM quarantine WHERE feed = ?1 AND received_at BETWEEN ?2 AND ?3 AND state <> 'retried'",
                )?
                .query_row(params![feed.as_str(), from.timestamp_micros(), until.timestamp_micros()], |row| {
                    row.get::<_, super::rows::Whole>(0)
                })?;
            Ok(Announced { first: bound("ASC")?, last: bound("DESC")?, set_aside: set_aside.0 })
        })
    }
}

fn identification(row: &Row<'_>) -> rusqlite::Result<Identification> {
    Ok(Identification { ident_id: row.get(0)?, person_key: row.get(1)?, kyc: row.get(2)?, said: row.get::<_, Json<_>>(3)?.0 })
}
