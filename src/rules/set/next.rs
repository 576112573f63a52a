//! Makes the next generation of what a folder holds: what did not change is taken over, what did is compiled and tested, and what fails runs
//! as its last good version.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
};

use super::{Declared, Generation, Loaded, Modules, Stale};
use crate::{
    model::{card::Stage, names::RuleId},
    rules::{
        codes,
        compile::{Compiled, Compiler, Surroundings},
        diagnostic::Diagnostic,
        index::QuickMap,
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
    let folder = file.split_once('/').map_or("", |(folder, _)| folder);
    file.rsplit_once('.').is_some_and(|(_, ending)| ending == "rhai") && !matches!(folder, "shared" | "lists" | "exceptions")
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

    let mut before = Before::of(previous);
    let mut failed: BTreeSet<String> =
        snapshot.unreadable.iter().map(|(file, _)| file.clone()).filter(|file| is_rule(file)).collect();
    let mut changed = Vec::new();
    for (file, bytes) in snapshot.files.iter().filter(|(file, _)| is_rule(file)) {
        if !before.keep(file, bytes, snapshot) {
            changed.push((file, bytes));
        }
    }
    let with = Surroundings { modules: &modules, declared, lists: &lists };
    let compiled = spread(&changed, || (), |(), (file, bytes)| compiler.rule(file, bytes, with));
    let mut fresh = Vec::new();
    for ((file, _), compiled) in changed.into_iter().zip(compiled) {
        match compiled {
            Ok(Compiled { rule, id_place, warnings }) => {
                diagnostics.extend(warnings);
                fresh.push(Fresh { rule: Arc::new(rule), id_place });
            }
            Err(findings) => {
                diagnostics.extend(findings);
                failed.insert(file.clone());
            }
        }
    }
    refuse_duplicates(snapshot, &mut before, &mut fresh, &mut failed, &mut diagnostics);

    let mut findings = Vec::new();
    let mut to_rehearse = Vec::new();
    for Fresh { rule, id_place } in &fresh {
        let lacking = lacking_tests(rule, snapshot, *id_place);
        if lacking.is_empty() && rule.card.stage != Stage::Retired {
            to_rehearse.push(Arc::clone(rule));
        }
        findings.extend(lacking);
    }
    findings.extend(rehearse(&to_rehearse));
    failed.extend(findings.iter().filter(|finding| finding.is_error()).map(|finding| finding.file.clone()));
    diagnostics.extend(findings);

    fresh.retain(|fresh| !failed.contains(&fresh.rule.card.file));
    let mut ids: HashSet<RuleId> = fresh.iter().map(|fresh| fresh.rule.card.id.clone()).collect();
    let mut stale = Vec::new();
    for file in failed {
        if let Some(rule) = before.revive(&file, &mut ids) {
            stale.push(Stale { file, id: rule.card.id.clone() });
        }
    }
    let withdrawn: Vec<RuleId> = before.gone().map(|rule| rule.card.id.clone()).filter(|id| !ids.contains(id)).collect();
    let rules: Vec<Arc<CompiledRule>> = before.kept().cloned().chain(fresh.into_iter().map(|fresh| fresh.rule)).collect();
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

/// A rule that was compiled now.
struct Fresh {
    rule: Arc<CompiledRule>,
    id_place: Place,
}

/// The rules of the previous generation, in the order of their ids, and which of them are taken over.
struct Before<'p> {
    rules: &'p [Arc<CompiledRule>],
    kept: Vec<bool>,
    /// Places by file.
    files: QuickMap<&'p str, usize>,
}

impl<'p> Before<'p> {
    fn of(previous: Option<&'p Generation>) -> Self {
        let rules = previous.map(|previous| previous.rules.as_slice()).unwrap_or_default();
        let files = rules.iter().enumerate().map(|(at, rule)| (rule.card.file.as_str(), at)).collect();
        Self { rules, kept: vec![false; rules.len()], files }
    }

    /// Takes a file's rule over if the file and all of its modules are as they were compiled.
    fn keep(&mut self, file: &str, bytes: &[u8], snapshot: &Snapshot) -> bool {
        let Some(at) = self.files.get(file) else { return false };
        let same = self.rules[*at].sources.iter().all(|(name, was)| match &**name {
            name if name == file => **was == *bytes,
            module => snapshot.files.get(module).is_some_and(|now| now == was),
        });
        self.kept[*at] = same;
        same
    }

    /// The place of the rule of an id, if it is taken over.
    fn place(&self, id: &RuleId) -> Option<usize> {
        self.rules.binary_search_by(|rule| rule.card.id.cmp(id)).ok().filter(|at| self.kept[*at])
    }

    /// A file's last good version, unless its id is another's by now.
    fn revive(&mut self, file: &str, ids: &mut HashSet<RuleId>) -> Option<&'p Arc<CompiledRule>> {
        let at = *self.files.get(file)?;
        let rule = &self.rules[at];
        self.kept[at] = ids.insert(rule.card.id.clone());
        self.kept[at].then_some(rule)
    }

    fn kept(&self) -> impl Iterator<Item = &'p Arc<CompiledRule>> {
        self.rules.iter().zip(&self.kept).filter_map(|(rule, kept)| kept.then_some(rule))
    }

    fn gone(&self) -> impl Iterator<Item = &'p Arc<CompiledRule>> {
        self.rules.iter().zip(&self.kept).filter_map(|(rule, kept)| (!kept).then_some(rule))
    }
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
    before: &mut Before<'_>,
    fresh: &mut Vec<Fresh>,
    failed: &mut BTreeSet<String>,
    diagnostics: &mut Vec<Diagnostic>,
) {
    // What was there before had one id each.
    let mut files: BTreeMap<RuleId, Vec<(String, Place)>> = BTreeMap::new();
    for Fresh { rule, id_place } in fresh.iter() {
        files.entry(rule.card.id.clone()).or_default().push((rule.card.file.clone(), *id_place));
    }
    for (id, sharing) in &mut files {
        if let Some(at) = before.place(id) {
            let rule = &before.rules[at];
            sharing.push((rule.card.file.clone(), id_place(rule, snapshot)));
            before.kept[at] = false;
        }
        if sharing.len() < 2 {
            continue;
        }
        sharing.sort_unstable();
        for (file, place) in &*sharing {
            let others = source::enumerate(sharing.iter().map(|(other, _)| other.as_str()).filter(|other| other != file));
            let finding =
                source(snapshot, file).error(codes::DUPLICATE_ID, *place, format!("the id `{id}` stands in {others}, too"));
            diagnostics.push(
                finding
                    .label("an id belongs to one rule")
                    .help("history and quiet periods hang on the id; a copied rule needs a new one"),
            );
            failed.insert(file.clone());
        }
    }
    fresh.retain(|fresh| files.get(&fresh.rule.card.id).is_none_or(|sharing| sharing.len() < 2));
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
