//! The functions through a Rhai engine, as rules meet them.

use std::collections::BTreeMap;

use rhai::packages::{
    ArithmeticPackage, BasicArrayPackage, BasicFnPackage, BasicIteratorPackage, BasicMapPackage, BasicMathPackage,
    BasicStringPackage, LogicPackage, MoreStringPackage, Package as _,
};

use super::*;

pub(super) fn engine() -> (Engine, Arc<Host>) {
    let mut engine = Engine::new_raw();
    for module in [
        ArithmeticPackage::new().as_shared_module(),
        BasicMathPackage::new().as_shared_module(),
        BasicStringPackage::new().as_shared_module(),
        MoreStringPackage::new().as_shared_module(),
        LogicPackage::new().as_shared_module(),
        BasicArrayPackage::new().as_shared_module(),
        BasicMapPackage::new().as_shared_module(),
        BasicIteratorPackage::new().as_shared_module(),
        BasicFnPackage::new().as_shared_module(),
    ] {
        engine.register_global_module(module);
    }
    engine.set_max_array_size(1024);
    engine.set_max_string_size(32 * 1024);
    let host = Host::new();
    let risky = vec!["Libanon".to_owned(), "Atlantis".to_owned()];
    host.use_lists(Arc::new(Lists::of(BTreeMap::from([("high_risk_countries".to_owned(), risky)]))));
    register(&mut engine, &host);
    (engine, host)
}

/// What an expression answers, as Rhai writes it.
fn answer(engine: &Engine, expression: &str) -> String {
    engine.eval_expression::<Dynamic>(expression).map_or_else(|error| error.to_string(), |value| format!("{value:?}"))
}

#[test]
fn every_example_of_the_table_answers_what_it_says() {
    let (engine, _) = engine();
    for function in table::FUNCTIONS {
        assert!(!function.examples.is_empty(), "{} needs an example", function.name);
        for (expression, expected) in function.examples {
            assert!(expression.contains(function.name) || function.name == "list", "{expression}");
            assert_eq!(answer(&engine, expression), answer(&engine, expected), "{expression}");
        }
    }
}

#[test]
fn the_table_names_what_is_registered() {
    let (engine, _) = engine();
    for (name, arities) in NAMES {
        for arity in *arities {
            let call = format!("{name}({})", vec!["()"; *arity].join(", "));
            let told = answer(&engine, &call);
            // With `()` a function answers or complains about its argument's type; one argument more must always be unknown.
            let more = answer(&engine, &format!("{name}({})", vec!["()"; arity + 1].join(", ")));
            assert!(!told.contains("Function not found") || told.contains("(()"), "{call}: {told}");
            assert!(arities.contains(&(arity + 1)) || more.contains("Function not found"), "{more}");
        }
    }
}

#[test]
fn nothing_is_neutral_and_never_an_error() {
    let (engine, _) = engine();
    let told: Vec<String> = [
        "country(())",
        "same_country((), ())",
        "same_name((), \"Anna\")",
        "name_similarity((), ())",
        "fold(())",
        "same_date((), ())",
        "blank(())",
        "matches((), \"a\")",
        "days_between((), \"2023-01-01\")",
        "hours_between(\"2023-01-01\", ())",
        "age_on((), ())",
        "weekday(())",
        "working_hours(())",
        "() in list(\"high_risk_countries\")",
        "compliance_status(())",
    ]
    .iter()
    .map(|expression| format!("{expression} = {}", answer(&engine, expression)))
    .collect();
    insta::assert_snapshot!(told.join("\n"), @r##"
    country(()) = ()
    same_country((), ()) = true
    same_name((), "Anna") = false
    name_similarity((), ()) = 1.0
    fold(()) = ""
    same_date((), ()) = true
    blank(()) = true
    matches((), "a") = false
    days_between((), "2023-01-01") = ()
    hours_between("2023-01-01", ()) = ()
    age_on((), ()) = ()
    weekday(()) = ()
    working_hours(()) = false
    () in list("high_risk_countries") = false
    compliance_status(()) = #{"group": "unknown", "name": ""}
    "##);
}

#[test]
fn an_error_names_the_function_and_the_kind_but_no_content() {
    let (engine, _) = engine();
    let told: Vec<String> = [
        "fold([\"Erika\"])",
        "same_name(#{a: \"Erika\"}, \"x\")",
        "country(true)",
        "days_between(\"Erika\", \"2023-01-01\")",
        "age_on(\"2030-01-01\", \"2023-01-01\")",
        "matches(\"Erika\", \"(a\")",
        "working_hours(\"2023-01-01\", \"Erika/Berlin\")",
        "[\"Erika\"] in list(\"high_risk_countries\")",
        "compliance_status(1.5)",
    ]
    .iter()
    .map(|expression| answer(&engine, expression))
    .collect();
    assert!(told.iter().all(|text| !text.contains("Erika")), "{told:?}");
    insta::assert_snapshot!(told.join("\n"), @r##"
    Runtime error: fold: expected a text, got a list (line 1, position 1)
    Runtime error: same_name: expected a text, got a map (line 1, position 1)
    Runtime error: country: expected a text, got true or false (line 1, position 1)
    Runtime error: days_between: the text is neither a date nor a time (line 1, position 1)
    Runtime error: age_on: the birth date lies behind the date (line 1, position 1)
    Runtime error: matches: unclosed group (line 1, position 1)
    Runtime error: working_hours: no such time zone; write one like "Europe/Berlin" (line 1, position 1)
    Runtime error: in list: expected a text, got a list (line 1, position 11)
    Runtime error: compliance_status: expected a text, got a number with a fraction (line 1, position 1)
    "##);
}

#[test]
fn a_list_that_does_not_exist_is_an_error_and_not_an_empty_one() {
    let (engine, host) = engine();
    host.use_lists(Arc::new(Lists::empty()));
    insta::assert_snapshot!(answer(&engine, "\"LB\" in list(\"high_risk\")"), @"Runtime error: list: there is no list `high_risk` (line 1, position 9)");
}

#[test]
fn numbers_are_read_as_their_digits() {
    let (engine, _) = engine();
    assert_eq!(answer(&engine, "compliance_status(\"300\") == compliance_status(300)"), "true");
    assert_eq!(answer(&engine, "same_name(12, \"12\")"), "true");
}

#[test]
fn a_list_is_longer_than_an_array_may_be() {
    let (engine, host) = engine();
    let many = (0..50_000).map(|n| format!("entry {n}")).collect();
    host.use_lists(Arc::new(Lists::of(BTreeMap::from([("many".to_owned(), many)]))));
    assert_eq!(answer(&engine, "\"ENTRY  49999\" in list(\"many\") && list(\"many\").len() == 50000"), "true");
    assert_eq!(answer(&engine, "list(\"many\").entries().len()"), "1000");
}

#[test]
fn a_country_that_nobody_knows_is_a_finding() {
    let (engine, host) = engine();
    for expression in ["country(\"DE\")", "country(\"Atlantis\")", "same_country(\"ATLANTIS\", \"Lemuria\")", "country(\"\")"] {
        answer(&engine, expression);
    }
    assert_eq!(host.take_unknown_words(), ["atlantis", "lemuria"]);
}

#[test]
fn the_rule_guide_shows_this_table() {
    let guide = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/rules.md")).unwrap();
    let mut lines = vec!["| function | answers | examples |".to_owned(), "| --- | --- | --- |".to_owned()];
    for function in table::FUNCTIONS {
        let examples: Vec<String> = function.examples.iter().map(|(call, result)| format!("`{call}` → `{result}`")).collect();
        let cell = |text: &str| text.replace('|', "\\|");
        lines.push(format!("| `{}` | {} | {} |", function.signature, cell(function.text), cell(&examples.join("<br>"))));
    }
    let table = lines.join("\n");
    assert!(guide.contains(&table), "docs/rules.md should show this table:\n\n{table}\n");
}

#[test]
fn text_in_an_array_is_what_the_language_calls_equal() {
    let (engine, _) = engine();
    let asked =
        ["\"a\" in [1, \"a\"]", "\"a\" in ['a']", "\"ab\" in ['a']", "\"1\" in [1, 1.0, true, (), [\"1\"], #{}]", "\"a\" in []"];
    let answers: Vec<_> = asked.iter().map(|expression| answer(&engine, expression)).collect();
    assert_eq!(answers, ["true", "true", "false", "false", "false"]);
    // The language's own: text is no character only for its type, not for `==`.
    assert_eq!(answer(&engine, "\"a\" == 'a'"), "true");
}
