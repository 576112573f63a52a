use serde_json::json;

use super::*;
use crate::{
    engine::control::DeliveryLine,
    model::{
        actor::{Actor, Via},
        hash::Digest,
        ids::{AlertId, DeliveryId, MessageId, Seq},
        names::{ChannelName, RuleId},
        severity::Severity,
    },
};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_timestamp(1_780_000_000 + seconds, 0).unwrap()
}

fn alert(number: i64, state: AlertState, role: Role) -> AlertLine {
    AlertLine {
        number,
        id: AlertId(uuid::Uuid::from_u128(number as u128)),
        raised_at: at(number),
        severity: Severity::High,
        rule: RuleId::new("KYC-012"),
        title: "Document and customer differ".to_owned(),
        subject: "P… differs in nationality".to_owned(),
        state,
        role,
        event: Seq(1_000 + number as u64),
        message: Some(MessageId(uuid::Uuid::from_u128(7))),
    }
}

#[test]
fn a_list_of_alerts() {
    let lines = [
        alert(3, AlertState::Open, Role::Repeat),
        alert(2, AlertState::Acknowledged, Role::First),
        alert(1, AlertState::Closed, Role::Shadow),
    ];
    insta::assert_snapshot!(list(&lines, chrono_tz::Europe::Berlin));
    assert_eq!(list(&[], chrono_tz::UTC), "no alert\n");
}

#[test]
fn an_alert_with_its_facts_its_deliveries_and_its_history() {
    let who = |name: &str, claims: Option<&str>| Actor {
        name: name.to_owned(),
        uid: Some(0),
        pid: Some(1),
        via: Via::Socket,
        claims: claims.map(str::to_owned),
    };
    let entry = |seconds, who, action: &str, note: &str, states: Option<(&str, &str)>| HistoryLine {
        at: at(seconds),
        who,
        action: action.to_owned(),
        note: note.to_owned(),
        before: states.map(|states| states.0.to_owned()),
        after: states.map(|states| states.1.to_owned()),
    };
    let shown = AlertPage {
        alert: alert(2, AlertState::Acknowledged, Role::First),
        rule_hash: Digest::of(b"rule"),
        facts: json!({
            "event": {
                "fields": { "personKey": null, "odd": "two\nlines\u{1b}[2J", "mismatches": [{ "fieldName": "Nationality", "value": null }], "age": 41 },
                "withheld": ["personKey", "mismatches[0].value"],
            },
            "notes": ["It happened before it was received."],
        }),
        deliveries: vec![DeliveryLine {
            number: 9,
            id: DeliveryId(uuid::Uuid::from_u128(9)),
            message: MessageId(uuid::Uuid::from_u128(7)),
            about: None,
            channel: ChannelName::new("kyc-operations"),
            recipient: "kyc@example.com".to_owned(),
            state: "delivered".to_owned(),
            attempts: 2,
            due_at: at(5),
            expires_at: at(99),
            detail: Some("250 2.0.0 Ok: queued".to_owned()),
        }],
        history: vec![
            entry(60, who("anna", None), "alerts ack", "called the branch", Some(("open", "acknowledged"))),
            entry(90, who("root", Some("ben")), "alerts show --personal", "", None),
            entry(95, who("ben", None), "alerts note", "nobody answers", Some(("acknowledged", "acknowledged"))),
        ],
    };
    insta::assert_snapshot!(page(&shown, chrono_tz::Europe::Berlin));
    let bare = AlertPage { facts: Json::Null, deliveries: Vec::new(), history: Vec::new(), ..shown };
    assert!(page(&bare, chrono_tz::UTC).ends_with("History\n nobody has done anything about it\n"));
}
