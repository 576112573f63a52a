//! The generation: an immutable snapshot of rules, modules and lists. What is broken keeps its last good version, what is gone is
//! withdrawn, and a set that shrank suspiciously is held back: silence is the failure to fear.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use rhai::AST;

use super::{
    codes,
    compile::{Compiled, Compiler, Surroundings},
    diagnostic::Diagnostic,
    index::{self, TopicIndex},
    lists::Lists,
    literal::Place,
    rule::CompiledRule,
    source::Source,
    watch::Snapshot,
};
use crate::model::{card::Stage, hash::Digest, names::RuleId};

/// What runs between two reloads. Cloned as an `Arc`, never changed.
#[derive(Clone, Debug)]
pub struct Generation {
    /// Of every rule's closure, the lists and the engine's version.
    pub hash: Digest,
    /// Every rule, in the order of its id; drafts and retired ones too.
    pub rules: Vec<Arc<CompiledRule>>,
    by_topic: BTreeMap<String, Vec<u32>>,
    /// None where the set is only tried out.
    index: BTreeMap<String, TopicIndex>,
    pub lists: Arc<Lists>,
    /// The newest good version of each module. A rule runs with its own: [`super::rule::Script::modules`].
    pub modules: Arc<Modules>,
}

/// A compiled module of rules/shared/.
#[derive(Clone, Debug)]
pub struct Module {
    pub ast: AST,
    pub bytes: Arc<[u8]>,
    /// Paths of the modules that it imports itself.
    pub imports: Vec<String>,
    /// Names and numbers of parameters.
    pub functions: Vec<(String, usize)>,
}

/// Modules by path, `shared/names`.
#[derive(Clone, Debug, Default)]
pub struct Modules {
    ready: BTreeMap<String, Arc<Module>>,
    broken: BTreeSet<String>,
}

/// What the configuration tells the rules.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Declared {
    /// Topics beyond the documented ones.
    pub topics: Vec<String>,
    /// Fields by topic beyond the documented ones.
    pub fields: BTreeMap<String, Vec<String>>,
    /// Channel and group names; none: not checked.
    pub recipients: Option<Vec<String>>,
}

/// A file that runs as its last good version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stale {
    pub file: String,
    pub id: RuleId,
}

/// What loading gave.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub generation: Generation,
    pub diagnostics: Vec<Diagnostic>,
    pub stale: Vec<Stale>,
    /// Rules whose file is gone.
    pub withdrawn: Vec<RuleId>,
    /// Why the new set or a list waits for a person's confirmation; the old one goes on.
    pub held_back: Option<String>,
}

impl Modules {
    /// Good modules by path.
    #[must_use]
    pub fn of(ready: BTreeMap<String, Arc<Module>>) -> Self {
        Self { ready, broken: BTreeSet::new() }
    }

    #[must_use]
    pub fn get(&self, path: &str) -> Option<&Arc<Module>> {
        self.ready.get(path)
    }

    /// Whether its file is there and has errors.
    #[must_use]
    pub fn is_broken(&self, path: &str) -> bool {
        self.broken.contains(path)
    }

    /// The good modules' paths.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.ready.keys().map(String::as_str)
    }

    /// Adds a module and all that it imports.
    pub fn closure(&self, path: &str, into: &mut BTreeMap<String, Arc<Module>>) {
        let Some(module) = self.ready.get(path) else { return };
        if into.insert(path.to_owned(), Arc::clone(module)).is_none() {
            for import in &module.imports {
                self.closure(import, into);
            }
        }
    }
}

impl Default for Generation {
    fn default() -> Self {
        Self::empty()
    }
}

impl Generation {
    /// No rules, no lists.
    #[must_use]
    pub fn empty() -> Self {
        Self::new(Vec::new(), Arc::new(Lists::empty()), Arc::new(Modules::default()))
    }

    /// The set of these rules, with its index.
    #[must_use]
    pub fn new(rules: Vec<Arc<CompiledRule>>, lists: Arc<Lists>, modules: Arc<Modules>) -> Self {
        let mut generation = Self::trial(rules, lists, modules);
        generation.index = index::build(&generation.by_topic, &generation.rules, &generation.lists);
        generation
    }

    /// Without the index.
    fn trial(mut rules: Vec<Arc<CompiledRule>>, lists: Arc<Lists>, modules: Arc<Modules>) -> Self {
        rules.sort_by(|a, b| a.card.id.cmp(&b.card.id));
        let mut by_topic: BTreeMap<String, Vec<u32>> = BTreeMap::new();
        for (index, rule) in rules.iter().enumerate().filter(|(_, rule)| rule.card.stage.runs()) {
            for topic in &rule.card.on {
                by_topic.entry(topic.to_string()).or_default().push(index as u32);
            }
        }
        let mut hashes: Vec<(&str, Digest)> = rules.iter().map(|rule| (rule.card.file.as_str(), rule.card.hash)).collect();
        hashes.sort_unstable();
        let lists_hash = lists.hash();
        let hash = Digest::of_parts(
            hashes
                .iter()
                .flat_map(|(file, hash)| [file.as_bytes(), hash.as_bytes().as_slice()])
                .chain([lists_hash.as_bytes().as_slice(), env!("CARGO_PKG_VERSION").as_bytes()]),
        );
        Self { hash, rules, by_topic, index: BTreeMap::new(), lists, modules }
    }

    /// Indices into `rules` of those that run on a canonical topic.
    #[must_use]
    pub fn for_topic(&self, topic: &str) -> &[u32] {
        self.by_topic.get(topic).map_or(&[], Vec::as_slice)
    }

    /// What an event must show for the rules of a topic.
    #[must_use]
    pub fn index(&self, topic: &str) -> Option<&TopicIndex> {
        self.index.get(topic)
    }

    /// The rule of that id.
    #[must_use]
    pub fn rule(&self, id: &str) -> Option<&Arc<CompiledRule>> {
        self.rules.binary_search_by(|rule| rule.card.id.as_str().cmp(id)).ok().map(|at| &self.rules[at])
    }
}

/// Whether a file of the snapshot is a rule: `.rhai`, and not in one of the folders with another meaning.
fn is_rule(file: &str) -> bool {
    let folder = file.split('/').next().unwrap_or_default();
    has_ending(file, "rhai") && !(file.contains('/') && matches!(folder, "shared" | "lists" | "exceptions"))
}

fn has_ending(file: &str, ending: &str) -> bool {
    std::path::Path::new(file).extension().is_some_and(|found| found == ending)
}

/// Makes the next generation of what a folder holds.
///
/// A file with errors, or whose tests fail, keeps its version of `previous`, modules included. `rehearse` runs a rule's tests and
/// answers what failed. `confirm` lifts the guard against shrinking.
pub fn load(
    snapshot: &Snapshot,
    previous: Option<&Generation>,
    declared: &Declared,
    confirm: bool,
    rehearse: &dyn Fn(&Generation, &CompiledRule) -> Vec<Diagnostic>,
) -> Loaded {
    let mut diagnostics = Vec::new();
    for (file, why) in &snapshot.unreadable {
        diagnostics.push(Diagnostic::error(codes::NOT_TEXT, file, Place::default(), 1, format!("the file can't be read: {why}")));
    }
    let (lists, mut held_back) = next_lists(snapshot, previous, confirm, &mut diagnostics);

    let compiler = Compiler::shared();
    let modules = Arc::new(compile_modules(compiler, snapshot, declared, &lists, &mut diagnostics));

    let last_good: BTreeMap<&str, &Arc<CompiledRule>> =
        previous.into_iter().flat_map(|previous| previous.rules.iter().map(|rule| (rule.card.file.as_str(), rule))).collect();
    let mut candidates: Vec<Candidate> = Vec::new();
    let mut failed: BTreeSet<String> =
        snapshot.unreadable.iter().map(|(file, _)| file.clone()).filter(|file| is_rule(file)).collect();
    for (file, bytes) in snapshot.files.iter().filter(|(file, _)| is_rule(file)) {
        if let Some(rule) = last_good.get(file.as_str()).filter(|rule| unchanged(rule, snapshot)) {
            candidates.push(Candidate { rule: Arc::clone(rule), id_place: None, fresh: false });
            continue;
        }
        match compiler.rule(file, bytes, Surroundings { modules: &modules, declared, lists: &lists }) {
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

    // Tests run against the set as it would be: same lists, all candidates.
    let trial = Generation::trial(
        candidates.iter().map(|candidate| Arc::clone(&candidate.rule)).collect(),
        Arc::clone(&lists),
        Arc::clone(&modules),
    );
    let mut rules: Vec<Arc<CompiledRule>> = Vec::new();
    for candidate in candidates {
        let mut findings =
            if candidate.fresh { lacking_tests(&candidate.rule, snapshot, candidate.id_place(snapshot)) } else { Vec::new() };
        if candidate.fresh && candidate.rule.card.stage != Stage::Retired && findings.is_empty() {
            findings = rehearse(&trial, &candidate.rule);
        }
        if findings.iter().any(Diagnostic::is_error) {
            failed.insert(candidate.rule.card.file.clone());
        } else {
            rules.push(candidate.rule);
        }
        diagnostics.extend(findings);
    }

    let mut stale = Vec::new();
    for file in &failed {
        if let Some(rule) = last_good.get(file.as_str()) {
            if rules.iter().any(|other| other.card.id == rule.card.id) {
                continue;
            }
            stale.push(Stale { file: file.clone(), id: rule.card.id.clone() });
            rules.push(Arc::clone(rule));
        }
    }
    let now: BTreeSet<&str> = rules.iter().map(|rule| rule.card.id.as_str()).collect();
    let withdrawn: Vec<RuleId> = previous
        .into_iter()
        .flat_map(|previous| previous.rules.iter())
        .map(|rule| &rule.card.id)
        .filter(|id| !now.contains(id.as_str()))
        .cloned()
        .collect();
    diagnostics.sort_by(|a, b| {
        (&a.file, a.span.map(|span| (span.line, span.column))).cmp(&(&b.file, b.span.map(|span| (span.line, span.column))))
    });
    let guarded =
        previous.filter(|_| !confirm).and_then(|previous| Some((previous, shrunk(withdrawn.len(), previous.rules.len())?)));
    if let Some((previous, why)) = guarded {
        // Lists and rules are guarded apart: a mended list goes live though rules wait.
        let generation = Generation::new(previous.rules.clone(), lists, Arc::clone(&previous.modules));
        held_back = Some(held_back.map_or_else(|| why.clone(), |lists| format!("{why}; {lists}")));
        return Loaded { generation, diagnostics, stale: Vec::new(), withdrawn: Vec::new(), held_back };
    }
    Loaded { generation: Generation::new(rules, lists, modules), diagnostics, stale, withdrawn, held_back }
}

/// Everything there is to say about a folder, without a previous generation.
pub fn check(
    snapshot: &Snapshot,
    declared: &Declared,
    rehearse: &dyn Fn(&Generation, &CompiledRule) -> Vec<Diagnostic>,
) -> Vec<Diagnostic> {
    load(snapshot, None, declared, true, rehearse).diagnostics
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
    let mut files: BTreeMap<RuleId, Vec<String>> = BTreeMap::new();
    for candidate in candidates.iter() {
        files.entry(candidate.rule.card.id.clone()).or_default().push(candidate.rule.card.file.clone());
    }
    candidates.retain(|candidate| {
        let card = &candidate.rule.card;
        let Some(sharing) = files.get(&card.id).filter(|files| files.len() > 1) else { return true };
        let others: Vec<&str> = sharing.iter().map(String::as_str).filter(|file| *file != card.file).collect();
        let others = super::source::enumerate(others);
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
    let answers: Vec<Option<bool>> = rule.cases.iter().map(super::rehearsal::Case::alerts).collect();
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
            let before = previous.lists.get(name).map_or(0, super::lists::List::len);
            let now = lists.get(name).map_or(0, super::lists::List::len);
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

#[cfg(test)]
mod tests;
