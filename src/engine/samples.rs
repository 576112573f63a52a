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

    #[test]
    fn every_known_topic_has_a_sample_of_itself() {
        for topic in topic::KNOWN {
            let message: serde_json::Value = serde_json::from_str(sample(topic.name).unwrap()).unwrap();
            assert_eq!(topic::find(message["topic"].as_str().unwrap()), Some(topic));
        }
        assert_eq!(sample("nothing"), None);
    }
}
