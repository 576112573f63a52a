//! Missing verdicts and parked rules: what is owed an answer, until it has one.

use rusqlite::{Connection, Row, params};

use super::{
    Reader, StoreError,
    read::whole,
    rows::{At, Hash, Kind, Named, Whole},
    write::{each, hash, seq},
};
use crate::model::{
    ids::Seq,
    names::RuleId,
    turn::{OpenVerdicts, Parked, Settled, UndecidedRow},
    verdict::Undecided,
};

const UNDECIDED: &str = "SELECT seq, rule, rule_hash, at, kind, line, detail FROM undecided";

impl Reader {
    /// Up to `limit` missing verdicts that are open, newest events first.
    pub fn undecided(&self, limit: usize) -> Result<Vec<UndecidedRow>, StoreError> {
        let sql = format!("{UNDECIDED} WHERE settled_at IS NULL ORDER BY seq DESC, rule LIMIT ?1");
        self.rows("reading missing verdicts", &sql, params![whole(limit as u64)], undecided)
    }

    pub fn open_verdicts_of(&self, rule: &RuleId, after: Seq, limit: usize) -> Result<Vec<UndecidedRow>, StoreError> {
        let sql = format!("{UNDECIDED} WHERE settled_at IS NULL AND rule = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3");
        self.rows(
            "reading a rule's missing verdicts",
            &sql,
            params![rule.as_str(), whole(after.0), whole(limit as u64)],
            undecided,
        )
    }

    /// Open missing verdicts by rule and reason.
    pub fn open_verdicts(&self) -> Result<Vec<OpenVerdicts>, StoreError> {
        let sql = "SELECT rule, rule_hash, kind, count(*) FROM undecided INDEXED BY undecided_open WHERE settled_at IS NULL \
                   GROUP BY rule, rule_hash, kind ORDER BY rule, rule_hash, kind";
        self.rows("counting missing verdicts", sql, [], |row| {
            Ok(OpenVerdicts {
                rule: row.get::<_, Named<_>>(0)?.0,
                rule_hash: row.get::<_, Hash>(1)?.0,
                kind: row.get::<_, Kind>(2)?.0,
                count: row.get::<_, Whole>(3)?.0,
            })
        })
    }

    /// Rules that are parked.
    pub fn parked(&self) -> Result<Vec<Parked>, StoreError> {
        let sql = "SELECT rule, rule_hash, at, seq, why, tries, next_try FROM parked ORDER BY rule";
        self.rows("reading parked rules", sql, [], |row| {
            Ok(Parked {
                rule: row.get::<_, Named<_>>(0)?.0,
                rule_hash: row.get::<_, Hash>(1)?.0,
                at: row.get::<_, At>(2)?.0,
                seq: Seq(row.get::<_, Whole>(3)?.0),
                why: row.get(4)?,
                tries: row.get(5)?,
                next_try: row.get::<_, At>(6)?.0,
            })
        })
    }
}

fn undecided(row: &Row<'_>) -> rusqlite::Result<UndecidedRow> {
    let line = row.get::<_, Option<Whole>>(5)?.and_then(|line| usize::try_from(line.0).ok());
    Ok(UndecidedRow {
        seq: Seq(row.get::<_, Whole>(0)?.0),
        rule: row.get::<_, Named<_>>(1)?.0,
        rule_hash: row.get::<_, Hash>(2)?.0,
        at: row.get::<_, At>(3)?.0,
        why: Undecided { kind: row.get::<_, Kind>(4)?.0, line, detail: row.get(6)? },
    })
}

pub(super) fn settled(connection: &Connection, rows: &[Settled]) -> Result<(), StoreError> {
    each(
        connection,
        "settling missing verdicts",
        "UPDATE undecided SET settled_at = ?3, outcome = ?4, settled_by = ?5 WHERE seq = ?1 AND rule = ?2 AND settled_at IS NULL",
        rows,
        |settle, row| {
            settle.execute(params![
                seq(row.seq),
                row.rule.as_str(),
                row.at.timestamp_micros(),
                row.outcome.as_str(),
                hash(&row.by)
            ])
        },
    )
}

pub(super) fn unparked(connection: &Connection, rules: &[RuleId]) -> Result<(), StoreError> {
    each(connection, "ending a rule's parking", "DELETE FROM parked WHERE rule = ?1", rules, |delete, rule| {
        delete.execute(params![rule.as_str()])
    })
}

pub(super) fn parked(connection: &Connection, rows: &[Parked]) -> Result<(), StoreError> {
    each(
        connection,
        "parking a rule",
        "INSERT OR REPLACE INTO parked (rule, rule_hash, at, seq, why, tries, next_try) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        rows,
        |insert, row| {
            insert.execute(params![
                row.rule.as_str(),
                hash(&row.rule_hash),
                row.at.timestamp_micros(),
                seq(row.seq),
                row.why,
                row.tries,
                row.next_try.timestamp_micros(),
            ])
        },
    )
}
