//! What the later stages know of a rule: its card and its header, as it was when it judged.

use serde::{Deserialize, Serialize};

use super::{
    hash::Digest,
    names::{RuleId, TopicName},
    severity::Severity,
    time::Span,
};

/// A rule's life: only `live` ones send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Only tested.
    Draft,
    /// Runs and is recorded, sends nothing.
    Shadow,
    #[default]
    Live,
    /// Kept for replay.
    Retired,
}

impl Stage {
    pub const ALL: [Self; 4] = [Self::Draft, Self::Shadow, Self::Live, Self::Retired];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Shadow => "shadow",
            Self::Live => "live",
            Self::Retired => "retired",
        }
    }

    /// Whether events are judged by a rule of this stage.
    #[must_use]
    pub fn runs(self) -> bool {
        matches!(self, Self::Shadow | Self::Live)
    }
}

/// `quiet: #{ same: [...], within: "24h" }`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quiet {
    /// Field paths whose values make the key.
    pub same: Vec<String>,
    pub within: Span,
}

/// The header of a rule file: its `//!` text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct Header {
    /// What the rule says: everything before the first `Name:` paragraph.
    pub what: String,
    pub why: Option<String>,
    /// `Do:`, what the reader of an alert is to do.
    pub act: Option<String>,
    pub noise: Option<String>,
}

/// A rule's card.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Card {
    pub id: RuleId,
    pub title: String,
    /// Canonical topics.
    pub on: Vec<TopicName>,
    pub severity: Severity,
    /// Channel or group names.
    pub send_to: Vec<String>,
    pub quiet: Option<Quiet>,
    pub stage: Stage,
    /// Template set.
    pub template: String,
    /// Fields to mask where a channel is not cleared; none: the topic's own list.
    pub personal: Option<Vec<String>>,
    pub owner: Option<String>,
    pub review_by: Option<String>,
    pub basis: Option<String>,
    pub header: Header,
    /// The rule file, relative to the rules' folder.
    pub file: String,
    /// Of the rule's closure: its file and the modules that it imports.
    pub hash: Digest,
}

#[cfg(test)]
impl Card {
    /// A live rule that says as little as a card can.
    pub fn sample(id: &str) -> Self {
        Self {
            id: RuleId::new(id),
            title: "A title".to_owned(),
            on: vec![TopicName::new("identResult")],
            severity: Severity::High,
            send_to: vec!["team".to_owned()],
            quiet: None,
            stage: Stage::Live,
            template: "alert".to_owned(),
            personal: None,
            owner: None,
            review_by: None,
            basis: None,
            header: Header::default(),
            file: format!("{id}.rhai"),
            hash: Digest::of(id.as_bytes()),
        }
    }
}
