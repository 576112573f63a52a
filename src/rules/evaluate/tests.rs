//! Verdicts: functions and their fallbacks, every way to be undecided, and that no rule harms another.

use std::collections::BTreeMap;

use rhai::AST;

use super::*;
use crate::{
    model::{
        card::{Card, Quiet},
        event::{Element, Origin},
        ids::Seq,
        names::{FeedName, TopicName},
        time::Span,
        value::Map,
        verdict::{Undecided, UndecidedKind},
    },
    rules::{
        condition::Condition,
        lint::functions_of,
        native::Native,
        set::{Module, Modules},
        subject::Subject,
    },
};

const MISMATCHES: &str = r#"{"identId":"166956507","personKey":"PERS_1","created":"2023-06-01T13:23:17.706Z","mismatches":[
    {"fieldName":"BirthPlace","value":"Frankfurt","kycValue":"Beirut"},{"fieldName":"Nationality","value":"DE","kycValue":"lb"}]}"#;

const KYC_012: &str = r#"
fn when(event, settings) { differing(event, settings).len() > 0 }

fn severity(event, settings) {
    let risky = list("high_risk_countries");
    if differing(event, settings).some(|m| country(m.kycValue) in risky) { "critical" } else { "high" }
}

fn subject(event, settings) {
    let m = differing(event, settings)[0];
    `${m.fieldName}: customer said ${country(m.value)}, document says ${country(m.kycValue)}`
}

fn differing(event, settings) {
    event.mismatches.filter(|m| m.fieldName in settings.watched && country(m.value) != country(m.kycValue))
}
"#;

fn event(topic: &str, body: &str) -> Event {
    let body: Map = serde_json::from_str(body).unwrap();
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

fn mismatches() -> Event {
    event("mismatches", MISMATCHES)
}

fn compiled(id: &str, script: &str) -> CompiledRule {
    let ast: AST = sandbox::compiler().compile(script).unwrap();
    let has = |name: &str| ast.iter_functions().any(|function| function.name == name && function.params.len() == 2);
    let card = Card {
        title: "Nationality differs".to_owned(),
        on: vec![TopicName::new("mismatches")],
        severity: Severity::Medium,
        send_to: vec!["kyc-operations".to_owned()],
        quiet: Some(Quiet { same: vec!["personKey".to_owned()], within: Span::from_secs(60) }),
        hash: Digest::of(format!("{id}{script}").as_bytes()),
        ..Card::sample(id)
    };
    let watched = Value::List(vec![Value::from("Nationality")]);
    let settings = Value::Map([("watched", watched)].into_iter().collect());
    CompiledRule {
        card: Arc::new(card),
        condition: Condition::always(),
        subject: None,
        masked_subject: Some(Subject::parse("Differs for {personKey}").unwrap()),
        settings: settings.clone(),
        script: Some(Script {
            when: has("when"),
            native: Native::lower(&functions_of(&ast).unwrap(), &settings).map(Arc::new),
            severity: has("severity"),
            subject: has("subject"),
            details: has("details"),
            send_to: has("send_to"),
            imports: Vec::new(),
            modules: Arc::default(),
            ast,
        }),
        cases: Vec::new(),
        sources: BTreeMap::new(),
    }
}

fn judge_with(script: &str, event: &Event, lists: Option<&Arc<Lists>>, settings: Option<&Value>) -> Option<Verdict> {
    let mut rule = compiled("KYC-012", script);
    Arc::get_mut(&mut rule.card).unwrap().on = vec![event.topic.clone()];
    Evaluator::new().judge_one(&Generation::empty(), &rule, event, lists, settings)
}

fn lists(risky: &[&str]) -> Arc<Lists> {
    let entries = risky.iter().map(ToString::to_string).collect();
    Arc::new(Lists::of(BTreeMap::from([("high_risk_countries".to_owned(), entries)])))
}

fn judge(script: &str) -> Option<Verdict> {
    judge_with(script, &mismatches(), Some(&lists(&[])), None)
}

#[track_caller]
fn finding(script: &str) -> Finding {
    match judge(script) {
        Some(Verdict::Match(finding)) => *finding,
        other => panic!("expected a match, not {other:?}"),
    }
}

#[track_caller]
fn undecided(script: &str) -> Undecided {
    match judge(script) {
        Some(Verdict::Undecided(undecided)) => undecided,
        other => panic!("expected an undecided verdict, not {other:?}"),
    }
}

#[test]
fn the_functions_of_a_rule_make_its_finding() {
    let found = finding(KYC_012);
    assert_eq!(found.severity, Severity::High);
    assert_eq!(found.subject, "Nationality: customer said DE, document says LB");
    assert_eq!(found.masked_subject, "Differs for PERS_1");
    assert_eq!(found.send_to, ["kyc-operations"]);
    assert_eq!(found.quiet_key, Some(vec!["PERS_1".to_owned()]));
    assert_eq!(found.fallbacks, [""; 0]);
}

#[test]
fn lists_and_settings_can_be_overridden_for_one_verdict() {
    let Some(Verdict::Match(found)) = judge_with(KYC_012, &mismatches(), Some(&lists(&["LB"])), None) else { panic!("no match") };
    assert_eq!(found.severity, Severity::Critical);
    let settings = Value::Map([("watched", Value::List(Vec::new()))].into_iter().collect());
    assert!(judge_with(KYC_012, &mismatches(), None, Some(&settings)).is_none());
}

#[test]
fn a_rule_of_another_topic_does_not_match() {
    let rule = compiled("A", "");
    let other = event("identResult", "{}");
    assert!(Evaluator::new().judge_one(&Generation::empty(), &rule, &other, None, None).is_none());
}

#[test]
fn the_condition_comes_before_any_code() {
    let mut rule = compiled("A", "fn when(event, settings) { throw 1 }");
    rule.condition = Condition::parse(
        &crate::rules::literal::Literal {
            place: crate::rules::literal::Place::default(),
            node: crate::rules::literal::Node::Map(vec![crate::rules::literal::Entry {
                name: "personKey".to_owned(),
                place: crate::rules::literal::Place::default(),
                value: crate::rules::literal::Literal {
                    place: crate::rules::literal::Place::default(),
                    node: crate::rules::literal::Node::Text("another".to_owned()),
                },
            }]),
        },
        "a.rhai",
        &Unchecked,
    )
    .unwrap();
    assert!(Evaluator::new().judge_one(&Generation::empty(), &rule, &mismatches(), None, None).is_none());
}

struct Unchecked;

impl crate::rules::condition::Fields for Unchecked {
    fn known(&self, _: &Path) -> crate::rules::condition::FieldCheck {
        crate::rules::condition::FieldCheck::Unchecked
    }
}

#[test]
fn without_functions_the_card_speaks() {
    let found = finding("");
    assert_eq!((found.severity, found.subject.as_str(), found.details), (Severity::Medium, "Nationality differs", None));
    assert!(found.fallbacks.is_empty());
}

#[test]
fn a_blank_key_never_groups() {
    let Some(Verdict::Match(found)) = judge_with("", &event("mismatches", r#"{"personKey":" "}"#), None, None) else {
        panic!("no match")
    };
    assert_eq!(found.quiet_key, None);
}

#[test]
fn details_and_recipients_may_be_computed() {
    let found = finding(
        r#"fn details(event, settings) { #{ person: event.personKey, count: event.mismatches.len(), ratio: 0.5, none: () } }
           fn send_to(event, settings) { ["mlro", "compliance-chat"] }"#,
    );
    insta::assert_snapshot!(serde_json::to_string(&found.details).unwrap(), @r#"{"count":2,"none":null,"person":"PERS_1","ratio":0.5}"#);
    assert_eq!(found.send_to, ["mlro", "compliance-chat"]);
}

#[test]
fn what_fails_after_the_match_leaves_the_card_s_value_and_says_so() {
    let found = finding(
        r#"
        fn severity(event, settings) { "urgent" }
        fn subject(event, settings) { throw event.personKey }
        fn details(event, settings) { [1] }
        fn send_to(event, settings) { [] }
        "#,
    );
    assert_eq!((found.severity, found.subject.as_str()), (Severity::Medium, "Nationality differs"));
    assert_eq!(found.send_to, ["kyc-operations"]);
    insta::assert_snapshot!(found.fallbacks.join("\n"), @r#"
    `severity` failed: answered a text, not a severity
    `subject` failed in line 3: the rule, or a function it calls, refused with an error
    `details` failed: answered a list, not a map of plain values
    `send_to` failed: answered a list, not channel or group names
    "#);
}

#[test]
fn every_way_to_fail_is_undecided_with_line_and_reason_and_without_data() {
    let secret = "PERS_1";
    let all: Vec<String> = [
        "fn when(event, settings) { 1 }",
        "fn when(event, settings) { }",
        "fn when(event, settings) {\n event.staus == 1 }",
        "fn when(event, settings) {\n event.mismatches.some(|m|\n m.valu == 1) }",
        "fn when(event, settings) { event.mismatches[7].value == 1 }",
        "fn when(event, settings) { event[event.personKey] }",
        "fn when(event, settings) { throw event.personKey }",
        "fn when(event, settings) { helper(event) }\nfn helper(e) {\n  e.personKey / 2 }",
        "fn when(event, settings) { parse_int(event.personKey) > 1 }",
        "fn when(event, settings) { 1 / 0 > 1 }",
        "fn when(event, settings) { event.frobnicate() }",
        "fn when(event, settings) { frobnicate(event, 1) }",
        "fn when(event, settings) { for x in event.late { } true }",
        "fn when(event, settings) { when(event, settings) }",
        "fn when(event, settings) { let s = event.personKey; loop { s += s; } }",
        "fn when(event, settings) { loop { } }",
        "fn when(event, settings) { try { loop { } } catch { true } }",
        "fn when(event, settings) { sleep(5) }",
        "fn when(event, settings) { eval2() }",
        "fn when(event, settings) { if event.mismatches { true } else { false } }",
    ]
    .into_iter()
    .map(|script| {
        let undecided = undecided(script);
        assert!(!undecided.detail.contains(secret), "{}", undecided.detail);
        format!("{}\n    {} {:?}: {}", script.replace('\n', " "), undecided.kind.as_str(), undecided.line, undecided.detail)
    })
    .collect();
    insta::assert_snapshot!(all.join("\n"), @r#"
    fn when(event, settings) { 1 }
        error None: `when`: answered a whole number, not true or false
    fn when(event, settings) { }
        error None: `when`: answered nothing, (), not true or false
    fn when(event, settings) {  event.staus == 1 }
        error Some(2): `when`: there is no field `staus`
    fn when(event, settings) {  event.mismatches.some(|m|  m.valu == 1) }
        error Some(3): `when`: there is no field `valu`
    fn when(event, settings) { event.mismatches[7].value == 1 }
        error Some(1): `when`: an index beyond a list of 2
    fn when(event, settings) { event[event.personKey] }
        error Some(1): `when`: a field that is not there
    fn when(event, settings) { throw event.personKey }
        error Some(1): `when`: the rule, or a function it calls, refused with an error
    fn when(event, settings) { helper(event) } fn helper(e) {   e.personKey / 2 }
        error Some(3): `when`: `/` can't be applied to a text and a whole number
    fn when(event, settings) { parse_int(event.personKey) > 1 }
        error Some(1): `when`: an arithmetic error: an overflow, a division by zero or a number that can't be read
    fn when(event, settings) { 1 / 0 > 1 }
        error Some(1): `when`: an arithmetic error: an overflow, a division by zero or a number that can't be read
    fn when(event, settings) { event.frobnicate() }
        error Some(1): `when`: `frobnicate` can't be applied to a map
    fn when(event, settings) { frobnicate(event, 1) }
        error Some(1): `when`: `frobnicate` can't be applied to a map and a whole number
    fn when(event, settings) { for x in event.late { } true }
        error Some(1): `when`: `for` over what is no list
    fn when(event, settings) { when(event, settings) }
        error None: `when`: calls nest too deep
    fn when(event, settings) { let s = event.personKey; loop { s += s; } }
        error None: `when`: a text, list or map grew too large
    fn when(event, settings) { loop { } }
        budget None: `when`: the operation budget is used up
    fn when(event, settings) { try { loop { } } catch { true } }
        budget None: `when`: the operation budget is used up
    fn when(event, settings) { sleep(5) }
        error Some(1): `when`: `sleep` can't be applied to a whole number
    fn when(event, settings) { eval2() }
        error Some(1): `when`: `eval2` can't be applied to nothing
    fn when(event, settings) { if event.mismatches { true } else { false } }
        error Some(1): `when`: expected true or false, got a list
    "#);
}

#[test]
fn a_slow_rule_blows_the_fuse_before_it_uses_its_operations() {
    let script = r#"fn when(event, settings) {
        let s = "a"; for i in 0..14 { s += s; } let t = s.sub_string(0, 8000) + "b";
        let n = 0; for i in 0..60000 { if s.contains(t) { n += 1; } } n > 0 }"#;
    let started = std::time::Instant::now();
    assert_eq!(undecided(script).kind, UndecidedKind::Fuse);
    assert!(started.elapsed() < std::time::Duration::from_secs(5), "{:?}", started.elapsed());
}

/// A panic inside the engine, from a host function that is not there in truth.
#[test]
fn a_panic_is_undecided_and_the_next_rule_gets_a_new_engine() {
    let mut evaluator = Evaluator::new();
    evaluator.sandbox.engine.register_fn("burst", || -> bool { panic!("on purpose") });
    let generation = Generation::empty();
    let rule = compiled("A", "fn when(event, settings) { burst() }");
    let mut verdict = || evaluator.judge_one(&generation, &rule, &mismatches(), None, None);
    let kinds: Vec<UndecidedKind> = [verdict(), verdict()]
        .into_iter()
        .map(|verdict| match verdict {
            Some(Verdict::Undecided(undecided)) => undecided.kind,
            other => panic!("expected undecided, not {other:?}"),
        })
        .collect();
    // The second time the function is gone with the engine that had it.
    assert_eq!(kinds, [UndecidedKind::Panic, UndecidedKind::Error]);
}

/// What each rule said, for comparison.
fn outcome(rules: &[Arc<CompiledRule>]) -> (Tally, BTreeMap<String, String>) {
    let mut out = Vec::new();
    let generation = Generation::empty();
    let mut evaluator = Evaluator::new();
    evaluator.enter(generation.hash, &generation.lists);
    let tally = evaluator.judge_all(rules.iter(), &generation.lists, Lazy::new(&mismatches()), &mut out);
    let said = |verdict: &Verdict| match verdict {
        Verdict::Match(finding) => finding.subject.clone(),
        Verdict::Undecided(undecided) => undecided.kind.as_str().to_owned(),
    };
    (tally, out.iter().map(|judgement| (judgement.card.id.to_string(), said(&judgement.verdict))).collect())
}

#[test]
fn no_rule_harms_another_whatever_the_order() {
    let mut rules: Vec<Arc<CompiledRule>> = [
        ("good", KYC_012),
        ("changes", "fn when(event, settings) { event.mismatches.clear(); event.personKey = 1; settings.watched.clear(); true }"),
        ("loops", "fn when(event, settings) { loop { } }"),
        ("throws", "fn when(event, settings) { throw 1 }"),
        ("no match", "fn when(event, settings) { false }"),
        ("good too", KYC_012),
    ]
    .into_iter()
    .map(|(id, script)| Arc::new(compiled(id, script)))
    .collect();
    let (tally, said) = outcome(&rules);
    assert_eq!(tally, Tally { decided: 4, matched: 3, undecided: 2, parked: 0 });
    insta::assert_debug_snapshot!(said, @r#"
    {
        "changes": "Nationality differs",
        "good": "Nationality: customer said DE, document says LB",
        "good too": "Nationality: customer said DE, document says LB",
        "loops": "budget",
        "throws": "error",
    }
    "#);
    rules.reverse();
    assert_eq!(outcome(&rules), (tally, said.clone()));
    rules.rotate_left(2);
    assert_eq!(outcome(&rules), (tally, said));
}

#[test]
fn known_fields_that_are_absent_read_as_nothing_or_as_an_empty_list() {
    let absent = event("mismatches", r#"{"mismatches":[{"fieldName":"x"}],"created":null}"#);
    let text = |verdict| match verdict {
        Some(Verdict::Match(finding)) => finding.subject,
        other => format!("{other:?}"),
    };
    let script = r"fn subject(event, settings) { `${event.personKey} ${event.created} ${event.mismatches[0].value} ${event.at} ${event.receivedAt} ${event.late} ${event.topic}` }";
    insta::assert_snapshot!(text(judge_with(script, &absent, None, None)), @"   2023-06-02T00:00:00Z 2023-06-02T00:00:00Z false mismatches");
    let script = r"fn subject(event, settings) { `${event.mismatches.len()} ${event.at}` }";
    insta::assert_snapshot!(text(judge_with(script, &event("mismatches", r#"{"mismatches":null,"created":"2023-06-01T13:23:17.706Z"}"#), None, None)), @"0 2023-06-01T13:23:17.706Z");
}

#[test]
fn a_callback_may_use_the_variable_whose_list_it_runs_over() {
    for script in [
        r#"fn when(event, settings) { event.mismatches.filter(|m| event.personKey == "PERS_1" && m.value == "DE").len() == 1 }"#,
        r#"fn when(event, settings) { event.mismatches.some(|m| event.mismatches.some(|n| event.personKey == "PERS_1" && n.value == "DE")) }"#,
        r#"fn when(event, settings) { helper(event) } fn helper(e) { e.mismatches.filter(|m| m.value == "DE").some(|m| e.late == false) }"#,
        "fn when(event, settings) { let ms = event.mismatches; ms.filter(|m| ms.len() == 2).len() == 2 }",
        "fn when(event, settings) { settings.watched.some(|w| settings.watched[0] == w) }",
        "fn when(event, settings) { let n = 0; event.mismatches.for_each(|| n += 1); n == 2 }",
    ] {
        assert_eq!(finding(script).severity, Severity::Medium, "{script}");
    }
}

#[test]
fn only_a_variable_that_its_own_callback_captures_is_copied() {
    let names = |script: &str| {
        let names = sandbox::recaptured(&sandbox::compiler().compile(script).unwrap());
        names.iter().flat_map(|names| names.iter()).map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(names(KYC_012), [""; 0]);
    assert_eq!(names("fn f(event) { event.list.filter(|m| event.status == m) }"), ["event"]);
    assert_eq!(names("fn f(event) { event.list.filter(|m| m.list.some(|n| event.status == n)) }"), ["event"]);
    assert_eq!(names("fn f(event) { let l = event.list; l.filter(|m| event.status == m) }"), [""; 0]);
}

/// A rule that imports, and its modules by path.
fn importing(script: &str, modules: &[(&str, &str)]) -> CompiledRule {
    let module = |text: &str| Module {
        ast: sandbox::compiler().compile(text).unwrap(),
        bytes: Arc::from(text.as_bytes()),
        imports: Vec::new(),
        functions: Vec::new(),
    };
    let mut rule = compiled("A", script);
    let imported = rule.script.as_mut().unwrap();
    imported.native = None;
    imported.imports = modules.iter().map(|(path, _)| format!("{path}.rhai")).collect();
    imported.modules =
        Arc::new(Modules::of(modules.iter().map(|(path, text)| ((*path).to_owned(), Arc::new(module(text)))).collect()));
    rule
}

#[test]
fn a_rule_runs_with_the_modules_it_was_compiled_with() {
    let rule = |limit: &str| {
        importing(
            "import \"shared/a\" as a; const RULE = #{}; fn when(event, settings) { a::many(event.mismatches) }",
            &[
                ("shared/a", "import \"shared/b\" as b; fn many(list) { list.len() > b::limit() }"),
                ("shared/b", &format!("fn limit() {{ {limit} }}")),
            ],
        )
    };
    let (one, two) = (rule("1"), rule("2"));
    let mut evaluator = Evaluator::new();
    let generation = Generation::empty();
    for _ in 0..2 {
        assert!(matches!(evaluator.judge_one(&generation, &one, &mismatches(), None, None), Some(Verdict::Match(_))));
        assert!(evaluator.judge_one(&generation, &two, &mismatches(), None, None).is_none());
    }
}

#[test]
fn what_can_t_be_imported_is_undecided() {
    let circle =
        [("shared/a", "import \"shared/b\" as b; fn f() { true }"), ("shared/b", "import \"shared/a\" as a; fn f() { true }")];
    let script = "import \"shared/a\" as a; fn when(event, settings) { a::f() }";
    let throws = [("shared/a", "fn f() {\n\n throw 1 }")];
    let all: Vec<String> = [
        importing("import \"../../secret\" as a; fn when(event, settings) { true }", &throws),
        importing(script, &circle),
        importing(script, &throws),
    ]
    .iter()
    .map(|rule| match Evaluator::new().judge_one(&Generation::empty(), rule, &mismatches(), None, None) {
        Some(Verdict::Undecided(undecided)) => format!("{:?} {}", undecided.line, undecided.detail),
        other => panic!("expected undecided, not {other:?}"),
    })
    .collect();
    insta::assert_snapshot!(all.join("\n"), @r#"
    Some(1) `when`: a module that is not there
    Some(1) `when`: a module that is not there, inside what this line calls
    Some(1) `when`: the rule, or a function it calls, refused with an error, inside what this line calls
    "#);
}
