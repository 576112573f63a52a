//! Gaps: intervals for which a feed can't prove that everything arrived, and who closed them. A gap is never deleted.

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::{
    Reader, StoreError,
    change::Changed,
    rows::{At, Json, Named, failed, json},
};
use crate::model::{actor::Actor, time::Timestamp, turn::Gap};

/// One gap, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GapRow {
    pub id: i64,
    pub gap: Gap,
    pub closed_at: Option<Timestamp>,
    /// Who, or by what.
    pub closed_by: Option<String>,
}

const GAPS: &str = "SELECT id, feed, topics, from_at, until_at, found_at, reason, closed_at, closed_by FROM gaps";

impl Reader {
    /// Every gap that was ever found, in that order.
    pub fn gaps(&self) -> Result<Vec<GapRow>, StoreError> {
        self.rows("reading gaps", &format!("{GAPS} ORDER BY id"), [], row)
    }

    /// A gap by its number.
    pub fn gap(&self, id: i64) -> Result<Option<GapRow>, StoreError> {
        self.with("reading a gap", |connection| {
            connection.prepare_cached(&format!("{GAPS} WHERE id = ?1"))?.query_row(params![id], row).optional()
        })
    }
}

fn row(row: &Row<'_>) -> rusqlite::Result<GapRow> {
    Ok(GapRow {
        id: row.get(0)?,
        gap: Gap {
            feed: row.get::<_, Named<_>>(1)?.0,
            topics: row.get::<_, Json<_>>(2)?.0,
            from: row.get::<_, At>(3)?.0,
            until: row.get::<_, At>(4)?.0,
            found_at: row.get::<_, At>(5)?.0,
            reason: row.get(6)?,
        },
        closed_at: row.get::<_, Option<At>>(7)?.map(|at| at.0),
        closed_by: row.get(8)?,
    })
}

pub(super) fn found(connection: &Connection, gaps: &[Gap]) -> Result<(), StoreError> {
    let operation = "writing gaps";
    for gap in gaps {
        let topics = json(operation, &gap.topics)?;
        connection
            .prepare_cached(
                "INSERT INTO gaps (feed, topics, from_at, until_at, found_at, reason) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )
            .and_then(|mut insert| {
                insert.execute(params![
                    gap.feed.as_str(),
                    topics,
                    gap.from.timestamp_micros(),
                    gap.until.timestamp_micros(),
                    gap.found_at.timestamp_micros(),
                    gap.reason,
                ])
            })
            .map_err(failed(operation))?;
    }
    Ok(())
}

/// By a person. Who closed it first stays.
pub(super) fn close(connection: &Connection, id: i64, who: &Actor, now: Timestamp) -> Result<Changed, StoreError> {
    let operation = "closing a gap";
    let object = format!("gap {id}");
    let state = "SELECT CASE WHEN closed_at IS NULL THEN 'open' ELSE 'closed' END FROM gaps WHERE id = ?1";
    let before: Option<String> =
        connection.query_row(state, params![id], |row| row.get(0)).optional().map_err(failed(operation))?;
    let Some(before) = before else {
        return Err(StoreError::Refused { operation, detail: format!("there is no {object}") });
    };
    connection
        .execute(
            "UPDATE gaps SET closed_at = ?2, closed_by = ?3 WHERE id = ?1 AND closed_at IS NULL",
            params![id, now.timestamp_micros(), who.to_string()],
        )
        .map_err(failed(operation))?;
    Ok(Changed { object, before, after: "closed".to_owned() })
}
