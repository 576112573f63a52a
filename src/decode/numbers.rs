//! Numbers by the digits that were sent: what a reader would round stays text.

use crate::model::value::{EXACT, Value};

/// A whole number that every reader keeps exactly; `100.0` is one.
pub(super) fn whole(digits: &str) -> Option<Value> {
    match number(digits) {
        Value::Int(number) => Some(Value::Int(number)),
        Value::Float(number) if number.fract() == 0.0 && number.abs() <= EXACT as f64 => Some(Value::Int(number as i64)),
        _ => None,
    }
}

/// A number by its digits: what would lose any of them stays text.
pub(super) fn number(digits: &str) -> Value {
    let exact = || Value::from(digits);
    if digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') {
        return match digits.parse::<i64>() {
            Ok(number) if number.unsigned_abs() <= EXACT.unsigned_abs() => Value::Int(number),
            _ => exact(),
        };
    }
    match digits.parse::<f64>() {
        Ok(number) if number.is_finite() && decimal(digits) == decimal(&format!("{number:e}")) => Value::Float(number),
        _ => exact(),
    }
}

/// A number's significant digits and the power of ten of the first: equal for equal numbers, however they are written.
fn decimal(text: &str) -> (String, i64) {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let mantissa = mantissa.trim_start_matches('-');
    let (before, after) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{before}{after}");
    let significant = all.trim_start_matches('0');
    if significant.is_empty() {
        return (String::new(), 0);
    }
    let zeros = length(&all) - length(significant);
    let power = exponent.parse::<i64>().unwrap_or(i64::MAX).saturating_add(length(before) - zeros);
    (significant.trim_end_matches('0').to_owned(), power)
}

fn length(digits: &str) -> i64 {
    i64::try_from(digits.len()).unwrap_or(i64::MAX)
}
