//! Makes the next generation of what a folder holds: what did not change is taken over, what did is compiled and tested, and what fails runs
//! as its last good version.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use super::{Declared, Generation, Loaded, Modules, Stale};
use crate::{
    model::{card::Stage, names::RuleId},
    rules::{
        codes,
        compile::{Compiled, Compiler, Surroundings},
        diagnostic::Diagnostic,
        lists::{List, Lists},
        literal::Place,
        rehearsal,
        rule::CompiledRule,
        source::{self, Source},
        spread::spread,
        watch::Snapshot,
    },
};

/// Whether a file of the snapshot is a rule: `.rhai`, and not in one of the folders with another meaning.
fn is_rule(file: &str) -> bool {
    let folder = file.split('/').next().unwrap_or_default();
    has_ending(file, "rhai") && !(file.contains('/') && matches!(folder, "shared" | "lists" | "exceptions"))
}

fn has_ending(file: &str, ending: &str) -> bool {
    std::path::Path::new(file).extension().is_some_and(|found| found == ending)
}

/// Runs these rules' tests and answers what failed, each finding at its rule's file.
pub type Rehearse<'a> = &'a dyn Fn(&[Arc<CompiledRule>]) -> Vec<Diagnostic>;

/// Makes the next generation of what a folder holds.
///
/// A file with errors, or whose tests fail, keeps its version of `previous`, modules included. What did not change is neither compiled
/// nor tested again. `confirm` lifts the guard against shrinking.
pub fn load(
    snapshot: &Snapshot,
    previous: Option<&Generation>,
    declared: &Declared,
    confirm: bool,
    rehearse: Rehearse<'_>,
) -> Loaded {
    let mut diagnostics = Vec::new();
    for (file, why) in &snapshot.unreadable {
        diagnostics.push(Diagnostic::error(codes::NOT_TEXT, file, Place::default(), 1, format!("the file can't be read: {why}")));
    }
    let (lists, mut held_back) = next_lists(snapshot, previous, confirm, &mut diagnostics);

    let compiler = Compiler::shared();
    let modules = Arc::new(compile_modules(compiler, snapshot, declared, &lists, &mut diagnostics));

    let before = previous.map(|previous| previous.rules.as_slice()).unwrap_or_default();
    let last_good: HashMap<&str, &Arc<CompiledRule>> = before.iter().map(|rule| (rule.card.file.as_str(), rule)).collect();
    let mut failed: BTreeSet<String> =
        snapshot.unreadable.iter().map(|(file, _)| file.clone()).filter(|file| is_rule(file)).collect();
    let mut changed = Vec::new();
    let mut candidates: Vec<Candidate> = Vec::new();
    for file in snapshot.files.iter().filter(|(file, _)| is_rule(file)) {
        match last_good.get(file.0.as_str()).filter(|rule| unchanged(rule, snapshot)) {
            Some(rule) => candidates.push(Candidate { rule: Arc::clone(rule), id_place: None, fresh: false }),
            None => changed.push(file),
        }
    }
    let with = Surroundings { modules: &modules, declared, lists: &lists };
    let compiled = spread(&changed, || (), |(), (file, bytes)| compiler.rule(file, bytes, with));
    for ((file, _), compiled) in changed.into_iter().zip(compiled) {
        match compiled {
            Ok(Compiled { rule, id_place, warnings }) => {
                diagnostics.extend(warnings);
                candidates.push(Candidate { rule: Arc::new(rule), id_place: Some(id_place), fresh: true });
            }
            Err(findings) => {
                diagnostics.extend(findings);
                failed.insert(file.clone());
            }
        }
    }
    refuse_duplicates(snapshot, &mut candidates, &mut failed, &mut diagnostics);

    let mut findings = Vec::new();
    let mut to_rehearse = Vec::new();
    for candidate in candidates.iter().filter(|candidate| candidate.fresh) {
        let lacking = lacking_tests(&candidate.rule, snapshot, candidate.id_place(snapshot));
        if lacking.is_empty() && candidate.rule.card.stage != Stage::Retired {
            to_rehearse.push(Arc::clone(&candidate.rule));
        }
        findings.extend(lacking);
    }
    findings.extend(rehearse(&to_rehearse));
    failed.extend(findings.iter().filter(|finding| finding.is_error()).map(|finding| finding.file.clone()));
    diagnostics.extend(findings);

    let good = candidates.into_iter().map(|candidate| candidate.rule).filter(|rule| !failed.contains(&rule.card.file));
    let mut rules: Vec<Arc<CompiledRule>> = good.collect();
    let mut ids: HashSet<RuleId> = rules.iter().map(|rule| rule.card.id.clone()).collect();
    let mut stale = Vec::new();
    for file in failed {
        if let Some(rule) = last_good.get(file.as_str())
            && ids.insert(rule.card.id.clone())
        {
            stale.push(Stale { file, id: rule.card.id.clone() });
            rules.push(Arc::clone(rule));
        }
    }
    let withdrawn: Vec<RuleId> = before.iter().map(|rule| &rule.card.id).filter(|id| !ids.contains(*id)).cloned().collect();
    diagnostics.sort_by(|a, b| {
        (&a.file, a.span.map(|span| (span.line, span.column))).cmp(&(&b.file, b.span.map(|span| (span.line, span.column))))
    });
    let guarded =
        previous.filter(|_| !confirm).and_then(|previous| Some((previous, shrunk(withdrawn.len(), previous.rules.len())?)));
    if let Some((previous, why)) = guarded {
        // Lists and rules are guarded apart: a mended list goes live though rules wait.
        let generation = Generation::after(Some(previous), previous.rules.clone(), lists, Arc::clone(&previous.modules));
        held_back = Some(held_back.map_or_else(|| why.clone(), |lists| format!("{why}; {lists}")));
        return Loaded { generation, diagnostics, stale: Vec::new(), withdrawn: Vec::new(), held_back };
    }
    Loaded { generation: Generation::after(previous, rules, lists, modules), diagnostics, stale, withdrawn, held_back }
}

struct Candidate {
    rule: Arc<CompiledRule>,
    /// None: not looked for yet.
    id_place: Option<Place>,
    /// Compiled now; else it is what ran before.
    fresh: bool,
}

impl Candidate {
    fn id_place(&self, snapshot: &Snapshot) -> Place {
        self.id_place.unwrap_or_else(|| id_place(&self.rule, snapshot))
    }
}

/// Whether a rule's file and all of its modules are as they were compiled.
fn unchanged(rule: &CompiledRule, snapshot: &Snapshot) -> bool {
    rule.sources.iter().all(|(file, bytes)| snapshot.files.get(file).is_some_and(|now| now == bytes))
}

fn id_place(rule: &CompiledRule, snapshot: &Snapshot) -> Place {
    let file = rule.card.file.as_str();
    let Some(bytes) = snapshot.files.get(file) else { return Place::default() };
    let quoted = format!("\"{}\"", rule.card.id);
    Source::read(file, bytes)
        .ok()
        .and_then(|source| source.text.lines().enumerate().find_map(|(index, line)| Some((index, line, line.find(&quoted)?))))
        .map(|(index, line, at)| Place { line: index + 1, column: line[..at].chars().count() + 1 })
        .unwrap_or_default()
}

/// A file of the snapshot as a source; for findings that come after compiling.
fn source<'a>(snapshot: &'a Snapshot, file: &'a str) -> Source<'a> {
    let text = snapshot.files.get(file).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default();
    Source { file, text: text.strip_prefix('\u{feff}').unwrap_or(text) }
}

/// No two files share an id. What ran under it before goes on; a newcomer is refused.
fn refuse_duplicates(
    snapshot: &Snapshot,
    candidates: &mut Vec<Candidate>,
    failed: &mut BTreeSet<String>,
    diagnostics: &mut Vec<Diagnostic>,
) {
    let mut seen: HashSet<&RuleId> = HashSet::new();
    let twice = candidates.iter().map(|candidate| &candidate.rule.card.id).filter(|id| !seen.insert(id));
    let mut files: BTreeMap<RuleId, Vec<String>> = twice.map(|id| (id.clone(), Vec::new())).collect();
    for card in candidates.iter().map(|candidate| &candidate.rule.card) {
        if let Some(sharing) = files.get_mut(&card.id) {
            sharing.push(card.file.clone());
        }
    }
    if files.is_empty() {
        return;
    }
    candidates.retain(|candidate| {
        let card = &candidate.rule.card;
        let Some(sharing) = files.get(&card.id) else { return true };
        let others: Vec<&str> = sharing.iter().map(String::as_str).filter(|file| *file != card.file).collect();
        let others = source::enumerate(others);
        let finding = source(snapshot, &card.file).error(
            codes::DUPLICATE_ID,
            candidate.id_place(snapshot),
            format!("the id `{}` stands in {others}, too", card.id),
        );
        diagnostics.push(
            finding
                .label("an id belongs to one rule")
                .help("history and quiet periods hang on the id; a copied rule needs a new one"),
        );
        failed.insert(card.file.clone());
        false
    });
}

/// A live rule needs one test that alerts and one that stays quiet.
fn lacking_tests(rule: &CompiledRule, snapshot: &Snapshot, id_place: Place) -> Vec<Diagnostic> {
    if rule.card.stage != Stage::Live {
        return Vec::new();
    }
    let answers: Vec<Option<bool>> = rule.cases.iter().map(rehearsal::Case::alerts).collect();
    let missing = match (answers.contains(&Some(true)), answers.contains(&Some(false))) {
        (true, true) => return Vec::new(),
        (false, true) => "a test that alerts",
        (true, false) => "a test that stays quiet, `expect: #{ alerts: 0 }`",
        (false, false) => "one test that alerts and one that stays quiet",
    };
    let finding = source(snapshot, &rule.card.file).error(codes::TESTS_MISSING, id_place, format!("a live rule needs {missing}"));
    vec![finding.label("this rule is live").help("or let it run without sending: stage: \"shadow\"")]
}

/// Why the rules must be held back, if they must.
fn shrunk(lost: usize, before: usize) -> Option<String> {
    if lost > 0 && lost == before {
        return Some(format!("no rule is left of {before}"));
    }
    (lost >= 3 && lost * 5 > before).then(|| format!("{lost} of {before} rules are gone at once"))
}

/// The next lists. One that became empty, unreadable or more than a fifth smaller keeps all lists as they were.
fn next_lists(
    snapshot: &Snapshot,
    previous: Option<&Generation>,
    confirm: bool,
    diagnostics: &mut Vec<Diagnostic>,
) -> (Arc<Lists>, Option<String>) {
    let files =
        snapshot.files.iter().filter(|(file, _)| list_name(file).is_some()).map(|(file, bytes)| (file.as_str(), &**bytes));
    let (lists, findings) = Lists::from_files(files);
    let broken = findings.iter().any(Diagnostic::is_error);
    diagnostics.extend(findings);
    let Some(previous) = previous else { return (Arc::new(lists), None) };
    let mut reasons = Vec::new();
    if broken {
        reasons.push("a list has errors".to_owned());
    }
    for (file, _) in &snapshot.unreadable {
        if let Some(name) = list_name(file) {
            reasons.push(format!("the list `{name}` can't be read"));
        }
    }
    if !confirm {
        for name in previous.lists.names() {
            let before = previous.lists.get(name).map_or(0, List::len);
            let now = lists.get(name).map_or(0, List::len);
            if before > 0 && now == 0 {
                reasons.push(format!("the list `{name}` became empty; it held {before} entries"));
            } else if (before - now.min(before)) * 5 > before {
                reasons.push(format!("the list `{name}` shrank from {before} to {now} entries"));
            }
        }
    }
    if reasons.is_empty() { (Arc::new(lists), None) } else { (Arc::clone(&previous.lists), Some(reasons.join("; "))) }
}

/// `lists/NAME.txt` or `.csv`.
fn list_name(file: &str) -> Option<&str> {
    let name = file.strip_prefix("lists/")?;
    name.strip_suffix(".txt").or_else(|| name.strip_suffix(".csv")).filter(|name| !name.contains('/'))
}

/// Compiles the modules, imported ones first.
fn compile_modules(
    compiler: &Compiler,
    snapshot: &Snapshot,
    declared: &Declared,
    lists: &Lists,
    diagnostics: &mut Vec<Diagnostic>,
) -> Modules {
    let mut parsed = BTreeMap::new();
    let mut modules = Modules::default();
    for (file, why) in &snapshot.unreadable {
        if let Some(path) = module_path(file) {
            tracing::warn!(file, why, "a module can't be read");
            modules.broken.insert(path.to_owned());
        }
    }
    for (file, bytes) in &snapshot.files {
        let Some(path) = module_path(file) else { continue };
        match compiler.parse_module(file, bytes) {
            Ok(module) => {
                parsed.insert(path, (file, bytes, module));
            }
            Err(findings) => {
                diagnostics.extend(findings);
                modules.broken.insert(path.to_owned());
            }
        }
    }
    // Each round compiles those whose imports are settled; what is left over imports itself in a circle.
    while !parsed.is_empty() {
        let ready: Vec<&str> = parsed
            .iter()
            .filter(|(_, (.., module))| module.imports.iter().all(|import| !parsed.contains_key(import.path.as_str())))
            .map(|(path, _)| *path)
            .collect();
        if ready.is_empty() {
            for (path, (file, bytes, module)) in std::mem::take(&mut parsed) {
                let place = module.imports.first().map(|import| import.place).unwrap_or_default();
                let text = std::str::from_utf8(bytes).unwrap_or_default();
                let finding = Source { file, text }.error(codes::IMPORT, place, "modules import each other in a circle");
                diagnostics.push(finding.label("move what both need to a third module"));
                modules.broken.insert(path.to_owned());
            }
        }
        for path in ready {
            let Some((file, bytes, module)) = parsed.remove(path) else { continue };
            match compiler.module(file, bytes, module, Surroundings { modules: &modules, declared, lists }) {
                Ok(module) => {
                    modules.ready.insert(path.to_owned(), Arc::new(module));
                }
                Err(findings) => {
                    diagnostics.extend(findings);
                    modules.broken.insert(path.to_owned());
                }
            }
        }
    }
    modules
}

/// `shared/NAME` of `shared/NAME.rhai`.
fn module_path(file: &str) -> Option<&str> {
    file.strip_suffix(".rhai").filter(|path| path.strip_prefix("shared/").is_some_and(|name| !name.contains('/')))
}
