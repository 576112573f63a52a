//! The whole configuration and its small sections.

use std::{collections::BTreeMap, path::PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    ChannelConfig, FeedConfig,
    feeds::zone::ZoneName,
    upkeep::{DiskConfig, HeartbeatConfig, RetentionConfig},
};
use crate::model::{
    names::{ChannelName, FeedName},
    severity::Severity,
    time::Span,
};

/// `redflag.toml`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    #[serde(default)]
    pub environment: Environment,
    /// Holds the store and its lock.
    pub data_dir: PathBuf,
    /// For people; the store is UTC.
    #[serde(default = "utc")]
    pub time_zone: ZoneName,
    #[serde(default)]
    pub language: Language,
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, FeedConfig>")]
    pub feeds: BTreeMap<FeedName, FeedConfig>,
    #[serde(default)]
    pub rules: RulesConfig,
    #[serde(default)]
    pub templates: TemplatesConfig,
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, ChannelConfig>")]
    pub channels: BTreeMap<ChannelName, ChannelConfig>,
    /// A name for several channels.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, Vec<String>>")]
    pub groups: BTreeMap<String, Vec<ChannelName>>,
    /// redflag's own alarms.
    #[serde(default)]
    pub operators: SendTo,
    /// Where messages go that would otherwise go nowhere, are late, or were given up.
    #[serde(default)]
    pub fallback: SendTo,
    #[serde(default)]
    pub delays: DelayConfig,
    pub heartbeat: Option<HeartbeatConfig>,
    #[serde(default)]
    pub disk: DiskConfig,
    #[serde(default)]
    pub retention: RetentionConfig,
    #[serde(default)]
    pub http: HttpConfig,
    #[serde(default)]
    pub control: ControlConfig,
}

/// A badge in every message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Environment {
    Demo,
    #[default]
    Test,
    Prod,
}

impl Environment {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Demo => "demo",
            Self::Test => "test",
            Self::Prod => "prod",
        }
    }
}

/// Of the shipped templates and of texts to operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    #[default]
    En,
    De,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RulesConfig {
    /// With `shared/`, `lists/` and `exceptions/` below it.
    pub directory: PathBuf,
    pub watch: Watch,
    pub approval: Approval,
}

impl Default for RulesConfig {
    fn default() -> Self {
        Self { directory: PathBuf::from("rules"), watch: Watch::default(), approval: Approval::default() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Watch {
    /// The kernel tells of changes.
    #[default]
    Notify,
    /// For network shares, where it does not.
    Poll,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Approval {
    /// Whoever may write to the folder may change rules.
    #[default]
    TrustedDirectory,
}

#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TemplatesConfig {
    /// Template sets that replace or join the shipped ones.
    pub directory: Option<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SendTo {
    /// Channel or group names.
    pub send_to: Vec<String>,
}

/// A delivery that is not made by then is late: the operators are told, and its message goes by the fallback as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DelayConfig {
    pub critical: Span,
    pub high: Span,
    /// Of medium severity and below.
    pub others: Span,
}

impl DelayConfig {
    #[must_use]
    pub fn of(&self, severity: Severity) -> Span {
        match severity {
            Severity::Critical => self.critical,
            Severity::High => self.high,
            Severity::Medium | Severity::Low | Severity::Info => self.others,
        }
    }
}

impl Default for DelayConfig {
    fn default() -> Self {
        Self { critical: Span::from_secs(900), high: Span::from_secs(3_600), others: Span::from_secs(86_400) }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HttpConfig {
    /// Health and metrics.
    pub listen: std::net::SocketAddr,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self { listen: std::net::SocketAddr::from(([127, 0, 0, 1], 7878)) }
    }
}

/// Who may use the control socket beside its owner and root.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ControlConfig {
    /// A group of /etc/group.
    pub group: Option<String>,
}

fn utc() -> ZoneName {
    ZoneName(chrono_tz::UTC)
}
