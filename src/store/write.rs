//! Writing a turn: the rows of everything that happened and what it caused. Runs inside the writer's transaction.

use std::collections::BTreeMap;

use rusqlite::{Connection, params};

use super::{
    StoreError, books, gaps, missing,
    rows::{failed, json},
    troubles,
    writer::Marks,
};
use crate::model::{
    actor::Actor,
    alert::{Alert, Message, QuietPeriod},
    delivery::NewDelivery,
    event::{Event, Origin, Quarantined},
    hash::Digest,
    ids::Seq,
    names::{FeedName, RuleId},
    time::Timestamp,
    turn::{GenerationRecord, Judged, Retried, Turn, UndecidedRow},
};

/// Something that an auditor will want to know: who did what to what. No personal data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    pub actor: Actor,
    /// The command, as it is typed.
    pub action: String,
    pub object: String,
    /// What the person says about it; may be empty.
    pub detail: String,
    /// The object's state, where the action may change it.
    pub before: Option<String>,
    pub after: Option<String>,
}

/// Everything of the turn. `marks` move with it; the caller drops them when the transaction fails.
pub(super) fn turn(connection: &Connection, turn: &Turn, marks: &mut Marks) -> Result<(), StoreError> {
    events(connection, &turn.events, marks)?;
    quarantined(connection, &turn.quarantined)?;
    retried(connection, &turn.retried)?;
    positions(connection, &turn.positions)?;
    let effects = &turn.effects;
    messages(connection, &effects.messages)?;
    alerts(connection, &effects.alerts)?;
    deliveries(connection, &effects.deliveries)?;
    // Ended before begun: a period may end and start anew within one turn.
    quiet_ended(connection, &effects.quiet_ended)?;
    quiet(connection, &effects.quiet)?;
    missing::settled(connection, &effects.settled)?;
    undecided(connection, &effects.undecided)?;
    missing::unparked(connection, &effects.unparked)?;
    missing::parked(connection, &effects.parked)?;
    if let Some(range) = &effects.judged {
        judged(connection, range, marks)?;
    }
    books::add(connection, turn)?;
    books::imbalances(connection, &effects.imbalances)?;
    troubles::mark(connection, &effects.marks)?;
    gaps::found(connection, &turn.gaps)?;
    gaps::narrowed(connection, &turn.narrowed)
}

fn events(connection: &Connection, events: &[Event], marks: &mut Marks) -> Result<(), StoreError> {
    let operation = "appending events";
    if events.is_empty() {
        return Ok(());
    }
    let mut insert = connection
        .prepare_cached(
            "INSERT INTO events (seq, feed, topic, spelled, origin, received_at, own_time, zone_assumed, late, maybe_repeat, \
             batch, batch_position, batch_size, hash, warnings, body, raw) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)",
        )
        .map_err(failed(operation))?;
    for event in events {
        let expected = marks.last.next();
        if event.seq != expected {
            return Err(StoreError::OutOfOrder { operation, expected, found: event.seq });
        }
        let batch = event.batch.as_ref();
        insert
            .execute(params![
                seq(event.seq),
                event.feed.as_str(),
                event.topic.as_str(),
                event.spelled,
                event.origin.as_str(),
                event.received_at.timestamp_micros(),
                event.own_time.map(|at| at.timestamp_micros()),
                event.zone_assumed,
                event.late,
                event.maybe_repeat,
                batch.map(|batch| batch.id.0.as_bytes().as_slice()),
                batch.map(|batch| batch.position),
                batch.map(|batch| batch.size),
                hash(&event.hash),
                if event.warnings.is_empty() { None } else { Some(json(operation, &event.warnings)?) },
                json(operation, &event.body)?,
                event.raw,
            ])
            .map_err(failed(operation))?;
        marks.last = event.seq;
    }
    heard(connection, events)
}

/// When each topic was last received.
fn heard(connection: &Connection, events: &[Event]) -> Result<(), StoreError> {
    let mut newest: BTreeMap<(&str, &str), Timestamp> = BTreeMap::new();
    // What was looked up was not heard.
    for event in events.iter().filter(|event| event.origin != Origin::Rest) {
        let at = newest.entry((event.feed.as_str(), event.topic.as_str())).or_insert(event.received_at);
        *at = event.received_at.max(*at);
    }
    let newest: Vec<_> = newest.into_iter().collect();
    each(
        connection,
        "noting when topics were heard",
        "INSERT INTO heard (feed, topic, last_at) VALUES (?1, ?2, ?3) \
         ON CONFLICT (feed, topic) DO UPDATE SET last_at = max(last_at, excluded.last_at)",
        &newest,
        |note, ((feed, topic), at)| note.execute(params![feed, topic, at.timestamp_micros()]),
    )
}

fn quarantined(connection: &Connection, rows: &[Quarantined]) -> Result<(), StoreError> {
    each(
        connection,
        "setting bytes aside",
        "INSERT INTO quarantine (feed, received_at, origin, reason, detail, bytes, size, digest) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        rows,
        |insert, row| {
            insert.execute(params![
                row.feed.as_str(),
                row.received_at.timestamp_micros(),
                row.origin.as_str(),
                row.reason.as_str(),
                row.detail,
                row.bytes,
                count(row.size),
                hash(&row.digest),
            ])
        },
    )
}

/// The entry stays, with what came of it.
fn retried(connection: &Connection, rows: &[Retried]) -> Result<(), StoreError> {
    for row in rows {
        let state = if row.judged { "retried" } else { "open" };
        connection
            .prepare_cached("UPDATE quarantine SET state = ?2, outcome = ?3 WHERE id = ?1")
            .and_then(|mut update| update.execute(params![row.id, state, row.outcome]))
            .map_err(failed("recording what came of quarantined bytes"))?;
        let entry = Note {
            actor: Actor::service(),
            action: "quarantine retry".to_owned(),
            object: format!("quarantine {}", row.id),
            detail: row.outcome.clone(),
            before: Some("wanted".to_owned()),
            after: Some(state.to_owned()),
        };
        note(connection, &entry, row.at)?;
    }
    Ok(())
}

fn positions(connection: &Connection, rows: &[(FeedName, String)]) -> Result<(), StoreError> {
    each(
        connection,
        "keeping a feed's position",
        "INSERT INTO positions (feed, position) VALUES (?1, ?2) ON CONFLICT (feed) DO UPDATE SET position = excluded.position",
        rows,
        |insert, (feed, position)| insert.execute(params![feed.as_str(), position]),
    )
}

fn messages(connection: &Connection, messages: &[Message]) -> Result<(), StoreError> {
    let operation = "writing messages";
    for message in messages {
        let facts = json(operation, message)?;
        connection
            .prepare_cached("INSERT INTO messages (id, created_at, facts) VALUES (?1, ?2, ?3)")
            .and_then(|mut insert| insert.execute(params![message.id.0.as_bytes(), message.created_at.timestamp_micros(), facts]))
            .map_err(failed(operation))?;
    }
    Ok(())
}

fn alerts(connection: &Connection, alerts: &[Alert]) -> Result<(), StoreError> {
    each(
        connection,
        "writing alerts",
        "INSERT INTO alerts (id, raised_at, seq, rule, rule_hash, title, severity, subject, masked_subject, role, message) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        alerts,
        |insert, alert| {
            insert.execute(params![
                alert.id.0.as_bytes(),
                alert.raised_at.timestamp_micros(),
                seq(alert.seq),
                alert.card.id.as_str(),
                hash(&alert.card.hash),
                alert.card.title,
                alert.severity.as_str(),
                alert.subject,
                alert.masked_subject,
                alert.role.as_str(),
                alert.message.as_ref().map(|message| message.0.as_bytes().as_slice()),
            ])
        },
    )
}

fn deliveries(connection: &Connection, deliveries: &[NewDelivery]) -> Result<(), StoreError> {
    each(
        connection,
        "writing deliveries",
        "INSERT INTO deliveries (id, message, channel, recipient, identity, state, due_at, expires_at, wake_at, severity, purpose, \
         late_at, away) VALUES (?1, ?2, ?3, ?4, ?5, 'waiting', ?6, ?7, ?6, ?8, ?9, ?10, (SELECT away FROM service))",
        deliveries,
        |insert, delivery| {
            insert.execute(params![
                delivery.id.0.as_bytes(),
                delivery.message.0.as_bytes(),
                delivery.channel.as_str(),
                delivery.recipient,
                delivery.identity,
                delivery.due_at.timestamp_micros(),
                delivery.expires_at.timestamp_micros(),
                delivery.severity.as_str(),
                delivery.purpose.as_str(),
                delivery.late_at.map(|at| at.timestamp_micros()),
            ])
        },
    )
}

fn quiet(connection: &Connection, periods: &[QuietPeriod]) -> Result<(), StoreError> {
    let operation = "writing quiet periods";
    for period in periods {
        let key = json(operation, &period.key)?;
        connection
            .prepare_cached(
                "INSERT OR REPLACE INTO quiet_periods (rule, key, severity, message, from_at, until_at, repeats) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )
            .and_then(|mut insert| {
                insert.execute(params![
                    period.rule.as_str(),
                    key,
                    period.severity.as_str(),
                    period.message.0.as_bytes(),
                    period.from.timestamp_micros(),
                    period.until.timestamp_micros(),
                    count(period.repeats),
                ])
            })
            .map_err(failed(operation))?;
    }
    Ok(())
}

fn quiet_ended(connection: &Connection, ended: &[(RuleId, Vec<String>)]) -> Result<(), StoreError> {
    let operation = "ending quiet periods";
    for (rule, key) in ended {
        let key = json(operation, key)?;
        connection
            .prepare_cached("DELETE FROM quiet_periods WHERE rule = ?1 AND key = ?2")
            .and_then(|mut delete| delete.execute(params![rule.as_str(), key]))
            .map_err(failed(operation))?;
    }
    Ok(())
}

fn undecided(connection: &Connection, rows: &[UndecidedRow]) -> Result<(), StoreError> {
    each(
        connection,
        "writing missing verdicts",
        "INSERT OR REPLACE INTO undecided (seq, rule, rule_hash, at, kind, line, detail) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        rows,
        |insert, row| {
            insert.execute(params![
                seq(row.seq),
                row.rule.as_str(),
                hash(&row.rule_hash),
                row.at.timestamp_micros(),
                row.why.kind.as_str(),
                row.why.line.map(|line| count(line as u64)),
                row.why.detail,
            ])
        },
    )
}

/// The ledger has no holes and never runs ahead of the journal. Adjacent ranges of one generation are one row.
fn judged(connection: &Connection, range: &Judged, marks: &mut Marks) -> Result<(), StoreError> {
    let operation = "moving the cursor";
    let expected = marks.judged.next();
    if range.from != expected {
        return Err(StoreError::OutOfOrder { operation, expected, found: range.from });
    }
    if range.to < range.from || range.to > marks.last {
        return Err(StoreError::OutOfOrder { operation, expected: marks.last, found: range.to });
    }
    let extended = connection
        .prepare_cached(
            "UPDATE ledger SET to_seq = ?2 \
             WHERE from_seq = (SELECT max(from_seq) FROM ledger) AND generation = ?3 AND to_seq = ?1 - 1",
        )
        .and_then(|mut extend| extend.execute(params![seq(range.from), seq(range.to), hash(&range.generation)]))
        .map_err(failed(operation))?;
    if extended == 0 {
        connection
            .prepare_cached("INSERT INTO ledger (from_seq, to_seq, generation) VALUES (?1, ?2, ?3)")
            .and_then(|mut begin| begin.execute(params![seq(range.from), seq(range.to), hash(&range.generation)]))
            .map_err(failed(operation))?;
    }
    marks.judged = range.to;
    Ok(())
}

/// Keeps a rule set; files that other sets have too are there once. A set that comes again becomes the last one.
pub(super) fn generation(connection: &Connection, record: &GenerationRecord) -> Result<(), StoreError> {
    let operation = "keeping a rule set";
    let cards = json(operation, &record.cards)?;
    let generation = record.hash;
    connection
        .execute(
            "INSERT INTO generations (hash, live_from, cards) VALUES (?1, ?2, ?3) \
             ON CONFLICT (hash) DO UPDATE SET n = (SELECT max(n) FROM generations) + 1 \
             WHERE n < (SELECT max(n) FROM generations)",
            params![hash(&generation), record.live_from.timestamp_micros(), cards],
        )
        .map_err(failed(operation))?;
    for (name, bytes) in &record.files {
        let digest = content(connection, operation, bytes)?;
        connection
            .prepare_cached("INSERT INTO generation_files (generation, name, content) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING")
            .and_then(|mut insert| insert.execute(params![hash(&generation), name, hash(&digest)]))
            .map_err(failed(operation))?;
    }
    Ok(())
}

/// Keeps a file's bytes once; answers their hash.
pub(super) fn content(connection: &Connection, operation: &'static str, bytes: &[u8]) -> Result<Digest, StoreError> {
    let digest = Digest::of(bytes);
    connection
        .prepare_cached("INSERT INTO contents (hash, content) VALUES (?1, ?2) ON CONFLICT (hash) DO NOTHING")
        .and_then(|mut insert| insert.execute(params![hash(&digest), bytes]))
        .map_err(failed(operation))?;
    Ok(digest)
}

pub(super) fn note(connection: &Connection, note: &Note, at: Timestamp) -> Result<(), StoreError> {
    let actor = &note.actor;
    connection
        .prepare_cached(
            "INSERT INTO audit (at, actor, action, object, detail, uid, pid, via, claims, state_before, state_after) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        )
        .and_then(|mut insert| {
            insert.execute(params![
                at.timestamp_micros(),
                actor.name,
                note.action,
                note.object,
                note.detail,
                actor.uid,
                actor.pid,
                actor.via.as_str(),
                actor.claims,
                note.before,
                note.after,
            ])
        })
        .map(drop)
        .map_err(failed("writing the audit record"))
}

/// Until now this service ran.
pub(super) fn alive(connection: &Connection, at: Timestamp) -> Result<(), StoreError> {
    connection
        .prepare_cached("UPDATE service SET alive_at = ?1")
        .and_then(|mut update| update.execute(params![at.timestamp_micros()]))
        .map(drop)
        .map_err(failed("writing a sign of life"))
}

/// Runs one prepared statement for each row.
pub(super) fn each<T>(
    connection: &Connection,
    operation: &'static str,
    sql: &str,
    rows: &[T],
    mut run: impl FnMut(&mut rusqlite::CachedStatement<'_>, &T) -> rusqlite::Result<usize>,
) -> Result<(), StoreError> {
    if rows.is_empty() {
        return Ok(());
    }
    let mut statement = connection.prepare_cached(sql).map_err(failed(operation))?;
    rows.iter().try_for_each(|row| run(&mut statement, row).map(drop)).map_err(failed(operation))
}

pub(super) fn seq(seq: Seq) -> i64 {
    count(seq.0)
}

/// SQLite's whole numbers end at 2^63.
fn count(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn hash(digest: &Digest) -> &[u8] {
    digest.as_bytes()
}
