//! Every mistake that the rule file's design names, as a file under tests/fixtures/rules/mistakes/, and what its author reads.

use std::{fs, path::PathBuf, sync::Arc};

use super::{
    diagnostic::{Diagnostic, to_json},
    set::{Declared, check},
    watch::Snapshot,
};

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/rules").join(name)
}

fn snapshot(files: &[(&str, &[u8])]) -> Snapshot {
    let mut snapshot = Snapshot::default();
    let module = fs::read(folder("shared/names.rhai")).unwrap();
    snapshot.files.insert("shared/names.rhai".to_owned(), Arc::from(module));
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
    check(&snapshot(&[(file, bytes)]), &declared(), &|_, _| Vec::new())
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
