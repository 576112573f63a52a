//! Dates and times as texts: ISO 8601 as feeds write it and German `dd.mm.yyyy`. No clock: a rule knows only times that it is given.

use chrono::{DateTime, Datelike as _, FixedOffset, NaiveDate, NaiveDateTime, Timelike as _, Weekday};
use chrono_tz::Tz;

/// The longest text that is looked at: no time is longer.
const CAP: usize = 64;

/// A date, with its time and offset where the text has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// As the text reads; midnight where it has no time.
    pub local: NaiveDateTime,
    /// Seconds east of UTC; 0 where the text says nothing.
    pub offset: i32,
}

impl Moment {
    /// Reads `2023-06-01`, `2023-06-01T13:23`, `2023-06-01 13:23:17.706`, each also with `Z`, `+02:00`, `+0200` or `+02` behind the time,
    /// `1.6.2023`, `01.06.2023`, `01.06.2023 13:23`. None: the text is no date.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.len() > CAP || !text.is_ascii() {
            return None;
        }
        let end = text.find(['T', 't', ' ']).unwrap_or(text.len());
        let date = date(&text[..end])?;
        let time = text.get(end + 1..).unwrap_or_default().trim();
        if time.is_empty() {
            return (end == text.len()).then(|| Self { local: date.and_time(chrono::NaiveTime::MIN), offset: 0 });
        }
        let zone = time.find(['Z', 'z', '+', '-']).unwrap_or(time.len());
        let clock = time[..zone].trim();
        let clock = ["%H:%M:%S%.f", "%H:%M"].iter().find_map(|format| chrono::NaiveTime::parse_from_str(clock, format).ok())?;
        Some(Self { local: date.and_time(clock), offset: offset(&time[zone..])? })
    }

    /// Seconds since 1970 in UTC, with the fraction.
    fn seconds(self) -> f64 {
        self.local.and_utc().timestamp_millis() as f64 / 1000.0 - f64::from(self.offset)
    }

    /// The wall clock in a zone.
    fn in_zone(self, zone: Tz) -> Option<NaiveDateTime> {
        let offset = FixedOffset::east_opt(self.offset)?;
        let utc = self.local.checked_sub_offset(offset)?;
        Some(DateTime::<chrono::Utc>::from_naive_utc_and_offset(utc, chrono::Utc).with_timezone(&zone).naive_local())
    }
}

fn date(text: &str) -> Option<NaiveDate> {
    let separator = if text.contains('.') { '.' } else { '-' };
    let mut parts = text.split(separator);
    let (Some(first), Some(month), Some(last), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return None;
    };
    let (year, day) = if separator == '.' { (last, first) } else { (first, last) };
    let digits =
        |part: &str, most: usize| part.len() <= most && !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if year.len() != 4 || !digits(year, 4) || !digits(month, 2) || !digits(day, 2) {
        return None;
    }
    NaiveDate::from_ymd_opt(year.parse().ok()?, month.parse().ok()?, day.parse().ok()?)
}

fn offset(text: &str) -> Option<i32> {
    let (sign, rest) = match text.split_at_checked(1) {
        None | Some(("Z" | "z", "")) => return Some(0),
        Some(("+", rest)) => (1, rest),
        Some(("-", rest)) => (-1, rest),
        Some(_) => return None,
    };
    let digits: String = rest.chars().filter(|c| *c != ':').collect();
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) || !matches!(digits.len(), 2 | 4) {
        return None;
    }
    let hours: i32 = digits[..2].parse().ok()?;
    let minutes: i32 = if digits.len() == 4 { digits[2..].parse().ok()? } else { 0 };
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

/// The same day, as both texts read; times and offsets are ignored. Where one is no date, the texts themselves are compared.
#[must_use]
pub fn same_date(a: &str, b: &str) -> bool {
    match (Moment::parse(a), Moment::parse(b)) {
        (Some(a), Some(b)) => a.local.date() == b.local.date(),
        _ => a.trim() == b.trim(),
    }
}

/// Whole days from `a` to `b`, cut towards zero; negative where `b` is earlier.
#[must_use]
pub fn days_between(a: Moment, b: Moment) -> i64 {
    ((b.seconds() - a.seconds()) / 86_400.0) as i64
}

/// Hours from `a` to `b`, with the fraction.
#[must_use]
pub fn hours_between(a: Moment, b: Moment) -> f64 {
    (b.seconds() - a.seconds()) / 3600.0
}

/// Full years from birth to `at`, by the calendar; who was born on 29 February turns a year older on 1 March. None: born after `at`.
#[must_use]
pub fn age_on(birth: Moment, at: Moment) -> Option<i64> {
    at.local.date().years_since(birth.local.date()).map(i64::from)
}

/// `monday` … `sunday`, by the text's own calendar or in a zone. None: out of the calendar's range.
#[must_use]
pub fn weekday(at: Moment, zone: Option<Tz>) -> Option<&'static str> {
    Some(match wall(at, zone)?.weekday() {
        Weekday::Mon => "monday",
        Weekday::Tue => "tuesday",
        Weekday::Wed => "wednesday",
        Weekday::Thu => "thursday",
        Weekday::Fri => "friday",
        Weekday::Sat => "saturday",
        Weekday::Sun => "sunday",
    })
}

/// Monday to Friday, 08:00 to before 18:00, by the text's own clock or in a zone. Public holidays are working days.
#[must_use]
pub fn working_hours(at: Moment, zone: Option<Tz>) -> Option<bool> {
    let wall = wall(at, zone)?;
    Some(!matches!(wall.weekday(), Weekday::Sat | Weekday::Sun) && (8..18).contains(&wall.hour()))
}

fn wall(at: Moment, zone: Option<Tz>) -> Option<NaiveDateTime> {
    zone.map_or(Some(at.local), |zone| at.in_zone(zone))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(text: &str) -> Moment {
        Moment::parse(text).unwrap_or_else(|| panic!("{text} is a date"))
    }

    #[test]
    fn every_form_of_the_feed_is_read() {
        for text in [
            "2023-06-01T13:23:17",
            "2023-06-01T13:23:17Z",
            "2023-06-01 13:23:17",
            "01.06.2023 13:23:17",
            "1.6.2023 13:23:17",
            "2023-06-01T13:23:17+00:00",
        ] {
            assert_eq!(moment(text), moment("2023-06-01T13:23:17.000Z"), "{text}");
        }
        assert_eq!(moment("2022-08-03T11:17:28+0200").offset, 7200);
        assert_eq!(moment("2022-08-03T11:17:28-05").offset, -18_000);
        assert_eq!(moment("2022-08-03"), moment("2022-08-03T00:00:00Z"));
        for text in [
            "",
            "x",
            "2023",
            "2023-02-30",
            "2023-13-01",
            "06/01/2023",
            "01.06.23",
            "2023-06-01T",
            "2023-06-01T25:00",
            "2021-08-01T12:03:03Z0",
            "+2023-06-01",
            "2023-06-01T10:00+99",
            "2023-06-01T10:00+é",
            "२०२३-०६-०१",
        ] {
            assert_eq!(Moment::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_date_is_the_same_in_iso_and_in_german() {
        assert!(same_date("1985-03-07", "07.03.1985"));
        assert!(same_date("1985-03-07", "7.3.1985"));
        assert!(same_date("1985-03-07T00:00:00Z", "1985-03-07"));
        assert!(!same_date("1985-03-07", "03.07.1985"));
        assert!(same_date("", " "));
        assert!(!same_date("1985-03-07", ""));
        assert!(!same_date("1985-03-07", "unknown"));
        assert!(same_date("unknown", "unknown"));
    }

    #[test]
    fn lengths_of_time_count_offsets() {
        assert_eq!(days_between(moment("2023-06-01"), moment("2023-06-08")), 7);
        assert_eq!(days_between(moment("2023-06-08"), moment("2023-06-01")), -7);
        assert_eq!(days_between(moment("2023-06-01T12:00Z"), moment("2023-06-02T11:59Z")), 0);
        assert!((hours_between(moment("2023-06-01T12:00+02:00"), moment("2023-06-01T11:30Z")) - 1.5).abs() < 1e-9);
    }

    #[test]
    fn age_is_counted_by_the_calendar() {
        assert_eq!(age_on(moment("2005-06-02"), moment("2023-06-01T23:59Z")), Some(17));
        assert_eq!(age_on(moment("2005-06-02"), moment("2023-06-02")), Some(18));
        assert_eq!(age_on(moment("29.02.2004"), moment("2022-02-28")), Some(17));
        assert_eq!(age_on(moment("29.02.2004"), moment("2022-03-01")), Some(18));
        assert_eq!(age_on(moment("2030-01-01"), moment("2023-06-01")), None);
    }

    #[test]
    fn working_hours_go_by_the_clock_of_the_text_or_of_a_zone() {
        let berlin = Some(chrono_tz::Europe::Berlin);
        for (text, own, in_berlin) in [
            ("2023-06-01T07:30:00Z", false, true),
            ("2023-06-01T16:30:00Z", true, false),
            ("2023-06-01T17:59:59+02:00", true, true),
            ("2023-06-01T18:00:00+02:00", false, false),
            ("2023-06-03T12:00:00Z", false, false),
        ] {
            assert_eq!(working_hours(moment(text), None), Some(own), "{text}");
            assert_eq!(working_hours(moment(text), berlin), Some(in_berlin), "{text}");
        }
        assert_eq!(weekday(moment("2023-06-04T23:30:00Z"), None), Some("sunday"));
        assert_eq!(weekday(moment("2023-06-04T23:30:00Z"), berlin), Some("monday"));
    }
}
