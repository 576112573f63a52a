//! The shipped rule pack against the functions alone: every file parses, says who, why and what to do, and its functions answer what its
//! own tests say. (The whole path, with `where`, quiet periods and templates, is `redflag test`'s.)

use std::{collections::BTreeMap, path::Path, sync::Arc};

use rhai::{AST, Array, CallFnOptions, Dynamic, Engine, Map, Scope};

use crate::rules::{lists::Lists, watch::Snapshot};

struct Rule {
    file: String,
    source: String,
    ast: AST,
    card: Map,
    tests: Array,
}

fn pack() -> Snapshot {
    Snapshot::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("rules")).unwrap()
}

fn rules(engine: &Engine) -> Vec<Rule> {
    let snapshot = pack();
    assert!(snapshot.unreadable.is_empty(), "{:?}", snapshot.unreadable);
    let files = snapshot
        .files
        .iter()
        .filter(|(name, _)| name.rsplit_once('.').is_some_and(|(_, ending)| ending == "rhai") && !name.starts_with("shared/"));
    files
        .map(|(file, bytes)| {
            let source = String::from_utf8(bytes.to_vec()).unwrap();
            assert!(source.len() < 32 * 1024, "{file} is too long");
            let ast = engine.compile(&source).unwrap_or_else(|error| panic!("{file}: {error}"));
            let literals: BTreeMap<String, Dynamic> =
                ast.iter_literal_variables(true, false).map(|(name, _, value)| (name.to_owned(), value)).collect();
            let card = literals.get("RULE").unwrap_or_else(|| panic!("{file} has no literal RULE")).clone().cast::<Map>();
            let tests = literals.get("TESTS").unwrap_or_else(|| panic!("{file} has no literal TESTS")).clone().cast::<Array>();
            Rule { file: file.clone(), source, ast, card, tests }
        })
        .collect()
}

fn engine() -> (Engine, Arc<super::Host>) {
    let (mut engine, host) = super::tests::engine();
    engine.set_optimization_level(rhai::OptimizationLevel::None);
    engine.set_strict_variables(true);
    engine.set_fail_on_invalid_map_property(true);
    engine.set_max_expr_depths(64, 32);
    engine.set_max_operations(200_000);
    (engine, host)
}

fn text(map: &Map, name: &str) -> String {
    map.get(name).and_then(|value| value.clone().into_string().ok()).unwrap_or_default()
}

fn texts(map: &Map, name: &str) -> Vec<String> {
    let array = map.get(name).and_then(|value| value.clone().try_cast::<Array>()).unwrap_or_default();
    array.into_iter().map(|value| value.into_string().unwrap()).collect()
}

#[test]
fn every_rule_says_who_why_and_what_to_do() {
    let (engine, _) = engine();
    let rules = rules(&engine);
    assert!(rules.len() >= 10, "{} rules", rules.len());
    let mut ids = BTreeMap::new();
    for Rule { file, source, card, tests, .. } in &rules {
        for part in ["//! Why:   ", "//! Do:    ", "//! Noise: "] {
            assert!(source.lines().any(|line| line.starts_with(part)), "{file} lacks {part}");
        }
        for entry in ["id", "title", "severity", "masked_subject", "owner", "basis"] {
            assert!(!text(card, entry).is_empty(), "{file} lacks {entry}");
        }
        assert!(card.contains_key("quiet"), "{file} has no quiet period");
        let to = texts(card, "send_to");
        assert!(
            [&["kyc-operations"][..], &["kyc-operations", "compliance-chat"], &["mlro"]].iter().any(|allowed| to == *allowed),
            "{file} sends to {to:?}"
        );
        let masked = text(card, "masked_subject");
        assert!(!masked.contains("{reason") && !masked.contains("{notes") && !masked.contains("alue"), "{file}: {masked}");
        let other = ids.insert(text(card, "id"), file.clone());
        assert!(other.is_none(), "{file} has the id of {other:?}");
        let alerts: Vec<i64> = tests
            .iter()
            .map(|case| case.clone().cast::<Map>()["expect"].clone().cast::<Map>()["alerts"].as_int().unwrap())
            .collect();
        assert!(alerts.iter().any(|count| *count > 0) && alerts.contains(&0), "{file} needs a test that alerts and a quiet one");
    }
}

/// A sample in its canonical form, every known field there.
fn sample(engine: &Engine, topic: &str) -> Dynamic {
    let json = match topic {
        "mismatches" => {
            r#"{"identId":"166956507","personKey":"PERS_1","created":"2023-06-01T13:23:17.706Z","mismatches":[
                {"fieldName":"BirthPlace","value":"Frankfurt","kycValue":"Beirut"},{"fieldName":"Nationality","value":"DE","kycValue":"lb"}]}"#
        }
        "complianceRecord" => {
            r#"{"status":100,"key":"a8f8","modified":"2023-06-01T13:23:17","customerKey":"CUS_1","contractKey":null,"notes":null}"#
        }
        "identResult" | "identResultKYC" => {
            r#"{"kyc":"WEBID","identId":"166956507","personKey":"PERS_1","status":"success","reason":null,"attachments":[]}"#
        }
        "identRequestsCreated" => {
            r#"{"kyc":"WEBID","key":"PERS_1","personKey":"PERS_1","actionId":"264618001","status":"pending","transactionId":null}"#
        }
        other => panic!("no sample of {other}"),
    };
    let mut map = engine.parse_json(json, true).unwrap();
    map.insert("topic".into(), topic.into());
    map.into()
}

/// The case's event; none for a sequence.
fn event(engine: &Engine, case: &Map) -> Option<Dynamic> {
    if case.contains_key("feed") {
        return None;
    }
    let mut scope = Scope::new();
    scope.push("event", sample(engine, &text(case, "like")));
    let set = case.get("set").map(|set| set.clone().cast::<Map>()).unwrap_or_default();
    let unset = texts(case, "unset").into_iter().map(|path| (path, Dynamic::UNIT));
    for (path, value) in set.into_iter().map(|(path, value)| (path.to_string(), value)).chain(unset) {
        scope.push("v", value);
        engine.run_with_scope(&mut scope, &format!("event.{path} = v;")).unwrap_or_else(|error| panic!("{path}: {error}"));
    }
    scope.get_value("event")
}

#[test]
fn the_functions_of_every_rule_answer_what_its_tests_say() {
    let (engine, host) = engine();
    let mut judged = 0;
    for Rule { file, ast, card, tests, .. } in &rules(&engine) {
        let names: Vec<&str> = ast.iter_functions().map(|function| function.name).collect();
        let settings = card.get("settings").cloned().unwrap_or_else(|| Map::new().into());
        for case in tests {
            let case = case.clone().cast::<Map>();
            let Some(event) = event(&engine, &case) else { continue };
            let lists = case.get("lists").map(|lists| lists.clone().cast::<Map>()).unwrap_or_default();
            let lists = lists.keys().map(|name| (name.to_string(), texts(&lists, name))).collect();
            host.use_lists(Arc::new(Lists::of(lists)));
            let name = text(&case, "name");
            let call = |function: &str| -> Option<Dynamic> {
                names.contains(&function).then(|| {
                    engine
                        .call_fn_with_options::<Dynamic>(
                            CallFnOptions::default().eval_ast(false),
                            &mut Scope::new(),
                            ast,
                            function,
                            (event.clone(), settings.clone()),
                        )
                        .unwrap_or_else(|error| panic!("{file}, {name}: {function}: {error}"))
                })
            };
            let expect = case["expect"].clone().cast::<Map>();
            let alerts = expect["alerts"].as_int().unwrap() > 0;
            if let Some(when) = call("when") {
                // A rule with `where` as well may be stopped there.
                assert!(when.as_bool().unwrap() == alerts || card.contains_key("where"), "{file}: {name}");
                judged += 1;
            }
            if !alerts {
                continue;
            }
            if let (Some(severity), Some(expected)) = (call("severity"), expect.get("severity")) {
                assert_eq!(severity.to_string(), expected.to_string(), "{file}: {name}");
            }
            if let (Some(subject), Some(expected)) = (call("subject"), expect.get("subject_has")) {
                assert!(subject.to_string().contains(&expected.to_string()), "{file}: {name}: {subject}");
            }
            if let (Some(to), Some(expected)) = (call("send_to"), expect.get("sent_to")) {
                assert_eq!(to.to_string(), expected.to_string(), "{file}: {name}");
            }
        }
    }
    assert!(judged >= 30, "only {judged} cases have a function `when`");
}

#[test]
fn the_shipped_lists_are_read_without_a_finding_and_hold_countries() {
    let snapshot = pack();
    let files =
        snapshot.files.iter().filter(|(name, _)| name.starts_with("lists/")).map(|(name, bytes)| (name.as_str(), &**bytes));
    let (lists, found) = Lists::from_files(files);
    assert_eq!(found, []);
    let risky = lists.get("high_risk_countries").unwrap();
    assert!(risky.entries().iter().all(|entry| entry.len() == 2), "{:?}", risky.entries());
    assert!(risky.contains("KP") && risky.contains("Iran") && !risky.contains("DE"));
    assert_eq!(super::codes::compliance_status("100", &lists), super::codes::compliance_status("100", &Lists::empty()));
}

#[test]
fn the_guide_opens_with_a_rule_of_the_pack() {
    let guide = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/rules.md")).unwrap();
    let shown = guide.split("```rhai\n").nth(1).unwrap().split("```").next().unwrap();
    let shipped = &pack().files["compliance/data_change_failed.rhai"];
    let shipped = std::str::from_utf8(shipped).unwrap();
    for line in shown.lines() {
        assert!(shipped.lines().any(|other| other == line), "not in the shipped rule: {line}");
    }
}
