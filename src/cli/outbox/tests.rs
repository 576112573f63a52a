use super::*;
use crate::model::{
    ids::{DeliveryId, MessageId},
    names::ChannelName,
};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_timestamp(1_780_000_000 + seconds, 0).unwrap()
}

#[test]
fn a_list_of_deliveries() {
    let line = |number: i64, state: &str, about: &str, attempts, detail: Option<&str>| DeliveryLine {
        number,
        id: DeliveryId(uuid::Uuid::from_u128(number as u128)),
        message: MessageId(uuid::Uuid::from_u128(7)),
        about: Some(about.to_owned()),
        channel: ChannelName::new("kyc-operations"),
        recipient: "kyc@example.com".to_owned(),
        state: state.to_owned(),
        attempts,
        due_at: at(5),
        expires_at: at(99),
        detail: detail.map(str::to_owned),
    };
    let lines = [
        line(12, "waiting", "KYC-012", 3, Some("421 try again later")),
        line(11, "dead", "KYC-020 (follow-up)", 1, Some("550 no such mailbox")),
        line(10, "leased", "Feed concedus has been away for 10m", 1, None),
    ];
    insta::assert_snapshot!(list(&lines, chrono_tz::Europe::Berlin));
    assert_eq!(list(&[], chrono_tz::UTC), "no delivery\n");
}
