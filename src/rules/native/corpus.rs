//! Two hundred rules as officers and engineers write them: nearly all of them need no interpreter, and a set of them judges events as the
//! interpreter alone would.

use std::sync::Arc;

use super::{differential::Chance, tests::tally_of};
use crate::{
    model::verdict::Judgement,
    rules::{
        compile::{Compiler, Surroundings},
        evaluate::Evaluator,
        lists::Lists,
        plan::{self, How},
        rule::CompiledRule,
        set::{Declared, Generation, Modules},
    },
};

/// Topics, settings and functions; `{n}` is the rule's number.
const TEMPLATES: &[(&str, &str, &str)] = &[
    ("identResult", "", r#"fn when(event, settings) { event.status != "success" }"#),
    ("identResult", "", r#"fn when(event, settings) { event.kyc == "KYC{n}" && event.status in ["failed", "aborted"] }"#),
    ("identResult", r#"words: ["fraud{n}", "forged"]"#, "fn when(event, settings) { fold(event.reason) in settings.words }"),
    (
        "identResult",
        r#"start: "PERS_{n}""#,
        "fn when(event, settings) { !blank(event.personKey) && event.personKey.starts_with(settings.start) }",
    ),
    (
        "identResult",
        r#"signs: "(?i)fraud|betrug{n}""#,
        "fn when(event, settings) { matches(event.reason, settings.signs) || matches(event.status, settings.signs) }",
    ),
    ("identResult", "", r#"fn when(event, settings) { (event.reason ?? "none").to_lower().contains("document {n}") }"#),
    ("identResult", "", "fn when(event, settings) { blank(event.identId) || blank(event.personKey) }"),
    (
        "identResult",
        "",
        r#"fn when(event, settings) { if event.status == "success" { return false; } event.kyc.ends_with("{n}") }"#,
    ),
    (
        "identResult",
        "",
        r#"fn when(event, settings) { let reason = fold(event.reason); reason.len() > {n} && !reason.contains("test") }"#,
    ),
    ("identResult", "", r#"fn when(event, settings) { event.personKey in list("watched") && event.status != "pending" }"#),
    ("identResult", "", r#"fn when(event, settings) { !working_hours(event.at, "Europe/Berlin") && event.kyc == "KYC{n}" }"#),
    ("identResult", "", r#"fn when(event, settings) { weekday(event.at) in ["saturday", "sunday"] && event.late == false }"#),
    ("identResult", "most: {n}", "fn when(event, settings) { hours_between(event.at, event.receivedAt) > settings.most }"),
    ("identResult", "", r#"fn when(event, settings) { `${event.kyc}/${event.status}` == "KYC{n}/failed" }"#),
    (
        "identResult",
        "",
        r#"fn when(event, settings) { failed(event.status) && event.kyc != () } fn failed(word) { !(fold(word) in ["success", "pending", "w{n}"]) }"#,
    ),
    ("identResult", "", r#"fn when(event, settings) { event.reason?.split(" ").some(|word| fold(word) == "fraud{n}") == true }"#),
    (
        "identResult",
        "",
        r#"fn when(event, settings) { let key = event.personKey; if blank(key) { return true; } key.sub_string(0, 5) != "PERS_" }"#,
    ),
    ("identResultKYC", "", "fn when(event, settings) { event.attachments.len() < {n} % 4 }"),
    ("identResultKYC", "", "fn when(event, settings) { event.attachments.all(|a| a.size < {n} * 1000) }"),
    (
        "identResultKYC",
        "",
        r#"fn when(event, settings) { !event.attachments.some(|a| fold(a.name).ends_with(".pdf")) && event.kyc == "KYC{n}" }"#,
    ),
    (
        "identResultKYC",
        "",
        "fn when(event, settings) { let size = 0; for a in event.attachments { if a.size != () { size += a.size; } } size > {n} * 100000 }",
    ),
    ("identResultKYC", "", r#"fn when(event, settings) { event.attachments.map(|a| a.sha256).contains("{n}") }"#),
    (
        "identResult\", \"identResultKYC",
        "",
        r#"fn when(event, settings) { event.topic == "identResultKYC" && event.status != "success" && event.kyc == "KYC{n}" }"#,
    ),
    (
        "mismatches",
        r#"watched: ["nationality", "field{n}"]"#,
        "fn when(event, settings) { differing(event, settings).len() > 0 } fn differing(event, settings) { event.mismatches.filter(|m| fold(m.fieldName) in settings.watched && !same_country(m.value, m.kycValue)) }",
    ),
    (
        "mismatches",
        "",
        r#"fn when(event, settings) { event.mismatches.some(|m| m.fieldName == "Field{n}" && m.value != m.kycValue) }"#,
    ),
    (
        "mismatches",
        "",
        r#"fn when(event, settings) { let risky = list("risky"); event.mismatches.some(|m| country(m.kycValue) in risky) }"#,
    ),
    (
        "mismatches",
        "",
        r#"fn when(event, settings) { event.mismatches.some(|m| fold(m.fieldName) == "birthdate" && !same_date(m.value, m.kycValue)) && event.personKey != "P{n}" }"#,
    ),
    (
        "mismatches",
        "slip: 0.9",
        "fn when(event, settings) { event.mismatches.some(|m| fold(m.fieldName) == \"surname\" && name_similarity(m.value, m.kycValue) < settings.slip) }",
    ),
    ("mismatches", "", "fn when(event, settings) { event.mismatches.len() >= {n} % 5 + 1 }"),
    (
        "mismatches",
        "",
        r#"fn when(event, settings) { let first = event.mismatches.find(|m| m.fieldName == "Field{n}"); first != () && blank(first.kycValue) }"#,
    ),
    (
        "mismatches",
        "",
        "fn when(event, settings) { event.mismatches.filter(|m| blank(m.value)).len() > event.mismatches.filter(|m| blank(m.kycValue)).len() + {n} % 3 }",
    ),
    (
        "mismatches",
        "",
        r#"fn when(event, settings) { event.mismatches.all(|m| line(m.value) == line(m.kycValue)) && event.identId != "{n}" } fn line(value) { let text = fold(value); text.replace("strasse", "str"); text.replace(".", ""); text }"#,
    ),
    (
        "mismatches",
        "",
        r#"fn when(event, settings) { event.mismatches.some(|m, i| i > 0 && m.fieldName == event.mismatches[0].fieldName && m.value == "V{n}") }"#,
    ),
    ("complianceRecord", "codes: [{n}, 300]", "fn when(event, settings) { event.status in settings.codes }"),
    (
        "complianceRecord",
        "",
        "fn when(event, settings) { event.status >= {n} && event.status < {n} + 10 && !blank(event.customerKey) }",
    ),
    (
        "complianceRecord",
        "",
        r#"fn when(event, settings) { compliance_status(event.status).group == "rejected" && event.key != "{n}" }"#,
    ),
    (
        "complianceRecord",
        "days: {n}",
        "fn when(event, settings) { !blank(event.modified) && days_between(event.modified, event.receivedAt) > settings.days }",
    ),
    ("complianceRecord", "", r#"fn when(event, settings) { event.notes?.contains("PEP {n}") ?? false }"#),
    ("complianceRecord", "", r#"fn when(event, settings) { (event.customerKey ?? event.contractKey ?? "") == "CUS_{n}" }"#),
    (
        "complianceRecord",
        "",
        r#"fn when(event, settings) { let group = switch event.status { 300 => "aml", 301 => "other", _ => "none" }; group == "aml" && event.key == "{n}" }"#,
    ),
];

const RULES: usize = 200;

fn lists() -> Arc<Lists> {
    let files: [(&str, &[u8]); 2] = [("lists/watched.txt", b"PERS_1\nPERS_2\n"), ("lists/risky.txt", b"Iran\nLB\n")];
    Arc::new(Lists::from_files(files.into_iter()).0)
}

fn rules(lists: &Lists) -> Vec<Arc<CompiledRule>> {
    let (modules, declared) = (Modules::default(), Declared::default());
    (0..RULES)
        .map(|n| {
            let (on, settings, functions) = TEMPLATES[n % TEMPLATES.len()];
            let text = format!(
                "//! Rule {n}.\n\nconst RULE = #{{ id: \"C-{n:03}\", title: \"Rule {n}\", on: [\"{on}\"], severity: \"low\", \
                 send_to: [\"a\"], stage: \"shadow\", settings: #{{ {settings} }} }};\n\n{functions}\n"
            )
            .replace("{n}", &n.to_string());
            let with = Surroundings { modules: &modules, declared: &declared, lists };
            let compiled = Compiler::shared().rule(&format!("corpus/c{n}.rhai"), &Arc::from(text.as_bytes()), with);
            Arc::new(compiled.unwrap_or_else(|findings| panic!("{text}\n{findings:?}")).rule)
        })
        .collect()
}

#[test]
fn of_two_hundred_rules_at_least_nineteen_in_twenty_need_no_interpreter() {
    let lists = lists();
    let generation = Generation::new(rules(&lists), Arc::clone(&lists), Arc::default());
    let left: Vec<String> = generation
        .rules
        .iter()
        .map(|rule| (rule, plan::of(&generation, rule)))
        .filter(|(_, plan)| plan.how != How::Native)
        .map(|(rule, plan)| format!("{}: {:?}", rule.card.id, plan.interpreted))
        .collect();
    assert!(left.len() * 20 <= RULES, "{}", left.join("\n"));
}

#[test]
fn a_set_of_rules_judges_as_the_interpreter_alone_would() {
    let lists = lists();
    let compiled = rules(&lists);
    let interpreted = compiled
        .iter()
        .map(|rule| {
            let mut rule = CompiledRule::clone(rule);
            if let Some(script) = rule.script.as_mut() {
                script.native = None;
            }
            Arc::new(rule)
        })
        .collect();
    let ours = Generation::new(compiled, Arc::clone(&lists), Arc::default());
    let theirs = Generation::new(interpreted, lists, Arc::default());
    let (mut native, mut plain) = (Evaluator::new(), Evaluator::new());
    let mut chance = Chance::new(11);
    let mut matches = 0;
    for _ in 0..400 {
        let event = chance.any_event();
        let mut judged: [Vec<Judgement>; 2] = Default::default();
        let tallies = [native.judge(&ours, &event, &mut judged[0]), plain.judge(&theirs, &event, &mut judged[1])];
        assert_eq!(tallies[0], tallies[1], "{}", event.topic);
        assert_eq!(tally_of(&tallies[0]), ours.for_topic(&event.topic).len() as u64);
        let said = |judged: &[Judgement]| {
            judged.iter().map(|judgement| (judgement.card.id.clone(), judgement.verdict.clone())).collect::<Vec<_>>()
        };
        assert_eq!(said(&judged[0]), said(&judged[1]), "{}", event.topic);
        matches += judged[0].len();
    }
    assert!(matches > 400, "only {matches} verdicts");
}
