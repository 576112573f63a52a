//! What people change, and the audit record of it: one transaction, so that neither is there without the other.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::{
    StoreError, gaps,
    rows::failed,
    write::{self, Note},
};
use crate::model::{actor::Actor, alert::AlertState, time::Timestamp};

/// A change that a person makes. Objects by their number (`n`, `id`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// To another state; none: only a note.
    Alerts { alerts: Vec<i64>, to: Option<AlertState> },
    /// Due at once, and not given up before that moment.
    Retry { deliveries: Vec<(i64, Timestamp)> },
    /// Given up by a person.
    Drop { deliveries: Vec<i64> },
    /// To be decoded again and judged.
    Judge { quarantined: Vec<i64> },
    /// What is missing was found out by other means, or is known not to be.
    CloseGaps { gaps: Vec<i64> },
    /// Never to be judged: a person has seen to it.
    Dismiss { quarantined: Vec<i64> },
    /// Nothing in the store changes; that it was done is kept.
    Done { object: String },
}

/// Who changes what, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Act {
    pub actor: Actor,
    /// The command, as it is typed.
    pub action: String,
    /// What the person says about it; may be empty.
    pub note: String,
    pub change: Change,
}

/// One object, before and after.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Changed {
    /// `alert 12`, `delivery 7`, `quarantine 3`.
    pub object: String,
    pub before: String,
    pub after: String,
}

/// Changes every object of the act or none, each with its line of the audit record.
pub(super) fn act(connection: &Connection, act: &Act, now: Timestamp) -> Result<Vec<Changed>, StoreError> {
    let changed: Vec<Changed> = match &act.change {
        Change::Alerts { alerts, to } => alerts.iter().map(|n| alert(connection, *n, *to)).collect::<Result<_, _>>()?,
        Change::Retry { deliveries } => {
            deliveries.iter().map(|(n, until)| retry(connection, *n, now, *until)).collect::<Result<_, _>>()?
        }
        Change::Drop { deliveries } => deliveries.iter().map(|n| give_up(connection, *n, now)).collect::<Result<_, _>>()?,
        Change::Judge { quarantined } => quarantined.iter().map(|id| judge(connection, *id)).collect::<Result<_, _>>()?,
        Change::CloseGaps { gaps: ids } => {
            ids.iter().map(|id| gaps::close(connection, *id, &act.actor, now)).collect::<Result<_, _>>()?
        }
        Change::Dismiss { quarantined } => quarantined.iter().map(|id| dismiss(connection, *id)).collect::<Result<_, _>>()?,
        Change::Done { object } => vec![Changed { object: object.clone(), before: String::new(), after: String::new() }],
    };
    let only_noted = !matches!(act.change, Change::Done { .. });
    for changed in &changed {
        if only_noted && changed.before == changed.after && act.note.is_empty() {
            continue;
        }
        let states = only_noted.then(|| (changed.before.clone(), changed.after.clone()));
        let (before, after) = states.unzip();
        let note = Note {
            actor: act.actor.clone(),
            action: act.action.clone(),
            object: changed.object.clone(),
            detail: act.note.clone(),
            before,
            after,
        };
        write::note(connection, &note, now)?;
    }
    Ok(changed)
}

fn alert(connection: &Connection, n: i64, to: Option<AlertState>) -> Result<Changed, StoreError> {
    let operation = "changing an alert";
    let object = format!("alert {n}");
    let before = state(connection, operation, "SELECT state FROM alerts WHERE n = ?1", n, &object)?;
    let after = to.map_or_else(|| before.clone(), |to| to.as_str().to_owned());
    connection.execute("UPDATE alerts SET state = ?2 WHERE n = ?1", params![n, after]).map_err(failed(operation))?;
    Ok(Changed { object, before, after })
}

fn retry(connection: &Connection, n: i64, now: Timestamp, until: Timestamp) -> Result<Changed, StoreError> {
    let operation = "sending a delivery again";
    let object = format!("delivery {n}");
    let before = delivery(connection, operation, n, &object)?;
    match before.as_str() {
        "delivered" => {
            return Err(refused(operation, format!("{object} was delivered; sending it again would tell people twice")));
        }
        "leased" => return Err(refused(operation, format!("{object} is being sent just now; see how it ends"))),
        _ => {}
    }
    connection
        .execute(
            "UPDATE deliveries SET state = 'waiting', due_at = ?2, wake_at = ?2, expires_at = max(expires_at, ?3), \
             away = (SELECT away FROM service), dropped_at = NULL WHERE n = ?1",
            params![n, now.timestamp_micros(), until.timestamp_micros()],
        )
        .map_err(failed(operation))?;
    Ok(Changed { object, before, after: "waiting".to_owned() })
}

fn give_up(connection: &Connection, n: i64, now: Timestamp) -> Result<Changed, StoreError> {
    let operation = "dropping a delivery";
    let object = format!("delivery {n}");
    let before = delivery(connection, operation, n, &object)?;
    match before.as_str() {
        "delivered" => return Err(refused(operation, format!("{object} was delivered: there is nothing to drop"))),
        "leased" => return Err(refused(operation, format!("{object} is being sent just now; see how it ends"))),
        _ => {}
    }
    connection
        .execute(
            // Somebody knows of it: nobody else is told, and it goes no other way.
            "UPDATE deliveries SET state = 'dead', wake_at = NULL, late_at = NULL, told = 1, \
             dropped_at = coalesce(dropped_at, ?2) WHERE n = ?1",
            params![n, now.timestamp_micros()],
        )
        .map_err(failed(operation))?;
    Ok(Changed { object, before, after: "dropped".to_owned() })
}

fn judge(connection: &Connection, id: i64) -> Result<Changed, StoreError> {
    let operation = "taking bytes out of quarantine";
    let object = format!("quarantine {id}");
    let before = state(connection, operation, "SELECT state FROM quarantine WHERE id = ?1", id, &object)?;
    if before == "retried" {
        return Err(refused(operation, format!("{object} was judged already; a second time would raise its alerts twice")));
    }
    let bytes = "SELECT length(bytes) FROM quarantine WHERE id = ?1";
    let length: i64 = connection.query_row(bytes, params![id], |row| row.get(0)).map_err(failed(operation))?;
    if length == 0 {
        return Err(refused(operation, format!("of {object} only size and digest are kept: ask the provider for the message")));
    }
    connection.execute("UPDATE quarantine SET state = 'wanted' WHERE id = ?1", params![id]).map_err(failed(operation))?;
    Ok(Changed { object, before, after: "wanted".to_owned() })
}

/// The row stays with its bytes, and can still be judged.
fn dismiss(connection: &Connection, id: i64) -> Result<Changed, StoreError> {
    let operation = "dropping quarantined bytes";
    let object = format!("quarantine {id}");
    let before = state(connection, operation, "SELECT state FROM quarantine WHERE id = ?1", id, &object)?;
    if before == "retried" {
        return Err(refused(operation, format!("{object} was judged: there is nothing to drop")));
    }
    connection.execute("UPDATE quarantine SET state = 'dropped' WHERE id = ?1", params![id]).map_err(failed(operation))?;
    Ok(Changed { object, before, after: "dropped".to_owned() })
}

/// A dropped delivery is dead by its row, and says so by its own word.
fn delivery(connection: &Connection, operation: &'static str, n: i64, object: &str) -> Result<String, StoreError> {
    let sql = "SELECT CASE WHEN dropped_at IS NULL THEN state ELSE 'dropped' END FROM deliveries WHERE n = ?1";
    state(connection, operation, sql, n, object)
}

fn state(connection: &Connection, operation: &'static str, sql: &str, n: i64, object: &str) -> Result<String, StoreError> {
    let found = connection.query_row(sql, params![n], |row| row.get(0)).optional().map_err(failed(operation))?;
    found.ok_or_else(|| refused(operation, format!("there is no {object}")))
}

fn refused(operation: &'static str, detail: String) -> StoreError {
    StoreError::Refused { operation, detail }
}
