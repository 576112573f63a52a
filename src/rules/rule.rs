//! A compiled rule: everything that judging an event by it needs, immutable and shared by the generations that hold it.

use std::{collections::BTreeMap, sync::Arc};

use super::{condition::Condition, native::Native, rehearsal::Case, set::Modules, subject::Subject};
use crate::model::{card::Card, value::Value};

/// One rule file, ready to judge.
#[derive(Clone, Debug)]
pub struct CompiledRule {
    pub card: Arc<Card>,
    /// `where`; [`Condition::always`] when absent.
    pub condition: Condition,
    /// None: the title.
    pub subject: Option<Subject>,
    /// None: the title.
    pub masked_subject: Option<Subject>,
    /// The card's `settings`, a map.
    pub settings: Value,
    /// None: a rule of level 1, without functions.
    pub script: Option<Script>,
    /// What `TESTS` holds.
    pub cases: Vec<Case>,
    /// The closure's sources by file: the rule's own and those of its modules. With them a last good version outlives a restart.
    pub sources: BTreeMap<String, Arc<[u8]>>,
}

/// A rule's functions.
#[derive(Clone, Debug)]
pub struct Script {
    /// The whole file.
    pub ast: rhai::AST,
    pub when: bool,
    /// `when` in a form that needs no interpreter; none where the file imports modules or has no `when`.
    pub native: Option<Arc<Native>>,
    pub severity: bool,
    pub subject: bool,
    pub details: bool,
    pub send_to: bool,
    /// Module files, transitively, such as `shared/names.rhai`.
    pub imports: Vec<String>,
    /// These modules as the rule was compiled with them: a last good rule keeps its own while others go on with newer ones.
    pub modules: Arc<Modules>,
}

impl Script {
    /// Whether a match asks it for more.
    #[must_use]
    pub fn has_answers(&self) -> bool {
        self.severity || self.subject || self.details || self.send_to
    }
}
