//! Templates and configuration that were live, with their files by hash: what a start falls back on.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::{
    Reader, StoreError,
    rows::{At, Hash, failed},
    write::{content, hash},
};
use crate::model::turn::{Kept, KeptSet};

/// Keeps a set; one that comes again becomes the last one.
pub(super) fn keep(connection: &Connection, set: &KeptSet) -> Result<(), StoreError> {
    let operation = "keeping what is live";
    let digest = set.hash();
    connection
        .execute(
            "INSERT INTO kept_sets (kind, hash, live_from) VALUES (?1, ?2, ?3) \
             ON CONFLICT (kind, hash) DO UPDATE SET n = (SELECT max(n) FROM kept_sets) + 1 \
             WHERE n < (SELECT max(n) FROM kept_sets)",
            params![set.kind.as_str(), hash(&digest), set.live_from.timestamp_micros()],
        )
        .map_err(failed(operation))?;
    for (name, bytes) in &set.files {
        let file = content(connection, operation, bytes)?;
        connection
            .prepare_cached("INSERT INTO kept_files (kind, hash, name, content) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING")
            .and_then(|mut insert| insert.execute(params![set.kind.as_str(), hash(&digest), name, hash(&file)]))
            .map_err(failed(operation))?;
    }
    Ok(())
}

impl Reader {
    /// The set of this kind that was kept last.
    pub fn last_kept(&self, kind: Kept) -> Result<Option<KeptSet>, StoreError> {
        self.with("reading what was live", |connection| {
            let last = connection
                .query_row(
                    "SELECT hash, live_from FROM kept_sets WHERE kind = ?1 ORDER BY n DESC LIMIT 1",
                    params![kind.as_str()],
                    |row| Ok((row.get::<_, Hash>(0)?.0, row.get::<_, At>(1)?.0)),
                )
                .optional()?;
            let Some((digest, live_from)) = last else { return Ok(None) };
            let files = connection
                .prepare_cached(
                    "SELECT name, contents.content FROM kept_files JOIN contents ON contents.hash = kept_files.content \
                     WHERE kind = ?1 AND kept_files.hash = ?2 ORDER BY name",
                )?
                .query_map(params![kind.as_str(), digest.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect::<rusqlite::Result<_>>()?;
            Ok(Some(KeptSet { kind, live_from, files }))
        })
    }
}
