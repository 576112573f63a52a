//! The three methods, as frames (feed.md §6).

use std::fmt::Write as _;

use crate::model::signal::PastMessages;

/// One question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    AvailableTopics,
    EnabledTopics,
    PastMessages(PastMessages),
    /// Past messages that are only counted: whether the provider gives more at once than it gave.
    Probe(PastMessages),
}

impl Ask {
    pub(super) fn method(&self) -> &'static str {
        match self {
            Self::AvailableTopics => "getAvailableTopics",
            Self::EnabledTopics => "getEnabledTopics",
            Self::PastMessages(_) | Self::Probe(_) => "getLastMessages",
        }
    }

    /// The past messages that it asks for.
    pub(super) fn past(&self) -> Option<&PastMessages> {
        match self {
            Self::PastMessages(request) | Self::Probe(request) => Some(request),
            Self::AvailableTopics | Self::EnabledTopics => None,
        }
    }

    /// The frame that asks.
    pub(super) fn frame(&self) -> String {
        let mut text = format!(r#"{{"topic":"method","method":"{}""#, self.method());
        if let Some(request) = self.past() {
            // As documented: milliseconds and an offset with a colon. Cut, never rounded up.
            let since = request.since.format("%Y-%m-%dT%H:%M:%S%.3f+00:00");
            let _ = write!(text, r#","since":"{since}","count":{}"#, request.count);
            if !request.topics.is_empty() {
                let _ = write!(text, r#","topics":{}"#, serde_json::json!(request.topics));
            }
        }
        text.push('}');
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frames_are_the_documented_ones() {
        assert_eq!(Ask::AvailableTopics.frame(), r#"{"topic":"method","method":"getAvailableTopics"}"#);
        let request = PastMessages {
            since: chrono::DateTime::parse_from_rfc3339("2022-09-20T11:31:42.937999Z").unwrap().to_utc(),
            topics: vec!["identResult".to_owned()],
            count: 2,
            known: None,
        };
        insta::assert_snapshot!(
            Ask::PastMessages(request).frame(),
            @r#"{"topic":"method","method":"getLastMessages","since":"2022-09-20T11:31:42.937+00:00","count":2,"topics":["identResult"]}"#
        );
    }
}
