//! How lists, times and sizes look to people.

use std::path::PathBuf;

use chrono_tz::Tz;
use clap::Args;
use comfy_table::{ContentArrangement, Table, presets};
use serde::de::DeserializeOwned;

use super::{Exit, Global, print, talk};
use crate::{
    config::{Config, data_dirs, load_place},
    engine::control::{Ask, client},
    model::time::{Clock as _, Span, SystemClock, Timestamp},
};

/// What somebody wants to say about what they do; kept in the audit record.
#[derive(Args, Clone, Debug, Default)]
pub struct Note {
    /// Why, for whoever reads the audit record
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub note: String,
}

/// Whom the commands of operators ask.
pub struct Owner {
    /// Of times that people read.
    pub zone: Tz,
    data_dir: PathBuf,
    /// None: it can't be used. A service that runs has its own, and must be reachable all the more.
    config: Option<Config>,
}

impl Owner {
    /// # Errors
    /// The configuration does not even say where the store lies.
    pub fn of(global: &Global) -> anyhow::Result<Self> {
        let unusable = match global.load() {
            Ok(loaded) => {
                let config = loaded.config;
                return Ok(Self { zone: config.time_zone.0, data_dir: config.data_dir.clone(), config: Some(config) });
            }
            Err(error) => error,
        };
        // Of a file that is no TOML at all, one line may still say where the store lies.
        let lookup = global.lookup();
        let place = load_place(&lookup).map(|place| (place.time_zone.0, place.data_dir)).ok();
        let found = place.or_else(|| Some((Tz::UTC, data_dirs(&lookup).into_iter().find(|folder| folder.is_dir())?)));
        let Some((zone, data_dir)) = found else { return Err(unusable) };
        talk("warning: the configuration can't be used; `redflag config show` says why");
        Ok(Self { zone, data_dir, config: None })
    }

    /// Asks the running service, or the store while nothing runs.
    ///
    /// # Errors
    /// Nobody can be asked, or the answer is no.
    pub fn ask<T: DeserializeOwned>(&self, what: &str, ask: Ask) -> Result<client::Answered<T>, client::ClientError> {
        client::ask(&self.data_dir, self.config.as_ref(), what, ask)
    }
}

/// Prints an answer in the form that was asked for.
pub fn show<T: serde::Serialize>(global: &Global, answer: &T, human: impl FnOnce(&T) -> String) -> anyhow::Result<()> {
    if global.is_json() { print(&format!("{}\n", serde_json::to_string(answer)?)) } else { print(&human(answer)) }
}

/// Each object, before and after, as a line of data; what was so already is said.
pub fn changed(global: &Global, answered: &client::Answered<Vec<crate::store::Changed>>) -> anyhow::Result<Exit> {
    show(global, &answered.answer, |changed| {
        let line = |changed: &crate::store::Changed| {
            let crate::store::Changed { object, before, after } = changed;
            if before == after { format!("{object}: {after} already\n") } else { format!("{object}: {before} → {after}\n") }
        };
        changed.iter().map(line).collect()
    })?;
    if answered.answer.is_empty() {
        talk("nothing to do");
    }
    Ok(Exit::Fine)
}

/// A moment that was typed: a length of time before now, a day, or a stamp.
pub fn moment(text: &str) -> Result<Timestamp, String> {
    if let Ok(span) = text.parse::<Span>() {
        return SystemClock.now().checked_sub_signed(span.delta()).ok_or_else(|| format!("{text} is too long ago"));
    }
    if let Ok(day) = text.parse::<chrono::NaiveDate>() {
        return Ok(day.and_time(chrono::NaiveTime::MIN).and_utc());
    }
    let stamp = chrono::DateTime::parse_from_rfc3339(text);
    stamp
        .map(|at| at.to_utc())
        .map_err(|_| "write a length of time (24h, 7d), a day (2026-01-31) or a stamp (2026-01-31T08:00:00Z)".to_owned())
}

/// Rows below a header, without frames; as wide as the terminal.
pub fn table<const N: usize>(header: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(header);
    for row in rows {
        table.add_row(row);
    }
    table.to_string().lines().flat_map(|line| [line.trim_end(), "\n"]).collect()
}

/// In the zone that people read.
pub fn local(at: Timestamp, zone: Tz) -> String {
    at.with_timezone(&zone).format("%Y-%m-%d %H:%M:%S").to_string()
}

/// A dash where there is nothing.
pub fn or_dash(text: Option<String>) -> String {
    text.unwrap_or_else(|| "–".to_owned())
}

/// The two largest units of a length of time.
pub fn span(length: chrono::TimeDelta) -> String {
    let seconds = length.num_seconds().max(0);
    let units = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];
    let mut parts = Vec::new();
    let mut rest = seconds;
    for (unit, size) in units {
        if rest >= size || (unit == "s" && parts.is_empty()) {
            parts.push(format!("{}{unit}", rest / size));
            rest %= size;
        } else if !parts.is_empty() {
            break;
        }
        if parts.len() == 2 {
            break;
        }
    }
    parts.join(" ")
}

/// With a unit that keeps it short.
pub fn size(bytes: u64) -> String {
    let units = [("GiB", 1_u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    units
        .into_iter()
        .find(|(_, size)| bytes >= *size)
        .map_or_else(|| format!("{bytes} B"), |(unit, size)| format!("{:.1} {unit}", bytes as f64 / size as f64))
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    #[test]
    fn lengths_of_time_have_two_units_at_most() {
        let told = |seconds| span(TimeDelta::seconds(seconds));
        assert_eq!(
            [told(-5), told(0), told(59), told(60), told(3_725), told(90_061)],
            ["0s", "0s", "59s", "1m", "1h 2m", "1d 1h"]
        );
    }

    #[test]
    fn sizes_are_short() {
        assert_eq!([size(0), size(1_023), size(1_024), size(3 << 29)], ["0 B", "1023 B", "1.0 KiB", "1.5 GiB"]);
    }

    #[test]
    fn a_moment_is_a_length_of_time_a_day_or_a_stamp() {
        let yesterday = moment("24h").unwrap();
        assert!(SystemClock.now() - yesterday >= TimeDelta::hours(24));
        assert_eq!(moment("2026-01-31").unwrap().to_rfc3339(), "2026-01-31T00:00:00+00:00");
        assert_eq!(moment("2026-01-31T08:00:00+01:00").unwrap().to_rfc3339(), "2026-01-31T07:00:00+00:00");
        assert!(moment("yesterday").unwrap_err().starts_with("write a length of time"));
    }
}
