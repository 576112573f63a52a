//! What rules may call: pure and bounded, the same answer for the same event and the same lists, years later too.
//!
//! [`register`] gives a Rhai engine the functions of [`table::FUNCTIONS`], each with its sentence and tested examples; docs/rules.md shows
//! the same table. No clock, no file, no network. The only thing behind a function is its [`Host`]: the lists in force, compiled
//! patterns, and the words that the tables didn't know.
//!
//! Nothing, `()`, is no error: fields are often absent. A thing of the wrong kind is one, and makes the verdict undecided.

mod argument;
pub mod codes;
pub mod country;
pub mod table;
pub mod text;
pub mod time;

#[cfg(test)]
mod pack;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arc_swap::ArcSwap;
use rhai::{Array, Dynamic, Engine, ImmutableString, Map};

use self::argument::{Answer, error};
pub use self::table::NAMES;
use super::lists::{List, Lists};

/// What functions may reach. Shared by every engine that evaluates.
#[derive(Debug, Default)]
pub struct Host {
    lists: ArcSwap<Lists>,
    patterns: text::Patterns,
    unknown: text::UnknownWords,
}

impl Host {
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Puts lists in force: the live ones at a swap, a test's own before it runs.
    pub fn use_lists(&self, lists: Arc<Lists>) {
        self.lists.store(lists);
    }

    /// The words that `country` and its like met and didn't know since the last call, at most 256. They come from events: show them to
    /// cleared people, never log them.
    pub fn take_unknown_words(&self) -> Vec<String> {
        self.unknown.take()
    }

    /// A compiled pattern; none if it can't be used.
    #[must_use]
    pub fn pattern(&self, pattern: &str) -> Option<Arc<regex::Regex>> {
        self.patterns.get(pattern).ok()
    }

    /// A country's code, or the folded text, which is noted as unknown.
    #[must_use]
    pub fn country(&self, text: &str) -> String {
        country::code(text).map_or_else(
            || {
                let word = text::fold(text);
                self.unknown.note(&word);
                word
            },
            str::to_owned,
        )
    }
}

/// A list as rules hold it: asked by `in`, not copied.
#[derive(Clone, Debug)]
pub struct Listed(Arc<List>);

/// Gives an engine every function of the table.
pub fn register(engine: &mut Engine, host: &Arc<Host>) {
    places(engine, host);
    texts(engine, host);
    times(engine);
    look_ups(engine, host);
}

fn places(engine: &mut Engine, host: &Arc<Host>) {
    let own = Arc::clone(host);
    engine.register_fn("country", move |x: Dynamic| -> Answer<Dynamic> {
        if x.is_unit() {
            return Ok(Dynamic::UNIT);
        }
        Ok(own.country(&argument::text("country", x)?).into())
    });
    let own = Arc::clone(host);
    engine.register_fn("same_country", move |a: Dynamic, b: Dynamic| -> Answer<bool> {
        let (a, b) = (argument::text("same_country", a)?, argument::text("same_country", b)?);
        Ok(own.country(&a) == own.country(&b))
    });
}

fn texts(engine: &mut Engine, host: &Arc<Host>) {
    engine.register_fn("fold", |x: Dynamic| -> Answer<String> { Ok(text::fold(&argument::text("fold", x)?)) });
    engine.register_fn("same_name", |a: Dynamic, b: Dynamic| -> Answer<bool> {
        Ok(text::same_name(&argument::text("same_name", a)?, &argument::text("same_name", b)?))
    });
    engine.register_fn("name_similarity", |a: Dynamic, b: Dynamic| -> Answer<f64> {
        Ok(text::name_similarity(&argument::text("name_similarity", a)?, &argument::text("name_similarity", b)?))
    });
    engine.register_fn("blank", |x: Dynamic| -> bool { blank(&x) });
    let own = Arc::clone(host);
    engine.register_fn("matches", move |text: Dynamic, regex: &str| -> Answer<bool> {
        let pattern = own.patterns.get(regex).map_err(|why| error("matches", why))?;
        if text.is_unit() {
            return Ok(false);
        }
        Ok(pattern.is_match(&argument::text("matches", text)?))
    });
}

fn blank(x: &Dynamic) -> bool {
    if let Ok(text) = x.as_immutable_string_ref() {
        return text.trim().is_empty();
    }
    if let Ok(array) = x.as_array_ref() {
        return array.is_empty();
    }
    if let Ok(map) = x.as_map_ref() {
        return map.is_empty();
    }
    x.is_unit()
}

fn times(engine: &mut Engine) {
    engine.register_fn("same_date", |a: Dynamic, b: Dynamic| -> Answer<bool> {
        Ok(time::same_date(&argument::text("same_date", a)?, &argument::text("same_date", b)?))
    });
    engine.register_fn("days_between", |a: Dynamic, b: Dynamic| {
        between("days_between", a, b, |a, b| Ok(time::days_between(a, b).into()))
    });
    engine.register_fn("hours_between", |a: Dynamic, b: Dynamic| {
        between("hours_between", a, b, |a, b| Ok(time::hours_between(a, b).into()))
    });
    engine.register_fn("age_on", |birth: Dynamic, at: Dynamic| {
        between("age_on", birth, at, |birth, at| {
            time::age_on(birth, at).map(Dynamic::from).ok_or_else(|| error("age_on", "the birth date lies behind the date"))
        })
    });
    engine.register_fn("weekday", |at: Dynamic| weekday(at, None));
    engine.register_fn("weekday", |at: Dynamic, zone: &str| weekday(at, Some(zone)));
    engine.register_fn("working_hours", |at: Dynamic| working_hours(at, None));
    engine.register_fn("working_hours", |at: Dynamic, zone: &str| working_hours(at, Some(zone)));
}

/// A measure of two times; nothing if one is blank.
fn between(
    function: &str,
    a: Dynamic,
    b: Dynamic,
    measure: impl Fn(time::Moment, time::Moment) -> Answer<Dynamic>,
) -> Answer<Dynamic> {
    match (argument::moment(function, a)?, argument::moment(function, b)?) {
        (Some(a), Some(b)) => measure(a, b),
        _ => Ok(Dynamic::UNIT),
    }
}

fn weekday(at: Dynamic, zone: Option<&str>) -> Answer<Dynamic> {
    let zone = zone.map(|name| argument::zone("weekday", name)).transpose()?;
    Ok(argument::moment("weekday", at)?.and_then(|at| time::weekday(at, zone)).map_or(Dynamic::UNIT, Dynamic::from))
}

fn working_hours(at: Dynamic, zone: Option<&str>) -> Answer<bool> {
    let zone = zone.map(|name| argument::zone("working_hours", name)).transpose()?;
    Ok(argument::moment("working_hours", at)?.and_then(|at| time::working_hours(at, zone)).unwrap_or(false))
}

fn look_ups(engine: &mut Engine, host: &Arc<Host>) {
    let own = Arc::clone(host);
    engine.register_type_with_name::<Listed>("list");
    engine.register_fn("list", move |name: &str| -> Answer<Listed> {
        let lists = own.lists.load();
        let list = lists.shared(name).ok_or_else(|| error("list", format_args!("there is no list `{name}`")))?;
        Ok(Listed(Arc::clone(list)))
    });
    // `x in list("…")` calls this.
    engine.register_fn("contains", |list: &mut Listed, x: Dynamic| -> Answer<bool> {
        Ok(!x.is_unit() && list.0.contains(&argument::text("in list", x)?))
    });
    // `text in [...]` calls this: what the language's own answers, without a call for each entry.
    engine.register_fn("contains", |array: &mut Array, text: ImmutableString| -> bool {
        array.iter().any(|entry| match entry.as_immutable_string_ref() {
            Ok(entry) => *entry == text,
            Err(_) => entry.as_char().is_ok_and(|entry| text.chars().eq([entry])),
        })
    });
    engine.register_fn("len", |list: &mut Listed| -> i64 { i64::try_from(list.0.len()).unwrap_or(i64::MAX) });
    engine.register_fn("is_empty", |list: &mut Listed| -> bool { list.0.is_empty() });
    engine.register_fn("entries", |list: &mut Listed| -> Array {
        list.0.entries().iter().take(ENTRIES).map(|entry| entry.as_str().into()).collect()
    });
    let own = Arc::clone(host);
    engine.register_fn("compliance_status", move |code: Dynamic| -> Answer<Map> {
        let code = argument::text("compliance_status", code)?;
        let lists = own.lists.load();
        let status = codes::compliance_status(&code, &lists);
        Ok(Map::from([("name".into(), status.name.as_ref().into()), ("group".into(), status.group.as_ref().into())]))
    });
}

/// How many entries of a list a rule may walk through; `in` has no such bound.
const ENTRIES: usize = 1000;
