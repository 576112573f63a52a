//! What is not asked: rules that are parked, and (event, rule) pairs that a child process died of.
//!
//! A rule that uses up its operations or its fuse three times running holds up every event, and answers none: it is parked. Each event that it
//! would have judged stays owed, as an undecided verdict that is open to be judged again. Parking is by the hash of the rule and its
//! modules, so that a mended rule is another one.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use crate::model::{
    card::Card,
    hash::Digest,
    ids::Seq,
    names::RuleId,
    verdict::{Undecided, UndecidedKind, Verdict},
};

/// So many verdicts running without an answer park a rule.
pub const STRIKES: u8 = 3;

/// What one evaluator must not ask.
#[derive(Debug, Default)]
pub struct Withheld {
    strikes: HashMap<Digest, u8>,
    parked: HashSet<Digest>,
    /// Parked since they were last taken.
    fresh: Vec<(Arc<Card>, Undecided)>,
    convicted: BTreeSet<(Seq, RuleId)>,
}

impl Withheld {
    /// Why the rule is not asked about this event, if it is not.
    pub fn reason(&self, card: &Card, seq: Seq) -> Option<Undecided> {
        if self.parked.contains(&card.hash) {
            let detail = "the rule is parked: it took too long several times running".to_owned();
            return Some(Undecided { kind: UndecidedKind::Parked, line: None, detail });
        }
        if !self.convicted.is_empty() && self.convicted.contains(&(seq, card.id.clone())) {
            let detail = "a process of its own died of judging it, twice".to_owned();
            return Some(Undecided { kind: UndecidedKind::Poison, line: None, detail });
        }
        None
    }

    /// Takes down how a rule's code fared.
    pub fn note(&mut self, card: &Arc<Card>, verdict: Option<&Verdict>) {
        let why = match verdict {
            Some(Verdict::Undecided(why)) if matches!(why.kind, UndecidedKind::Budget | UndecidedKind::Fuse) => why,
            _ => {
                if !self.strikes.is_empty() {
                    self.strikes.remove(&card.hash);
                }
                return;
            }
        };
        let strikes = self.strikes.entry(card.hash).or_default();
        *strikes += 1;
        if *strikes >= STRIKES {
            self.strikes.remove(&card.hash);
            self.parked.insert(card.hash);
            self.fresh.push((Arc::clone(card), why.clone()));
        }
    }

    pub fn is_parked(&self, hash: &Digest) -> bool {
        self.parked.contains(hash)
    }

    /// Parked by an earlier run.
    pub fn park(&mut self, hash: Digest) {
        self.parked.insert(hash);
    }

    /// Asks it again from now on; one more strike parks it at once.
    pub fn try_again(&mut self, hash: Digest) {
        self.parked.remove(&hash);
        self.strikes.insert(hash, STRIKES - 1);
    }

    /// Rules that are gone or another one.
    pub fn forget(&mut self, hash: &Digest) {
        self.parked.remove(hash);
        self.strikes.remove(hash);
    }

    /// Never to be asked in this process.
    pub fn convict(&mut self, pairs: impl IntoIterator<Item = (Seq, RuleId)>) {
        self.convicted.extend(pairs);
    }

    /// What was parked since this was last asked, and by which failure.
    pub fn take_fresh(&mut self) -> Vec<(Arc<Card>, Undecided)> {
        std::mem::take(&mut self.fresh)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card(name: &str) -> Arc<Card> {
        Arc::new(Card { title: name.to_owned(), ..Card::sample(name) })
    }

    fn missing(kind: UndecidedKind) -> Verdict {
        Verdict::Undecided(Undecided { kind, line: None, detail: String::new() })
    }

    #[test]
    fn three_running_park_a_rule_and_an_answer_or_another_failure_begins_anew() {
        let (mut withheld, rule, other) = (Withheld::default(), card("slow"), card("other"));
        let (fuse, budget, error) = [UndecidedKind::Fuse, UndecidedKind::Budget, UndecidedKind::Error].map(missing).into();
        for verdict in [Some(&fuse), Some(&budget), None, Some(&fuse), Some(&fuse), Some(&error), Some(&budget), Some(&fuse)] {
            withheld.note(&rule, verdict);
            withheld.note(&other, None);
        }
        assert!(!withheld.is_parked(&rule.hash) && withheld.reason(&rule, Seq(9)).is_none());
        withheld.note(&rule, Some(&fuse));
        assert_eq!(withheld.reason(&rule, Seq(9)).unwrap().kind, UndecidedKind::Parked);
        assert!(withheld.reason(&other, Seq(9)).is_none());
        assert_eq!(withheld.take_fresh().len(), 1);

        withheld.try_again(rule.hash);
        assert!(withheld.reason(&rule, Seq(10)).is_none());
        withheld.note(&rule, Some(&budget));
        assert!(withheld.is_parked(&rule.hash), "on trial, one is enough");
        withheld.forget(&rule.hash);
        assert!(!withheld.is_parked(&rule.hash));
    }

    #[test]
    fn a_convicted_pair_is_withheld_and_nothing_else() {
        let (mut withheld, rule) = (Withheld::default(), card("slow"));
        withheld.convict([(Seq(3), rule.id.clone())]);
        assert_eq!(withheld.reason(&rule, Seq(3)).unwrap().kind, UndecidedKind::Poison);
        assert!(withheld.reason(&rule, Seq(4)).is_none() && withheld.reason(&card("other"), Seq(3)).is_none());
    }
}
