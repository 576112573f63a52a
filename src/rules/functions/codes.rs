//! Compliance status codes: what the vendor is known to send, extended by `rules/lists/compliance_status.csv` (`code,name,group`).
//!
//! The list grows without a rebuild. A code that neither knows keeps its number as name and is of the group `unknown`: rules can alert on it.

use std::{borrow::Cow, collections::HashMap, sync::OnceLock};

use crate::rules::lists::Lists;

const TABLE: &str = include_str!("compliance_status.csv");

/// The list that extends and overrides the table.
pub const LIST: &str = "compliance_status";

/// The group of a code that nobody knows.
pub const UNKNOWN: &str = "unknown";

/// A code's name and group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status<'a> {
    pub name: Cow<'a, str>,
    pub group: Cow<'a, str>,
}

/// What a code means; its text is looked up in the list first, then in the table.
#[must_use]
pub fn compliance_status<'a>(code: &'a str, lists: &'a Lists) -> Status<'a> {
    let code = code.trim();
    let listed =
        lists.get(LIST).and_then(|list| list.row(code)).and_then(|row| Some((row.get(1)?.as_str(), row.get(2)?.as_str())));
    let (name, group) = listed.or_else(|| table().get(code).copied()).unwrap_or((code, UNKNOWN));
    Status { name: name.into(), group: group.into() }
}

fn table() -> &'static HashMap<&'static str, (&'static str, &'static str)> {
    static CODES: OnceLock<HashMap<&'static str, (&'static str, &'static str)>> = OnceLock::new();
    CODES.get_or_init(|| {
        let rows = TABLE.lines().skip(1).filter_map(|line| {
            let (code, rest) = line.split_once(',')?;
            Some((code, rest.split_once(',')?))
        });
        rows.collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_holds_every_documented_code() {
        assert_eq!(table().len(), 23);
        assert_eq!(table().len() + 1, TABLE.lines().count());
        let lists = Lists::default();
        let status = compliance_status("300", &lists);
        assert_eq!((status.name.as_ref(), status.group.as_ref()), ("REJECTED_AML_SANCTIONS_PEP", "rejected"));
        assert!(table().values().all(|(name, group)| !name.is_empty() && !group.is_empty()));
    }

    #[test]
    fn an_unknown_code_keeps_its_number_until_the_list_names_it() {
        let status = |lists: &Lists| {
            let status = compliance_status("304", lists);
            format!("{} {}", status.name, status.group)
        };
        assert_eq!(status(&Lists::default()), "304 unknown");
        let file: &[u8] = b"code,name,group\n304,REJECTED_LATER,rejected\n";
        assert_eq!(status(&Lists::from_files(std::iter::once(("compliance_status.csv", file))).0), "REJECTED_LATER rejected");
        let nameless: &[u8] = b"304\n";
        assert_eq!(status(&Lists::from_files(std::iter::once(("compliance_status.csv", nameless))).0), "304 unknown");
    }
}
