//! The index: which rules an event could concern at all, found in one walk over the fields that rules ask for.
//!
//! A rule is left out only where asking it could have no other outcome than "no match": no match of its own, no error, no word noted. What
//! must show for that is a [`Guard`], and guards are taken only from what a rule asks before anything that could fail. Whatever an event
//! shows that a guard was not made for (another type, a field that is not there, a number with a fraction) lets the rule through. So the
//! index can be too generous, never too strict.
//!
//! Of a rule's guards the one that the fewest rules share is its key. Built with the generation, off the engine's thread.

mod guard;
mod quick;
#[cfg(test)]
mod tests;
mod trie;

pub use guard::{Guard, Key, Place, Test};
pub(super) use quick::QuickMap;
use trie::Trie;

use super::{lists::Lists, rule::CompiledRule};
use crate::model::{
    event::Event,
    topic::{self, Field},
};

/// The access keys of one topic's rules.
#[derive(Clone, Debug)]
pub struct TopicIndex {
    known: &'static [Field],
    trie: Trie,
    /// Rules that every event concerns.
    always: Vec<u32>,
    /// Each rule's key, in the order in which the rules were handed in; none: every event.
    keys: Vec<Option<Guard>>,
}

impl TopicIndex {
    /// Of the rules that run on a topic, each with its number.
    #[must_use]
    pub fn new<'a>(topic: &str, rules: impl Iterator<Item = (u32, &'a CompiledRule)>, lists: &Lists) -> Self {
        let known = topic::find(topic).map_or(&[][..], |topic| topic.fields);
        let guarded: Vec<(u32, Vec<Guard>)> = rules.map(|(number, rule)| (number, guards(topic, known, rule, lists))).collect();
        let mut shared: QuickMap<&Test, usize> = QuickMap::default();
        for test in guarded.iter().flat_map(|(_, guards)| guards).flat_map(|guard| &guard.0) {
            *shared.entry(test).or_default() += 1;
        }
        // What is missing is rare, however many rules ask for it.
        let rules_behind = |test: &Test| if test.key == Key::Missing { 0 } else { shared.get(test).copied().unwrap_or(0) };
        let weight = |guard: &Guard| guard.0.iter().map(rules_behind).sum::<usize>();
        let chosen: Vec<(u32, Option<Guard>)> =
            guarded.iter().map(|(number, guards)| (*number, guards.iter().min_by_key(|guard| weight(guard)).cloned())).collect();
        Self::keyed(known, &chosen)
    }

    /// One for each of a rule's guards, as if it were the key: any of them may become it among other rules.
    #[cfg(test)]
    pub fn each(topic: &str, rule: &CompiledRule, lists: &Lists) -> Vec<Self> {
        let known = topic::find(topic).map_or(&[][..], |topic| topic.fields);
        guards(topic, known, rule, lists).into_iter().map(|guard| Self::keyed(known, &[(0, Some(guard))])).collect()
    }

    /// Of rules, each with its number and its key.
    fn keyed(known: &'static [Field], chosen: &[(u32, Option<Guard>)]) -> Self {
        let mut trie = Trie::default();
        let mut always = Vec::new();
        for (number, guard) in chosen {
            match guard {
                Some(guard) => guard.0.iter().for_each(|test| trie.add(test, *number)),
                None => always.push(*number),
            }
        }
        Self { known, trie, always, keys: chosen.iter().map(|(_, guard)| guard.clone()).collect() }
    }

    /// Adds the numbers of the rules that the event could concern, in ascending order.
    pub fn candidates(&self, event: &Event, out: &mut Vec<u32>) {
        let start = out.len();
        self.trie.walk(&event.body, self.known, out);
        if !self.always.is_empty() {
            out.extend_from_slice(&self.always);
        }
        if out.len() > start + 1 {
            out[start..].sort_unstable();
            out.dedup();
        }
    }

    /// The key of the nth rule that was handed in; none: every event concerns it.
    #[must_use]
    pub fn key(&self, nth: usize) -> Option<&Guard> {
        self.keys.get(nth)?.as_ref()
    }
}

/// Necessary conditions of a rule on a topic: each by itself must show, or the rule has nothing to say.
fn guards(topic: &str, known: &'static [Field], rule: &CompiledRule, lists: &Lists) -> Vec<Guard> {
    let mut guards = rule.condition.guards();
    let native = rule.script.as_ref().filter(|script| script.when).and_then(|script| script.native.as_ref());
    guards.extend(native.into_iter().flat_map(|native| native.guards(topic, known, &rule.settings, lists)));
    guards
}
