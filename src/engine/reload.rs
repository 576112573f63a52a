//! Reload: read every file whole, build the next set beside the live one, keep it in the store, hand it to the engine. What fails keeps its last
//! good version, and is told.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::{pipeline::Control, rehearse::rehearse};
use crate::{
    alerts::Alarm,
    config::service::Watch,
    model::{
        hash::Digest,
        names::RuleId,
        rendered::{Clearance, Form, Rendered},
        severity::Severity,
        time::{Clock, Timestamp},
        turn::GenerationRecord,
    },
    render::{self, Templates},
    rules::{
        codes,
        diagnostic::Diagnostic,
        evaluate,
        literal::Place,
        rule::CompiledRule,
        set::{self, Declared, Generation, Loaded},
        watch::{self, Snapshot},
    },
    store::{Journal, StoreError},
    telemetry::{Metrics, metrics::ResultLabel},
};

/// How long the folders must be quiet before they are read, and how long that may be put off.
const QUIET: Duration = Duration::from_millis(300);
const AT_MOST: Duration = Duration::from_secs(2);

/// How a reload ended.
#[derive(Clone, Debug)]
pub struct Report {
    pub at: Timestamp,
    pub generation: Digest,
    /// Whether the live set is another one than before.
    pub changed: bool,
    pub rules: usize,
    pub diagnostics: Vec<Diagnostic>,
    /// Files that run as their last good version.
    pub stale: Vec<String>,
    pub withdrawn: Vec<RuleId>,
    pub held_back: Option<String>,
    pub template_errors: Vec<String>,
    pub took: Duration,
}

/// Somebody asks for a reload.
#[derive(Debug)]
pub struct Request {
    /// Lets a held-back drop of rules or lists through.
    pub confirm: bool,
    pub answer: Option<oneshot::Sender<Report>>,
}

/// Owns what is loaded, and loads the next.
pub struct Reloader {
    pub rules: PathBuf,
    pub watch: Watch,
    pub templates: render::Options,
    pub declared: Declared,
    pub live: Arc<ArcSwap<Generation>>,
    pub live_templates: Arc<ArcSwap<Templates>>,
    pub journal: Arc<dyn Journal>,
    pub clock: Arc<dyn Clock>,
    pub metrics: Arc<Metrics>,
    pub reports: broadcast::Sender<Report>,
}

/// The rules' folder can't be read at all.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    #[error("the rules' folder {path} can't be read")]
    Folder { path: PathBuf, source: watch::WatchError },
    #[error("the thread that loads rules can't be started")]
    Thread(#[source] std::io::Error),
    #[error("the thread that loads rules broke")]
    Broken,
    #[error("the rule set can't be kept")]
    Store(#[from] StoreError),
}

impl Reloader {
    /// Loads once. The caller makes the generation live.
    ///
    /// # Errors
    /// When the folder can't be read or the set can't be kept; the live set is untouched.
    pub async fn load(&self, confirm: bool) -> Result<(Arc<Generation>, Report), ReloadError> {
        let began = Instant::now();
        let (templates, template_errors) = self.load_templates();
        let previous = self.live.load_full();
        let (loaded, lists) = self.load_rules(Arc::clone(&previous), Arc::clone(&templates), confirm).await?;
        let Loaded { generation, diagnostics, stale, withdrawn, held_back } = loaded;
        let changed = generation.hash != previous.hash;
        let generation = if changed { Arc::new(generation) } else { previous };
        if changed {
            let record = GenerationRecord {
                hash: generation.hash,
                live_from: self.clock.now(),
                cards: generation.rules.iter().map(|rule| (*rule.card).clone()).collect(),
                files: files(&generation, lists),
            };
            self.journal.keep_generation(record).committed().await?;
        }
        self.live_templates.store(templates);
        let running = generation.rules.iter().filter(|rule| rule.card.stage.runs()).count();
        self.metrics.rules.set(i64::try_from(running).unwrap_or(i64::MAX));
        self.metrics.rules_stale.set(i64::try_from(stale.len()).unwrap_or(i64::MAX));
        let report = Report {
            at: self.clock.now(),
            generation: generation.hash,
            changed,
            rules: running,
            diagnostics,
            stale: stale.into_iter().map(|stale| stale.file).collect(),
            withdrawn,
            held_back,
            template_errors,
            took: began.elapsed(),
        };
        Ok((generation, report))
    }

    fn load_templates(&self) -> (Arc<Templates>, Vec<String>) {
        match Templates::load(&self.templates) {
            Ok(templates) => (Arc::new(templates), Vec::new()),
            Err(errors) => (self.live_templates.load_full(), errors.iter().map(ToString::to_string).collect()),
        }
    }

    /// Compiling and testing need a large stack and must not hold up the engine: a thread of its own, off the runtime.
    async fn load_rules(
        &self,
        previous: Arc<Generation>,
        templates: Arc<Templates>,
        confirm: bool,
    ) -> Result<(Loaded, ListFiles), ReloadError> {
        let folder = self.rules.clone();
        let declared = self.declared.clone();
        let (send, receive) = oneshot::channel();
        evaluate::thread()
            .spawn(move || {
                let loaded = Snapshot::read(&folder)
                    .map(|snapshot| {
                        let loaded = check(&snapshot, Some(&previous), &declared, &templates, confirm);
                        let lists = snapshot.files.into_iter().filter(|(file, _)| file.starts_with("lists/"));
                        (loaded, lists.collect())
                    })
                    .map_err(|source| ReloadError::Folder { path: folder, source });
                // The asker may be gone: the process is stopping.
                let _ = send.send(loaded);
            })
            .map_err(ReloadError::Thread)?;
        receive.await.unwrap_or(Err(ReloadError::Broken))
    }

    /// Watches the folders and answers requests until `stop`.
    pub async fn run(self, control: mpsc::Sender<Control>, mut requests: mpsc::Receiver<Request>, stop: CancellationToken) {
        let (changed, mut changes) = mpsc::channel(1);
        let mut folders = vec![self.rules.clone()];
        folders.extend(self.templates.directory.clone());
        let watching = tokio::spawn(watch::watch(folders, self.watch, QUIET, AT_MOST, changed, stop.clone()));
        loop {
            let request = tokio::select! {
                Some(()) = changes.recv() => Request { confirm: false, answer: None },
                Some(request) = requests.recv() => request,
                () = stop.cancelled() => break,
            };
            match self.load(request.confirm).await {
                Ok((generation, report)) => self.go_live(&generation, report, &control, request.answer).await,
                Err(error) => self.failed(&error, &control).await,
            }
        }
        watching.abort();
    }

    async fn go_live(
        &self,
        generation: &Arc<Generation>,
        report: Report,
        control: &mpsc::Sender<Control>,
        answer: Option<oneshot::Sender<Report>>,
    ) {
        tell(&report);
        let result = if report.is_good() { "good" } else { "partly refused" };
        self.metrics.reloads.get_or_create(&ResultLabel { result: result.to_owned() }).inc();
        if report.changed {
            let _ = control.send(Control::Swap(Arc::clone(generation))).await;
        }
        for alarm in alarms(&report, generation) {
            let _ = control.send(Control::Alarm(alarm)).await;
        }
        // Nobody may be listening; the log has it.
        let _ = self.reports.send(report.clone());
        if let Some(answer) = answer {
            let _ = answer.send(report);
        }
    }

    async fn failed(&self, error: &ReloadError, control: &mpsc::Sender<Control>) {
        tracing::error!(error = error as &dyn std::error::Error, "the rules could not be reloaded; the live set goes on");
        self.metrics.reloads.get_or_create(&ResultLabel { result: "failed".to_owned() }).inc();
        let alarm = Alarm::new("reload failed", Severity::High, "The rules could not be reloaded")
            .note(format!("{}.", crate::engine::chain(error)))
            .note("The rules that were live go on judging.");
        let _ = control.send(Control::Alarm(alarm)).await;
    }
}

/// The look-up lists' files: name and content.
type ListFiles = Vec<(String, Arc<[u8]>)>;

/// Every file that a generation was made of.
fn files(generation: &Generation, lists: ListFiles) -> Vec<(String, Vec<u8>)> {
    let rules = generation.rules.iter().flat_map(|rule| rule.sources.iter());
    let files: BTreeMap<String, Arc<[u8]>> = rules.map(|(file, bytes)| (file.clone(), Arc::clone(bytes))).chain(lists).collect();
    files.into_iter().map(|(file, bytes)| (file, bytes.to_vec())).collect()
}

/// Tells the operators what the first load refused.
pub async fn announce(report: &Report, generation: &Generation, control: &mpsc::Sender<Control>) {
    tell(report);
    for alarm in alarms(report, generation) {
        let _ = control.send(Control::Alarm(alarm)).await;
    }
}

/// Loads a snapshot with the tests run: the one code path of `run`, `check` and `test`.
#[must_use]
pub fn check(
    snapshot: &Snapshot,
    previous: Option<&Generation>,
    declared: &Declared,
    templates: &Templates,
    confirm: bool,
) -> Loaded {
    observed(snapshot, previous, declared, templates, confirm, &|_, _| {})
}

/// As [`check`], telling which rules' tests ran and what failed of each.
#[must_use]
pub fn observed(
    snapshot: &Snapshot,
    previous: Option<&Generation>,
    declared: &Declared,
    templates: &Templates,
    confirm: bool,
    rehearsed: &dyn Fn(&CompiledRule, &[Diagnostic]),
) -> Loaded {
    let body = |message: &crate::model::alert::Message| match templates.render(message, Form::Mail, Clearance::Personal) {
        Rendered::Mail(mail) => mail.text,
        Rendered::Json(json) => json.to_string(),
    };
    set::load(snapshot, previous, declared, confirm, &|generation, rule| {
        let mut failed = rehearse(generation, rule, &body);
        rehearsed(rule, &failed);
        failed.extend(unknown_template(rule, templates));
        failed
    })
}

/// A misspelt template set would render as the shipped one, and nobody would notice.
fn unknown_template(rule: &CompiledRule, templates: &Templates) -> Option<Diagnostic> {
    let (file, set) = (&rule.card.file, &rule.card.template);
    if templates.has(set) {
        return None;
    }
    let text = rule.sources.get(file).map(|bytes| String::from_utf8_lossy(bytes)).unwrap_or_default();
    let quoted = format!("\"{set}\"");
    let found = text.lines().enumerate().find_map(|(index, line)| {
        let entry = line.find("template:")?;
        let byte = entry + line[entry..].find(&quoted)?;
        Some(Place { line: index + 1, column: line[..byte].chars().count() + 1 })
    });
    let place = found.unwrap_or(Place { line: 1, column: 1 });
    let finding =
        Diagnostic::error(codes::WRONG_VALUE, file, place, quoted.chars().count(), format!("there is no template set `{set}`"));
    Some(
        finding
            .label("no folder of this name")
            .help("a set is a folder below [templates] directory with mail.html, mail.txt or chat.txt"),
    )
}

impl Report {
    /// Whether everything in the folders is live.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.held_back.is_none() && self.template_errors.is_empty() && !self.diagnostics.iter().any(Diagnostic::is_error)
    }
}

fn tell(report: &Report) {
    if !report.changed && report.is_good() {
        return tracing::debug!("the folders were read again: nothing changes");
    }
    let errors = report.diagnostics.iter().filter(|finding| finding.is_error()).count();
    tracing::info!(
        generation = %report.generation.short(),
        changed = report.changed,
        rules = report.rules,
        errors,
        stale = report.stale.join(" "),
        took_ms = report.took.as_millis() as u64,
        "rules loaded"
    );
    for finding in &report.diagnostics {
        let line = finding.span.map_or(0, |span| span.line);
        tracing::warn!(code = finding.code, file = finding.file, line, label = finding.label, "{}", finding.message);
    }
}

/// One alarm a file that failed, to its owner and the operators; one for what was held back.
fn alarms(report: &Report, generation: &Generation) -> Vec<Alarm> {
    let mut alarms = Vec::new();
    if report.rules == 0 {
        // Everything works and nobody is ever told anything: the worst way to be silent.
        alarms.push(
            Alarm::new("no rules", Severity::Critical, "No rule judges: no event can raise an alert")
                .note("The rules' folder holds no rule that could be loaded and runs. Events are journaled and judged by nothing.")
                .note("`redflag rules` shows what would be loaded, `redflag check` what is wrong. A mended folder is taken up by itself."),
        );
    }
    let mut files: Vec<&str> = Vec::new();
    for finding in report.diagnostics.iter().filter(|finding| finding.is_error()) {
        if files.contains(&finding.file.as_str()) {
            continue;
        }
        files.push(&finding.file);
        let stale = report.stale.contains(&finding.file);
        let line = finding.span.map_or_else(String::new, |span| format!(" line {}", span.line));
        let owner = generation.rules.iter().find(|rule| rule.card.file == finding.file).and_then(|rule| rule.card.owner.as_ref());
        let label = if finding.label.is_empty() { String::new() } else { format!(" ({})", finding.label) };
        alarms.push(
            Alarm::new(
                // Another mistake in the same file is news.
                format!("rule file {} {} {}", finding.file, finding.code, finding.message),
                Severity::High,
                format!("Rule file {} was refused", finding.file),
            )
            .note(format!("{}{line}: {}{label}.", finding.code, finding.message))
            .note(if stale {
                "Its last good version goes on judging."
            } else {
                "There is no earlier version of it: nothing judges by this file until it is mended."
            })
            .note("`redflag check` shows the place.")
            .also(owner),
        );
    }
    if let Some(held_back) = &report.held_back {
        alarms.push(
            Alarm::new(format!("held back {held_back}"), Severity::High, "A change of the rules is held back")
                .note(format!("{held_back}."))
                .note(
                    "The rules that were live go on. If the change is meant, restart redflag: a start takes the folder as it is.",
                ),
        );
    }
    if !report.template_errors.is_empty() {
        let mut alarm =
            Alarm::new(format!("templates {:?}", report.template_errors), Severity::High, "The templates were refused");
        for error in &report.template_errors {
            alarm = alarm.note(format!("{error}."));
        }
        alarms.push(alarm.note("The templates that were live go on."));
    }
    alarms
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(rules: usize) -> Report {
        Report {
            at: Timestamp::default(),
            generation: Digest::default(),
            changed: true,
            rules,
            diagnostics: Vec::new(),
            stale: Vec::new(),
            withdrawn: Vec::new(),
            held_back: None,
            template_errors: Vec::new(),
            took: Duration::ZERO,
        }
    }

    #[test]
    fn a_folder_without_a_rule_that_runs_is_an_alarm() {
        let subjects = |report: &Report| -> Vec<String> {
            alarms(report, &Generation::empty()).into_iter().map(|alarm| alarm.subject).collect()
        };
        assert_eq!(subjects(&report(0)), ["No rule judges: no event can raise an alert"]);
        assert!(subjects(&report(1)).is_empty());
    }

    const RULE: &str = r#"//! A sample.
const RULE = #{ id: "T-1", title: "Sample", on: ["identResult"], severity: "low", send_to: ["chat"], stage: "draft", template: "alerd" };
"#;

    #[test]
    fn a_template_set_that_is_not_there_is_an_error_at_its_place() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("sample.rhai"), RULE).unwrap();
        let snapshot = Snapshot::read(folder.path()).unwrap();
        let options = render::Options { directory: None, language: crate::config::Language::En, zone: chrono_tz::UTC };
        let templates = Templates::load(&options).unwrap();
        let loading = evaluate::thread()
            .spawn(move || check(&snapshot, None, &Declared::default(), &templates, false).diagnostics)
            .unwrap();
        let told: Vec<String> =
            loading.join().unwrap().iter().map(|finding| finding.render(Some(RULE), "rules", false)).collect();
        insta::assert_snapshot!(told.join("\n"));
    }
}
