//! What survives a reload, and what waits for a person.

use super::*;
use crate::rules::{codes, literal::Place, watch::Snapshot};

const TESTS: &str = r#"
const TESTS = [
    #{ name: "alerts", like: "identResult", set: #{ status: "failed" }, expect: #{ alerts: 1 } },
    #{ name: "stays quiet", like: "identResult", expect: #{ alerts: 0 } },
];
"#;

fn rule(id: &str) -> String {
    format!(
        "//! A sample.\nconst RULE = #{{ id: \"{id}\", title: \"Sample {id}\", on: [\"identResult\"], severity: \"high\", send_to: [\"mlro\"] }};\n{TESTS}"
    )
}

fn folder(files: &[(&str, String)]) -> Snapshot {
    let mut snapshot = Snapshot::default();
    for (file, text) in files {
        snapshot.files.insert((*file).to_owned(), Arc::from(text.as_bytes()));
    }
    snapshot
}

fn reload(files: &[(&str, String)], previous: Option<&Generation>) -> Loaded {
    load(&folder(files), previous, &Declared::default(), false, &|_| Vec::new())
}

fn ids(generation: &Generation) -> Vec<&str> {
    generation.rules.iter().map(|rule| rule.card.id.as_str()).collect()
}

fn codes_of(loaded: &Loaded) -> Vec<&'static str> {
    loaded.diagnostics.iter().map(|finding| finding.code).collect()
}

#[test]
fn rules_stand_in_the_order_of_their_ids_and_by_topic() {
    let draft = rule("C-3").replace("severity:", "stage: \"draft\", severity:");
    let loaded = reload(&[("b/x.rhai", rule("A-1")), ("a/y.rhai", rule("B-2")), ("a/z.rhai", draft)], None);
    assert_eq!(codes_of(&loaded), [""; 0]);
    assert_eq!(ids(&loaded.generation), ["A-1", "B-2", "C-3"]);
    assert_eq!(loaded.generation.for_topic("identResult"), [0, 1]);
    assert_eq!(loaded.generation.for_topic("mismatches"), [0_u32; 0]);
    assert_eq!(loaded.generation.rule("B-2").unwrap().card.file, "a/y.rhai");
}

#[test]
fn a_broken_file_runs_as_its_last_good_version_and_says_so() {
    let first = reload(&[("a.rhai", rule("A-1")), ("b.rhai", rule("B-2"))], None).generation;
    let broken = rule("A-1").replace("severity", "severety");
    let second = reload(&[("a.rhai", broken), ("b.rhai", rule("B-2"))], Some(&first));
    assert_eq!(ids(&second.generation), ["A-1", "B-2"]);
    assert_eq!(second.stale, [Stale { file: "a.rhai".to_owned(), id: RuleId::new("A-1") }]);
    assert!(Arc::ptr_eq(&second.generation.rules[0], &first.rules[0]));
    assert_eq!(second.generation.hash, first.hash, "what runs is what ran");
    assert!(second.diagnostics.iter().all(|finding| finding.file == "a.rhai"));
}

#[test]
fn an_unchanged_file_is_not_compiled_again_and_a_changed_one_changes_the_hash() {
    let first = reload(&[("a.rhai", rule("A-1")), ("b.rhai", rule("B-2"))], None).generation;
    let edited = rule("B-2").replace("Sample", "Edited");
    let second = reload(&[("a.rhai", rule("A-1")), ("b.rhai", edited)], Some(&first)).generation;
    assert!(Arc::ptr_eq(&second.rules[0], &first.rules[0]));
    assert_eq!(second.rules[1].card.title, "Edited B-2");
    assert_ne!(second.hash, first.hash);
}

#[test]
fn failing_tests_keep_the_last_good_version() {
    let first = reload(&[("a.rhai", rule("A-1"))], None).generation;
    let edited = rule("A-1").replace("Sample", "Edited");
    let failing = |rules: &[Arc<CompiledRule>]| {
        let failed = rules.iter().map(|rule| &rule.card.file);
        failed.map(|file| Diagnostic::error(codes::TEST_FAILED, file, Place::default(), 1, "a test failed")).collect()
    };
    let second = load(&folder(&[("a.rhai", edited)]), Some(&first), &Declared::default(), false, &failing);
    assert_eq!(second.generation.rules[0].card.title, "Sample A-1");
    assert_eq!(second.stale.len(), 1);
    assert_eq!(codes_of(&second), ["R036"]);
}

#[test]
fn a_deleted_file_withdraws_its_rule() {
    let first = reload(&[("a.rhai", rule("A-1")), ("b.rhai", rule("B-2"))], None).generation;
    let second = reload(&[("b.rhai", rule("B-2"))], Some(&first));
    assert_eq!(ids(&second.generation), ["B-2"]);
    assert_eq!(second.withdrawn, [RuleId::new("A-1")]);
    assert_eq!(second.held_back, None);
}

#[test]
fn a_moved_file_takes_its_rule_along() {
    let first = reload(&[("a.rhai", rule("A-1"))], None).generation;
    let second = reload(&[("new/a.rhai", rule("A-1"))], Some(&first));
    assert_eq!((second.withdrawn, second.held_back), (Vec::new(), None));
    assert_eq!(second.generation.rules[0].card.file, "new/a.rhai");
}

#[test]
fn two_files_with_one_id_are_both_refused_and_what_ran_goes_on() {
    let loaded = reload(&[("a.rhai", rule("A-1")), ("b.rhai", rule("A-1"))], None);
    assert_eq!(ids(&loaded.generation), [""; 0]);
    assert_eq!(codes_of(&loaded), ["R019", "R019"]);

    let first = reload(&[("a.rhai", rule("A-1"))], None).generation;
    let second = reload(&[("a.rhai", rule("A-1")), ("copy.rhai", rule("A-1"))], Some(&first));
    assert_eq!(ids(&second.generation), ["A-1"]);
    assert_eq!(second.generation.rules[0].card.file, "a.rhai");
    assert_eq!(second.stale.len(), 1);
}

#[test]
fn an_emptied_or_shrunk_folder_is_held_back_until_confirmed() {
    let ids_of = |count: usize| (0..count).map(|number| format!("A-{number:02}")).collect::<Vec<_>>();
    let names: Vec<String> = ids_of(14).iter().map(|id| format!("{id}.rhai")).collect();
    let files: Vec<(&str, String)> = names.iter().map(String::as_str).zip(ids_of(14).iter().map(|id| rule(id))).collect();
    let first = reload(&files, None).generation;

    let empty = reload(&[], Some(&first));
    assert_eq!(empty.held_back.as_deref(), Some("no rule is left of 14"));
    assert_eq!(empty.generation.rules.len(), 14);

    let three_less = reload(&files[3..], Some(&first));
    assert_eq!(three_less.held_back.as_deref(), Some("3 of 14 rules are gone at once"));
    assert_eq!(three_less.generation.hash, first.hash);

    let two_less = reload(&files[2..], Some(&first));
    assert_eq!((two_less.held_back, two_less.withdrawn.len()), (None, 2));

    let confirmed = load(&folder(&files[3..]), Some(&first), &Declared::default(), true, &|_| Vec::new());
    assert_eq!((confirmed.held_back, confirmed.generation.rules.len()), (None, 11));
}

#[test]
fn a_list_that_shrinks_by_more_than_a_fifth_stays_as_it_was() {
    let with = |entries: usize| {
        let list = (0..entries).map(|number| format!("entry {number}")).collect::<Vec<_>>().join("\n");
        [("a.rhai", rule("A-1")), ("lists/risky.txt", list)]
    };
    let first = reload(&with(10), None).generation;
    let less = reload(&with(7), Some(&first));
    assert_eq!(less.held_back.as_deref(), Some("the list `risky` shrank from 10 to 7 entries"));
    assert_eq!(less.generation.lists.get("risky").unwrap().len(), 10);
    assert_eq!(reload(&with(8), Some(&first)).held_back, None);
    assert!(reload(&with(10)[..1], Some(&first)).held_back.unwrap().contains("became empty"));
}

#[test]
fn a_rule_keeps_the_modules_it_ran_with_while_others_take_the_new_ones() {
    let module = |answer: &str| format!("fn answer(x) {{ {answer} }}\n");
    let importing = format!("import \"shared/m\" as m;\n{}\nfn when(event, settings) {{ m::answer(1) }}\n", rule("A-1"));
    let first = reload(&[("a.rhai", importing.clone()), ("shared/m.rhai", module("true"))], None);
    assert_eq!(codes_of(&first), [""; 0]);
    let first = first.generation;
    assert_eq!(first.rules[0].script.as_ref().unwrap().imports, ["shared/m.rhai"]);

    let changed = reload(&[("a.rhai", importing.clone()), ("shared/m.rhai", module("x == 1"))], Some(&first));
    assert_ne!(changed.generation.rules[0].card.hash, first.rules[0].card.hash);

    let broken = reload(&[("a.rhai", importing), ("shared/m.rhai", module("x ="))], Some(&first));
    assert_eq!(broken.stale.len(), 1);
    assert!(Arc::ptr_eq(&broken.generation.rules[0], &first.rules[0]));
    assert!(broken.generation.rules[0].script.as_ref().unwrap().modules.get("shared/m").is_some());
    assert_eq!(codes_of(&broken).iter().filter(|code| **code == "R034").count(), 1);
}

#[test]
fn modules_may_import_modules_but_not_in_a_circle() {
    let loaded = reload(
        &[
            ("shared/a.rhai", "import \"shared/b\" as b;\nfn f(x) { b::g(x) }\n".to_owned()),
            ("shared/b.rhai", "fn g(x) { x }\n".to_owned()),
            ("shared/c.rhai", "import \"shared/d\" as d;\nfn f(x) { d::f(x) }\n".to_owned()),
            ("shared/d.rhai", "import \"shared/c\" as c;\nfn f(x) { c::f(x) }\n".to_owned()),
        ],
        None,
    );
    assert_eq!(loaded.generation.modules.paths().collect::<Vec<_>>(), ["shared/a", "shared/b"]);
    assert_eq!(codes_of(&loaded), ["R034", "R034"]);
}

#[test]
fn a_file_that_can_not_be_read_keeps_its_rule() {
    let first = reload(&[("a.rhai", rule("A-1")), ("b.rhai", rule("B-2"))], None).generation;
    let mut snapshot = folder(&[("b.rhai", rule("B-2"))]);
    snapshot.unreadable.push(("a.rhai".to_owned(), "permission denied".to_owned()));
    let second = load(&snapshot, Some(&first), &Declared::default(), false, &|_| Vec::new());
    assert_eq!(ids(&second.generation), ["A-1", "B-2"]);
    assert_eq!((second.stale.len(), codes_of(&second)), (1, vec!["R001"]));
}

#[test]
fn a_newcomer_with_the_id_of_an_unchanged_rule_is_refused_and_nothing_else_is_compiled_again() {
    let first = reload(&[("a.rhai", rule("A-1")), ("b.rhai", rule("B-2")), ("c.rhai", rule("C-3"))], None).generation;
    let second = reload(
        &[("0.rhai", rule("B-2")), ("a.rhai", rule("A-1")), ("b.rhai", rule("B-2")), ("c.rhai", rule("A-1"))],
        Some(&first),
    );
    assert_eq!(ids(&second.generation), ["A-1", "B-2", "C-3"]);
    for (now, before) in second.generation.rules.iter().zip(&first.rules) {
        assert!(Arc::ptr_eq(now, before));
    }
    let told: Vec<(&str, &str)> = second.diagnostics.iter().map(|finding| (finding.code, finding.file.as_str())).collect();
    assert_eq!(told, [("R019", "0.rhai"), ("R019", "a.rhai"), ("R019", "b.rhai"), ("R019", "c.rhai")]);
    let stale: Vec<&str> = second.stale.iter().map(|stale| stale.file.as_str()).collect();
    assert_eq!(stale, ["a.rhai", "b.rhai", "c.rhai"]);
    assert_eq!(second.withdrawn, []);
}

#[test]
fn an_id_that_moves_to_a_file_that_was_another_rules_withdraws_that_one_alone() {
    let first = reload(&[("a.rhai", rule("A-1")), ("b.rhai", rule("B-2"))], None).generation;
    let second = reload(&[("b.rhai", rule("A-1"))], Some(&first));
    assert_eq!(ids(&second.generation), ["A-1"]);
    assert_eq!(second.generation.rules[0].card.file, "b.rhai");
    assert_eq!((second.withdrawn, second.held_back), (vec![RuleId::new("B-2")], None));
}

#[test]
fn a_topic_whose_rules_are_as_they_were_keeps_its_index_unless_a_list_changed() {
    let other = rule("B-2").replace("on: [\"identResult\"]", "on: [\"mismatches\"]");
    let with = |title: &str, list: &str| {
        [("a.rhai", rule("A-1").replace("Sample", title)), ("b.rhai", other.clone()), ("lists/risky.txt", list.to_owned())]
    };
    let first = reload(&with("Sample", "LB"), None).generation;
    let index = |generation: &Generation, topic: &str| Arc::as_ptr(&generation.topics[topic].index);

    let edited = reload(&with("Edited", "LB"), Some(&first)).generation;
    assert_ne!(index(&edited, "identResult"), index(&first, "identResult"));
    assert_eq!(index(&edited, "mismatches"), index(&first, "mismatches"));

    let listed = reload(&with("Sample", "LB\nIR"), Some(&first)).generation;
    assert_ne!(index(&listed, "mismatches"), index(&first, "mismatches"));

    // A rule in front moves the others.
    let mut files = with("Sample", "LB").to_vec();
    files.push(("0.rhai", rule("A-0")));
    let moved = reload(&files, Some(&first)).generation;
    assert_ne!(index(&moved, "mismatches"), index(&first, "mismatches"));
    assert_eq!((moved.for_topic("identResult"), moved.for_topic("mismatches")), ([0, 1].as_slice(), [2].as_slice()));
}
