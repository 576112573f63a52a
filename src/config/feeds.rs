//! `[feeds.NAME]`: where events come from.

use std::{collections::BTreeMap, path::PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Secret;
use crate::model::time::Span;

/// One feed, told apart by `kind`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "lowercase")]
#[expect(clippy::large_enum_variant, reason = "there are as many as there are feeds: a handful")]
pub enum FeedConfig {
    Concedus(ConcedusConfig),
    Jsonl(JsonlConfig),
}

/// The CONCEDUS WebSocket.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConcedusConfig {
    /// `wss://…/ws/connect`; plain `ws://` on loopback only.
    pub socket: String,
    /// `https://…/v2/auth`; `token`, `refresh` and `check` lie below it. Plain `http://` on loopback only.
    pub auth: String,
    pub username: String,
    pub password: Secret,
    /// The name of the field that carries the user name in the token request.
    #[serde(default = "username_field")]
    pub username_field: String,
    /// The zone of stamps without one (IANA name); without it they stay unknown.
    pub naive_time_zone: Option<zone::ZoneName>,
    /// `status` words of identResult that mean success.
    #[serde(default = "success_words")]
    pub success_words: Vec<String>,
    #[serde(default)]
    pub backfill: BackfillConfig,
    /// Asks how single identifications stand where back-fill leaves a gap. Without it nothing is looked up.
    pub lookups: Option<LookupsConfig>,
    /// A longer message is refused; size and digest are kept. Bytes, or with a unit: `64MiB`.
    #[serde(default)]
    pub max_message: ByteSize,
    /// Texts in identResultKYC longer than this (bytes) count as attachments.
    #[serde(default = "attachment_limit")]
    pub attachment_limit: ByteSize,
    /// A ping goes out when the socket was silent for this long.
    #[serde(default = "ping_every")]
    pub ping_every: Span,
    /// A peer that answers nothing for this long is dead.
    #[serde(default = "dead_after")]
    pub dead_after: Span,
    /// The longest wait between two tries to connect.
    #[serde(default = "reconnect_cap")]
    pub reconnect_cap: Span,
    /// After how much silence of a feed that is connected somebody is told: `learned` (from the hours of the last four weeks), `off`, or
    /// a time.
    #[serde(default)]
    pub silence: Silence,
    /// Topic names that rules may use beyond the known ones.
    #[serde(default)]
    pub topics: Vec<String>,
    /// Fields that rules may use beyond the known ones, by topic.
    #[serde(default)]
    pub fields: BTreeMap<String, Vec<String>>,
}

/// When a silent feed is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Silence {
    #[default]
    Learned,
    Off,
    After(Span),
}

impl Serialize for Silence {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Learned => serializer.serialize_str("learned"),
            Self::Off => serializer.serialize_str("off"),
            Self::After(span) => span.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Silence {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.as_str() {
            "learned" => Ok(Self::Learned),
            "off" => Ok(Self::Off),
            time => match time.parse::<Span>() {
                Ok(span) if !span.get().is_zero() => Ok(Self::After(span)),
                _ => Err(serde::de::Error::custom(format!("`{text}` is neither `learned` nor `off` nor a time such as 2h"))),
            },
        }
    }
}

impl JsonSchema for Silence {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Silence".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": "^(learned|off|[0-9]+ ?(ms|s|m|h|d))$",
            "description": "`learned`, `off`, or a time such as 2h"
        })
    }
}

/// `getLastMessages` after each connect.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BackfillConfig {
    /// How far before the last journaled receive time a request begins.
    pub overlap: Span,
    /// How many messages a request asks for.
    pub count: u32,
    /// Where the first start begins: `now`, or an RFC 3339 stamp.
    pub start_from: StartFrom,
    /// How long a request may go without an answer.
    pub timeout: Span,
}

impl Default for BackfillConfig {
    fn default() -> Self {
        Self { overlap: Span::from_secs(600), count: 500, start_from: StartFrom::Now, timeout: Span::from_secs(10) }
    }
}

/// Look-ups of single identifications and people, after a gap.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LookupsConfig {
    /// `https://…/v2`; `status/ident` and `status/person` lie below it. Plain `http://` on loopback only.
    pub url: String,
    /// No identification takes longer than this from its announcement to its outcome: it is asked about those that were announced in this
    /// time before a gap.
    #[serde(default = "reach")]
    pub reach: Span,
    /// So many are asked about for one gap at most.
    #[serde(default = "most")]
    pub limit: u32,
    /// Between two look-ups, at least.
    #[serde(default = "second")]
    pub spacing: Span,
}

/// Where the first start on an empty journal begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum StartFrom {
    #[default]
    Now,
    At(crate::model::time::Timestamp),
}

/// JSON lines: one frame a line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JsonlConfig {
    /// A file, a folder (followed: new files and new lines), or `-` for standard input.
    pub path: PathBuf,
    /// Whether a single file is followed at its end like a folder's.
    #[serde(default)]
    pub follow: bool,
    pub naive_time_zone: Option<zone::ZoneName>,
    #[serde(default = "success_words")]
    pub success_words: Vec<String>,
    #[serde(default)]
    pub max_message: ByteSize,
    #[serde(default = "attachment_limit")]
    pub attachment_limit: ByteSize,
    #[serde(default)]
    pub topics: Vec<String>,
    #[serde(default)]
    pub fields: BTreeMap<String, Vec<String>>,
}

fn reach() -> Span {
    Span::from_secs(30 * 86_400)
}

fn most() -> u32 {
    500
}

fn second() -> Span {
    Span::from_secs(1)
}

fn username_field() -> String {
    "username".to_owned()
}

fn success_words() -> Vec<String> {
    vec!["success".to_owned()]
}

fn attachment_limit() -> ByteSize {
    ByteSize(4096)
}

fn ping_every() -> Span {
    Span::from_secs(5)
}

fn dead_after() -> Span {
    Span::from_secs(15)
}

fn reconnect_cap() -> Span {
    Span::from_secs(30)
}

/// A size in bytes: `64MiB`, `512KiB`, `10MB`, `4096B`. No bare numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

impl Default for ByteSize {
    fn default() -> Self {
        Self(64 * 1024 * 1024)
    }
}

impl std::str::FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a size; write a whole number and a unit: 4096B, 512KiB or 64MiB");
        let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let number: u64 = text[..digits].parse().map_err(|_| wrong())?;
        let unit = match text[digits..].trim() {
            "B" => 1,
            "kB" | "KB" => 1_000,
            "MB" => 1_000_000,
            "GB" => 1_000_000_000,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => return Err(wrong()),
        };
        number.checked_mul(unit).map(Self).ok_or_else(wrong)
    }
}

impl std::fmt::Display for ByteSize {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (number, unit) = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")]
            .into_iter()
            .find(|(size, _)| self.0 != 0 && self.0.is_multiple_of(*size))
            .map_or((self.0, "B"), |(size, unit)| (self.0 / size, unit));
        write!(f, "{number}{unit}")
    }
}

impl Serialize for ByteSize {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for ByteSize {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ByteSize".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": "^[0-9]+ ?(B|kB|KB|MB|GB|KiB|MiB|GiB)$",
            "description": "a size: a whole number and a unit, such as 4096B, 512KiB or 64MiB"
        })
    }
}

impl Serialize for StartFrom {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Now => serializer.serialize_str("now"),
            Self::At(at) => serializer.serialize_str(&at.to_rfc3339()),
        }
    }
}

impl<'de> Deserialize<'de> for StartFrom {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "now" {
            return Ok(Self::Now);
        }
        chrono::DateTime::parse_from_rfc3339(&text).map(|at| Self::At(at.to_utc())).map_err(|_| {
            serde::de::Error::custom(format!(
                "`{text}` is neither `now` nor a stamp with a zone, such as 2026-01-31T08:00:00+01:00"
            ))
        })
    }
}

impl JsonSchema for StartFrom {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "StartFrom".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "description": "`now`, or an RFC 3339 stamp" })
    }
}

/// A time zone by its IANA name, checked at load.
pub mod zone {
    use std::fmt;

    use chrono_tz::Tz;
    use schemars::JsonSchema;
    use serde::{Deserialize, Serialize};

    #[derive(Clone, Copy, PartialEq, Eq)]
    pub struct ZoneName(pub Tz);

    impl fmt::Debug for ZoneName {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0.name())
        }
    }

    impl Serialize for ZoneName {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_str(self.0.name())
        }
    }

    impl<'de> Deserialize<'de> for ZoneName {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let text = String::deserialize(deserializer)?;
            text.parse().map(Self).map_err(|_| {
                serde::de::Error::custom(format!("`{text}` is not a time zone; write an IANA name such as Europe/Berlin or UTC"))
            })
        }
    }

    impl JsonSchema for ZoneName {
        fn schema_name() -> std::borrow::Cow<'static, str> {
            "ZoneName".into()
        }

        fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
            schemars::json_schema!({ "type": "string", "description": "an IANA time zone, such as Europe/Berlin" })
        }
    }
}
