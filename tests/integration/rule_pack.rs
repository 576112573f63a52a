//! The shipped rule pack: every file loads without a finding, and every test in it passes.

use std::path::Path;

use redflag::{
    config::Language,
    engine::{reload, samples::sample},
    model::topic,
    render::{Options, Templates},
    rules::{
        diagnostic::Diagnostic,
        evaluate,
        plan::{self, How},
        set::Declared,
        watch::Snapshot,
    },
};

/// The recipients that the shipped configuration has.
fn declared() -> Declared {
    let recipients = ["kyc-operations", "compliance-chat", "archive", "mlro"];
    Declared { recipients: Some(recipients.map(str::to_owned).to_vec()), ..Declared::default() }
}

#[test]
fn every_shipped_rule_loads_without_a_finding_and_passes_its_tests() {
    let checked = evaluate::thread().spawn(|| {
        let snapshot = Snapshot::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("rules")).unwrap();
        let options = Options { directory: None, language: Language::En, zone: chrono_tz::UTC };
        let loaded = reload::check(&snapshot, None, &declared(), &Templates::load(&options).unwrap(), false);
        let findings: Vec<String> = loaded
            .diagnostics
            .iter()
            .map(|finding: &Diagnostic| {
                let source = snapshot.files.get(&finding.file).map(|bytes| String::from_utf8_lossy(bytes).into_owned());
                finding.render(source.as_deref(), "rules", false)
            })
            .collect();
        assert!(findings.is_empty(), "{}", findings.join("\n"));
        let rules = &loaded.generation.rules;
        assert!(rules.len() >= 10, "only {} rules", rules.len());
        let native = |rule: &&std::sync::Arc<_>| matches!(plan::of(&loaded.generation, rule).how, How::Card | How::Native);
        assert!(rules.iter().filter(native).count() * 20 >= rules.len() * 19, "too many rules need the interpreter");
        for rule in rules {
            assert!(rule.cases.iter().any(|case| case.alerts() == Some(true)), "{} has no test that alerts", rule.card.id);
            assert!(rule.cases.iter().any(|case| case.alerts() == Some(false)), "{} has no test that stays quiet", rule.card.id);
        }
        for topic in topic::KNOWN.iter().filter(|topic| sample(topic.name).is_some()) {
            println!("{}: {} rules", topic.name, loaded.generation.for_topic(topic.name).len());
        }
    });
    checked.unwrap().join().unwrap();
}
