//! What rules hand in: lenient where a feed is untidy (nothing, a number for a text), an error where a rule is wrong. Errors name the
//! function and the kind of thing, never its content.

use chrono_tz::Tz;
use rhai::{Dynamic, EvalAltResult, ImmutableString, Position};

use super::time::Moment;

pub(super) type Answer<T> = Result<T, Box<EvalAltResult>>;

/// A function's error as a rule's runtime error: the verdict becomes undecided.
#[expect(clippy::unnecessary_box_returns, reason = "Rhai's results carry the box")]
pub(super) fn error(function: &str, message: impl std::fmt::Display) -> Box<EvalAltResult> {
    EvalAltResult::ErrorRuntime(format!("{function}: {message}").into(), Position::NONE).into()
}

/// A text; a whole number as its digits, nothing as an empty text.
pub(super) fn text(function: &str, value: Dynamic) -> Answer<ImmutableString> {
    if value.is_unit() {
        return Ok(ImmutableString::new());
    }
    if let Ok(number) = value.as_int() {
        return Ok(number.to_string().into());
    }
    let found = kind(&value);
    value.into_immutable_string().map_err(|_| error(function, format_args!("expected a text, got {found}")))
}

/// A date or time; none if blank.
pub(super) fn moment(function: &str, value: Dynamic) -> Answer<Option<Moment>> {
    let text = text(function, value)?;
    if text.trim().is_empty() {
        return Ok(None);
    }
    Moment::parse(&text).map(Some).ok_or_else(|| error(function, "the text is neither a date nor a time"))
}

/// A zone's name.
pub(super) fn zone(function: &str, name: &str) -> Answer<Tz> {
    name.parse().map_err(|_| error(function, "no such time zone; write one like \"Europe/Berlin\""))
}

/// What kind of thing a value is, in a rule author's words.
fn kind(value: &Dynamic) -> &'static str {
    if value.is_bool() {
        "true or false"
    } else if value.is_array() {
        "a list"
    } else if value.is_map() {
        "a map"
    } else if value.is_float() {
        "a number with a fraction"
    } else {
        "something else"
    }
}
