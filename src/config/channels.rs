//! `[channels.NAME]`: the ways out.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Secret;
use crate::model::{rendered::Clearance, time::Span};

/// One channel, told apart by `kind`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum ChannelConfig {
    Email(EmailConfig),
    Slack(SlackConfig),
    Webhook(WebhookConfig),
    File(FileConfig),
}

impl ChannelConfig {
    #[must_use]
    pub fn clearance(&self) -> Clearance {
        match self {
            Self::Email(email) => email.clearance,
            Self::Slack(slack) => slack.clearance,
            Self::Webhook(webhook) => webhook.clearance,
            Self::File(file) => file.clearance,
        }
    }

    #[must_use]
    pub fn retry(&self) -> &RetryConfig {
        match self {
            Self::Email(email) => &email.retry,
            Self::Slack(slack) => &slack.retry,
            Self::Webhook(webhook) => &webhook.retry,
            Self::File(file) => &file.retry,
        }
    }
}

/// E-mail by SMTP.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EmailConfig {
    /// `smtp://host:587` requires STARTTLS, `smtps://host:465` is TLS from the start.
    pub server: String,
    /// `none` sends in the clear, on loopback only.
    #[serde(default)]
    pub tls: MailTls,
    /// A PEM file with the authority that signed the server's certificate, where the system does not know it.
    pub ca_file: Option<PathBuf>,
    pub username: Option<String>,
    pub password: Option<Secret>,
    pub from: String,
    pub to: Vec<String>,
    #[serde(default)]
    pub clearance: Clearance,
    #[serde(default = "connections")]
    pub connections: u8,
    #[serde(default)]
    pub retry: RetryConfig,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MailTls {
    #[default]
    Required,
    None,
}

/// A Slack-style incoming webhook.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SlackConfig {
    /// The whole address is a secret.
    pub url: Secret,
    #[serde(default)]
    pub clearance: Clearance,
    #[serde(default)]
    pub retry: RetryConfig,
}

/// A generic webhook, signed by HMAC-SHA256.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookConfig {
    pub url: Secret,
    /// The key of the signature.
    pub secret: Secret,
    #[serde(default)]
    pub clearance: Clearance,
    #[serde(default)]
    pub retry: RetryConfig,
}

/// One file a message in a folder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileConfig {
    pub path: PathBuf,
    /// `eml` for mails, `json` for the webhook's body, `slack` for the chat's.
    #[serde(default)]
    pub format: FileFormat,
    /// Of an `eml`: the header's sender.
    pub from: Option<String>,
    /// Of an `eml`: the header's recipients.
    #[serde(default)]
    pub to: Vec<String>,
    #[serde(default)]
    pub clearance: Clearance,
    #[serde(default)]
    pub retry: RetryConfig,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FileFormat {
    #[default]
    Eml,
    Json,
    Slack,
}

/// When a delivery is tried again, and when it is given up.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RetryConfig {
    /// The first wait; each further one doubles, with jitter.
    pub first: Span,
    pub longest: Span,
    /// After this a delivery is a dead letter.
    pub give_up: Span,
    /// How long one attempt may take.
    pub timeout: Span,
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self {
            first: Span::from_secs(5),
            longest: Span::from_secs(1_800),
            give_up: Span::from_secs(3 * 86_400),
            timeout: Span::from_secs(30),
        }
    }
}

fn connections() -> u8 {
    2
}
