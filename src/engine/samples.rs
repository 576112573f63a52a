//! The shipped sample of each known topic: what `like: "…"` names in a rule's tests. The vendor's own samples where there are some.

use crate::model::topic;

/// The sample message of a topic, whichever of its names is used.
#[must_use]
pub fn sample(name: &str) -> Option<&'static str> {
    Some(match topic::find(name)?.name {
        "identRequestsCreated" => include_str!("samples/identRequestsCreated.json"),
        "identResult" => include_str!("samples/identResult.json"),
        "identResultKYC" => include_str!("samples/identResultKYC.json"),
        "mismatches" => include_str!("samples/mismatches.json"),
        "complianceRecord" => include_str!("samples/complianceRecord.json"),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        decode::{Decoder, Options},
        model::{
            event::{Frame, Origin},
            ids::Ids,
            names::FeedName,
            time::Timestamp,
        },
    };

    /// A sample in the fields that rules see, as the guide shows it.
    fn shown(topic: &topic::Topic) -> String {
        let frame = Frame {
            feed: FeedName::new("test"),
            received_at: Timestamp::default(),
            origin: Origin::Live,
            bytes: sample(topic.name).unwrap().as_bytes().to_vec(),
            position: None,
        };
        let decoded = Decoder::new(FeedName::new("test"), Options::default()).decode(&frame, &mut Ids::seeded(1));
        let body = serde_json::to_string_pretty(&decoded.elements[0].body).unwrap();
        format!("`{}`\n\n```json\n{body}\n```\n", topic.name)
    }

    #[test]
    fn the_guide_shows_every_sample() {
        let guide = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/rules.md")).unwrap();
        let samples: Vec<String> = topic::KNOWN.into_iter().map(shown).collect();
        let samples = samples.join("\n");
        assert!(guide.contains(&samples), "docs/rules.md should show these samples:\n\n{samples}");
    }

    #[test]
    fn every_known_topic_has_a_sample_of_itself() {
        for topic in topic::KNOWN {
            let message: serde_json::Value = serde_json::from_str(sample(topic.name).unwrap()).unwrap();
            assert_eq!(topic::find(message["topic"].as_str().unwrap()), Some(topic));
        }
        assert_eq!(sample("nothing"), None);
    }
}
