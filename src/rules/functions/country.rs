//! Countries as documents and forms write them: ISO codes, English and German names, read as one alpha-2 code.
//!
//! The table is `countries.tsv`. Names are compared folded and without punctuation. What the table doesn't know is no error and no
//! nothing: it stays what it is, folded, so that two unknown spellings still compare and a list may hold them.

use std::{borrow::Cow, collections::HashMap, sync::OnceLock};

use super::text::fold;

const TABLE: &str = include_str!("countries.tsv");

/// The ISO 3166-1 alpha-2 code of a country's code or name, in whatever case; none for a text that the table doesn't know.
#[must_use]
pub fn code(text: &str) -> Option<&'static str> {
    table().get(key(text).as_ref()).copied()
}

/// How texts are compared with list entries, and countries with each other: a country as its alpha-2 code, anything else folded.
#[must_use]
pub fn normalise(text: &str) -> String {
    code(text).map_or_else(|| fold(text), str::to_owned)
}

fn table() -> &'static HashMap<String, &'static str> {
    static NAMES: OnceLock<HashMap<String, &'static str>> = OnceLock::new();
    NAMES.get_or_init(|| {
        let mut names = HashMap::with_capacity(2048);
        for line in TABLE.lines().filter(|line| !line.starts_with('#')) {
            let mut columns = line.split('\t');
            let Some(alpha2) = columns.next() else { continue };
            for name in std::iter::once(alpha2).chain(columns.flat_map(|column| column.split('|'))) {
                names.insert(key(name).into_owned(), alpha2);
            }
        }
        names
    })
}

/// Letters and digits of the folded text; codes, which are most of what comes, need no folding.
fn key(text: &str) -> Cow<'_, str> {
    let text = text.trim();
    if text.bytes().all(|byte| byte.is_ascii_lowercase()) {
        return Cow::Borrowed(text);
    }
    if text.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return Cow::Owned(text.to_ascii_lowercase());
    }
    Cow::Owned(fold(text).chars().filter(|c| c.is_alphanumeric()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_names_in_two_languages_are_one_country() {
        for text in ["DE", "de", " De ", "DEU", "deu", "D", "Germany", "GERMANY", "Deutschland", "Bundesrepublik  Deutschland"] {
            assert_eq!(code(text), Some("DE"), "{text}");
        }
        for (text, expected) in [
            ("lb", "LB"),
            ("Libanon", "LB"),
            ("UK", "GB"),
            ("Großbritannien", "GB"),
            ("Grossbritannien", "GB"),
            ("U.S.A.", "US"),
            ("Czech Republic", "CZ"),
            ("Tschechien", "CZ"),
            ("Österreich", "AT"),
            ("Oesterreich", "AT"),
            ("Cote d’Ivoire", "CI"),
            ("Côte d'Ivoire", "CI"),
            ("Tu\u{308}rkei", "TR"),
            ("Bosnia and Herzegovina", "BA"),
            ("Bosnien & Herzegowina", "BA"),
            ("RKS", "XK"),
        ] {
            assert_eq!(code(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_the_table_does_not_know_comes_back_folded() {
        assert_eq!(code("Atlantis"), None);
        assert_eq!(normalise("  ATLÄNTIS "), "atlaentis");
        assert_eq!(normalise(""), "");
        // Ambiguous between two states, so it is nobody's.
        assert_eq!(code("Korea"), None);
    }

    #[test]
    fn no_name_belongs_to_two_countries() {
        let mut seen: HashMap<String, &str> = HashMap::new();
        let mut countries = 0;
        for line in TABLE.lines().filter(|line| !line.starts_with('#')) {
            let columns: Vec<&str> = line.split('\t').collect();
            assert_eq!(columns.len(), 4, "{line}");
            assert_eq!((columns[0].len(), columns[1].len()), (2, 3), "{line}");
            countries += 1;
            for name in columns.iter().flat_map(|column| column.split('|')) {
                assert!(!key(name).is_empty(), "{line}");
                let other = seen.insert(key(name).into_owned(), columns[0]);
                assert!(other.is_none_or(|other| other == columns[0]), "{name} is {other:?} and {}", columns[0]);
            }
        }
        assert_eq!(countries, 250);
    }
}
