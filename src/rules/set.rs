//! The generation: an immutable snapshot of rules, modules and lists.

use std::{collections::BTreeMap, sync::Arc};

use super::{lists::Lists, rule::CompiledRule};
use crate::model::hash::Digest;

#[derive(Debug)]
pub struct Generation {
    pub hash: Digest,
    pub rules: Vec<Arc<CompiledRule>>,
    by_topic: BTreeMap<String, Vec<u32>>,
    pub lists: Arc<Lists>,
    pub modules: Arc<Modules>,
}

impl Generation {
    #[must_use]
    pub fn empty() -> Self {
        Self {
            hash: Digest::default(),
            rules: Vec::new(),
            by_topic: BTreeMap::new(),
            lists: Arc::new(Lists::empty()),
            modules: Arc::default(),
        }
    }

    #[must_use]
    pub fn for_topic(&self, topic: &str) -> &[u32] {
        self.by_topic.get(topic).map_or(&[], Vec::as_slice)
    }
}

#[derive(Clone, Debug)]
pub struct Module {
    pub ast: rhai::AST,
    pub bytes: Arc<[u8]>,
    pub imports: Vec<String>,
    pub functions: Vec<(String, usize)>,
}

#[derive(Debug, Default)]
pub struct Modules(BTreeMap<String, Arc<Module>>);

impl Modules {
    #[must_use]
    pub fn of(ready: BTreeMap<String, Arc<Module>>) -> Self {
        Self(ready)
    }

    #[must_use]
    pub fn get(&self, path: &str) -> Option<&Arc<Module>> {
        self.0.get(path)
    }
}
