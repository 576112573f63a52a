//! The rules' folder as `check`, `test` and `rules` see it: with or without a configuration, whole or some files of it.

use std::{
    cell::RefCell,
    path::{Path, PathBuf},
};

use anyhow::{Context, anyhow};

use super::Global;
use crate::{
    config::load_rules,
    engine,
    model::causes,
    render::{Options, Templates},
    rules::{
        codes,
        diagnostic::{Diagnostic, Level},
        evaluate,
        set::{Declared, Loaded},
        watch::Snapshot,
    },
};

/// Folders that a rules' folder has: a rule file lies at most one folder below it.
const LANDMARKS: &[&str] = &["shared", "lists", "exceptions"];

/// What was read and loaded.
pub struct Folder {
    pub root: PathBuf,
    pub snapshot: Snapshot,
    pub loaded: Loaded,
    /// Every test that ran, by file and as written.
    pub tests: Vec<TestRun>,
    /// Empty: the whole folder.
    only: Vec<String>,
    pub template_errors: Vec<String>,
    /// The configuration says who there is.
    pub knows_recipients: bool,
}

/// One test of a rule file.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct TestRun {
    pub file: String,
    pub rule: String,
    pub test: String,
    /// Why it failed; none when it passed.
    pub failure: Option<String>,
    /// What was judged, and what came of it.
    pub help: Option<String>,
    pub line: usize,
}

/// Loads the rules' folders that `paths` lie in: the configured one when there are none. `rules` stands for the configured one.
///
/// # Errors
/// A folder or file can't be read, or the sections of the configuration that matter can't be used.
pub fn open(global: &Global, rules: Option<&Path>, paths: &[PathBuf]) -> anyhow::Result<Vec<Folder>> {
    let mut lookup = global.lookup();
    if let Some(rules) = rules {
        lookup.overrides.push(("rules.directory".to_owned(), rules.display().to_string()));
    }
    let config = load_rules(&lookup)?;
    let options = Options { directory: config.templates.directory, language: config.language, zone: config.time_zone.0 };
    let mut template_errors = Vec::new();
    let templates = Templates::load(&options).or_else(|errors| {
        template_errors = errors.iter().map(|error| causes::chain(error)).collect();
        // Rules are checked all the same, with the shipped texts.
        Templates::load(&Options { directory: None, ..options.clone() })
            .map_err(|_| anyhow!("the shipped templates can't be loaded"))
    })?;
    let declared = Declared { topics: config.topics, fields: config.fields, recipients: config.recipients };

    let mut roots: Vec<(PathBuf, Vec<String>)> = Vec::new();
    for path in paths {
        let (root, only) = place(path, &config.rules.directory)?;
        match roots.iter_mut().find(|(known, _)| *known == root) {
            Some((_, files)) if files.is_empty() || only.is_none() => files.clear(),
            Some((_, files)) => files.extend(only),
            None => roots.push((root, only.into_iter().collect())),
        }
    }
    if paths.is_empty() {
        roots.push((config.rules.directory, Vec::new()));
    }
    let mut folders = Vec::new();
    for (root, only) in roots {
        let snapshot = Snapshot::read(&root).context("there are no rules to read; name their folder with --rules")?;
        let (loaded, tests) = load(&snapshot, &declared, &templates)?;
        // Once is enough, where several folders are checked.
        let template_errors = std::mem::take(&mut template_errors);
        folders.push(Folder {
            root,
            snapshot,
            loaded,
            tests,
            only,
            template_errors,
            knows_recipients: declared.recipients.is_some(),
        });
    }
    Ok(folders)
}

/// The rules' folder of a path, and the path within it; none for the whole folder.
fn place(path: &Path, configured: &Path) -> anyhow::Result<(PathBuf, Option<String>)> {
    let full = path.canonicalize().with_context(|| format!("{} can't be read", path.display()))?;
    if let Ok(configured_full) = configured.canonicalize()
        && let Ok(relative) = full.strip_prefix(&configured_full)
    {
        return Ok((configured.to_owned(), Some(slashed(relative)).filter(|relative| !relative.is_empty())));
    }
    if full.is_dir() {
        return Ok((path.to_owned(), None));
    }
    let parent = full.parent().unwrap_or(Path::new("/"));
    // A folder called `rules` is what it says. Else landmarks count, but only near: what lies further up belongs to somebody else.
    let called_rules = || full.ancestors().skip(1).find(|folder| folder.file_name().is_some_and(|name| name == "rules"));
    let landmark = |folder: &&Path| LANDMARKS.iter().any(|name| folder.join(name).is_dir());
    let root = called_rules().or_else(|| full.ancestors().skip(1).take(2).find(landmark)).unwrap_or(parent);
    let relative = full.strip_prefix(root).unwrap_or(&full);
    let shown = std::env::current_dir().ok().and_then(|here| root.strip_prefix(here).ok().map(Path::to_owned));
    let shown = shown.map(|shown| if shown.as_os_str().is_empty() { PathBuf::from(".") } else { shown });
    Ok((shown.unwrap_or_else(|| root.to_owned()), Some(slashed(relative))))
}

fn slashed(path: &Path) -> String {
    path.components().map(|part| part.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/")
}

/// Compiles and rehearses on a thread as large as the service's.
fn load(snapshot: &Snapshot, declared: &Declared, templates: &Templates) -> anyhow::Result<(Loaded, Vec<TestRun>)> {
    std::thread::scope(|scope| {
        let work = || {
            let tests = RefCell::new(Vec::new());
            let loaded = engine::reload::observed(snapshot, None, declared, templates, true, &|rule, failed| {
                tests.borrow_mut().extend(rule.cases.iter().map(|case| {
                    let at = |finding: &&Diagnostic| {
                        finding.span.is_some_and(|span| (span.line, span.column) == (case.place.line, case.place.column))
                    };
                    let failed = failed.iter().find(at);
                    TestRun {
                        file: rule.card.file.clone(),
                        rule: rule.card.id.to_string(),
                        test: case.name.clone(),
                        failure: failed.map(|finding| finding.label.clone()),
                        help: failed.and_then(|finding| finding.help.clone()),
                        line: case.place.line,
                    }
                }));
            });
            (loaded, tests.into_inner())
        };
        let thread = evaluate::thread().spawn_scoped(scope, work).context("the thread that loads rules can't be started")?;
        thread.join().map_err(|_| anyhow!("the thread that loads rules broke"))
    })
}

impl Folder {
    /// Whether a file was asked for.
    #[must_use]
    pub fn covers(&self, file: &str) -> bool {
        self.only.is_empty()
            || self
                .only
                .iter()
                .any(|path| file == path || file.strip_prefix(path.as_str()).is_some_and(|rest| rest.starts_with('/')))
    }

    /// Findings in the files asked for.
    pub fn findings(&self) -> impl Iterator<Item = &Diagnostic> {
        self.loaded.diagnostics.iter().filter(|finding| self.covers(&finding.file))
    }

    /// Findings that say that a file can't be loaded at all; failed tests are told otherwise.
    pub fn broken(&self) -> impl Iterator<Item = &Diagnostic> {
        self.findings().filter(|finding| finding.is_error() && finding.code != codes::TEST_FAILED)
    }

    /// The finding with its line of the source.
    #[must_use]
    pub fn render(&self, finding: &Diagnostic, colour: bool) -> String {
        let source = self.snapshot.files.get(&finding.file).map(|bytes| String::from_utf8_lossy(bytes));
        finding.render(source.as_deref(), &self.root.display().to_string(), colour)
    }

    /// Rule files asked for, good or not.
    #[must_use]
    pub fn rule_files(&self) -> usize {
        let is_rule = |file: &str| {
            let folder = file.split_once('/').map(|(folder, _)| folder);
            Path::new(file).extension().is_some_and(|ending| ending == "rhai")
                && !folder.is_some_and(|folder| LANDMARKS.contains(&folder))
        };
        self.snapshot.files.keys().filter(|file| is_rule(file) && self.covers(file)).count()
    }
}

/// How many findings are of a level.
pub fn count<'a>(findings: impl Iterator<Item = &'a Diagnostic>, level: Level) -> usize {
    findings.filter(|finding| finding.level == level).count()
}

/// Whether people read stdout in colours.
#[must_use]
pub fn colour() -> bool {
    use std::io::IsTerminal as _;
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
