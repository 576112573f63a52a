use super::*;
use crate::model::{names::FeedName, time::Timestamp};

fn gap(number: i64) -> GapLine {
    let at = |seconds: i64| Timestamp::from_timestamp(1_780_000_000 + seconds, 0).unwrap();
    GapLine {
        number,
        feed: FeedName::new("concedus"),
        topics: vec!["identResult".to_owned()],
        from: at(-9_000),
        until: at(-8_000),
        found_at: at(-7_990),
        reason: "the provider has at most 100 of them".to_owned(),
        closed_at: None,
        closed_by: None,
        looked_up: None,
    }
}

#[test]
fn a_list_of_gaps() {
    let closed_at = Some(gap(1).found_at);
    let closed = GapLine { closed_at, closed_by: Some("anna".to_owned()), topics: Vec::new(), ..gap(1) };
    let looked_up = Some("3 looked up, 1 of them as known, 2 outcomes that the journal lacked".to_owned());
    let by_look_ups = GapLine { number: 3, closed_by: Some("look-ups".to_owned()), looked_up, ..closed.clone() };
    insta::assert_snapshot!(list(&[by_look_ups, gap(2), closed], true, chrono_tz::Europe::Berlin));
    assert_eq!(list(&[], false, chrono_tz::UTC), "no gap is open\n");
    assert_eq!(list(&[], true, chrono_tz::UTC), "there never was a gap\n");
}
