//! What is lowered, what is left to Rhai, and every difference between the two that was ever found.

use std::{collections::BTreeMap, sync::Arc};

use super::*;
use crate::{
    model::{
        card::Card,
        event::{Element, Event, Origin},
        hash::Digest,
        ids::Seq,
        names::{FeedName, TopicName},
        severity::Severity,
        value::{Map, Value},
        verdict::{Tally, Verdict},
    },
    rules::{
        condition::Condition,
        evaluate::Evaluator,
        lint,
        lists::Lists,
        rule::{CompiledRule, Script},
        sandbox,
        set::Generation,
    },
};

pub(in crate::rules) fn event(topic: &str, body: Map) -> Event {
    let own_time = body.get("created").and_then(|text| text.as_str()?.parse().ok());
    Event {
        seq: Seq(1),
        element: Element {
            feed: FeedName::new("main"),
            topic: TopicName::new(topic),
            spelled: None,
            origin: Origin::Live,
            received_at: "2023-06-02T00:00:00Z".parse().unwrap(),
            own_time,
            zone_assumed: false,
            late: false,
            maybe_repeat: false,
            batch: None,
            body,
            raw: String::new(),
            hash: Digest::default(),
            warnings: Vec::new(),
        },
    }
}

/// A rule of these functions; none if the file does not compile.
pub(in crate::rules) fn rule(script: &str, settings: &Value) -> Option<CompiledRule> {
    let ast = sandbox::compiler().compile(script).ok()?;
    let functions = lint::functions_of(&ast)?;
    let card = Card {
        on: vec![TopicName::new("mismatches")],
        severity: Severity::Medium,
        send_to: vec!["kyc-operations".to_owned()],
        hash: Digest::of(script.as_bytes()),
        ..Card::sample("A")
    };
    Some(CompiledRule {
        card: Arc::new(card),
        condition: Condition::always(),
        subject: None,
        masked_subject: None,
        settings: settings.clone(),
        script: Some(Script {
            when: true,
            native: Native::lower(&functions, settings).map(Arc::new),
            severity: false,
            subject: false,
            details: false,
            send_to: false,
            imports: Vec::new(),
            modules: Arc::default(),
            ast,
        }),
        cases: Vec::new(),
        sources: BTreeMap::new(),
    })
}

/// All verdicts that were reached or missed.
pub(super) fn tally_of(tally: &Tally) -> u64 {
    tally.decided + tally.undecided
}

fn settings() -> Value {
    serde_json::from_str(r#"{"watched":["nationality"],"word":"failed","number":300,"signs":"(?i)fail"}"#).unwrap()
}

fn lists() -> Arc<Lists> {
    Arc::new(Lists::of(BTreeMap::from([("risky".to_owned(), vec!["Iran".to_owned()])])))
}

const MISMATCHES: &str = r#"{"identId":"1","personKey":"PERS_1","created":"2023-06-01T13:23:17.706Z","mismatches":[
    {"fieldName":"BirthPlace","value":"Frankfurt","kycValue":"Beirut"},{"fieldName":"Nationality","value":"DE","kycValue":"ir"}]}"#;

/// What the native form answers by itself.
fn native(script: &str, topic: &str, body: &str) -> Option<bool> {
    let rule = rule(script, &settings()).unwrap();
    let event = event(topic, serde_json::from_str(body).unwrap());
    let lists = lists();
    let host = crate::rules::functions::Host::new();
    let form = rule.script.as_ref()?.native.as_ref()?;
    form.when(&Seen::new(&event), &World { settings: &rule.settings, lists: &lists, host: &host })
}

/// What both say, which must be the same.
fn both(script: &str, topic: &str, body: &str) -> Option<Verdict> {
    let mut rule = rule(script, &settings()).unwrap();
    Arc::get_mut(&mut rule.card).unwrap().on = vec![TopicName::new(topic)];
    let event = event(topic, serde_json::from_str(body).unwrap());
    let judge = |rule: &CompiledRule| Evaluator::new().judge_one(&Generation::empty(), rule, &event, Some(&lists()), None);
    let ours = judge(&rule);
    rule.script.as_mut().unwrap().native = None;
    assert_eq!(ours, judge(&rule), "{script}");
    ours
}

#[test]
fn what_rules_usually_say_is_answered_without_the_interpreter() {
    for (script, expected) in [
        ("event.personKey == \"PERS_1\" && event.topic == \"mismatches\"", true),
        ("event.mismatches.some(|m| fold(m.fieldName) in settings.watched && !same_country(m.value, m.kycValue))", true),
        ("event.mismatches.filter(|m| m.fieldName == event.personKey).len() > 0", false),
        ("let risky = list(\"risky\"); event.mismatches.some(|m| country(m.kycValue) in risky)", true),
        ("if blank(event.personKey) { return true; } matches(event.personKey, settings.signs)", false),
        ("event.mismatches.all(|m| m.value != m.kycValue) && event.mismatches.find(|m| m.value == \"x\") == ()", true),
        ("let n = 0; for m in event.mismatches { if m.value == \"DE\" { n += 1; } } n == 1", true),
        ("`${event.personKey}-${event.mismatches.len}` == \"PERS_1-2\"", true),
        ("(event.identId ?? \"none\").starts_with(\"1\") && event.personKey?.to_lower() == \"pers_1\"", true),
        ("event.mismatches.some(|| this.value == \"DE\")", true),
        ("event.mismatches[-1].value == \"DE\" && event.at > \"2023\"", true),
        ("days_between(event.created, event.receivedAt) == 0", true),
        ("let text = event.personKey; text.make_lower(); text.replace(\"_\", \"\"); text == \"pers1\"", true),
    ] {
        let script = format!("fn when(event, settings) {{ {script} }}");
        assert_eq!(native(&script, "mismatches", MISMATCHES), Some(expected), "{script}");
        assert_eq!(both(&script, "mismatches", MISMATCHES).is_some(), expected, "{script}");
    }
}

#[test]
fn what_could_be_an_error_is_left_to_the_interpreter() {
    for script in [
        "event.nope == 1",
        "event.personKey.some(|m| true)",
        "event.personKey && true",
        "event.mismatches[7].value == \"x\"",
        "1 / (event.mismatches.len() - 2) == 1",
        "9223372036854775807 + event.mismatches.len() > 0",
        "event.personKey",
        "fold(event.mismatches) == \"\"",
        "settings.missing == 1",
        "list(1) == 1",
        "throw 1",
        "days_between(event.personKey, event.at) == 1",
        // The sandbox hands out copies of what its own callback captures.
        "let l = [\"a\"]; l.push(event.identId); l.some(|m| l.len() == 2)",
    ] {
        let script = format!("fn when(event, settings) {{ {script} }}");
        assert_eq!(native(&script, "mismatches", MISMATCHES), None, "{script}");
        assert!(matches!(both(&script, "mismatches", MISMATCHES), Some(Verdict::Undecided(_))), "{script}");
    }
}

#[test]
fn what_stands_before_an_unknown_part_is_still_answered() {
    let script = "fn when(event, settings) { event.personKey == \"another\" && type_of(event) == \"map\" }";
    assert_eq!(native(script, "mismatches", MISMATCHES), Some(false));
    let rule = rule(script, &settings()).unwrap();
    let opaque = rule.script.unwrap().native.unwrap().opaque().to_vec();
    assert_eq!(opaque, [Opaque { line: Some(1), what: "a function that only the interpreter has" }]);
}

#[test]
fn a_function_of_the_file_hides_the_built_in_one() {
    for script in [
        "fn when(event, settings) { blank(event.personKey) } fn blank(x) { true }",
        "fn when(event, settings) { \"a\" in [\"b\"] } fn contains(list, x) { true }",
        "fn when(event, settings) { event.personKey.fold() == 1 } fn fold() { 1 }",
    ] {
        assert!(matches!(both(script, "mismatches", MISMATCHES), Some(Verdict::Match(_))), "{script}");
    }
}

#[test]
fn an_event_near_the_limits_of_sizes_is_left_to_the_interpreter() {
    let script = "fn when(event, settings) { event.mismatches.filter(|m| true).len() > 0 }";
    let of = |many: usize| {
        let entries: Vec<String> = (0..many).map(|_| r#"{"fieldName":"x"}"#.to_owned()).collect();
        format!(r#"{{"mismatches":[{}]}}"#, entries.join(","))
    };
    assert_eq!(native(script, "mismatches", &of(60)), Some(true));
    assert_eq!(native(script, "mismatches", &of(300)), None);
    assert!(matches!(both(script, "mismatches", &of(300)), Some(Verdict::Undecided(_))));
}

#[test]
fn an_evaluation_of_many_steps_is_left_to_the_interpreter() {
    let nested = "event.mismatches.some(|a| event.mismatches.some(|b| event.mismatches.some(|c| a.value == 1 && b == c)))";
    let script = format!("fn when(event, settings) {{ {nested} }}");
    let entries: Vec<&str> = (0..60).map(|_| "{}").collect();
    assert_eq!(native(&script, "mismatches", &format!(r#"{{"mismatches":[{}]}}"#, entries.join(","))), None);
}

#[test]
fn words_that_nobody_knows_are_noted_once_more_by_the_interpreter_only() {
    let script = r#"fn when(event, settings) { country(event.personKey) == "x" || type_of(event) == "map" }"#;
    match both(script, "mismatches", MISMATCHES) {
        Some(Verdict::Match(finding)) => assert_eq!(finding.unknown_words, ["pers_1"]),
        other => panic!("expected a match, not {other:?}"),
    }
}
