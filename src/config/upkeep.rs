//! `[heartbeat]`, `[disk]`, `[retention]`: what keeps redflag alive unattended, and what says that it is not.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Secret, feeds::ByteSize};
use crate::model::time::Span;

/// A sign of life to somebody outside, who raises the alarm when it stays away.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HeartbeatConfig {
    /// The whole address is a secret.
    pub url: Secret,
    #[serde(default = "minute")]
    pub every: Span,
    #[serde(default)]
    pub method: HeartbeatMethod,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum HeartbeatMethod {
    #[default]
    Get,
    Post,
}

/// The disk that holds `data_dir`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DiskConfig {
    /// Less free room than this is an alarm.
    pub low: ByteSize,
    /// An alarm when the disk will be full so soon, by the growth since the start.
    pub forecast: Span,
    /// A file of this size is kept, and given up when the disk is full: for what is under way, and for the alarm itself.
    pub reserve: ByteSize,
}

impl Default for DiskConfig {
    fn default() -> Self {
        Self { low: ByteSize(1 << 30), forecast: Span::from_secs(14 * 86_400), reserve: ByteSize(32 << 20) }
    }
}

/// How long rows are kept; without a time, for ever. Beyond it they are deleted, in small steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RetentionConfig {
    /// Judged events that raised no alert.
    pub journal: Option<Span>,
    /// Deliveries that have ended, their attempts, and messages that nothing else needs.
    pub deliveries: Option<Span>,
    /// Bytes that were set aside.
    pub quarantine: Option<Span>,
}

fn minute() -> Span {
    Span::from_secs(60)
}
