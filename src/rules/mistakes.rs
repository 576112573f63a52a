//! Every mistake that the rule file's design names, as a file under tests/fixtures/rules/mistakes/, and what its author reads.

use std::{fs, path::PathBuf, sync::Arc};

use super::{
    diagnostic::{Diagnostic, to_json},
    set::{self, Declared},
    watch::Snapshot,
};

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/rules").join(name)
}

fn snapshot(files: &[(&str, &[u8])]) -> Snapshot {
    let mut snapshot = Snapshot::default();
    let module = fs::read(folder("shared/names.rhai")).unwrap();
    snapshot.files.insert("shared/names.rhai".to_owned(), Arc::from(module));
    snapshot.files.insert("lists/high_risk_countries.txt".to_owned(), Arc::from("LB\n".as_bytes()));
    for (file, bytes) in files {
        snapshot.files.insert((*file).to_owned(), Arc::from(*bytes));
    }
    snapshot
}

fn declared() -> Declared {
    let recipients = ["kyc-operations", "compliance-chat", "mlro"].map(str::to_owned).to_vec();
    Declared { recipients: Some(recipients), ..Declared::default() }
}

fn findings(file: &str, bytes: &[u8]) -> Vec<Diagnostic> {
    set::load(&snapshot(&[(file, bytes)]), None, &declared(), true, &|_| Vec::new()).diagnostics
}

fn shown(bytes: &[u8], findings: &[Diagnostic]) -> String {
    let text = std::str::from_utf8(bytes).ok();
    findings.iter().map(|finding| finding.render(text, "rules", false) + "\n").collect::<Vec<_>>().join("\n")
}

#[test]
fn each_mistake_is_told_with_its_place_and_a_proposal() {
    let mut seen = 0;
    for entry in fs::read_dir(folder("mistakes")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|ending| ending != "rhai") {
            continue;
        }
        let bytes = fs::read(&path).unwrap();
        let name = path.file_stem().unwrap().to_str().unwrap();
        let findings = findings(&format!("sample/{name}.rhai"), &bytes);
        insta::with_settings!({ snapshot_path => folder("mistakes"), prepend_module_to_snapshot => false, omit_expression => true }, {
            insta::assert_snapshot!(name, shown(&bytes, &findings));
        });
        assert!(!findings.is_empty(), "{name} passes without a word");
        assert!(to_json(&findings).starts_with("[{\"code\":\"R"), "{name}");
        seen += 1;
    }
    assert!(seen > 80, "only {seen} mistakes found");
}

#[test]
fn the_designs_first_sample_compiles_and_the_windowed_ones_wait_for_a_later_version() {
    for (name, codes) in [("kyc_012", &[][..]), ("kyc_020", &["R018"]), ("kyc_030", &["R018"])] {
        let bytes = fs::read(folder("good").join(format!("{name}.rhai"))).unwrap();
        let findings = findings(&format!("identity/{name}.rhai"), &bytes);
        let mut found: Vec<&str> = findings.iter().map(|finding| finding.code).collect();
        found.dedup();
        assert_eq!(found, codes, "{}", shown(&bytes, &findings));
    }
}

#[test]
fn a_callback_may_read_the_event_whose_list_it_walks_through() {
    let bytes = fs::read(folder("good/receiver_captured.rhai")).unwrap();
    let findings = findings("sample/receiver_captured.rhai", &bytes);
    assert!(findings.iter().all(|finding| finding.code == "R035"), "{}", shown(&bytes, &findings));
}

#[test]
fn settings_may_hold_negative_numbers() {
    let card = "const RULE = #{ id: \"A\", title: \"x\", on: [\"identResult\"], severity: \"low\", send_to: [\"mlro\"], stage: \"draft\", settings: #{ a: -5, b: [-1.5] } };";
    assert_eq!(findings("a.rhai", card.as_bytes()), []);
}

#[test]
fn the_shipped_rules_are_without_findings() {
    let snapshot = Snapshot::read(&PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("rules")).unwrap();
    let findings = set::load(&snapshot, None, &Declared::default(), true, &|_| Vec::new()).diagnostics;
    let text: String = findings
        .iter()
        .map(|finding| {
            finding.render(snapshot.files.get(&finding.file).and_then(|bytes| std::str::from_utf8(bytes).ok()), "rules", false)
                + "\n\n"
        })
        .collect();
    assert!(findings.is_empty(), "{text}");
    assert!(snapshot.files.len() > 10);
}

#[test]
fn windows_line_ends_and_a_byte_order_mark_are_tolerated() {
    let text = fs::read_to_string(folder("good/kyc_012.rhai")).unwrap();
    let windows = format!("\u{feff}{}", text.replace('\n', "\r\n"));
    assert_eq!(findings("a.rhai", windows.as_bytes()), []);
}

#[test]
fn what_is_no_text_and_what_is_too_long_is_said_for_the_whole_file() {
    let findings =
        [findings("a.rhai", b"const RULE = #{};\n// K\xf6ln\n"), findings("a.rhai", "// long\n".repeat(5000).as_bytes())]
            .concat();
    insta::assert_snapshot!(shown(b"", &findings), @"
    error[R001]: the file is not UTF-8 text: line 2, character 5 can't be read
    --> rules/a.rhai
     = help: save the file as UTF-8 in your editor

    error[R002]: the file has 40000 bytes; a rule file holds at most 32768
    --> rules/a.rhai
     = help: move what several rules share to rules/shared/, and look-up values to rules/lists/
    ");
}

#[test]
fn cut_and_hostile_files_are_findings_and_never_a_panic() {
    let text = fs::read_to_string(folder("good/kyc_012.rhai")).unwrap();
    let compiler = super::compile::Compiler::shared();
    let mut refused = 0;
    for (at, _) in text.char_indices().step_by(7) {
        let bytes: Arc<[u8]> = Arc::from(&text.as_bytes()[..at]);
        let (modules, declared, lists) = (super::set::Modules::default(), declared(), super::lists::Lists::empty());
        let with = super::compile::Surroundings { modules: &modules, declared: &declared, lists: &lists };
        let cut = compiler.rule("a.rhai", &bytes, with);
        refused += usize::from(cut.is_err());
        for finding in cut.err().unwrap_or_default() {
            assert!(finding.render(std::str::from_utf8(&bytes).ok(), "rules", false).contains(&finding.message));
        }
    }
    assert!(refused > 100, "{refused}");
}

/// Just under the size cap, nested or chained as deep as that allows.
#[test]
fn a_file_made_to_exhaust_the_checks_is_answered() {
    let card = "const RULE = #{ id: \"A\", title: \"x\", on: [\"identResult\"], severity: \"high\", send_to: [\"mlro\"], stage: \"draft\" };\n";
    let many = |start: &str, piece: &str, end: &str| {
        let count = (32 * 1024 - card.len() - start.len() - end.len() - 64) / piece.len();
        format!("{card}fn when(event, settings) {{ {start}{}{end} }}", piece.repeat(count))
    };
    let bombs = [
        many("1", "+1", " > 0"),
        many("true", "&&true", ""),
        many("event", ".status", " == \"x\""),
        many("event.status", ".trim()", " == \"x\""),
        many("settings", "[0]", " == 1"),
        many("", "[", ""),
        many("", "(", ""),
        many("", "!", "true"),
        many("", "if true {", ""),
        many("if true { true } ", "else if true { true } ", ""),
        many("", "let a = 1;", " true"),
        many("[", "||1,", "1].len() > 0"),
        many("", "event.status.some(|m| ", ""),
        many("", "`${", ""),
        many("true", " ?? true", ""),
        many("event.status in [", "\"a\",", "\"b\"]"),
    ];
    for bomb in bombs {
        assert!(bomb.len() <= 32 * 1024);
        for finding in findings("a.rhai", bomb.as_bytes()) {
            assert!(!finding.message.is_empty());
        }
    }
}
