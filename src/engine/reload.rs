//! Reload: read every file whole, build the next set beside the live one, keep it in the store, hand it to the engine. What fails keeps its last
//! good version, and is told.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

mod told;

use told::{alarms, gone, tell};

use super::{pipeline::Control, rehearse::Rehearser};
use crate::{
    alerts::Alarm,
    config::service::Watch,
    model::{
        causes,
        hash::Digest,
        names::RuleId,
        rendered::{Clearance, Form, Rendered},
        severity::Severity,
        time::{Clock, Timestamp},
        turn::{GenerationRecord, Kept, KeptSet},
    },
    render::{self, Templates},
    rules::{
        codes,
        diagnostic::Diagnostic,
        evaluate,
        literal::Place,
        rule::CompiledRule,
        set::{self, Declared, Generation, Loaded, Stale},
        spread::spread,
        watch::{self, Snapshot},
    },
    store::{Journal, StoreError},
    telemetry::{Metrics, metrics::ResultLabel},
};

/// How long the folders must be quiet before they are read, and how long that may be put off.
const QUIET: Duration = Duration::from_millis(300);
const AT_MOST: Duration = Duration::from_secs(2);

/// How often at most it is read until two readings are the same, and the time between them.
const READINGS: usize = 50;
const BETWEEN: Duration = Duration::from_millis(20);

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
    /// Files that were refused, and are not any more.
    pub mended: Vec<String>,
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

/// What was loaded last, whether or not the engine has come to it.
#[derive(Clone, Debug)]
pub struct Latest {
    pub generation: Arc<Generation>,
    lists: ListFiles,
    /// Files with errors.
    refused: BTreeSet<String>,
}

impl Reloader {
    /// Loads at the start, over the set that was kept last: a file that is broken runs as it did before, and a folder that shrank
    /// suspiciously is held back as it would be while redflag runs.
    ///
    /// # Errors
    /// When the folder can't be read or the set can't be kept.
    pub async fn first(&self, kept: Option<GenerationRecord>) -> Result<(Latest, Report), ReloadError> {
        let hash = kept.as_ref().map(|kept| kept.hash);
        let before: Vec<RuleId> =
            kept.iter().flat_map(|kept| &kept.cards).filter(|card| card.stage.runs()).map(|card| card.id.clone()).collect();
        let nothing = Latest { generation: self.live.load_full(), lists: Vec::new(), refused: BTreeSet::new() };
        let (latest, mut report) = self.load(nothing, kept, false).await?;
        // Against what the last run judged by, and not against nothing.
        report.changed = hash != Some(report.generation);
        report.withdrawn = before.into_iter().filter(|id| latest.generation.rule(id).is_none()).collect();
        Ok((latest, report))
    }

    /// Loads once. The caller makes the generation live. `kept`: where there is no previous set in memory, the one of an earlier run.
    async fn load(
        &self,
        previous: Latest,
        kept: Option<GenerationRecord>,
        confirm: bool,
    ) -> Result<(Latest, Report), ReloadError> {
        let began = Instant::now();
        let (templates, template_errors) = self.load_templates();
        let (loaded, lists) = self.load_rules(previous.clone(), kept, Arc::clone(&templates), confirm).await?;
        let Loaded { generation, diagnostics, stale, withdrawn, held_back } = loaded;
        let refused: BTreeSet<String> =
            diagnostics.iter().filter(|finding| finding.is_error()).map(|finding| finding.file.clone()).collect();
        // One that is gone is withdrawn, not mended.
        let mended = previous.refused.difference(&refused).filter(|file| self.rules.join(file).exists()).cloned().collect();
        let changed = generation.hash != previous.generation.hash;
        let generation = if changed { Arc::new(generation) } else { previous.generation };
        if changed {
            let record = GenerationRecord {
                hash: generation.hash,
                live_from: self.clock.now(),
                cards: generation.rules.iter().map(|rule| (*rule.card).clone()).collect(),
                files: files(&generation, lists.clone()),
            };
            self.journal.keep_generation(record).committed().await?;
        }
        if template_errors.is_empty() && self.live_templates.load().files() != templates.files() {
            let files = templates.files().iter().map(|(name, text)| (name.clone(), text.clone().into_bytes())).collect();
            let set = KeptSet { kind: Kept::Templates, live_from: self.clock.now(), files };
            self.journal.keep_set(set).committed().await?;
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
            mended,
            withdrawn,
            held_back,
            template_errors,
            took: began.elapsed(),
        };
        Ok((Latest { generation, lists, refused }, report))
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
        previous: Latest,
        kept: Option<GenerationRecord>,
        templates: Arc<Templates>,
        confirm: bool,
    ) -> Result<(Loaded, ListFiles), ReloadError> {
        let folder = self.rules.clone();
        let declared = self.declared.clone();
        let (send, receive) = oneshot::channel();
        evaluate::thread()
            .spawn(move || {
                let read = if kept.is_none() { settled(&folder) } else { Snapshot::read(&folder) };
                let gone = read.is_err();
                let loaded = read
                    .or_else(|error| if kept.is_some() { Ok(unreadable(&error)) } else { Err(error) })
                    .map(|snapshot| {
                        let mut previous = previous;
                        let mut loaded = check(&snapshot, Some(&previous.generation), &declared, &templates, confirm);
                        if let Some(kept) = kept
                            && (loaded.diagnostics.iter().any(Diagnostic::is_error)
                                || lacks(&loaded.generation, &snapshot, &kept))
                        {
                            previous = revive(kept, &declared);
                            loaded = if gone {
                                as_it_was(loaded, &previous.generation)
                            } else {
                                on_last_good(loaded, &snapshot, &previous.generation, &declared, &templates)
                            };
                        }
                        // Lists that are held back are those of the previous set, and so are their files.
                        let lists = if Arc::ptr_eq(&loaded.generation.lists, &previous.generation.lists) {
                            previous.lists
                        } else {
                            list_files(snapshot.files)
                        };
                        (loaded, lists)
                    })
                    .map_err(|source| ReloadError::Folder { path: folder, source });
                // The asker may be gone: the process is stopping.
                let _ = send.send(loaded);
            })
            .map_err(ReloadError::Thread)?;
        receive.await.unwrap_or(Err(ReloadError::Broken))
    }

    /// Watches the folders and answers requests until `stop`.
    ///
    /// `latest` is what the next load is compared with, and not what the engine judges by: that may lag behind, and a folder that goes back to
    /// it meanwhile would be taken for unchanged.
    pub async fn run(
        self,
        mut latest: Latest,
        control: mpsc::Sender<Control>,
        mut requests: mpsc::Receiver<Request>,
        stop: CancellationToken,
    ) {
        let (changed, mut changes) = mpsc::channel(1);
        let mut folders = vec![self.rules.clone()];
        folders.extend(self.templates.directory.clone());
        let watching = tokio::spawn(watch::watch(folders, self.watch, QUIET, AT_MOST, changed, stop.clone()));
        loop {
            let request = tokio::select! {
                changed = changes.recv() => match changed {
                    Some(()) => Request { confirm: false, answer: None },
                    None if stop.is_cancelled() => break,
                    // Saved rules would never be taken up, and nobody would hear why.
                    None => {
                        tracing::error!("the watch of the rules' folder broke");
                        break;
                    }
                },
                Some(request) = requests.recv() => request,
                () = stop.cancelled() => break,
            };
            match self.load(latest.clone(), None, request.confirm).await {
                Ok((loaded, report)) => {
                    latest = loaded;
                    self.go_live(&latest.generation, report, &control, request.answer).await;
                    if request.confirm {
                        let _ = control.send(Control::JudgeAgain).await;
                    }
                }
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
        if report.changed || !report.is_good() || !report.mended.is_empty() {
            tell(&report);
        } else {
            tracing::debug!("the folders were read again: nothing changes");
        }
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
            .note(format!("{}.", causes::chain(error)))
            .note("The rules that were live go on judging.");
        let _ = control.send(Control::Alarm(alarm)).await;
    }
}

/// The look-up lists' files: name and content.
type ListFiles = Vec<(String, Arc<[u8]>)>;

/// The look-up lists among these files.
fn list_files(files: BTreeMap<String, Arc<[u8]>>) -> ListFiles {
    files.into_iter().filter(|(file, _)| file.starts_with("lists/")).collect()
}

/// Whether the set that an earlier run kept has a rule, or a list with other entries, that this one has not: only then is it worth the time
/// to compile it and to ask whether too much is gone.
fn lacks(generation: &Generation, snapshot: &Snapshot, kept: &GenerationRecord) -> bool {
    let list = |(file, bytes): &(String, Vec<u8>)| {
        file.starts_with("lists/") && snapshot.files.get(file).is_none_or(|now| **now != **bytes)
    };
    kept.cards.iter().any(|card| generation.rule(&card.id).is_none()) || kept.files.iter().any(list)
}

/// The folder as two readings in a row find it: a set that is being written is not half taken.
fn settled(folder: &Path) -> Result<Snapshot, watch::WatchError> {
    let mut snapshot = Snapshot::read(folder)?;
    for _ in 0..READINGS {
        std::thread::park_timeout(BETWEEN);
        let again = Snapshot::read(folder)?;
        let same = again.files == snapshot.files && again.unreadable == snapshot.unreadable;
        snapshot = again;
        if same {
            break;
        }
    }
    Ok(snapshot)
}

/// In the place of a folder that can't be read.
fn unreadable(error: &watch::WatchError) -> Snapshot {
    Snapshot { files: BTreeMap::new(), unreadable: vec![(".".to_owned(), causes::chain(error))] }
}

/// The set that an earlier run kept. Its tests passed then; what no longer compiles (its recipient is gone from the configuration) is left out.
pub(super) fn revive(kept: GenerationRecord, declared: &Declared) -> Latest {
    let files: BTreeMap<String, Arc<[u8]>> = kept.files.into_iter().map(|(file, bytes)| (file, bytes.into())).collect();
    let snapshot = Snapshot { files, unreadable: Vec::new() };
    let loaded = set::load(&snapshot, None, declared, true, &|_| Vec::new());
    Latest { generation: Arc::new(loaded.generation), lists: list_files(snapshot.files), refused: BTreeSet::new() }
}

/// Loads again over the last good set. What `first` found wrong is told as it was found: a file whose own tests fail is unchanged to the
/// second load.
fn on_last_good(
    first: Loaded,
    snapshot: &Snapshot,
    last_good: &Generation,
    declared: &Declared,
    templates: &Templates,
) -> Loaded {
    let mut loaded = check(snapshot, Some(last_good), declared, templates, false);
    loaded.diagnostics = first.diagnostics;
    let wrong: BTreeSet<&str> =
        loaded.diagnostics.iter().filter(|finding| finding.is_error()).map(|finding| &*finding.file).collect();
    loaded.stale = loaded
        .generation
        .rules
        .iter()
        .filter(|rule| wrong.contains(&*rule.card.file))
        .map(|rule| Stale { file: rule.card.file.clone(), id: rule.card.id.clone() })
        .collect();
    loaded
}

/// Every rule as its last good version.
fn as_it_was(first: Loaded, last_good: &Generation) -> Loaded {
    let stale = last_good.rules.iter().map(|rule| Stale { file: rule.card.file.clone(), id: rule.card.id.clone() }).collect();
    Loaded { generation: last_good.clone(), stale, withdrawn: Vec::new(), ..first }
}

/// Every file that a generation was made of.
fn files(generation: &Generation, lists: ListFiles) -> Vec<(String, Vec<u8>)> {
    let rules = generation.rules.iter().flat_map(|rule| rule.sources.iter());
    let files: BTreeMap<String, Arc<[u8]>> = rules.map(|(file, bytes)| (file.clone(), Arc::clone(bytes))).chain(lists).collect();
    files.into_iter().map(|(file, bytes)| (file, bytes.to_vec())).collect()
}

/// Tells the operators what the first load refused.
pub async fn announce(report: &Report, generation: &Generation, control: &mpsc::Sender<Control>) {
    tell(report);
    for alarm in alarms(report, generation).into_iter().chain(gone(report)) {
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
    set::load(snapshot, previous, declared, confirm, &|rules| {
        let failed = spread(rules, || Rehearser::new(&body), |rehearser, rule| rehearser.rehearse(rule));
        let each = rules.iter().zip(failed).flat_map(|(rule, mut failed)| {
            rehearsed(rule, &failed);
            failed.extend(unknown_template(rule, templates));
            failed
        });
        each.collect()
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

#[cfg(test)]
mod tests;
