//! The generation: an immutable snapshot of rules, modules and lists. In the next one what is broken keeps its last good version, what is gone is
//! withdrawn, and a set that shrank suspiciously is held back: silence is the failure to fear.

mod next;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

pub use next::{Rehearse, load};
use rhai::AST;

use super::{diagnostic::Diagnostic, index::TopicIndex, lists::Lists, rule::CompiledRule};
use crate::model::{hash::Digest, names::RuleId};

/// What runs between two reloads. Cloned as an `Arc`, never changed.
#[derive(Clone, Debug)]
pub struct Generation {
    /// Of every rule's closure, the lists and the engine's version.
    pub hash: Digest,
    /// Every rule, in the order of its id; drafts and retired ones too.
    pub rules: Vec<Arc<CompiledRule>>,
    topics: BTreeMap<String, OfTopic>,
    pub lists: Arc<Lists>,
    /// The newest good version of each module. A rule runs with its own: [`super::rule::Script::modules`].
    pub modules: Arc<Modules>,
}

/// A topic's rules.
#[derive(Clone, Debug)]
struct OfTopic {
    /// Their places among all rules.
    rules: Vec<u32>,
    index: Arc<TopicIndex>,
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
        Self::after(None, rules, lists, modules)
    }

    /// As [`Self::new`], with the index of whatever is as it was.
    fn after(previous: Option<&Self>, mut rules: Vec<Arc<CompiledRule>>, lists: Arc<Lists>, modules: Arc<Modules>) -> Self {
        rules.sort_by(|a, b| a.card.id.cmp(&b.card.id));
        let mut by_topic: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
        for (index, rule) in rules.iter().enumerate().filter(|(_, rule)| rule.card.stage.runs()) {
            for topic in &rule.card.on {
                by_topic.entry(topic).or_default().push(index as u32);
            }
        }
        let lists_hash = lists.hash();
        let parts = rules.iter().flat_map(|rule| [rule.card.file.as_bytes(), rule.card.hash.as_bytes().as_slice()]);
        let hash = Digest::of_parts(parts.chain([lists_hash.as_bytes().as_slice(), env!("CARGO_PKG_VERSION").as_bytes()]));
        // Keys depend on lists.
        let previous = previous.filter(|previous| previous.lists.hash() == lists_hash);
        let topics = by_topic
            .into_iter()
            .map(|(topic, numbers)| {
                let known = previous.and_then(|previous| Some((previous, previous.topics.get(topic)?)));
                let same = known.filter(|(previous, of_topic)| {
                    of_topic.rules == numbers
                        && numbers.iter().all(|at| Arc::ptr_eq(&previous.rules[*at as usize], &rules[*at as usize]))
                });
                let index = same.map_or_else(
                    || {
                        let of_topic = numbers.iter().map(|at| (*at, rules[*at as usize].as_ref()));
                        Arc::new(TopicIndex::new(topic, of_topic, &lists))
                    },
                    |(_, of_topic)| Arc::clone(&of_topic.index),
                );
                (topic.to_owned(), OfTopic { rules: numbers, index })
            })
            .collect();
        Self { hash, rules, topics, lists, modules }
    }

    /// Indices into `rules` of those that run on a canonical topic.
    #[must_use]
    pub fn for_topic(&self, topic: &str) -> &[u32] {
        self.topics.get(topic).map_or(&[], |of_topic| &of_topic.rules)
    }

    /// What an event must show for the rules of a topic.
    #[must_use]
    pub fn index(&self, topic: &str) -> Option<&TopicIndex> {
        self.topics.get(topic).map(|of_topic| &*of_topic.index)
    }

    /// The rule of that id.
    #[must_use]
    pub fn rule(&self, id: &str) -> Option<&Arc<CompiledRule>> {
        self.rules.binary_search_by(|rule| rule.card.id.as_str().cmp(id)).ok().map(|at| &self.rules[at])
    }
}
