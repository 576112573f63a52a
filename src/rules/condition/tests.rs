//! Conditions: the meaning of every operator, and what is refused.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::{
    model::{
        event::{Element, Origin},
        hash::Digest,
        ids::Seq,
        names::{FeedName, TopicName},
        topic,
        value::Value,
    },
    rules::literal::{Entry, Node, Place},
};

/// The fields of one topic, as a rule's loader would know them.
struct Of(&'static topic::Topic);

impl Fields for Of {
    fn known(&self, path: &Path) -> FieldCheck {
        let text = path.to_string();
        let (name, inner) = text.split_once("[0].").map_or((text.as_str(), None), |(name, inner)| (name, Some(inner)));
        let Some(field) = self.0.field(name) else {
            let proposal = self.0.fields.iter().map(|field| field.name).min_by_key(|known| strsim::levenshtein(known, name));
            return FieldCheck::Unknown { proposal: proposal.map(str::to_owned) };
        };
        let Some(inner) = inner else { return FieldCheck::Known(field.kind) };
        match field.entries().iter().find(|entry| entry.name == inner) {
            Some(entry) => FieldCheck::Known(entry.kind),
            None => FieldCheck::Unknown { proposal: field.entries().first().map(|entry| format!("{name}[0].{}", entry.name)) },
        }
    }
}

/// Nothing is known.
struct Open;

impl Fields for Open {
    fn known(&self, _: &Path) -> FieldCheck {
        FieldCheck::Unchecked
    }
}

fn event(json: &str) -> Event {
    let at = "2023-06-01T13:23:17Z".parse().unwrap();
    Event {
        seq: Seq(1),
        element: Element {
            feed: FeedName::new("main"),
            topic: TopicName::new("identResult"),
            spelled: None,
            origin: Origin::Live,
            received_at: at,
            own_time: None,
            zone_assumed: false,
            late: true,
            maybe_repeat: false,
            batch: None,
            body: serde_json::from_str(json).unwrap(),
            raw: String::new(),
            hash: Digest::default(),
            warnings: Vec::new(),
        },
    }
}

/// A JSON text as a literal; the columns count its top-level members, good enough to see which is meant.
fn literal(value: &Value, line: usize) -> Literal {
    let place = Place { line, column: 10 };
    let node = match value {
        Value::Null => Node::Unit,
        Value::Bool(value) => Node::Bool(*value),
        Value::Int(number) => Node::Int(*number),
        Value::Float(number) => Node::Float(*number),
        Value::Text(text) => Node::Text(text.to_string()),
        Value::List(list) => Node::List(list.iter().map(|value| literal(value, line)).collect()),
        Value::Map(map) => Node::Map(
            map.iter()
                .map(|(name, value)| Entry {
                    name: name.to_string(),
                    place: Place { line, column: 3 },
                    value: literal(value, line),
                })
                .collect(),
        ),
    };
    Literal { place, node }
}

fn parse(json: &str, known: &dyn Fields) -> Result<Condition, Vec<Diagnostic>> {
    Condition::parse(&literal(&serde_json::from_str(json).unwrap(), 1), "a.rhai", known)
}

fn lists() -> Lists {
    Lists::of(BTreeMap::from([("risky".to_owned(), vec!["LB".to_owned(), "100".to_owned()])]))
}

#[track_caller]
fn holds(condition: &str, body: &str) -> bool {
    parse(condition, &Open).unwrap().holds(&event(body), &lists())
}

/// For each test: bodies it holds for, and bodies it doesn't.
#[track_caller]
fn table(condition: &str, yes: &[&str], no: &[&str]) {
    for body in yes {
        assert!(holds(condition, body), "{condition} should hold for {body}");
    }
    for body in no {
        assert!(!holds(condition, body), "{condition} should not hold for {body}");
    }
}

const ABSENT: &str = "{}";
const NULL: &str = r#"{"s":null}"#;
const EMPTY: &str = r#"{"s":""}"#;
const A: &str = r#"{"s":"a"}"#;
const B: &str = r#"{"s":"b"}"#;
const FIVE: &str = r#"{"s":5}"#;
const FIVE_TEXT: &str = r#"{"s":"5"}"#;
const FLAG: &str = r#"{"s":true}"#;
const MAP: &str = r#"{"s":{}}"#;
const LIST: &str = r#"{"s":["a"]}"#;

#[test]
fn a_plain_value_holds_for_exactly_that_value() {
    table(r#"{"s":"a"}"#, &[A], &[B, FIVE, FLAG, ABSENT, NULL, EMPTY, MAP, LIST]);
    table(r#"{"s":5}"#, &[FIVE, r#"{"s":5.0}"#], &[FIVE_TEXT, A, ABSENT, NULL, r#"{"s":5.5}"#]);
    table(r#"{"s":true}"#, &[FLAG], &[r#"{"s":"true"}"#, r#"{"s":1}"#, ABSENT]);
    table(r#"{"s":null}"#, &[ABSENT, NULL], &[EMPTY, A, FIVE, MAP, LIST]);
}

#[test]
fn not_holds_for_everything_else_and_for_what_is_absent() {
    table(r#"{"s":{"not":"a"}}"#, &[B, FIVE, FLAG, ABSENT, NULL, EMPTY, MAP, LIST], &[A]);
    table(r#"{"s":{"not":null}}"#, &[A, EMPTY], &[ABSENT, NULL]);
}

#[test]
fn one_of_and_none_of_are_opposites() {
    table(r#"{"s":{"one_of":["a",5]}}"#, &[A, FIVE], &[B, FIVE_TEXT, ABSENT, NULL, EMPTY, LIST]);
    table(r#"{"s":{"none_of":["a",5]}}"#, &[B, FIVE_TEXT, ABSENT, NULL, EMPTY, LIST], &[A, FIVE]);
}

#[test]
fn an_order_holds_only_between_values_of_one_type() {
    table(r#"{"s":{"above":4}}"#, &[FIVE, r#"{"s":4.5}"#], &[FIVE_TEXT, r#"{"s":4}"#, ABSENT, NULL, FLAG, MAP]);
    table(r#"{"s":{"at_least":5}}"#, &[FIVE], &[r#"{"s":4}"#, FIVE_TEXT, ABSENT]);
    table(r#"{"s":{"below":5}}"#, &[r#"{"s":4}"#], &[FIVE, r#"{"s":"4"}"#, ABSENT, NULL]);
    table(r#"{"s":{"at_most":5}}"#, &[FIVE, r#"{"s":-1}"#], &[r#"{"s":5.1}"#, ABSENT]);
    table(r#"{"s":{"at_least":"2023-06-01"}}"#, &[r#"{"s":"2023-06-01T10:00:00Z"}"#], &[r#"{"s":"2023-05-31"}"#, FIVE, ABSENT]);
}

#[test]
fn whole_numbers_and_fractions_compare_exactly() {
    let large = i64::MAX;
    assert_eq!(order_mixed(large, 9_223_372_036_854_775_808.0), Some(Ordering::Less));
    assert_eq!(order_mixed(9_007_199_254_740_993, 9_007_199_254_740_992.0), Some(Ordering::Greater));
    assert_eq!(order_mixed(-1, -0.5), Some(Ordering::Less));
    assert_eq!(order_mixed(0, f64::NAN), None);
    assert_eq!(order_mixed(i64::MIN, f64::NEG_INFINITY), Some(Ordering::Greater));
}

#[test]
fn blank_is_absent_null_empty_or_spaces() {
    table(r#"{"s":{"blank":true}}"#, &[ABSENT, NULL, EMPTY, r#"{"s":" "}"#, MAP, r#"{"s":[]}"#], &[A, FIVE, r#"{"s":0}"#, LIST]);
    table(r#"{"s":{"blank":false}}"#, &[A, FIVE, LIST], &[ABSENT, NULL, EMPTY]);
}

#[test]
fn starts_with_and_contains_look_into_text() {
    table(r#"{"s":{"starts_with":"PERS_"}}"#, &[r#"{"s":"PERS_1"}"#], &[r#"{"s":"pers_1"}"#, ABSENT, NULL, FIVE, LIST]);
    table(r#"{"s":{"contains":"a"}}"#, &[r#"{"s":"bab"}"#, LIST], &[B, r#"{"s":["ba"]}"#, ABSENT, FIVE]);
}

#[test]
fn lists_are_looked_up_by_text_or_by_a_number_s_digits() {
    table(
        r#"{"s":{"in_list":"risky"}}"#,
        &[r#"{"s":"lb "}"#, r#"{"s":100}"#],
        &[r#"{"s":"DE"}"#, r#"{"s":1}"#, ABSENT, NULL, FLAG],
    );
    table(r#"{"s":{"not_in_list":"risky"}}"#, &[r#"{"s":"DE"}"#, ABSENT, NULL, FLAG], &[r#"{"s":"lb"}"#, r#"{"s":100}"#]);
    table(r#"{"s":{"in_list":"no such list"}}"#, &[], &[r#"{"s":"lb"}"#, ABSENT]);
    let condition =
        parse(r#"{"s":{"in_list":"b"},"any":[{"s":{"not_in_list":"a"}},{"l":{"some":{"x":{"in_list":"b"}}}}]}"#, &Open);
    assert_eq!(condition.unwrap().lists(), ["a", "b"]);
}

#[test]
fn several_operators_and_several_fields_must_all_hold() {
    table(r#"{"s":{"at_least":3,"below":6,"not":5}}"#, &[r#"{"s":4}"#], &[FIVE, r#"{"s":6}"#, r#"{"s":2}"#]);
    table(r#"{"s":"a","t":1}"#, &[r#"{"s":"a","t":1}"#], &[A, r#"{"s":"b","t":1}"#]);
}

#[test]
fn any_needs_one_alternative_beside_the_rest() {
    let condition = r#"{"t":1,"any":[{"s":"a"},{"s":{"above":4}}]}"#;
    table(condition, &[r#"{"s":"a","t":1}"#, r#"{"s":5,"t":1}"#], &[A, r#"{"s":"b","t":1}"#, r#"{"t":1}"#]);
}

#[test]
fn some_needs_one_entry_that_meets_all_its_tests() {
    let condition = r#"{"l":{"some":{"f":"Nationality","v":{"not":"DE"}}}}"#;
    table(
        condition,
        &[r#"{"l":[1,{"f":"x"},{"f":"Nationality","v":"LB"}]}"#, r#"{"l":[{"f":"Nationality"}]}"#],
        &[r#"{"l":[{"f":"Nationality","v":"DE"},{"f":"x","v":"LB"}]}"#, r#"{"l":[]}"#, r#"{"l":null}"#, r#"{"l":"x"}"#, ABSENT],
    );
}

#[test]
fn paths_reach_into_maps_and_lists() {
    table(r#"{"a.b[1].c":"x"}"#, &[r#"{"a":{"b":[0,{"c":"x"}]}}"#], &[r#"{"a":{"b":[{"c":"x"}]}}"#, r#"{"a":[]}"#, ABSENT]);
    table(r#"{"m[0][1]":2}"#, &[r#"{"m":[[1,2]]}"#], &[r#"{"m":[1]}"#]);
}

#[test]
fn the_common_fields_are_found_on_every_event() {
    table(r#"{"topic":"identResult","late":true}"#, &[ABSENT], &[]);
    table(r#"{"at":{"at_least":"2023-06-01T15:23:17+02:00"},"receivedAt":{"blank":false}}"#, &[ABSENT], &[]);
    table(r#"{"late":false}"#, &[], &[ABSENT, r#"{"late":false}"#]);
}

#[test]
fn a_path_sets_and_unsets_what_it_names() {
    let mut body: Map = serde_json::from_str(r#"{"mismatches":[{"value":"DE"}]}"#).unwrap();
    for (path, value) in [("mismatches[0].value", "FR"), ("mismatches[1].value", "LB"), ("new.deep", "x"), ("status", "ok")] {
        Path::parse(path).unwrap().set(&mut body, Value::from(value)).unwrap();
    }
    assert!(Path::parse("mismatches[0].value").unwrap().unset(&mut body));
    assert!(!Path::parse("mismatches[7].value").unwrap().unset(&mut body));
    insta::assert_snapshot!(serde_json::to_string(&body).unwrap(), @r#"{"mismatches":[{},{"value":"LB"}],"new":{"deep":"x"},"status":"ok"}"#);
    insta::assert_snapshot!(Path::parse("mismatches[9]").unwrap().set(&mut body, Value::Null).unwrap_err(), @"`mismatches[9]`: there is no entry 9, the list has 2");
    insta::assert_snapshot!(Path::parse("status.x").unwrap().set(&mut body, Value::Null).unwrap_err(), @"`status.x`: `x` has no map to stand in");
}

#[test]
fn a_path_that_is_none_says_why() {
    let all: Vec<String> = ["", "a..b", "[0]", "a[x]", "a[-1]", "a[0", "a[0]b", "a b", "a]"]
        .into_iter()
        .map(|text| format!("{text:?}: {}", Path::parse(text).unwrap_err()))
        .collect();
    insta::assert_snapshot!(all.join("\n"), @r#"
    "": a name is missing at a dot
    "a..b": a name is missing at a dot
    "[0]": an index needs a name before it
    "a[x]": `x` is no index; entries are counted from 0
    "a[-1]": `-1` is no index; entries are counted from 0
    "a[0": the index has no closing bracket
    "a[0]b": expected a dot before `b`
    "a b": ` ` can't stand in a field's name
    "a]": `]` can't stand in a field's name
    "#);
    for text in ["a", "a.b[0].c", "m[0][1]", "Größe-1"] {
        assert_eq!(Path::parse(text).unwrap().to_string(), text);
    }
}

/// What is wrong, one a line.
fn refused(json: &str, known: &dyn Fields) -> String {
    let diagnostics = parse(json, known).unwrap_err();
    assert!(diagnostics.iter().all(Diagnostic::is_error));
    let line = |found: &Diagnostic| {
        format!(
            "{} {} | {}{}",
            found.code,
            found.message,
            found.label,
            found.help.as_ref().map_or_else(String::new, |help| format!(" | {help}"))
        )
    };
    diagnostics.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn mistakes_are_refused_with_a_proposal() {
    let ident = Of(&topic::IDENT_RESULT);
    let all: Vec<String> = [
        r#"{"staus":"x"}"#,
        r#"{"a b":"x"}"#,
        r#"{"status":{"nto":"x"}}"#,
        r#"{"status":{"in":["x"]}}"#,
        r#"{"status":{"frobnicate":1}}"#,
        r#"{"status":{}}"#,
        r#"{"status":["x","y"]}"#,
        r#"{"status":{"one_of":"x"}}"#,
        r#"{"status":{"one_of":[]}}"#,
        r#"{"status":{"none_of":[]}}"#,
        r#"{"status":{"blank":"yes"}}"#,
        r#"{"status":{"starts_with":""}}"#,
        r#"{"status":{"in_list":5}}"#,
        r#"{"status":{"not":{"x":1}}}"#,
        r#"{"status":5}"#,
        r#"{"status":{"above":true}}"#,
        r#"{"status":{"some":{"x":1}}}"#,
        r#"{"late":"yes"}"#,
        r#"{"at":{"above":"yesterday"}}"#,
        r#"{"any":[]}"#,
        r#"{"any":{"status":"x"}}"#,
        r#"{"any":[{}]}"#,
        r#"["status"]"#,
    ]
    .into_iter()
    .map(|json| format!("{json}\n  {}", refused(json, &ident).replace('\n', "\n  ")))
    .collect();
    insta::assert_snapshot!(all.join("\n"), @r#"
    {"staus":"x"}
      R012 unknown field `staus` | did you mean `status`?
    {"a b":"x"}
      R102 `a b` is no field: ` ` can't stand in a field's name | expected a name such as `status` or "mismatches[0].value"
    {"status":{"nto":"x"}}
      R103 unknown operator `nto` | did you mean `not`?
    {"status":{"in":["x"]}}
      R103 unknown operator `in` | did you mean `one_of`?
    {"status":{"frobnicate":1}}
      R103 unknown operator `frobnicate` | not an operator | operators: not, one_of, none_of, above, below, at_least, at_most, blank, starts_with, contains, in_list, not_in_list, some
    {"status":{}}
      R109 `status` is not tested for anything | expected an operator, such as #{ not: "success" }
    {"status":["x","y"]}
      R104 `status` can't equal a list | for one of several values: #{ one_of: [ … ] }
    {"status":{"one_of":"x"}}
      R104 `one_of` takes a list, this is a text | expected a list
    {"status":{"one_of":[]}}
      R106 `one_of` without values can never hold | expected at least one value
    {"status":{"none_of":[]}}
      R109 `none_of` without values holds for every event | expected at least one value
    {"status":{"blank":"yes"}}
      R104 `blank` takes true or false, this is a text | expected true or false
    {"status":{"starts_with":""}}
      R104 `starts_with` takes a text that is not empty, this is a text | expected a text that is not empty
    {"status":{"in_list":5}}
      R104 `in_list` takes a list's name, this is a whole number | expected a list's name
    {"status":{"not":{"x":1}}}
      R104 `status` can't be compared with a map | expected a text, a number, true, false or ()
    {"status":5}
      R105 `status` is text and can't be compared with a whole number | write "5"
    {"status":{"above":true}}
      R104 `above` takes a number, a text or a time, this is true or false | expected a number, a text or a time
    {"status":{"some":{"x":1}}}
      R108 `some` looks into a list, `status` is text | write the test at `status` itself
    {"late":"yes"}
      R105 `late` is true or false and can't be compared with a text | expected true or false
    {"at":{"above":"yesterday"}}
      R104 `at` is a time, and this text is none | expected a form such as "2023-06-01T13:23:17Z"
    {"any":[]}
      R106 `any` without alternatives can never hold | expected at least one table
    {"any":{"status":"x"}}
      R107 `any` takes a list of tables, this is a map | expected [ #{ … }, #{ … } ]
    {"any":[{}]}
      R109 an alternative without a test makes `any` hold for every event | expected a field
    ["status"]
      R107 `where` takes a table, this is a list | expected #{ field: value }
    "#);
}

#[test]
fn mistakes_about_numbers_and_lists_are_refused() {
    let all: Vec<String> = [
        (r#"{"status":"100"}"#, &topic::COMPLIANCE_RECORD),
        (r#"{"status":{"starts_with":"1"}}"#, &topic::COMPLIANCE_RECORD),
        (r#"{"mismatches":"x"}"#, &topic::MISMATCHES),
        (r#"{"mismatches":{"fieldName":"x"}}"#, &topic::MISMATCHES),
        (r#"{"mismatches":{"contains":"x"}}"#, &topic::MISMATCHES),
        (r#"{"mismatches":{"some":{}}}"#, &topic::MISMATCHES),
        (r#"{"mismatches":{"some":{"feldName":"x"}}}"#, &topic::MISMATCHES),
        (r#"{"mismatches":{"some":{"value":5}}}"#, &topic::MISMATCHES),
    ]
    .into_iter()
    .map(|(json, topic)| format!("{json}\n  {}", refused(json, &Of(topic))))
    .collect();
    insta::assert_snapshot!(all.join("\n"), @r#"
    {"status":"100"}
      R105 `status` is a whole number and can't be compared with a text | write 100
    {"status":{"starts_with":"1"}}
      R105 `starts_with` is for text, `status` is a whole number | compare it with one_of, above, below …
    {"mismatches":"x"}
      R105 `mismatches` is a list and can't be compared with a text | look into its entries: #{ some: #{ … } }, or test #{ blank: true }
    {"mismatches":{"fieldName":"x"}}
      R103 unknown operator `fieldName` | not an operator | for entries of the list: mismatches: #{ some: #{ fieldName: … } }
    {"mismatches":{"contains":"x"}}
      R105 `contains` is for text, `mismatches` is a list | look into its entries: #{ some: #{ … } }
    {"mismatches":{"some":{}}}
      R109 `some` does not say what the entry must be | for any entry at all: #{ blank: false }
    {"mismatches":{"some":{"feldName":"x"}}}
      R012 unknown field `feldName` | did you mean `fieldName`?
    {"mismatches":{"some":{"value":5}}}
      R105 `value` is text and can't be compared with a whole number | write "5"
    "#);
}

#[test]
fn what_can_never_hold_is_refused() {
    let record = Of(&topic::COMPLIANCE_RECORD);
    for json in [
        r#"{"status":{"above":5,"below":3}}"#,
        r#"{"status":{"above":5,"below":6}}"#,
        r#"{"status":{"at_least":5,"below":5}}"#,
        r#"{"status":{"one_of":[1,2],"above":2}}"#,
        r#"{"status":{"one_of":[1,2],"none_of":[2,1]}}"#,
        r#"{"status":{"blank":true,"above":1}}"#,
        r#"{"key":{"one_of":["a"],"starts_with":"b"}}"#,
        r#"{"key":{"one_of":["a"],"blank":true}}"#,
        r#"{"key":{"at_least":"b","below":"b"}}"#,
    ] {
        assert!(refused(json, &record).starts_with("R106"), "{json}");
    }
    for json in [
        r#"{"status":{"at_least":5,"at_most":5}}"#,
        r#"{"status":{"above":5,"below":7}}"#,
        r#"{"status":{"one_of":[1,2],"not":1}}"#,
        r#"{"status":{"not":1,"none_of":[2]}}"#,
        r#"{"key":{"one_of":["a","b"],"in_list":"x","not_in_list":"y"}}"#,
        r#"{"key":{"blank":true,"not":"x"}}"#,
    ] {
        assert!(parse(json, &record).is_ok(), "{json}");
    }
    assert!(parse(r#"{"s":{"above":5,"below":6}}"#, &Open).is_ok(), "a fraction may lie between");
}

#[test]
fn all_mistakes_of_a_table_are_told_at_once() {
    let text = refused(r#"{"staus":"x","status":5,"any":[{"reson":"y"}]}"#, &Of(&topic::IDENT_RESULT));
    assert_eq!(text.lines().count(), 3, "{text}");
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        any::<f64>().prop_map(Value::Float),
        "[a-z0-9 ]{0,3}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::List),
            prop::collection::vec((name(), inner), 0..4).prop_map(|members| {
                let mut map = Map::new();
                for (name, value) in members {
                    map.set(name, value);
                }
                Value::Map(map)
            }),
        ]
    })
}

fn name() -> impl Strategy<Value = String> {
    let operators = "not|one_of|none_of|above|below|at_least|at_most|blank|starts_with|contains|in_list|not_in_list|some|any";
    prop_oneof![operators, "s|t|s\\.t|s\\[0\\]|at|late|topic"]
}

proptest! {
    #[test]
    fn any_table_is_refused_or_decides_every_event(where_ in any_value(), body in any_value()) {
        let mut event = event("{}");
        if let Value::Map(map) = body { event.element.body = map; }
        if let Ok(condition) = Condition::parse(&literal(&where_, 1), "a.rhai", &Open) {
            prop_assert_eq!(condition.holds(&event, &lists()), condition.holds(&event, &lists()));
        }
    }

    #[test]
    fn the_opposites_are_opposites(wanted in any_value(), found in any_value()) {
        let mut event = event("{}");
        event.element.body.set("s", found);
        let is = |name: &str, operand: Value| {
            let operators: Map = [(name.to_owned(), operand)].into_iter().collect();
            let table: Map = [("s", Value::Map(operators))].into_iter().collect();
            Condition::parse(&literal(&Value::Map(table), 1), "a.rhai", &Open).ok().map(|condition| condition.holds(&event, &lists()))
        };
        let list = Value::List(vec![wanted.clone()]);
        prop_assert_eq!(is("one_of", list.clone()), is("none_of", list).map(|holds| !holds));
        if let (Some(above), Some(at_most)) = (is("above", wanted.clone()), is("at_most", wanted)) {
            prop_assert!(!(above && at_most));
        }
    }
}
