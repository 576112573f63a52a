//! The examples in docs/ are true: each whole rule loads without a finding, each row of the functions' table answers what it says, and the recipe
//! for signatures takes what the webhook signs.

use std::{fs, path::Path, process::Command};

use redflag::{
    config::{self, Language, Lookup},
    engine::reload,
    render::{Options, Templates},
    rules::{evaluate, set::Declared, watch::Snapshot},
};

/// Blocks of this language in a page, in their order.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(page)).unwrap();
    let mut blocks = Vec::new();
    let mut open: Option<String> = None;
    for line in text.lines() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(fence)) if fence == language => open = Some(String::new()),
            // A block of another language.
            (None, Some(fence)) if !fence.is_empty() => open = Some(String::from("\0")),
            (Some(_), Some(_)) => blocks.extend(open.take().filter(|block| !block.starts_with('\0'))),
            (Some(block), None) => {
                block.push_str(line);
                block.push('\n');
            }
            (None, _) => {}
        }
    }
    blocks
}

/// Loads rule files as the service would, and tells every finding.
fn findings(files: &[(&str, String)]) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let root = folder.path().to_owned();
    let loading = evaluate::thread().spawn(move || {
        let snapshot = Snapshot::read(&root).unwrap();
        let options = Options { directory: None, language: Language::En, zone: chrono_tz::UTC };
        let recipients = ["kyc-operations", "compliance-chat", "mlro"];
        let declared = Declared { recipients: Some(recipients.map(str::to_owned).to_vec()), ..Declared::default() };
        let loaded = reload::check(&snapshot, None, &declared, &Templates::load(&options).unwrap(), false);
        let render = |finding: &redflag::rules::diagnostic::Diagnostic| {
            let source = snapshot.files.get(&finding.file).map(|bytes| String::from_utf8_lossy(bytes).into_owned());
            finding.render(source.as_deref(), "", false)
        };
        loaded.diagnostics.iter().map(render).collect()
    });
    loading.unwrap().join().unwrap()
}

#[test]
fn every_whole_rule_in_the_pages_loads_without_a_finding() {
    for page in ["README.md", "docs/rules.md"] {
        let rules: Vec<String> = blocks(page, "rhai").into_iter().filter(|block| block.contains("const RULE")).collect();
        assert!(!rules.is_empty(), "{page} has no rule");
        for rule in rules {
            let found = findings(&[("area/example.rhai", rule.clone())]);
            assert!(found.is_empty(), "{page}:\n{rule}\n{}", found.join("\n"));
        }
    }
}

/// The functions' table: `call` → `answer`, each checked by a rule that matches when they are equal.
#[test]
fn every_example_of_a_function_answers_what_the_table_says() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/rules.md")).unwrap();
    let examples: Vec<(&str, &str)> = text
        .lines()
        .filter(|line| line.starts_with("| `"))
        .flat_map(|line| line.split("<br>").map(|part| part.rsplit(" | ").next().unwrap_or(part)))
        .filter_map(|part| {
            let (call, answer) = part.split_once("` → `")?;
            Some((call.strip_prefix('`')?, answer.trim_end_matches([' ', '|']).strip_suffix('`')?))
        })
        .collect();
    assert!(examples.len() > 30, "only {} examples are read", examples.len());
    let mut files = vec![("lists/high_risk_countries.txt".to_owned(), "Libanon\natlantis\n".to_owned())];
    for (index, (call, answer)) in examples.iter().enumerate() {
        let rule = format!(
            r#"//! Example {index}.
const RULE = #{{ id: "DOC-{index:03}", title: "Example", on: ["identResult"], severity: "low", send_to: ["mlro"], stage: "draft" }};
fn when(event, settings) {{ same({call}, {answer}) }}
fn same(a, b) {{ type_of(a) == type_of(b) && a == b }}
const TESTS = [ #{{ name: "it is so", like: "identResult", lists: #{{ high_risk_countries: ["Libanon", "atlantis"] }}, expect: #{{ alerts: 1 }} }} ];
"#
        );
        files.push((format!("area/example_{index:03}.rhai"), rule));
    }
    let files: Vec<(&str, String)> = files.iter().map(|(name, text)| (name.as_str(), text.clone())).collect();
    let found = findings(&files);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn the_configuration_in_the_readme_is_one() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("redflag.toml");
    fs::write(&file, &blocks("README.md", "toml")[0]).unwrap();
    let loaded = config::load(&Lookup { file: Some(file), ..Lookup::default() }).unwrap();
    assert_eq!(loaded.warnings, Vec::<String>::new());
}

#[test]
fn every_test_that_the_architecture_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap();
    let (_, table) = text.split_once("\n## What holds").unwrap();
    let (table, _) = table.split_once("\n## ").unwrap();
    let named: Vec<&str> = table.split('`').skip(1).step_by(2).collect();
    assert!(named.len() > 20, "only {} tests are named", named.len());
    let mut sources = String::new();
    let mut folders = vec![root.join("src"), root.join("tests")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                sources.push_str(&fs::read_to_string(path).unwrap());
            }
        }
    }
    let missing: Vec<&&str> = named.iter().filter(|name| !sources.contains(&format!("fn {name}("))).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// The figure is that of the webhook's own test.
#[test]
fn the_recipe_takes_a_signature_of_the_webhook_and_refuses_another() {
    let recipe = blocks("docs/messages.md", "python");
    assert_eq!(recipe.len(), 1, "docs/messages.md has one Python block");
    let tried = format!(
        r#"{}
headers = {{"Redflag-Timestamp": "1790000000", "Redflag-Signature": "v1=099d33989336226b12c85da813adf6100e1bbab1e91bede9a41ddeb7882d66b8"}}
assert is_from_redflag(b"key", headers, b"{{}}", now=1790000010)
assert not is_from_redflag(b"key", headers, b"{{ }}", now=1790000010)
assert not is_from_redflag(b"other", headers, b"{{}}", now=1790000010)
assert not is_from_redflag(b"key", headers, b"{{}}", now=1790009999)
assert not is_from_redflag(b"key", {{}}, b"{{}}", now=1790000010)
"#,
        recipe[0]
    );
    let ran = Command::new("python3").args(["-c", &tried]).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
}

/// The words that stand fast in a subject such as `Feed {feed} is heard again`: its longest part.
fn fixed_part(subject: &str) -> &str {
    let parts = subject
        .split(['{', '}'])
        .enumerate()
        .filter(|(at, _)| at % 2 == 0)
        .map(|(_, part)| part.trim_matches([' ', ':', ',', '(', ')']));
    parts.max_by_key(|part| part.len()).unwrap_or_default()
}

#[test]
fn every_alarm_has_its_row_in_the_operations_guide() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let guide = fs::read_to_string(root.join("docs/operations.md")).unwrap();
    let mut seen = 0;
    let mut owed = Vec::new();
    for file in sources(&root.join("src")) {
        let text = fs::read_to_string(&file).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for call in code.split("Alarm::new(").skip(1) {
            // Key, severity, subject; a subject that is put together elsewhere is not seen.
            let texts: Vec<&str> = call.split('"').collect();
            let at = if call.trim_start().starts_with(['"', 'f']) { 3 } else { 1 };
            let Some(subject) = texts.get(at).filter(|_| !texts[at - 1].contains(".note(")) else { continue };
            if !fixed_part(subject).contains(' ') {
                continue;
            }
            seen += 1;
            if !guide.contains(fixed_part(subject)) {
                owed.push(format!("{}: {subject}", file.strip_prefix(root).unwrap().display()));
            }
        }
    }
    assert!(seen > 20, "only {seen} alarms were found");
    assert!(owed.is_empty(), "alarms without a row in docs/operations.md:\n{}", owed.join("\n"));
}

fn sources(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] })
        .filter(|path| {
            path.extension().is_some_and(|ending| ending == "rs") && path.file_stem().is_some_and(|stem| stem != "tests")
        })
        .collect()
}
