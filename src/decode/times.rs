//! An event's own time, read leniently: the provider writes stamps with `Z`, with an offset with or without a colon, and without any.

use chrono::{LocalResult, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, TimeZone as _};
use chrono_tz::Tz;

use crate::model::time::Timestamp;

/// What a stamp says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Own {
    pub(super) at: Option<Timestamp>,
    pub(super) zone_assumed: bool,
    pub(super) warning: Option<&'static str>,
}

impl Own {
    fn unknown(warning: &'static str) -> Self {
        Self { warning: Some(warning), ..Self::default() }
    }
}

/// Reads `2023-06-01T13:23:17` with any number of fractional digits (kept to the microsecond) and `Z`, `+02:00`, `+0200`, `+02` or
/// nothing behind it; then the zone is `naive`.
pub(super) fn read(text: &str, naive: Option<Tz>) -> Own {
    const UNREADABLE: Own =
        Own { at: None, zone_assumed: false, warning: Some("its own time can't be read; the receive time stands in for it") };
    let Some((local, zone)) = clock(text.trim()) else { return UNREADABLE };
    if zone.is_empty() {
        return assume(local, naive);
    }
    let at = offset(zone).and_then(|offset| local.checked_sub_signed(offset));
    at.map_or(UNREADABLE, |at| Own { at: Some(at.and_utc()), ..Own::default() })
}

fn assume(local: NaiveDateTime, naive: Option<Tz>) -> Own {
    let Some(zone) = naive else {
        return Own::unknown("its own time has no zone and `naive_time_zone` is not set; the receive time stands in for it");
    };
    let at = |at: chrono::DateTime<Tz>, warning| Own { at: Some(at.to_utc()), zone_assumed: true, warning };
    match zone.from_local_datetime(&local) {
        LocalResult::Single(only) => at(only, None),
        LocalResult::Ambiguous(first, _) => {
            at(first, Some("its own time came twice that day as the clocks went back; the first is taken"))
        }
        LocalResult::None => {
            Own::unknown("its own time did not exist that day as the clocks went forward; the receive time stands in for it")
        }
    }
}

/// The reading of the clock, and what stands behind it.
fn clock(text: &str) -> Option<(NaiveDateTime, &str)> {
    let bytes = text.as_bytes();
    let separators = [(4, "-"), (7, "-"), (10, "Tt "), (13, ":"), (16, ":")];
    if bytes.len() < 19 || !separators.iter().all(|(at, allowed)| allowed.as_bytes().contains(&bytes[*at])) {
        return None;
    }
    let date = NaiveDate::from_ymd_opt(i32::try_from(digits(bytes, 0..4)?).ok()?, digits(bytes, 5..7)?, digits(bytes, 8..10)?)?;
    let (hour, minute, second) = (digits(bytes, 11..13)?, digits(bytes, 14..16)?, digits(bytes, 17..19)?);
    let mut micros = 0;
    let mut end = 19;
    if bytes.get(19).is_some_and(|byte| matches!(byte, b'.' | b',')) {
        let fraction = bytes[20..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        if fraction == 0 {
            return None;
        }
        end = 20 + fraction;
        for index in 0..6 {
            micros = micros * 10 + if index < fraction { u32::from(bytes[20 + index] - b'0') } else { 0 };
        }
    }
    // A leap second is the last microsecond of its minute.
    let (second, micros) = if second == 60 { (59, 999_999) } else { (second, micros) };
    let time = NaiveTime::from_hms_micro_opt(hour, minute, second, micros)?;
    Some((date.and_time(time), text.get(end..)?))
}

fn offset(zone: &str) -> Option<TimeDelta> {
    if matches!(zone, "Z" | "z") {
        return Some(TimeDelta::zero());
    }
    let bytes = zone.as_bytes();
    let sign = match bytes.first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let minutes = match bytes.len() {
        3 => 0,
        5 => digits(bytes, 3..5)?,
        6 if bytes[3] == b':' => digits(bytes, 4..6)?,
        _ => return None,
    };
    let hours = digits(bytes, 1..3)?;
    (hours < 24 && minutes < 60).then(|| TimeDelta::minutes(sign * i64::from(hours * 60 + minutes)))
}

fn digits(bytes: &[u8], range: std::ops::Range<usize>) -> Option<u32> {
    bytes.get(range)?.iter().try_fold(0, |number, byte| byte.is_ascii_digit().then(|| number * 10 + u32::from(byte - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, zone: Option<Tz>) -> String {
        let own = read(text, zone);
        let at = own.at.map_or_else(|| "unknown".to_owned(), |at| at.to_rfc3339());
        format!(
            "{text} = {at}{}{}",
            if own.zone_assumed { " (zone assumed)" } else { "" },
            if own.warning.is_some() { " !" } else { "" }
        )
    }

    #[test]
    fn stamps_of_every_seen_form_are_read() {
        let stamps = [
            "2023-06-01T13:23:17.706Z",
            "2022-08-03T11:17:28+0200",
            "2022-09-20T11:31:42.937+00:00",
            "2025-01-15T09:00:08.94Z",
            "2025-01-15 09:00:08.123456789z",
            "2025-01-15T09:00:08-03",
            "1970-01-01T00:00:00Z",
            "2023-06-01T13:23:17",
            "2023-10-29T02:30:00",
            "2023-03-26T02:30:00",
            "2023-02-30T00:00:00Z",
            "2021-08-01T12:03:03Z0",
            "2021-08-01",
            "1646842318",
            "2025-01-15T09:00:08.Z",
            "2025-01-15T09:00:08+99:99",
            "２０２５-01-15T09:00:08Z",
        ];
        let all = stamps.map(|text| shown(text, Some(chrono_tz::Europe::Berlin))).join("\n");
        insta::assert_snapshot!(all);
    }

    #[test]
    fn a_stamp_without_a_zone_stays_unknown_where_none_is_configured() {
        assert_eq!(shown("2023-06-01T13:23:17", None), "2023-06-01T13:23:17 = unknown !");
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,40}", digits in "[0-9TZ:.+\\- ]{0,40}") {
            read(&text, Some(chrono_tz::Europe::Berlin));
            read(&digits, None);
        }
    }
}
