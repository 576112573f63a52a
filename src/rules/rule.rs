//! A compiled rule: the card and what evaluation needs.

use std::sync::Arc;

use super::{condition::Condition, rehearsal::Case, subject::Subject};
use crate::model::{card::Card, value::Value};

#[derive(Clone, Debug)]
pub struct CompiledRule {
    pub card: Arc<Card>,
    pub condition: Condition,
    pub subject: Option<Subject>,
    pub masked_subject: Option<Subject>,
    pub settings: Value,
    pub script: Option<Script>,
    pub cases: Vec<Case>,
    pub sources: std::collections::BTreeMap<String, Arc<[u8]>>,
}

#[derive(Clone, Debug)]
pub struct Script {
    pub ast: rhai::AST,
    pub when: bool,
    pub severity: bool,
    pub subject: bool,
    pub details: bool,
    pub send_to: bool,
    pub imports: Vec<String>,
    pub modules: Arc<super::set::Modules>,
}
