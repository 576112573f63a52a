//! Look-up lists: rules/lists/NAME.txt|csv.

use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub struct Lists(BTreeMap<String, List>);

#[derive(Debug)]
pub struct List(Vec<String>);

impl Lists {
    #[must_use]
    pub fn empty() -> Self {
        Self::default()
    }

    #[must_use]
    pub fn of(pairs: BTreeMap<String, Vec<String>>) -> Self {
        Self(pairs.into_iter().map(|(name, entries)| (name, List(entries))).collect())
    }

    #[must_use]
    pub fn get(&self, name: &str) -> Option<&List> {
        self.0.get(name)
    }
}

impl List {
    #[must_use]
    pub fn contains(&self, text: &str) -> bool {
        self.0.iter().any(|entry| entry.eq_ignore_ascii_case(text.trim()))
    }

    #[must_use]
    pub fn entries(&self) -> &[String] {
        &self.0
    }
}
