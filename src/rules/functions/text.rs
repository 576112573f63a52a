//! Text as people mean it: folding, names, emptiness, and regular expressions in linear time.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use deunicode::deunicode_char;
use regex::{Regex, RegexBuilder};
use unicode_normalization::UnicodeNormalization as _;

/// How much of a name is compared: the measure costs the product of both lengths.
const NAME_CAP: usize = 256;
/// Longest pattern, in bytes.
const PATTERN_CAP: usize = 1024;
/// Compiled patterns kept.
const PATTERNS: usize = 256;

/// Text for comparison. In this order: composed (NFC), lower-case, ä→ae ö→oe ü→ue ß→ss, every other letter in its ASCII form where
/// it has one (é→e, ø→o, Ж→zh), lower-case again, runs of white space as one blank, none at the ends.
///
/// So Müller, MÜLLER and Mueller are one text. Muller is another: dropping an umlaut's dots makes a different name in German.
/// Punctuation stays; a character without an ASCII form stays itself.
#[must_use]
pub fn fold(text: &str) -> String {
    let mut folded = String::with_capacity(text.len() + 4);
    let mut gap = false;
    let mut push = |c: char| {
        if c.is_whitespace() || c.is_control() {
            gap = !folded.is_empty();
            return;
        }
        if std::mem::take(&mut gap) {
            folded.push(' ');
        }
        folded.push(c);
    };
    if text.is_ascii() {
        text.chars().map(|c| c.to_ascii_lowercase()).for_each(push);
        return folded;
    }
    for c in text.nfc().flat_map(char::to_lowercase) {
        let ascii = match c {
            c if c.is_ascii() => None,
            'ä' => Some("ae"),
            'ö' => Some("oe"),
            'ü' => Some("ue"),
            'ß' => Some("ss"),
            c => deunicode_char(c),
        };
        match ascii {
            Some(letters) => letters.chars().map(|c| c.to_ascii_lowercase()).for_each(&mut push),
            None => push(c),
        }
    }
    folded
}

/// The words of a name, folded: hyphens and dots part words, apostrophes vanish.
fn words(name: &str) -> Vec<String> {
    let folded: String = fold(name)
        .chars()
        .filter(|c| !matches!(c, '\'' | '`' | '"'))
        .map(|c| if c.is_alphanumeric() || !c.is_ascii() { c } else { ' ' })
        .take(NAME_CAP)
        .collect();
    folded.split_whitespace().map(str::to_owned).collect()
}

/// The same words in the same order. Two blank names are the same; a blank one is none other's.
#[must_use]
pub fn same_name(a: &str, b: &str) -> bool {
    words(a) == words(b)
}

/// 0 (nothing alike) to 1 (the same): Jaro–Winkler of the folded words, in order or sorted, whichever is nearer.
/// Of each name the first 256 characters count.
#[must_use]
pub fn name_similarity(a: &str, b: &str) -> f64 {
    let (mut a, mut b) = (words(a), words(b));
    if a == b {
        return 1.0;
    }
    if a.is_empty() || b.is_empty() {
        return 0.0;
    }
    let in_order = strsim::jaro_winkler(&a.join(" "), &b.join(" "));
    a.sort_unstable();
    b.sort_unstable();
    in_order.max(strsim::jaro_winkler(&a.join(" "), &b.join(" ")))
}

/// Compiled patterns, so that a rule pays for its pattern once. Bounded: a rule that builds patterns from data fills it, and then it
/// starts over.
#[derive(Debug, Default)]
pub struct Patterns(Mutex<HashMap<String, Result<Arc<Regex>, String>>>);

impl Patterns {
    /// The compiled pattern.
    ///
    /// # Errors
    /// Why it can't be used, for the rule's author: the pattern's fault, no data in it.
    pub fn get(&self, pattern: &str) -> Result<Arc<Regex>, String> {
        if let Some(known) = self.lock().get(pattern) {
            return known.clone();
        }
        let compiled = compile(pattern);
        let mut patterns = self.lock();
        if patterns.len() >= PATTERNS {
            patterns.clear();
        }
        patterns.insert(pattern.chars().take(PATTERN_CAP + 1).collect(), compiled.clone());
        compiled
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Result<Arc<Regex>, String>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Compiles a pattern of a rule within bounds of size and depth; matching is linear in the text.
///
/// # Errors
/// Why it can't be used.
pub fn compile(pattern: &str) -> Result<Arc<Regex>, String> {
    if pattern.len() > PATTERN_CAP {
        return Err(format!("the pattern is longer than {PATTERN_CAP} bytes"));
    }
    RegexBuilder::new(pattern).size_limit(256 * 1024).dfa_size_limit(1024 * 1024).nest_limit(32).build().map(Arc::new).map_err(
        |error| match error {
            regex::Error::CompiledTooBig(_) => "the pattern is too large; repeat less or use smaller classes".to_owned(),
            // The last line says what; those before draw the pattern.
            other => other.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned(),
        },
    )
}

/// Words that the tables didn't know, for people to look at: bounded, each once.
#[derive(Debug, Default)]
pub struct UnknownWords(Mutex<BTreeSet<String>>);

impl UnknownWords {
    const WORDS: usize = 256;
    const LETTERS: usize = 64;

    pub fn note(&self, word: &str) {
        if word.is_empty() {
            return;
        }
        let mut words = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if words.len() < Self::WORDS {
            words.insert(word.chars().take(Self::LETTERS).collect());
        }
    }

    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folding_makes_one_text_of_many_spellings() {
        for text in ["Müller", "MÜLLER", "Mueller", "mu\u{308}ller", " Müller\u{a0}"] {
            assert_eq!(fold(text), "mueller", "{text}");
        }
        assert_eq!(fold("Muller"), "muller");
        assert_eq!(fold("STRAẞE"), "strasse");
        assert_eq!(fold("  Łódź \t\n Ørsted "), "lodz orsted");
        assert_eq!(fold("Жуков"), "zhukov");
        assert_eq!(fold("İSTANBUL"), "istanbul");
        assert_eq!(fold("O’Neil"), "o'neil");
        // Two characters without an ASCII form must not become equal.
        assert_ne!(fold("\u{10ffff}"), fold("\u{10fffe}"));
    }

    #[test]
    fn names_differ_in_letters_not_in_writing() {
        for (a, b) in [("Hans-Peter", "hans peter"), ("O'Neil", "ONeil"), ("Dr. Weiß", "dr weiss"), ("", "  ")] {
            assert!(same_name(a, b), "{a} {b}");
        }
        for (a, b) in [("Müller", "Muller"), ("Anna", ""), ("Anna Maria", "Maria Anna"), ("Anna", "Hanna")] {
            assert!(!same_name(a, b), "{a} {b}");
        }
    }

    #[test]
    fn similarity_lies_between_nothing_and_the_same() {
        assert!((name_similarity("Jörg Weiß", "Joerg Weiss") - 1.0).abs() < f64::EPSILON);
        assert!((name_similarity("Weiss Jörg", "Jörg Weiss") - 1.0).abs() < f64::EPSILON);
        assert!(name_similarity("Anna", "") < f64::EPSILON);
        let near = name_similarity("Katharina Schmidt", "Katarina Schmitt");
        assert!(near > 0.9 && near < 1.0, "{near}");
        assert!(name_similarity("Katharina", "Omar") < 0.6);
        assert!(name_similarity(&"a".repeat(30_000), &"b".repeat(30_000)) < f64::EPSILON);
    }

    #[test]
    fn a_pattern_is_bounded_in_size_length_and_depth() {
        assert!(compile("^[A-Z]{2}[0-9]+$").unwrap().is_match("AB12"));
        insta::assert_snapshot!(compile("(a").unwrap_err(), @"unclosed group");
        insta::assert_snapshot!(compile("((a{99}){99}){99}").unwrap_err(), @"the pattern is too large; repeat less or use smaller classes");
        assert!(compile(&"(".repeat(40)).is_err());
        assert!(compile(&format!("{}a{}", "(".repeat(40), ")".repeat(40))).is_err());
        assert!(compile(&"a".repeat(2000)).is_err());
        assert!(compile("(?=a)").is_err());
    }

    #[test]
    fn patterns_are_compiled_once_and_kept_within_bounds() {
        let patterns = Patterns::default();
        assert!(Arc::ptr_eq(&patterns.get("a+").unwrap(), &patterns.get("a+").unwrap()));
        for n in 0..2 * PATTERNS {
            assert!(patterns.get(&format!("x{n}")).is_ok());
        }
        assert!(patterns.lock().len() <= PATTERNS);
    }

    #[test]
    fn unknown_words_are_kept_once_short_and_few() {
        let words = UnknownWords::default();
        words.note("atlantis");
        words.note("atlantis");
        words.note("");
        assert_eq!(words.take(), ["atlantis"]);
        assert!(words.take().is_empty());
        (0..1000).for_each(|n| words.note(&format!("{n}{}", "x".repeat(100))));
        let taken = words.take();
        assert_eq!(taken.len(), UnknownWords::WORDS);
        assert!(taken.iter().all(|word| word.chars().count() <= UnknownWords::LETTERS));
    }
}
