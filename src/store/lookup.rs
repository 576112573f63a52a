//! What operators look up: alerts, deliveries and quarantined bytes by filters, the history of an object, how channels stand.

use rusqlite::{OptionalExtension as _, Row, ToSql, params, params_from_iter};

use super::{
    AlertRow, AuditRow, DeliveryRow, QuarantineRow, Reader, StoreError,
    query::{ALERTS, AUDIT, DELIVERIES, QUARANTINE, alert, audit, delivery, quarantined},
    read::whole,
    rows::{At, Named, Whole, Word},
};
use crate::model::{
    alert::AlertState,
    delivery::State,
    event::{Frame, QuarantineReason},
    ids::{AlertId, DeliveryId, MessageId},
    names::{ChannelName, FeedName},
    time::Timestamp,
};

/// Which alerts; what is none is not asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AlertFilter {
    pub rule: Option<String>,
    pub since: Option<Timestamp>,
    pub state: Option<AlertState>,
    pub message: Option<MessageId>,
    pub limit: usize,
}

/// Which deliveries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeliveryFilter {
    pub channel: Option<String>,
    pub states: Vec<State>,
    /// Whether those that a person gave up count as dead.
    pub dropped: bool,
    /// Of messages made since then.
    pub since: Option<Timestamp>,
    pub limit: usize,
}

/// Which quarantined bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QuarantineFilter {
    pub feed: Option<String>,
    /// `open`, `wanted`, `retried`; none: all.
    pub state: Option<String>,
    pub since: Option<Timestamp>,
    pub limit: usize,
}

/// How a channel stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelState {
    pub channel: ChannelName,
    pub owed: u64,
    /// When the oldest message that it owes was made.
    pub oldest: Option<Timestamp>,
    pub last_delivered: Option<Timestamp>,
    /// Given up, and nobody has said that this is all right.
    pub dead: u64,
}

/// Bytes that a person wants judged.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub id: i64,
    pub reason: QuarantineReason,
    /// As it was received.
    pub frame: Frame,
}

/// Conditions, joined by AND, with their values.
#[derive(Default)]
struct Conditions {
    sql: Vec<&'static str>,
    values: Vec<Box<dyn ToSql>>,
}

impl Conditions {
    /// `sql` has one `?`.
    fn add(&mut self, sql: &'static str, value: Option<impl ToSql + 'static>) {
        if let Some(value) = value {
            self.sql.push(sql);
            self.values.push(Box::new(value));
        }
    }

    fn select(mut self, columns: &str, order: &str, limit: usize) -> (String, Vec<Box<dyn ToSql>>) {
        let filter = if self.sql.is_empty() { String::new() } else { format!(" WHERE {}", self.sql.join(" AND ")) };
        self.values.push(Box::new(whole(limit as u64)));
        (format!("{columns}{filter} ORDER BY {order} LIMIT ?"), self.values)
    }
}

impl Reader {
    /// The alerts that it asks for, newest first.
    pub fn find_alerts(&self, filter: &AlertFilter) -> Result<Vec<AlertRow>, StoreError> {
        let mut conditions = Conditions::default();
        conditions.add("rule = ?", filter.rule.clone());
        conditions.add("raised_at >= ?", filter.since.map(|at| at.timestamp_micros()));
        conditions.add("state = ?", filter.state.map(AlertState::as_str));
        conditions.add("message = ?", filter.message.map(|id| id.0.as_bytes().to_vec()));
        self.found("reading alerts", conditions.select(ALERTS, "n DESC", filter.limit), alert)
    }

    /// An alert by its number.
    pub fn alert(&self, n: i64) -> Result<Option<AlertRow>, StoreError> {
        self.one("reading an alert", &format!("{ALERTS} WHERE n = ?1"), n, alert)
    }

    /// An alert by its identity.
    pub fn alert_of_id(&self, id: AlertId) -> Result<Option<AlertRow>, StoreError> {
        self.one("reading an alert", &format!("{ALERTS} WHERE id = ?1"), id.0.as_bytes().to_vec(), alert)
    }

    /// The deliveries that it asks for, newest first.
    pub fn find_deliveries(&self, filter: &DeliveryFilter) -> Result<Vec<DeliveryRow>, StoreError> {
        let mut conditions = Conditions::default();
        conditions.add("channel = ?", filter.channel.clone());
        let since = "message IN (SELECT id FROM messages WHERE created_at >= ?)";
        conditions.add(since, filter.since.map(|at| at.timestamp_micros()));
        if !filter.states.is_empty() {
            let words = filter.states.iter().map(|state| state.as_str()).collect::<Vec<_>>().join(" ");
            conditions.add("instr(?, state) > 0", Some(words));
        }
        if !filter.dropped {
            conditions.sql.push("dropped_at IS NULL");
        }
        self.found("reading deliveries", conditions.select(DELIVERIES, "n DESC", filter.limit), delivery)
    }

    /// A delivery by its number.
    pub fn delivery(&self, n: i64) -> Result<Option<DeliveryRow>, StoreError> {
        self.one("reading a delivery", &format!("{DELIVERIES} WHERE n = ?1"), n, delivery)
    }

    /// A delivery by its identity.
    pub fn delivery_of_id(&self, id: DeliveryId) -> Result<Option<DeliveryRow>, StoreError> {
        self.one("reading a delivery", &format!("{DELIVERIES} WHERE id = ?1"), id.0.as_bytes().to_vec(), delivery)
    }

    /// The quarantined bytes that it asks for, newest first.
    pub fn find_quarantined(&self, filter: &QuarantineFilter) -> Result<Vec<QuarantineRow>, StoreError> {
        let mut conditions = Conditions::default();
        conditions.add("feed = ?", filter.feed.clone());
        conditions.add("state = ?", filter.state.clone());
        conditions.add("received_at >= ?", filter.since.map(|at| at.timestamp_micros()));
        self.found("reading the quarantine", conditions.select(QUARANTINE, "id DESC", filter.limit), quarantined)
    }

    /// An entry of the quarantine by its number.
    pub fn quarantined_entry(&self, id: i64) -> Result<Option<QuarantineRow>, StoreError> {
        self.one("reading the quarantine", &format!("{QUARANTINE} WHERE id = ?1"), id, quarantined)
    }

    /// Up to `limit` entries of the quarantine that a person wants judged, oldest first.
    pub fn wanted(&self, limit: usize) -> Result<Vec<Wanted>, StoreError> {
        self.with("reading what is wanted from quarantine", |connection| {
            connection
                .prepare_cached(
                    "SELECT id, reason, feed, received_at, origin, bytes FROM quarantine WHERE state = 'wanted' ORDER BY id LIMIT ?1",
                )?
                .query_map(params![whole(limit as u64)], |row| {
                    let frame = Frame {
                        feed: row.get::<_, Named<_>>(2)?.0,
                        received_at: row.get::<_, At>(3)?.0,
                        origin: row.get::<_, Word<_>>(4)?.0,
                        bytes: row.get(5)?,
                        position: None,
                    };
                    Ok(Wanted { id: row.get(0)?, reason: row.get::<_, Word<_>>(1)?.0, frame })
                })?
                .collect()
        })
    }

    /// What was done to an object, oldest first.
    pub fn history(&self, object: &str) -> Result<Vec<AuditRow>, StoreError> {
        self.with("reading an object's history", |connection| {
            connection
                .prepare_cached(&format!("{AUDIT} WHERE object = ?1 ORDER BY n"))?
                .query_map(params![object], audit)?
                .collect()
        })
    }

    /// The highest number in use among `alerts`, `deliveries`, `quarantine`, `gaps`: for whoever asked for one beyond it.
    pub fn highest(&self, of: Numbered) -> Result<i64, StoreError> {
        let sql = match of {
            Numbered::Alerts => "SELECT coalesce(max(n), 0) FROM alerts",
            Numbered::Deliveries => "SELECT coalesce(max(n), 0) FROM deliveries",
            Numbered::Quarantine => "SELECT coalesce(max(id), 0) FROM quarantine",
            Numbered::Gaps => "SELECT coalesce(max(id), 0) FROM gaps",
        };
        self.with("reading the highest number", |connection| connection.query_row(sql, [], |row| row.get(0)))
    }

    /// The rules that have raised an alert.
    pub fn alerting_rules(&self) -> Result<Vec<String>, StoreError> {
        self.with("reading the rules of alerts", |connection| {
            connection
                .prepare_cached("SELECT DISTINCT rule FROM alerts ORDER BY rule")?
                .query_map([], |row| row.get(0))?
                .collect()
        })
    }

    /// How each of these channels, and any other that owes something, stands.
    pub fn channel_states(&self, known: &[ChannelName]) -> Result<Vec<ChannelState>, StoreError> {
        self.with("reading how channels stand", |connection| {
            let mut states: Vec<ChannelState> = known.iter().cloned().map(ChannelState::idle).collect();
            let mut state = |channel: ChannelName, set: &dyn Fn(&mut ChannelState)| {
                if let Some(state) = states.iter_mut().find(|state| state.channel == channel) {
                    set(state);
                } else {
                    let mut state = ChannelState::idle(channel);
                    set(&mut state);
                    states.push(state);
                }
            };
            // By the index alone: what is owed may be a million rows.
            let owed = "SELECT channel, count(*), min(n) FROM deliveries WHERE wake_at IS NOT NULL GROUP BY channel";
            let mut owed = connection.prepare_cached(owed)?;
            let mut rows = owed.query([])?;
            while let Some(row) = rows.next()? {
                let count = row.get::<_, Whole>(1)?.0;
                let oldest = connection
                    .prepare_cached("SELECT created_at FROM messages WHERE id = (SELECT message FROM deliveries WHERE n = ?1)")?
                    .query_row(params![row.get::<_, i64>(2)?], |row| row.get::<_, At>(0))
                    .optional()?
                    .map(|at| at.0);
                state(row.get::<_, Named<_>>(0)?.0, &|state| (state.owed, state.oldest) = (count, oldest));
            }
            let dead = "SELECT channel, count(*) FROM deliveries WHERE state = 'dead' AND dropped_at IS NULL GROUP BY channel";
            let mut dead = connection.prepare_cached(dead)?;
            let mut rows = dead.query([])?;
            while let Some(row) = rows.next()? {
                let count = row.get::<_, Whole>(1)?.0;
                state(row.get::<_, Named<_>>(0)?.0, &|state| state.dead = count);
            }
            for state in &mut states {
                state.last_delivered = connection
                    .prepare_cached(
                        "SELECT finished_at FROM attempts WHERE outcome = 'delivered' AND delivery = \
                         (SELECT n FROM deliveries WHERE state = 'delivered' AND channel = ?1 ORDER BY n DESC LIMIT 1) \
                         ORDER BY attempt DESC LIMIT 1",
                    )?
                    .query_row(params![state.channel.as_str()], |row| row.get::<_, At>(0))
                    .optional()?
                    .map(|at| at.0);
            }
            Ok(states)
        })
    }

    /// When each feed was last heard, and how many of its events wait to be judged.
    pub fn feed_marks(&self, feed: &FeedName) -> Result<(Option<Timestamp>, u64), StoreError> {
        let waiting = "SELECT count(*) FROM events WHERE seq > coalesce((SELECT max(to_seq) FROM ledger), 0) AND feed = ?1";
        let last = self.last_received(feed, Timestamp::MAX_UTC)?;
        let waiting = self.with("counting events that wait", |connection| {
            connection.prepare_cached(waiting)?.query_row(params![feed.as_str()], |row| row.get::<_, Whole>(0))
        })?;
        Ok((last, waiting.0))
    }

    /// How many verdicts have been missing since then and still are, by rule.
    pub fn undecided_by_rule(&self, since: Option<Timestamp>) -> Result<Vec<(String, u64)>, StoreError> {
        let since = since.map_or(i64::MIN, |at| at.timestamp_micros());
        self.with("counting missing verdicts", |connection| {
            connection
                .prepare_cached(
                    "SELECT rule, count(*) FROM undecided WHERE settled_at IS NULL AND at >= ?1 GROUP BY rule ORDER BY rule",
                )?
                .query_map(params![since], |row| Ok((row.get(0)?, row.get::<_, Whole>(1)?.0)))?
                .collect()
        })
    }

    fn found<T>(
        &self,
        operation: &'static str,
        (sql, values): (String, Vec<Box<dyn ToSql>>),
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, StoreError> {
        self.with(operation, |connection| {
            connection.prepare_cached(&sql)?.query_map(params_from_iter(values.iter()), read)?.collect()
        })
    }

    fn one<T>(
        &self,
        operation: &'static str,
        sql: &str,
        key: impl ToSql,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, StoreError> {
        self.with(operation, |connection| connection.prepare_cached(sql)?.query_row(params![key], read).optional())
    }
}

/// What has numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbered {
    Alerts,
    Deliveries,
    Quarantine,
    Gaps,
}

impl ChannelState {
    fn idle(channel: ChannelName) -> Self {
        Self { channel, owed: 0, oldest: None, last_delivered: None, dead: 0 }
    }
}
