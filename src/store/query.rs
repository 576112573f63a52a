//! What people ask: commands, the demo's table, the status pages, tests. Plain rows; texts as they are shown.

use rusqlite::{OptionalExtension as _, Params, Row, params};

use super::{
    Reader, StoreError, deliveries,
    read::whole,
    rows::{At, Hash, Id, Json, Named, Whole, Word},
};
use crate::model::{
    actor::Actor,
    alert::{AlertState, Message, Role},
    delivery::State,
    event::QuarantineReason,
    hash::Digest,
    ids::{AlertId, DeliveryId, MessageId, Seq},
    names::{ChannelName, FeedName, RuleId},
    severity::Severity,
    time::Timestamp,
    turn::{GenerationRecord, Judged},
};

/// One alert, as a table shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertRow {
    /// Its place among the alerts: what [`Reader::alerts_after`] goes on from.
    pub n: i64,
    pub id: AlertId,
    pub raised_at: Timestamp,
    pub seq: Seq,
    pub rule: RuleId,
    pub rule_hash: Digest,
    pub title: String,
    pub severity: Severity,
    pub subject: String,
    pub masked_subject: String,
    pub role: Role,
    pub message: Option<MessageId>,
    pub state: AlertState,
}

/// One delivery and how it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct DeliveryRow {
    /// Its number among the deliveries: what people type.
    pub n: i64,
    pub id: DeliveryId,
    pub message: MessageId,
    pub channel: ChannelName,
    pub recipient: String,
    pub identity: String,
    pub state: State,
    pub due_at: Timestamp,
    pub expires_at: Timestamp,
    pub attempts: u32,
    /// What the last reported attempt was told.
    pub detail: Option<String>,
    /// When a person gave it up.
    pub dropped_at: Option<Timestamp>,
}

/// One attempt; without an end nobody knows how it went.
#[derive(Clone, Debug, PartialEq)]
pub struct AttemptRow {
    pub attempt: u32,
    pub started_at: Timestamp,
    pub finished_at: Option<Timestamp>,
    /// `delivered`, `retry` or `dead`.
    pub outcome: Option<String>,
    pub detail: Option<String>,
}

/// Bytes that were set aside, without the bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct QuarantineRow {
    pub id: i64,
    pub feed: FeedName,
    pub received_at: Timestamp,
    pub reason: QuarantineReason,
    pub detail: String,
    pub size: u64,
    pub digest: Digest,
    /// `open`, `wanted` (a person wants it judged), `retried` or `dropped`.
    pub state: String,
    /// What came of judging it after all.
    pub outcome: Option<String>,
}

/// A damaged store that was set aside before this one was begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAside {
    pub at: Timestamp,
    /// Below the store's folder.
    pub folder: String,
    pub found: String,
    /// The highest sequence that was ever given.
    pub last: Seq,
    /// Up to here events were judged, and what they caused is either sent or owed by this store.
    pub judged: Seq,
    /// Whether the deliveries that were owed are owed by this store.
    pub owed_carried: bool,
    /// Whether back-fill knows from when to ask.
    pub receipts_known: bool,
    /// Whether events that were owed a verdict are owed it by this store.
    pub verdicts_carried: bool,
    /// Whether quiet periods go on.
    pub quiet_carried: bool,
}

/// A line of the audit record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRow {
    pub at: Timestamp,
    pub actor: Actor,
    pub action: String,
    pub object: String,
    pub detail: String,
    pub before: Option<String>,
    pub after: Option<String>,
}

pub(super) const DELIVERIES: &str = "SELECT n, id, message, channel, recipient, identity, state, due_at, expires_at, attempts, \
                                     last_detail, dropped_at FROM deliveries";
pub(super) const ALERTS: &str = "SELECT n, id, raised_at, seq, rule, rule_hash, title, severity, subject, masked_subject, role, \
                                 message, state FROM alerts";
pub(super) const QUARANTINE: &str = "SELECT id, feed, received_at, reason, detail, size, digest, state, outcome FROM quarantine";
pub(super) const AUDIT: &str =
    "SELECT at, actor, action, object, detail, uid, pid, via, claims, state_before, state_after FROM audit";

impl Reader {
    /// Up to `limit` alerts behind `after` (an [`AlertRow::n`]; 0 for all), in the order in which they were committed.
    pub fn alerts_after(&self, after: i64, limit: usize) -> Result<Vec<AlertRow>, StoreError> {
        let sql = format!("{ALERTS} WHERE n > ?1 ORDER BY n LIMIT ?2");
        self.rows("reading alerts", &sql, params![after, whole(limit as u64)], alert)
    }

    /// What an event raised.
    pub fn alerts_of(&self, event: Seq) -> Result<Vec<AlertRow>, StoreError> {
        self.rows("reading an event's alerts", &format!("{ALERTS} WHERE seq = ?1 ORDER BY n"), params![whole(event.0)], alert)
    }

    pub fn message(&self, id: MessageId) -> Result<Option<Message>, StoreError> {
        self.with("reading a message", |connection| deliveries::facts(connection, id).optional())
    }

    /// Where a message goes, and how far it is.
    pub fn deliveries_of(&self, message: MessageId) -> Result<Vec<DeliveryRow>, StoreError> {
        let sql = format!("{DELIVERIES} WHERE message = ?1 ORDER BY n");
        self.rows("reading a message's deliveries", &sql, params![message.0.as_bytes()], delivery)
    }

    pub fn attempts_of(&self, delivery: DeliveryId) -> Result<Vec<AttemptRow>, StoreError> {
        let sql = "SELECT attempt, started_at, finished_at, outcome, detail FROM attempts \
                   WHERE delivery = (SELECT n FROM deliveries WHERE id = ?1) ORDER BY attempt";
        self.rows("reading a delivery's attempts", sql, params![delivery.0.as_bytes()], |row| {
            Ok(AttemptRow {
                attempt: row.get(0)?,
                started_at: row.get::<_, At>(1)?.0,
                finished_at: row.get::<_, Option<At>>(2)?.map(|at| at.0),
                outcome: row.get(3)?,
                detail: row.get(4)?,
            })
        })
    }

    /// Deliveries by channel and state. Reads every delivery ever made: for summaries. [`Reader::owed`] is the cheap one.
    pub fn delivery_counts(&self) -> Result<Vec<(ChannelName, State, u64)>, StoreError> {
        let sql = "SELECT channel, state, count(*) FROM deliveries GROUP BY channel, state ORDER BY channel, state";
        self.rows("counting deliveries", sql, [], |row| {
            Ok((row.get::<_, Named<_>>(0)?.0, row.get::<_, Word<_>>(1)?.0, row.get::<_, Whole>(2)?.0))
        })
    }

    /// How many deliveries each channel still owes.
    pub fn owed(&self) -> Result<Vec<(ChannelName, u64)>, StoreError> {
        self.with("counting owed deliveries", deliveries::owed)
    }

    /// Up to `limit` deliveries that were given up and that no person dropped, newest first.
    pub fn dead_letters(&self, limit: usize) -> Result<Vec<DeliveryRow>, StoreError> {
        let sql = format!("{DELIVERIES} WHERE state = 'dead' AND dropped_at IS NULL ORDER BY n DESC LIMIT ?1");
        self.rows("reading dead letters", &sql, params![whole(limit as u64)], delivery)
    }

    pub fn dead_letter_count(&self) -> Result<u64, StoreError> {
        self.count("counting dead letters", "SELECT count(*) FROM deliveries WHERE state = 'dead' AND dropped_at IS NULL")
    }

    /// Stores set aside since then of which no message tells yet.
    pub fn untold_set_aside(&self, since: Timestamp) -> Result<Vec<SetAside>, StoreError> {
        let sql = "SELECT at, folder, found, last, judged, owed_carried, receipts_known, verdicts_carried, \
                   quiet_carried FROM set_aside WHERE at > ?1 AND NOT EXISTS \
                   (SELECT 1 FROM messages WHERE created_at >= set_aside.at AND instr(facts, set_aside.folder) > 0) ORDER BY n";
        self.rows("reading which stores were set aside", sql, params![since.timestamp_micros()], |row| {
            Ok(SetAside {
                at: row.get::<_, At>(0)?.0,
                folder: row.get(1)?,
                found: row.get(2)?,
                last: Seq(row.get::<_, Whole>(3)?.0),
                judged: Seq(row.get::<_, Whole>(4)?.0),
                owed_carried: row.get(5)?,
                receipts_known: row.get(6)?,
                verdicts_carried: row.get(7)?,
                quiet_carried: row.get(8)?,
            })
        })
    }

    /// Whether nothing was ever received, sent or asked for, and no other store came before.
    pub fn is_untouched(&self) -> Result<bool, StoreError> {
        let sql = "SELECT NOT EXISTS (SELECT 1 FROM events) AND NOT EXISTS (SELECT 1 FROM messages) \
                   AND NOT EXISTS (SELECT 1 FROM positions) AND NOT EXISTS (SELECT 1 FROM set_aside)";
        self.with("looking whether the store is new", |connection| connection.query_row(sql, [], |row| row.get(0)))
    }

    /// Bytes set aside that nobody has looked at.
    pub fn quarantine_count(&self) -> Result<u64, StoreError> {
        self.count("counting quarantined bytes", "SELECT count(*) FROM quarantine WHERE state = 'open'")
    }

    /// Up to `limit` of them, newest first.
    pub fn quarantined(&self, limit: usize) -> Result<Vec<QuarantineRow>, StoreError> {
        let sql = format!("{QUARANTINE} WHERE state = 'open' ORDER BY id DESC LIMIT ?1");
        self.rows("reading the quarantine", &sql, params![whole(limit as u64)], quarantined)
    }

    /// The bytes of one of them.
    pub fn quarantined_bytes(&self, id: i64) -> Result<Option<Vec<u8>>, StoreError> {
        self.with("reading quarantined bytes", |connection| {
            connection.query_row("SELECT bytes FROM quarantine WHERE id = ?1", params![id], |row| row.get(0)).optional()
        })
    }

    /// Which generation judged which events, from the first event to the cursor.
    pub fn ledger(&self) -> Result<Vec<Judged>, StoreError> {
        let sql = "SELECT from_seq, to_seq, generation FROM ledger ORDER BY from_seq";
        self.rows("reading the ledger", sql, [], |row| {
            Ok(Judged {
                from: Seq(row.get::<_, Whole>(0)?.0),
                to: Seq(row.get::<_, Whole>(1)?.0),
                generation: row.get::<_, Hash>(2)?.0,
            })
        })
    }

    /// A rule set with its files.
    pub fn generation(&self, hash: &Digest) -> Result<Option<GenerationRecord>, StoreError> {
        self.kept_generation("WHERE hash = ?1", params![hash.as_bytes()])
    }

    /// The rule set that was kept last: what was live, or was about to be, when redflag stopped.
    pub fn last_generation(&self) -> Result<Option<GenerationRecord>, StoreError> {
        self.kept_generation("ORDER BY n DESC LIMIT 1", [])
    }

    /// Up to `limit` lines of the audit record, newest first.
    pub fn audit(&self, limit: usize) -> Result<Vec<AuditRow>, StoreError> {
        let sql = format!("{AUDIT} ORDER BY n DESC LIMIT ?1");
        self.rows("reading the audit record", &sql, params![whole(limit as u64)], audit)
    }

    fn kept_generation(&self, which: &str, params: impl Params) -> Result<Option<GenerationRecord>, StoreError> {
        self.with("reading a rule set", |connection| {
            let record = connection
                .query_row(&format!("SELECT hash, live_from, cards FROM generations {which}"), params, |row| {
                    Ok(GenerationRecord {
                        hash: row.get::<_, Hash>(0)?.0,
                        live_from: row.get::<_, At>(1)?.0,
                        cards: row.get::<_, Json<_>>(2)?.0,
                        files: Vec::new(),
                    })
                })
                .optional()?;
            let Some(mut record) = record else { return Ok(None) };
            record.files = connection
                .prepare_cached(
                    "SELECT name, contents.content FROM generation_files JOIN contents ON contents.hash = generation_files.content \
                     WHERE generation = ?1 ORDER BY name",
                )?
                .query_map(params![record.hash.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect::<rusqlite::Result<_>>()?;
            Ok(Some(record))
        })
    }

    pub(super) fn rows<T>(
        &self,
        operation: &'static str,
        sql: &str,
        params: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, StoreError> {
        self.with(operation, |connection| connection.prepare_cached(sql)?.query_map(params, read)?.collect())
    }

    fn count(&self, operation: &'static str, sql: &str) -> Result<u64, StoreError> {
        self.with(operation, |connection| connection.query_row(sql, [], |row| row.get::<_, Whole>(0)).map(|count| count.0))
    }
}

pub(super) fn alert(row: &Row<'_>) -> rusqlite::Result<AlertRow> {
    Ok(AlertRow {
        n: row.get(0)?,
        id: AlertId(row.get::<_, Id>(1)?.0),
        raised_at: row.get::<_, At>(2)?.0,
        seq: Seq(row.get::<_, Whole>(3)?.0),
        rule: row.get::<_, Named<_>>(4)?.0,
        rule_hash: row.get::<_, Hash>(5)?.0,
        title: row.get(6)?,
        severity: row.get::<_, Word<_>>(7)?.0,
        subject: row.get(8)?,
        masked_subject: row.get(9)?,
        role: row.get::<_, Word<_>>(10)?.0,
        message: row.get::<_, Option<Id>>(11)?.map(|id| MessageId(id.0)),
        state: row.get::<_, Word<_>>(12)?.0,
    })
}

pub(super) fn delivery(row: &Row<'_>) -> rusqlite::Result<DeliveryRow> {
    Ok(DeliveryRow {
        n: row.get(0)?,
        id: DeliveryId(row.get::<_, Id>(1)?.0),
        message: MessageId(row.get::<_, Id>(2)?.0),
        channel: row.get::<_, Named<_>>(3)?.0,
        recipient: row.get(4)?,
        identity: row.get(5)?,
        state: row.get::<_, Word<_>>(6)?.0,
        due_at: row.get::<_, At>(7)?.0,
        expires_at: row.get::<_, At>(8)?.0,
        attempts: row.get(9)?,
        detail: row.get(10)?,
        dropped_at: row.get::<_, Option<At>>(11)?.map(|at| at.0),
    })
}

pub(super) fn quarantined(row: &Row<'_>) -> rusqlite::Result<QuarantineRow> {
    Ok(QuarantineRow {
        id: row.get(0)?,
        feed: row.get::<_, Named<_>>(1)?.0,
        received_at: row.get::<_, At>(2)?.0,
        reason: row.get::<_, Word<_>>(3)?.0,
        detail: row.get(4)?,
        size: row.get::<_, Whole>(5)?.0,
        digest: row.get::<_, Hash>(6)?.0,
        state: row.get(7)?,
        outcome: row.get(8)?,
    })
}

pub(super) fn audit(row: &Row<'_>) -> rusqlite::Result<AuditRow> {
    Ok(AuditRow {
        at: row.get::<_, At>(0)?.0,
        actor: Actor {
            name: row.get(1)?,
            uid: row.get(5)?,
            pid: row.get(6)?,
            via: row.get::<_, Word<_>>(7)?.0,
            claims: row.get(8)?,
        },
        action: row.get(2)?,
        object: row.get(3)?,
        detail: row.get(4)?,
        before: row.get(9)?,
        after: row.get(10)?,
    })
}
