//! Time comes in by hand: everything that asks for the time asks a [`Clock`].

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A moment, in UTC. The store keeps microseconds.
pub type Timestamp = DateTime<Utc>;

/// The wall clock, injected.
pub trait Clock: fmt::Debug + Send + Sync {
    fn now(&self) -> Timestamp;
}

/// The machine's clock, cut to the microseconds that the store keeps.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let now = Utc::now();
        DateTime::from_timestamp_micros(now.timestamp_micros()).unwrap_or(now)
    }
}

/// A clock that a test moves.
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<AtomicI64>);

impl ManualClock {
    #[must_use]
    pub fn at(start: Timestamp) -> Self {
        Self(Arc::new(AtomicI64::new(start.timestamp_micros())))
    }

    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(i64::try_from(by.as_micros()).unwrap_or(i64::MAX), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        DateTime::from_timestamp_micros(self.0.load(Ordering::SeqCst)).unwrap_or_default()
    }
}

/// A length of time as people write it: `300ms`, `5s`, `10m`, `24h`, `7d`. No bare numbers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Span(Duration);

impl Span {
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }

    #[must_use]
    pub const fn get(self) -> Duration {
        self.0
    }

    /// As a chrono duration; spans beyond its range are clamped.
    #[must_use]
    pub fn delta(self) -> chrono::TimeDelta {
        chrono::TimeDelta::from_std(self.0).unwrap_or(chrono::TimeDelta::MAX)
    }
}

/// The text is no length of time.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a length of time; write a whole number and a unit: 300ms, 5s, 10m, 24h or 7d")]
pub struct UnknownSpan(pub String);

impl std::str::FromStr for Span {
    type Err = UnknownSpan;

    fn from_str(text: &str) -> Result<Self, UnknownSpan> {
        let unknown = || UnknownSpan(text.to_owned());
        let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(unknown)?;
        let number: u64 = text[..digits].parse().map_err(|_| unknown())?;
        let millis = match &text[digits..] {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(unknown()),
        };
        number.checked_mul(millis).map(Self::from_millis).ok_or_else(unknown)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        let (number, unit) = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")]
            .into_iter()
            .find(|(size, _)| millis != 0 && millis.is_multiple_of(*size))
            .map_or((millis, "ms"), |(size, unit)| (millis / size, unit));
        write!(f, "{number}{unit}")
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Span {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Span {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Span".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": "^[0-9]+(ms|s|m|h|d)$",
            "description": "a length of time: a whole number and a unit, such as 300ms, 5s, 10m, 24h or 7d"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_back_what_they_print() {
        for text in ["300ms", "5s", "10m", "24h", "7d"] {
            let span: Span = text.parse().unwrap();
            assert_eq!(span.to_string().parse::<Span>().unwrap(), span);
        }
        assert_eq!("24h".parse::<Span>().unwrap().to_string(), "1d");
    }

    #[test]
    fn a_bare_number_is_no_span() {
        for text in ["", "5", "h", "-1h", "1.5h", "5 m", "5w", "99999999999999999999d"] {
            assert_eq!(text.parse::<Span>(), Err(UnknownSpan(text.to_owned())));
        }
    }
}
