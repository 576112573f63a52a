//! Gaps: intervals for which a feed can't prove that everything arrived, and who closed them. A gap is never deleted.

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::{
    Reader, StoreError,
    change::Changed,
    rows::{At, Json, Named, failed, json},
    write::{Note, note},
};
use crate::model::{actor::Actor, lookup::Narrowed, names::FeedName, time::Timestamp, turn::Gap};

/// Who closes a gap that look-ups have closed.
const LOOK_UPS: &str = "look-ups";

/// One gap, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GapRow {
    pub id: i64,
    pub gap: Gap,
    pub closed_at: Option<Timestamp>,
    /// Who, or by what.
    pub closed_by: Option<String>,
    /// What look-ups came to, in words.
    pub looked_up: Option<String>,
}

const GAPS: &str = "SELECT id, feed, topics, from_at, until_at, found_at, reason, closed_at, closed_by, looked_up FROM gaps";

impl Reader {
    /// Every gap that was ever found, in that order.
    pub fn gaps(&self) -> Result<Vec<GapRow>, StoreError> {
        self.rows("reading gaps", &format!("{GAPS} ORDER BY id"), [], row)
    }

    /// A feed's open gaps that nobody has looked up to the end.
    pub fn gaps_to_look_up(&self, feed: &FeedName) -> Result<Vec<GapRow>, StoreError> {
        let sql = format!("{GAPS} WHERE closed_at IS NULL AND looked_up_at IS NULL AND feed = ?1 ORDER BY id");
        self.rows("reading gaps to look up", &sql, params![feed.as_str()], row)
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
        looked_up: row.get(9)?,
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

/// What look-ups say. A gap that a person has closed meanwhile is left alone.
pub(super) fn narrowed(connection: &Connection, rows: &[Narrowed]) -> Result<(), StoreError> {
    for Narrowed { gap, at, words, closes, done } in rows {
        let closed = closes.then_some(at.timestamp_micros());
        let by = closes.then_some(LOOK_UPS);
        let changed = connection
            .prepare_cached(
                "UPDATE gaps SET looked_up = ?2, looked_up_at = ?3, closed_at = ?4, closed_by = ?5 WHERE id = ?1 AND closed_at IS NULL",
            )
            .and_then(|mut update| update.execute(params![gap, words, done.then_some(at.timestamp_micros()), closed, by]))
            .map_err(failed("writing what look-ups came to"))?;
        if changed > 0 && *closes {
            let entry = Note {
                actor: Actor::service(),
                action: "gaps look-up".to_owned(),
                object: format!("gap {gap}"),
                detail: words.clone(),
                before: Some("open".to_owned()),
                after: Some("closed".to_owned()),
            };
            note(connection, &entry, *at)?;
        }
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
