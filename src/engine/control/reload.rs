//! `reload`: the folders are read again, and a held-back change may be let through.

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::{Office, Refusal};
use crate::{
    engine::reload::{Report, Request},
    model::actor::Actor,
    store::Note,
};

/// How a reload ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    pub good: bool,
    pub changed: bool,
    pub generation: String,
    pub rules: usize,
    pub errors: Vec<Finding>,
    /// Files that run as their last good version.
    pub stale: Vec<String>,
    pub withdrawn: Vec<String>,
    pub held_back: Option<String>,
    pub template_errors: Vec<String>,
    pub took_ms: u64,
}

/// What is wrong in a rule file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    pub code: String,
    pub file: String,
    pub line: usize,
    pub message: String,
}

impl Office {
    pub(super) fn reload(&self, confirm: bool, note: &str, actor: &Actor) -> Result<Reloaded, Refusal> {
        let action = if confirm { "reload --confirm" } else { "reload" };
        let Some(live) = &self.live else {
            return Err(Refusal::needs_service("nothing runs, so there is nothing to reload: a start reads the folders"));
        };
        let before = live.last_load.load().generation;
        let (answer, report) = oneshot::channel();
        let gone = || Refusal::needs_service("the service is stopping");
        live.reload.blocking_send(Request { confirm, answer: Some(answer) }).map_err(|_| gone())?;
        // None: the folder can't be read; the log and an alarm say why, and so does whoever looks.
        let report = report.blocking_recv().map_err(|_| {
            Refusal::failed(&std::io::Error::other("the rules could not be reloaded; the log says why, and the live set goes on"))
        })?;
        self.store
            .note(Note {
                actor: actor.clone(),
                action: action.to_owned(),
                object: "rules".to_owned(),
                detail: note.to_owned(),
                before: Some(before.short()),
                after: Some(report.generation.short()),
            })
            .wait()?;
        Ok(reloaded(&report))
    }
}

fn reloaded(report: &Report) -> Reloaded {
    let errors = report.diagnostics.iter().filter(|finding| finding.is_error());
    Reloaded {
        good: report.is_good(),
        changed: report.changed,
        generation: report.generation.to_string(),
        rules: report.rules,
        errors: errors
            .map(|finding| Finding {
                code: finding.code.to_owned(),
                file: finding.file.clone(),
                line: finding.span.map_or(0, |span| span.line),
                message: finding.message.clone(),
            })
            .collect(),
        stale: report.stale.clone(),
        withdrawn: report.withdrawn.iter().map(ToString::to_string).collect(),
        held_back: report.held_back.clone(),
        template_errors: report.template_errors.clone(),
        took_ms: report.took.as_millis() as u64,
    }
}
