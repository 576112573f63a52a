//! Look-up lists: rules/lists/NAME.txt|csv. (Stand-in.)

use std::collections::BTreeMap;

use super::diagnostic::Diagnostic;
use crate::model::hash::Digest;

#[derive(Clone, Debug, Default)]
pub struct Lists(BTreeMap<String, List>);

#[derive(Clone, Debug, Default)]
pub struct List(Vec<String>);

impl Lists {
    pub fn empty() -> Self {
        Self::default()
    }

    pub fn from_files<'a>(files: impl Iterator<Item = (&'a str, &'a [u8])>) -> (Self, Vec<Diagnostic>) {
        let lists = files
            .map(|(name, bytes)| {
                let text = String::from_utf8_lossy(bytes);
                (name.to_owned(), List(text.lines().map(str::to_owned).collect()))
            })
            .collect();
        (Self(lists), Vec::new())
    }

    pub fn get(&self, name: &str) -> Option<&List> {
        self.0.get(name)
    }

    pub fn hash(&self) -> Digest {
        Digest::of(format!("{:?}", self.0).as_bytes())
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

impl List {
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
