//! Look-up lists: `rules/lists/NAME.txt` or `NAME.csv`, immutable once read, asked by rules through `list("NAME")` and `in_list`.
//!
//! An entry and what is looked up are normalised alike (`functions::country::normalise`): trimmed, folded, countries as ISO code. So a
//! list may hold `Libanon`, `LB` or `lbn`, and each finds the others. A look-up is one hash, however long the list.
//!
//! A file that can't be read as a list is left out *with an error*: a rule that asks for it is undecided, never quietly "not listed".

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::{
    diagnostic::{Diagnostic, Level},
    functions::country::normalise,
    literal::Place,
};
use crate::model::hash::Digest;

/// First cells of a CSV file's first row that make it a header (folded). A closed set: taking a header for an entry is harmless,
/// taking an entry for a header is not.
const HEADERS: [&str; 12] =
    ["alpha2", "code", "country", "country_code", "entry", "id", "iso", "key", "land", "name", "value", "wert"];

/// The lists of one generation.
#[derive(Clone, Debug, Default)]
pub struct Lists {
    lists: BTreeMap<String, Arc<List>>,
    /// In a rule's tests every list exists and is empty unless the test fills it.
    empty_unless_named: Option<Arc<List>>,
    hash: Digest,
}

/// One list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct List {
    /// Normalised, in the file's order, each once.
    entries: Vec<String>,
    /// Where an entry's row is.
    index: HashMap<String, u32>,
    /// Cells as they stand in the file, trimmed; of equal entries the last.
    rows: Vec<Vec<String>>,
}

impl Lists {
    /// No list at all.
    #[must_use]
    pub fn empty() -> Self {
        Self::default()
    }

    /// Reads list files. Names may carry the folder and the ending (`lists/risky.csv`); without `.csv` a file is one entry a line.
    ///
    /// Diagnostics: L001 not UTF-8, L002 no entries (a warning), L003 two files of one name, L004 an open quotation mark. With L001, L003
    /// and L004 the list is left out.
    pub fn from_files<'a>(files: impl Iterator<Item = (&'a str, &'a [u8])>) -> (Self, Vec<Diagnostic>) {
        let mut lists: BTreeMap<String, Arc<List>> = BTreeMap::new();
        let mut sources: BTreeMap<String, &str> = BTreeMap::new();
        let mut found = Vec::new();
        for (file, bytes) in files {
            let bare = file.strip_prefix("lists/").unwrap_or(file);
            let (name, is_csv) = match bare.rsplit_once('.') {
                Some((name, "csv")) => (name, true),
                Some((name, "txt")) => (name, false),
                _ => (bare, false),
            };
            if let Some(other) = sources.insert(name.to_owned(), file) {
                lists.remove(name);
                found.push(
                    whole("L003", file, format!("two files make one list `{name}`: {other} and {file}"))
                        .help("keep one of them; until then the list does not exist and rules that ask for it are undecided"),
                );
                continue;
            }
            match List::read(file, bytes, is_csv) {
                Ok(list) => {
                    if list.entries.is_empty() {
                        found.push(Diagnostic {
                            level: Level::Warning,
                            ..whole("L002", file, format!("the list `{name}` has no entries"))
                        });
                    }
                    lists.insert(name.to_owned(), Arc::new(list));
                }
                Err(diagnostic) => found.push(*diagnostic),
            }
        }
        (Self::with(lists, None), found)
    }

    /// Lists for a rule's tests: what is not named exists and is empty.
    #[must_use]
    pub fn of(pairs: BTreeMap<String, Vec<String>>) -> Self {
        let lists = pairs
            .into_iter()
            .map(|(name, entries)| (name, Arc::new(List::of(entries.into_iter().map(|entry| vec![entry])))))
            .collect();
        Self::with(lists, Some(Arc::default()))
    }

    fn with(lists: BTreeMap<String, Arc<List>>, empty_unless_named: Option<Arc<List>>) -> Self {
        let mut parts: Vec<Vec<u8>> = Vec::new();
        for (name, list) in &lists {
            parts.push(name.clone().into_bytes());
            parts.push(list.hash().as_bytes().to_vec());
        }
        let hash = Digest::of_parts(parts.iter().map(Vec::as_slice));
        Self { lists, empty_unless_named, hash }
    }

    #[must_use]
    pub fn get(&self, name: &str) -> Option<&List> {
        self.shared(name).map(Arc::as_ref)
    }

    /// The list for keeping.
    #[must_use]
    pub fn shared(&self, name: &str) -> Option<&Arc<List>> {
        self.lists.get(name).or(self.empty_unless_named.as_ref())
    }

    /// Of the entries; comments, order of files and spelling of countries don't matter, further columns do.
    #[must_use]
    pub fn hash(&self) -> Digest {
        self.hash
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.lists.keys().map(String::as_str)
    }
}

impl List {
    /// Whether the text is an entry, both normalised. A blank text never is.
    #[must_use]
    pub fn contains(&self, text: &str) -> bool {
        !self.entries.is_empty() && self.index.contains_key(normalise(text).as_str())
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Normalised, in the file's order, each once.
    #[must_use]
    pub fn entries(&self) -> &[String] {
        &self.entries
    }

    /// The cells of the row whose first cell is that entry, as they stand in the file.
    #[must_use]
    pub fn row(&self, entry: &str) -> Option<&[String]> {
        let index = *self.index.get(normalise(entry).as_str())?;
        self.rows.get(index as usize).map(Vec::as_slice)
    }

    fn of(rows: impl Iterator<Item = Vec<String>>) -> Self {
        let mut list = Self::default();
        for row in rows {
            let entry = row.first().map(|cell| normalise(cell)).unwrap_or_default();
            if entry.is_empty() {
                continue;
            }
            if let Some(&known) = list.index.get(&entry) {
                list.rows[known as usize] = row;
                continue;
            }
            list.index.insert(entry.clone(), list.entries.len() as u32);
            list.entries.push(entry);
            list.rows.push(row);
        }
        list
    }

    fn read(file: &str, bytes: &[u8], is_csv: bool) -> Result<Self, Box<Diagnostic>> {
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let line = bytes[..error.valid_up_to()].split(|byte| *byte == b'\n').count();
            Diagnostic::error("L001", file, Place { line, column: 1 }, 1, "the list is not UTF-8 text")
                .label("the first line that can't be read")
                .help("save the file as UTF-8; until then the list does not exist and rules that ask for it are undecided")
        })?;
        // A mark that spreadsheets write in front.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        if is_csv {
            let mut rows = csv(text).map_err(|line| {
                Diagnostic::error("L004", file, Place { line, column: 1 }, 1, "a quotation mark is not closed")
                    .label("the cell that starts on this line has no end")
            })?;
            if rows.first().and_then(|row| row.first()).is_some_and(|cell| HEADERS.contains(&cell.to_lowercase().as_str())) {
                rows.remove(0);
            }
            Ok(Self::of(rows.into_iter()))
        } else {
            let entries = text.lines().map(|line| line.split_once(" #").map_or(line, |(entry, _)| entry).trim());
            Ok(Self::of(entries.filter(|entry| !entry.starts_with('#')).map(|entry| vec![entry.to_owned()])))
        }
    }

    fn hash(&self) -> Digest {
        let mut rows: Vec<Digest> = self
            .entries
            .iter()
            .zip(&self.rows)
            .map(|(entry, row)| Digest::of_parts(std::iter::once(entry).chain(row.iter().skip(1)).map(String::as_bytes)))
            .collect();
        rows.sort_unstable();
        Digest::of_parts(rows.iter().map(|row| row.as_bytes().as_slice()))
    }
}

fn whole(code: &'static str, file: &str, message: String) -> Diagnostic {
    Diagnostic::error(code, file, Place::default(), 1, message)
}

/// Rows of trimmed cells: `,` or, as German spreadsheets write, `;` (whichever the first row has first), `"` around a cell and doubled in it, lines
/// that start with `#` are comments. The error is the line of a quotation mark that is never closed.
fn csv(text: &str) -> Result<Vec<Vec<String>>, usize> {
    let first = text.lines().find(|line| !line.trim().is_empty() && !line.starts_with('#')).unwrap_or_default();
    let separator = first.chars().find(|c| matches!(c, ',' | ';')).unwrap_or(',');
    let mut rows = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let (mut row, mut cell, mut quoted, mut rest) = (Vec::new(), String::new(), false, line.chars().peekable());
        loop {
            match rest.next() {
                Some('"') if quoted && rest.peek() == Some(&'"') => {
                    rest.next();
                    cell.push('"');
                }
                Some('"') if quoted => quoted = false,
                Some('"') if cell.trim().is_empty() => {
                    cell.clear();
                    quoted = true;
                }
                Some(c) if c == separator && !quoted => row.push(std::mem::take(&mut cell).trim().to_owned()),
                Some(c) => cell.push(c),
                None if quoted => {
                    let Some((_, line)) = lines.next() else { return Err(number + 1) };
                    cell.push('\n');
                    rest = line.chars().peekable();
                }
                None => break,
            }
        }
        row.push(cell.trim().to_owned());
        rows.push(row);
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(files: &[(&str, &[u8])]) -> (Lists, Vec<String>) {
        let (lists, found) = Lists::from_files(files.iter().copied());
        let told = found.iter().map(|one| format!("{} {:?} {}: {}", one.code, one.level, one.file, one.message)).collect();
        (lists, told)
    }

    #[test]
    fn a_text_list_has_one_entry_a_line_and_comments() {
        let (lists, told) =
            read(&[("lists/risky.txt", "\u{feff}# why\r\nLibanon # since 2025\r\n\r\nir\nLB\n  Atlantis  \n".as_bytes())]);
        assert!(told.is_empty());
        let list = lists.get("risky").unwrap();
        assert_eq!(list.entries(), ["LB", "IR", "atlantis"]);
        for text in ["lb", "LBN", "Lebanon", "Iran", " ATLANTIS "] {
            assert!(list.contains(text), "{text}");
        }
        for text in ["", "DE", "# why"] {
            assert!(!list.contains(text), "{text}");
        }
        assert!(lists.get("other").is_none());
    }

    #[test]
    fn a_csv_list_is_its_first_column_and_keeps_the_others() {
        let (lists, told) = read(&[
            ("codes.csv", b"code,name,group\n# ours\n304,\"REJECTED, \"\"LATER\"\"\",rejected\n304,REJECTED_LATER,rejected\n"),
            ("land.csv", b"Land;Grund\nLibanon;\"eine\nZeile\"\n"),
            ("bare.csv", b"Atlantis\nIran\n"),
        ]);
        assert!(told.is_empty(), "{told:?}");
        assert_eq!(lists.get("codes").unwrap().entries(), ["304"]);
        assert_eq!(lists.get("codes").unwrap().row("304").unwrap(), ["304", "REJECTED_LATER", "rejected"]);
        assert_eq!(lists.get("land").unwrap().row("lb").unwrap(), ["Libanon", "eine\nZeile"]);
        assert_eq!(lists.get("bare").unwrap().len(), 2);
        assert_eq!(lists.names().collect::<Vec<_>>(), ["bare", "codes", "land"]);
    }

    #[test]
    fn what_cannot_be_a_list_is_said_and_left_out() {
        let (lists, told) = read(&[
            ("lists/latin.txt", b"ok\nK\xf6ln\n"),
            ("lists/nothing.txt", b"# all gone\n"),
            ("lists/open.csv", b"a,b\n\"never closed,x\ny\n"),
            ("lists/twice.csv", b"a\n"),
            ("lists/twice.txt", b"b\n"),
        ]);
        insta::assert_snapshot!(told.join("\n"), @r"
        L001 Error lists/latin.txt: the list is not UTF-8 text
        L002 Warning lists/nothing.txt: the list `nothing` has no entries
        L004 Error lists/open.csv: a quotation mark is not closed
        L003 Error lists/twice.txt: two files make one list `twice`: lists/twice.csv and lists/twice.txt
        ");
        assert_eq!(lists.names().collect::<Vec<_>>(), ["nothing"]);
    }

    #[test]
    fn in_tests_every_list_is_empty_unless_named() {
        let lists = Lists::of(BTreeMap::from([("risky".to_owned(), vec!["Libanon".to_owned()])]));
        assert!(lists.get("risky").unwrap().contains("LB"));
        assert!(lists.get("anything").unwrap().is_empty());
    }

    #[test]
    fn the_hash_follows_the_entries_not_the_writing() {
        let hash = |text: &str| Lists::from_files(std::iter::once(("a.csv", text.as_bytes()))).0.hash();
        assert_eq!(hash("LB,x\nIR,y\n"), hash("# note\nIran,y\nLibanon,x\n"));
        assert_ne!(hash("LB,x\n"), hash("LB,y\n"));
        assert_ne!(hash("LB\n"), hash("LB\nIR\n"));
        assert_ne!(Lists::empty().hash(), hash("LB\n"));
    }
}
