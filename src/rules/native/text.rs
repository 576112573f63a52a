//! Rhai's own functions on texts, lists and whole numbers, as far as rules use them. None: it is an error, or not certain.

use std::{borrow::Cow, rc::Rc};

use super::{ir::Call, value::Val};

pub(super) fn call<'a>(call: Call, arguments: &[Val<'a>]) -> Option<Val<'a>> {
    Some(match (call, arguments) {
        (Call::Len, [list @ (Val::List(..) | Val::Made(_))]) => Val::Int(i64::try_from(list.entries()?).ok()?),
        (Call::Len, [Val::Text(text)]) => Val::Int(i64::try_from(text.chars().count()).ok()?),
        (Call::IsEmpty, [list @ (Val::List(..) | Val::Made(_))]) => Val::Bool(list.entries()? == 0),
        (Call::IsEmpty, [Val::Text(text)]) => Val::Bool(text.is_empty()),
        (Call::Bytes, [Val::Text(text)]) => Val::Int(i64::try_from(text.len()).ok()?),
        (Call::StartsWith, [Val::Text(text), Val::Text(start)]) => Val::Bool(text.starts_with(&**start)),
        (Call::EndsWith, [Val::Text(text), Val::Text(end)]) => Val::Bool(text.ends_with(&**end)),
        (Call::IndexOf, [Val::Text(text), Val::Text(part)]) => Val::Int(match text.find(&**part) {
            Some(at) if !text.is_empty() => i64::try_from(text[..at].chars().count()).ok()?,
            _ => -1,
        }),
        (Call::ToUpper, [Val::Text(text)]) => Val::owned(upper(text)),
        (Call::ToLower, [Val::Text(text)]) => Val::owned(lower(text)),
        (Call::ToText, [text @ Val::Text(_)]) => text.clone(),
        (Call::ToText, [Val::Int(number)]) => Val::owned(number.to_string()),
        (Call::ToText, [Val::Bool(value)]) => Val::owned(value.to_string()),
        (Call::SubString, [Val::Text(text), Val::Int(start)]) => Val::owned(sub_string(text, *start, i64::MAX)),
        (Call::SubString, [Val::Text(text), Val::Int(start), Val::Int(length)]) => Val::owned(sub_string(text, *start, *length)),
        (Call::Split, [Val::Text(text), Val::Text(by)]) => split(text, by),
        (Call::Abs, [Val::Int(number)]) => Val::Int(number.checked_abs()?),
        (Call::Min, [Val::Int(x), Val::Int(y)]) => Val::Int(*x.min(y)),
        (Call::Max, [Val::Int(x), Val::Int(y)]) => Val::Int(*x.max(y)),
        (Call::ParseInt, [Val::Text(text)]) => Val::Int(text.trim().parse().ok()?),
        _ => return None,
    })
}

pub(super) fn lower(text: &str) -> String {
    if text.chars().all(char::is_lowercase) { text.to_owned() } else { text.to_lowercase() }
}

pub(super) fn upper(text: &str) -> String {
    if text.chars().all(char::is_uppercase) { text.to_owned() } else { text.to_uppercase() }
}

/// Characters from `start` (from the end if it is negative), as many as there are.
fn sub_string(text: &str, start: i64, length: i64) -> String {
    let Some(length) = usize::try_from(length).ok().filter(|length| *length > 0) else { return String::new() };
    let skip = match usize::try_from(start) {
        Ok(start) => start,
        Err(_) => text.chars().count().saturating_sub(usize::try_from(start.unsigned_abs()).unwrap_or(usize::MAX)),
    };
    text.chars().skip(skip).take(length).collect()
}

fn split<'a>(text: &Cow<'a, str>, by: &str) -> Val<'a> {
    let parts = if text.is_empty() || (!by.is_empty() && !text.contains(by)) {
        vec![Val::Text(text.clone())]
    } else {
        text.split(by).map(Val::owned).collect()
    };
    Val::Made(Rc::new(parts))
}
