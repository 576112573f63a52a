//! A message in the form that a channel sends.

use serde_json::Value as Json;

/// Which form a channel wants; rendering and escaping follow from it, never from a file's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// Multipart text and HTML.
    Mail,
    /// Slack's JSON with its own escapes.
    Slack,
    /// redflag's own JSON.
    Json,
}

/// Whether a channel may show personal data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Clearance {
    #[default]
    Masked,
    Personal,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Rendered {
    Mail(Mail),
    /// The body of a webhook or chat post.
    Json(Json),
}

/// A mail's content. The subject holds no control characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    pub subject: String,
    pub text: String,
    /// None when the template failed and the built-in text stands instead.
    pub html: Option<String>,
}
