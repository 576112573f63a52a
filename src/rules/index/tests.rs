//! Keys, and the events that they let through.

use super::*;
use crate::{
    model::value::Value,
    rules::native::tests::{event, rule},
};

/// The key of a rule's `when`, and whether an event of this body is a candidate.
fn asked(topic: &str, script: &str, body: &str) -> (String, bool) {
    let settings: Value = serde_json::from_str(r#"{"watched":["nationality","street"],"word":"failed"}"#).unwrap();
    let rule = rule(&format!("fn when(event, settings) {{ {script} }}"), &settings).unwrap();
    let index = TopicIndex::new(topic, std::iter::once((7, &rule)), &Lists::empty());
    let mut found = Vec::new();
    index.candidates(&event(topic, serde_json::from_str(body).unwrap()), &mut found);
    (index.key(0).map_or_else(|| "every event".to_owned(), ToString::to_string), found == [7])
}

#[test]
fn a_rules_key_is_what_must_show_before_anything_can_fail() {
    let key = |topic: &str, script: &str| asked(topic, script, "{}").0;
    let all: Vec<String> = [
        ("identResult", r#"event.status == "failed" && weird(event)"#),
        ("identResult", r#"weird(event) && event.status == "failed""#),
        ("identResult", r#"event.personKey != "x" && event.kyc == "KYC1""#),
        ("identResult", r#"event.reason.starts_with("a") && event.kyc == "KYC1""#),
        ("identResult", r#"event.status == settings.word || event.reason in ["a", "b"]"#),
        ("identResult", r#"event.topic == "identResultKYC" && weird(event)"#),
        ("identResult", r#"event.status != "success""#),
        ("mismatches", "event.mismatches.some(|m| fold(m.fieldName) in settings.watched && m.value != m.kycValue)"),
        ("mismatches", r#"event.mismatches.filter(|m| m.fieldName == "Street").len() > 0"#),
        ("mismatches", r#"event.mismatches.filter(|m| m.fieldName == "Street").len() == 0"#),
        ("mismatches", r#"let found = event.mismatches.filter(|m| m.fieldName == "Street"); found.len() > 0"#),
        ("mismatches", r#"if blank(event.personKey) { return false; } event.mismatches.some(|m| m.value == "DE")"#),
        ("mismatches", r#"if blank(event.personKey) { return true; } event.mismatches.some(|m| m.value == "DE")"#),
        ("complianceRecord", "event.status in [300, 301] && !blank(event.key)"),
    ]
    .into_iter()
    .map(|(topic, script)| format!("{script}\n    {}", key(topic, script)))
    .collect();
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn a_field_that_rules_share_is_no_key_where_an_entry_shows_a_rarer_one_behind_it() {
    let lists = Lists::empty();
    let asks = |topic: &str, name: &str, field: &str| {
        let rules: Vec<_> = ["a", "b", "c"]
            .map(|value| {
                let script = format!(r#"event.mismatches.some(|m| m.{name} == "City" && m.{field} == "{value}")"#);
                rule(&format!("fn when(event, settings) {{ {script} }}"), &Value::Null).unwrap()
            })
            .into();
        let index = TopicIndex::new(topic, (0..).zip(&rules), &lists);
        let found = |body: &str| {
            let mut found = Vec::new();
            index.candidates(&event(topic, serde_json::from_str(body).unwrap()), &mut found);
            found
        };
        (
            index.key(1).unwrap().to_string(),
            found(r#"{"mismatches":[{"fieldName":"City","kycValue":"b"}]}"#),
            found(r#"{"mismatches":[{"kycValue":"b"},7]}"#),
        )
    };
    let (key, of_entry, of_no_map) = asks("mismatches", "fieldName", "kycValue");
    assert_eq!(key, r#"mismatches[].kycValue is "b""#);
    assert_eq!(of_entry, [1]);
    assert_eq!(of_no_map, [0, 1, 2]);
    // To ask an entry for a field that no table knows fails where it is missing.
    let (key, of_entry, of_what_fails) = asks("another", "fieldName", "kycValue");
    assert_eq!(key, r#"mismatches[].kycValue is "b" or 1 more"#);
    assert_eq!(of_entry, [1]);
    assert_eq!(of_what_fails, [0, 1, 2]);
    assert_eq!(asks("mismatches", "city", "kycValue").0, r#"mismatches[].kycValue is "b" or 1 more"#);
}

#[test]
fn what_a_key_was_not_made_for_lets_the_rule_through() {
    let is = |topic: &str, script: &str, body: &str| asked(topic, script, body).1;
    let script = r#"event.status == "failed""#;
    assert!(is("identResult", script, r#"{"status":"failed"}"#));
    for body in [r#"{"status":"success"}"#, "{}", r#"{"status":null}"#, r#"{"status":5}"#] {
        assert!(!is("identResult", script, body), "{body}");
    }
    // An unknown topic's field that is not there is an error.
    assert!(is("another", script, "{}"));
    assert!(is("identResult", script, r#"{"status":[1]}"#));
    let script = "event.mismatches.some(|m| fold(m.fieldName) in settings.watched)";
    assert!(is("mismatches", script, r#"{"mismatches":[{"fieldName":"NATIONALITY"}]}"#));
    assert!(is("mismatches", script, r#"{"mismatches":[7]}"#));
    assert!(is("mismatches", script, r#"{"mismatches":"x"}"#));
    assert!(is("mismatches", script, r#"{"mismatches":[{"fieldName":true}]}"#));
    assert!(!is("mismatches", script, r#"{"mismatches":[{"fieldName":"City"},{}]}"#));
    assert!(!is("mismatches", script, "{}"));
    let script = r#"event.reason.starts_with("a")"#;
    assert!(is("identResult", script, r#"{"reason":"abc"}"#) && is("identResult", script, "{}"));
    assert!(!is("identResult", script, r#"{"reason":"bcd"}"#));
}
