//! redflag's own functions, over values of the event. They are those that Rhai calls; here only what they are handed differs. An error is
//! "can't say": Rhai words it.

use std::rc::Rc;

use super::{
    eval::{Answer, Run, Stop, sized},
    ir::Call,
    value::Val,
};
use crate::rules::functions::{
    codes, text,
    time::{self, Moment},
};

/// What one unit of heavy work costs in steps: the measure of two names takes as long as a hundred operations.
const MEASURE: usize = 64;

pub(super) fn call<'a>(run: &mut Run<'a>, call: Call, arguments: &[Val<'a>]) -> Answer<'a> {
    // Long texts cost what they cost.
    let long: usize = arguments.iter().filter_map(Val::as_str).map(str::len).sum();
    run.charge(long / 64)?;
    let answer = match (call, arguments) {
        (Call::NameSimilarity, [x, y]) => {
            run.charge(MEASURE)?;
            both(x, y, |x, y| Val::Float(text::name_similarity(x, y)))
        }
        (Call::SameName, [x, y]) => both(x, y, |x, y| Val::Bool(text::same_name(x, y))),
        (Call::SameDate, [x, y]) => both(x, y, |x, y| Val::Bool(time::same_date(x, y))),
        (Call::SameCountry, [x, y]) => {
            let host = run.world.host;
            both(x, y, |x, y| Val::Bool(host.country(x) == host.country(y)))
        }
        (Call::Country, [Val::Unit]) => Some(Val::Unit),
        (Call::Country, [x]) => x.text().map(|text| Val::owned(run.world.host.country(&text))),
        (Call::Fold, [x]) => x.text().map(|text| Val::owned(text::fold(&text))),
        (Call::Blank, [x]) => blank(x),
        (Call::Matches, [x, Val::Text(pattern)]) => matches(run, x, pattern),
        (Call::DaysBetween, [x, y]) => between(x, y, |x, y| Some(Val::Int(time::days_between(x, y)))),
        (Call::HoursBetween, [x, y]) => between(x, y, |x, y| Some(Val::Float(time::hours_between(x, y)))),
        (Call::AgeOn, [x, y]) => between(x, y, |x, y| time::age_on(x, y).map(Val::Int)),
        (Call::Weekday, [at]) => weekday(at, None),
        (Call::Weekday, [at, Val::Text(zone)]) => weekday(at, Some(zone)),
        (Call::WorkingHours, [at]) => working_hours(at, None),
        (Call::WorkingHours, [at, Val::Text(zone)]) => working_hours(at, Some(zone)),
        (Call::ListNamed, [Val::Text(name)]) => run.world.lists.get(name).map(Val::Listed),
        (Call::Len, [Val::Listed(list)]) => i64::try_from(list.len()).ok().map(Val::Int),
        (Call::IsEmpty, [Val::Listed(list)]) => Some(Val::Bool(list.is_empty())),
        (Call::ComplianceStatus, [code]) => code.text().map(|code| {
            let status = codes::compliance_status(&code, run.world.lists);
            Val::Status(Rc::new((status.name.into_owned(), status.group.into_owned())))
        }),
        _ => None,
    };
    match answer {
        Some(value) => sized(value),
        None => Err(Stop::CantSay),
    }
}

/// A function of two texts.
fn both<'a>(x: &Val<'a>, y: &Val<'a>, measure: impl Fn(&str, &str) -> Val<'a>) -> Option<Val<'a>> {
    Some(measure(&x.text()?, &y.text()?))
}

fn blank<'a>(x: &Val<'a>) -> Option<Val<'a>> {
    Some(Val::Bool(match x {
        Val::Unit => true,
        Val::Text(text) => text.trim().is_empty(),
        Val::List(..) | Val::Made(_) => x.entries()? == 0,
        Val::Map(map, known) => map.is_empty() && known.is_empty(),
        Val::Bool(_) | Val::Int(_) | Val::Float(_) | Val::Event | Val::Status(_) | Val::Listed(_) | Val::Range { .. } => false,
    }))
}

fn matches<'a>(run: &Run<'a>, x: &Val<'a>, pattern: &str) -> Option<Val<'a>> {
    let pattern = run.world.host.pattern(pattern)?;
    Some(Val::Bool(match x {
        Val::Unit => false,
        x => pattern.is_match(&x.text()?),
    }))
}

enum When {
    Blank,
    At(Moment),
}

/// A date or time; none if it is neither that nor blank.
fn moment(value: &Val<'_>) -> Option<When> {
    let text = value.text()?;
    if text.trim().is_empty() { Some(When::Blank) } else { Moment::parse(&text).map(When::At) }
}

/// A measure of two times; nothing if one is blank.
fn between<'a>(x: &Val<'a>, y: &Val<'a>, measure: impl Fn(Moment, Moment) -> Option<Val<'a>>) -> Option<Val<'a>> {
    match (moment(x)?, moment(y)?) {
        (When::At(x), When::At(y)) => measure(x, y),
        _ => Some(Val::Unit),
    }
}

fn weekday<'a>(at: &Val<'a>, zone: Option<&str>) -> Option<Val<'a>> {
    let zone = zone.map(str::parse).transpose().ok()?;
    Some(match moment(at)? {
        When::At(at) => time::weekday(at, zone).map_or(Val::Unit, Val::owned),
        When::Blank => Val::Unit,
    })
}

fn working_hours<'a>(at: &Val<'a>, zone: Option<&str>) -> Option<Val<'a>> {
    let zone = zone.map(str::parse).transpose().ok()?;
    Some(Val::Bool(match moment(at)? {
        When::At(at) => time::working_hours(at, zone).unwrap_or(false),
        When::Blank => false,
    }))
}
