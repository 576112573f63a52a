//! The template sets: the shipped one, and what a folder replaces or adds. Immutable; a reload builds the next beside it.
//!
//! A set is a folder with `mail.html`, `mail.txt` and `chat.txt`; what it lacks comes from the shipped set `alert`. Every file is rendered with a canary
//! before it goes live.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use chrono_tz::Tz;
use css_inline::{CSSInliner, InlineOptions};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior, value::Serde};
use serde_json::json;

use super::{
    context::{Context, Frame},
    json, plain, text,
};
use crate::{
    config::Language,
    model::{
        alert::Message,
        rendered::{Clearance, Form, Mail, Rendered},
    },
};

const FILES: [(&str, &str); 3] = [
    ("mail.html", include_str!("../../templates/alert/mail.html")),
    ("mail.txt", include_str!("../../templates/alert/mail.txt")),
    ("chat.txt", include_str!("../../templates/alert/chat.txt")),
];
const ENGLISH: &str = include_str!("../../templates/words/en.toml");
const GERMAN: &str = include_str!("../../templates/words/de.toml");

/// How many steps one rendering may take.
const FUEL: u64 = 200_000;

/// The longest template file, bytes.
const LONGEST: u64 = 256 * 1024;

/// The longest text of a Slack section, characters.
const SLACK_SECTION: usize = 2_900;

/// Where templates come from, and for whom.
#[derive(Clone, Debug)]
pub struct Options {
    pub directory: Option<PathBuf>,
    pub language: Language,
    /// For times that people read.
    pub zone: Tz,
}

/// A template that can't go live.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    #[error("the templates' folder {path} can't be read")]
    Folder { path: PathBuf, source: std::io::Error },
    #[error("the template {path} can't be read")]
    File { path: PathBuf, source: std::io::Error },
    #[error("the template {path} is longer than {LONGEST} bytes")]
    TooLong { path: PathBuf },
    #[error("the template {name}, line {line}: {detail}")]
    Template { name: String, line: usize, detail: String },
    #[error("the words of the shipped templates can't be read: {0}")]
    Words(String),
}

/// All template sets, ready to render.
pub struct Templates {
    /// What the folder holds: file name, such as `alert/chat.txt`, and content.
    files: Files,
    html: Environment<'static>,
    text: Environment<'static>,
    chat: Environment<'static>,
    words: BTreeMap<String, String>,
    language: &'static str,
    zone: Tz,
}

impl Templates {
    /// Reads, compiles and tries every template.
    ///
    /// # Errors
    /// Everything that is wrong, at once; then nothing of it goes live.
    pub fn load(options: &Options) -> Result<Self, Vec<TemplateError>> {
        let (files, mut errors) = options.directory.as_deref().map_or_else(Default::default, read_all);
        match Self::of(options, files) {
            Ok(templates) if errors.is_empty() => Ok(templates),
            Ok(_) => Err(errors),
            Err(more) => {
                errors.extend(more);
                Err(errors)
            }
        }
    }

    /// Compiles and tries these files, as [`Templates::files`] gave them; without any, the shipped ones.
    ///
    /// # Errors
    /// As [`Templates::load`].
    pub fn of(options: &Options, files: Files) -> Result<Self, Vec<TemplateError>> {
        let (words, language) = match options.language {
            Language::En => (ENGLISH, "en"),
            Language::De => (GERMAN, "de"),
        };
        let words = toml::from_str(words).map_err(|error| vec![TemplateError::Words(error.to_string())])?;
        let mut templates = Self {
            files,
            html: environment(AutoEscape::Html),
            text: environment(AutoEscape::None),
            chat: environment(AutoEscape::Custom("slack".into())),
            words,
            language,
            zone: options.zone,
        };
        let mut errors = Vec::new();
        for (file, source) in FILES {
            errors.extend(templates.add("alert", file, source.to_owned()).err());
        }
        for (name, source) in templates.files.clone() {
            let (set, file) = name.split_once('/').unwrap_or(("alert", &name));
            errors.extend(templates.add(set, file, source).err());
        }
        errors.extend(templates.try_all());
        if errors.is_empty() { Ok(templates) } else { Err(errors) }
    }

    /// What they were made of, beside what is shipped.
    #[must_use]
    pub fn files(&self) -> &Files {
        &self.files
    }

    /// The message in a channel's form. Never fails: a template that does is logged, and the built-in text stands in.
    pub fn render(&self, message: &Message, form: Form, clearance: Clearance) -> Rendered {
        let context = Context::new(message, clearance, Frame { words: &self.words, language: self.language, zone: self.zone });
        let set = message.card.as_deref().map_or("alert", |card| card.template.as_str());
        match form {
            Form::Mail => Rendered::Mail(self.mail(set, &context)),
            Form::Slack => Rendered::Json(self.slack(set, &context)),
            Form::Json => Rendered::Json(json::body(message, clearance)),
        }
    }

    /// Whether there is a set of this name.
    pub fn has(&self, set: &str) -> bool {
        FILES.iter().any(|(file, _)| {
            let name = format!("{set}/{file}");
            [&self.html, &self.text, &self.chat].iter().any(|environment| environment.get_template(&name).is_ok())
        })
    }

    fn mail(&self, set: &str, context: &Context<'_>) -> Mail {
        let subject = self.line(context);
        let (text, html) = match (self.text(set, context), self.html(set, context)) {
            (Ok(text), Ok(html)) => (text, Some(html)),
            (text, html) => {
                for error in [text.as_ref().err(), html.as_ref().err()].into_iter().flatten() {
                    failed(set, error);
                }
                (text.unwrap_or_else(|_| plain::text(context)), None)
            }
        };
        Mail { subject, text, html }
    }

    /// `[prod] High: subject`, in the reader's language.
    fn line(&self, context: &Context<'_>) -> String {
        let severity = self.words.get(context.severity).map_or(context.severity, String::as_str);
        text::subject(&format!("[{}] {severity}: {}", context.environment, context.subject))
    }

    fn slack(&self, set: &str, context: &Context<'_>) -> serde_json::Value {
        let line = text::slack(&self.line(context));
        let body = run(&self.chat, set, "chat.txt", context).unwrap_or_else(|error| {
            failed(set, &error);
            text::slack(&plain::text(context))
        });
        let body = text::within(SLACK_SECTION, body);
        json!({
            "text": line,
            "blocks": [{ "type": "section", "text": { "type": "mrkdwn", "text": text::block(&body) } }],
        })
    }

    fn text(&self, set: &str, context: &Context<'_>) -> Result<String, Error> {
        run(&self.text, set, "mail.txt", context).map(|text| text::block(&text))
    }

    /// Styles go into the elements: many mail clients drop `<style>`.
    fn html(&self, set: &str, context: &Context<'_>) -> Result<String, Error> {
        let html = run(&self.html, set, "mail.html", context)?;
        let options = InlineOptions { load_remote_stylesheets: false, ..InlineOptions::default() };
        CSSInliner::new(options)
            .inline(&html)
            .map_err(|error| Error::new(ErrorKind::InvalidOperation, format!("the styles can't be inlined: {error}")))
    }

    fn add(&mut self, set: &str, file: &str, source: String) -> Result<(), TemplateError> {
        let name = format!("{set}/{file}");
        let environment = match file {
            "mail.html" => &mut self.html,
            "mail.txt" => &mut self.text,
            _ => &mut self.chat,
        };
        environment.add_template_owned(name.clone(), source).map_err(|error| template_error(&name, &error))
    }

    /// Renders every template with a canary.
    fn try_all(&self) -> Vec<TemplateError> {
        let frame = Frame { words: &self.words, language: self.language, zone: self.zone };
        let mut errors = Vec::new();
        for environment in [&self.html, &self.text, &self.chat] {
            for (name, template) in environment.templates() {
                for message in canary::messages() {
                    for clearance in [Clearance::Masked, Clearance::Personal] {
                        let context = Context::new(&message, clearance, frame);
                        match template.render(Serde(&context)) {
                            Ok(text) if text.trim().is_empty() => errors.push(TemplateError::Template {
                                name: name.to_owned(),
                                line: 1,
                                detail: "it renders nothing".to_owned(),
                            }),
                            Ok(_) => {}
                            Err(error) => errors.push(template_error(name, &error)),
                        }
                    }
                }
            }
        }
        errors.dedup_by_key(|error| error.to_string());
        errors
    }
}

impl std::fmt::Debug for Templates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Templates").field("language", &self.language).finish_non_exhaustive()
    }
}

fn environment(escape: AutoEscape) -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    if matches!(escape, AutoEscape::Custom(_)) {
        environment.set_formatter(|out, state, value| {
            if value.is_undefined() {
                return minijinja::escape_formatter(out, state, value);
            }
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            out.write_str(&text::slack(&text)).map_err(Error::from)
        });
    }
    environment.set_auto_escape_callback(move |_| escape.clone());
    environment
}

/// A set's file, else the shipped one.
fn run(environment: &Environment<'static>, set: &str, file: &str, context: &Context<'_>) -> Result<String, Error> {
    let template = environment.get_template(&format!("{set}/{file}")).or_else(|error| {
        if error.kind() == ErrorKind::TemplateNotFound { environment.get_template(&format!("alert/{file}")) } else { Err(error) }
    })?;
    let text = template.render(Serde(context))?;
    if text.trim().is_empty() {
        return Err(Error::new(ErrorKind::InvalidOperation, "it renders nothing"));
    }
    Ok(text)
}

fn failed(set: &str, error: &Error) {
    // An error's detail can quote values: only its kind and place are logged.
    tracing::error!(set, kind = ?error.kind(), template = error.name(), line = error.line(), "a template failed; the plain text stands in for it");
}

fn template_error(name: &str, error: &Error) -> TemplateError {
    let detail = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    TemplateError::Template { name: name.to_owned(), line: error.line().unwrap_or(1), detail }
}

/// Names, such as `alert/chat.txt`, and contents, by name.
pub type Files = Vec<(String, String)>;

/// Every template file of a folder, and what can't be read of it.
fn read_all(folder: &Path) -> (Files, Vec<TemplateError>) {
    let (mut files, mut errors) = (Files::new(), Vec::new());
    match sets(folder) {
        Ok(sets) => {
            for (set, file, path) in sets {
                match read(&path) {
                    Ok(source) => files.push((format!("{set}/{file}"), source)),
                    Err(error) => errors.push(error),
                }
            }
        }
        Err(error) => errors.push(error),
    }
    (files, errors)
}

/// Every template file of a folder: (set, file, path).
fn sets(folder: &Path) -> Result<Vec<(String, String, PathBuf)>, TemplateError> {
    let unreadable = |source| TemplateError::Folder { path: folder.to_owned(), source };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let set = entry.file_name().to_string_lossy().into_owned();
        if set.starts_with('.') || set == "words" || !entry.path().is_dir() {
            continue;
        }
        for (file, _) in FILES {
            let path = entry.path().join(file);
            if path.is_file() {
                files.push((set.clone(), file.to_owned(), path));
            }
        }
    }
    files.sort();
    Ok(files)
}

fn read(path: &Path) -> Result<String, TemplateError> {
    let failed = |source| TemplateError::File { path: path.to_owned(), source };
    if std::fs::metadata(path).map_err(failed)?.len() > LONGEST {
        return Err(TemplateError::TooLong { path: path.to_owned() });
    }
    std::fs::read_to_string(path).map_err(failed)
}

mod canary {
    //! Messages of every purpose, with and without everything that may be absent.

    use std::sync::Arc;

    use crate::model::{
        alert::{EventFacts, Message, Purpose},
        card::{Card, Header, Stage},
        event::Origin,
        hash::Digest,
        ids::{Ids, Seq},
        names::RuleId,
        severity::Severity,
        time::Timestamp,
        value::{Map, Value},
    };

    pub fn messages() -> Vec<Message> {
        let at = Timestamp::from_timestamp(1_767_261_600, 0).unwrap_or_default();
        let full = Message {
            id: Ids::seeded(1).message(at),
            created_at: at,
            purpose: Purpose::Alert,
            severity: Severity::High,
            send_to: vec!["canary".to_owned()],
            subject: "Canary <b>&\"'</b>".to_owned(),
            masked_subject: "Canary".to_owned(),
            environment: "test".to_owned(),
            card: Some(Arc::new(card())),
            event: Some(EventFacts {
                seq: Seq(1),
                feed: "canary".into(),
                topic: "mismatches".into(),
                received_at: at,
                at,
                origin: Origin::Live,
                late: true,
                maybe_repeat: true,
                body: Map::from_iter([("personKey", Value::from("PERS_CANARY"))]),
            }),
            details: Some(Value::Map(Map::from_iter([("note", Value::from("canary"))]))),
            repeats: 2,
            notes: vec!["A note.".to_owned()],
            generation: Some(Digest::default()),
        };
        let mut bare = Message { card: None, event: None, details: None, notes: Vec::new(), generation: None, ..full.clone() };
        bare.purpose = Purpose::Alarm;
        let follow_up = Message { purpose: Purpose::FollowUp, ..full.clone() };
        let test = Message { purpose: Purpose::Test, ..bare.clone() };
        vec![full, bare, follow_up, test]
    }

    fn card() -> Card {
        Card {
            id: RuleId::new("CANARY-001"),
            title: "Canary".to_owned(),
            on: vec!["mismatches".into()],
            severity: Severity::High,
            send_to: vec!["canary".to_owned()],
            quiet: None,
            stage: Stage::Live,
            template: "alert".to_owned(),
            personal: None,
            owner: Some("Somebody".to_owned()),
            review_by: None,
            basis: Some("GwG § 43".to_owned()),
            header: Header { what: "What.".to_owned(), why: Some("Why.".to_owned()), act: Some("Do.".to_owned()), noise: None },
            file: "canary.rhai".to_owned(),
            hash: Digest::default(),
        }
    }
}
