//! The codes of diagnostics. Each has a page, docs/errors/RNNN.md; a code keeps its meaning for ever.

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal;)*) => {
        $($(#[$doc])* pub const $name: &str = $code;)*

        /// Every code.
        pub const ALL: &[&str] = &[$($code),*];
    };
}

codes! {
    /// Not UTF-8, or it can't be read.
    NOT_TEXT = "R001";
    TOO_LARGE = "R002";
    HIDDEN = "R003";
    CURLY_QUOTES = "R004";
    /// The grammar.
    SYNTAX = "R005";
    SINGLE_EQUALS = "R006";
    WORD_OPERATOR = "R007";
    SINGLE_QUOTES = "R008";
    RESERVED_WORD = "R009";
    /// No card, two cards.
    CARD_MISSING = "R010";
    NOT_LITERAL = "R011";
    UNKNOWN_FIELD = "R012";
    UNKNOWN_ENTRY = "R013";
    /// Wrong type, or a value that is none of those allowed.
    WRONG_VALUE = "R014";
    ENTRY_MISSING = "R015";
    UNKNOWN_TOPIC = "R016";
    UNKNOWN_RECIPIENT = "R017";
    /// It comes with a later version.
    LATER = "R018";
    DUPLICATE_ID = "R019";
    TOP_LEVEL = "R020";
    PARAMETERS = "R021";
    NEVER_CALLED = "R022";
    UNKNOWN_FUNCTION = "R023";
    UNKNOWN_VARIABLE = "R024";
    EVENT_CHANGED = "R025";
    TEXT_WITH_NUMBER = "R026";
    NEVER_HOLDS = "R027";
    WRONG_ANSWER = "R028";
    CLOSURE_KEPT = "R029";
    FORBIDDEN = "R031";
    TOO_MANY_ARGUMENTS = "R032";
    SECRET_FIELD = "R033";
    IMPORT = "R034";
    TESTS_MISSING = "R035";
    TEST_FAILED = "R036";
    SORT_THROWS = "R037";
    TEMPLATE = "R038";
    /// The engine panicked while it compiled.
    ENGINE = "R039";
    UNKNOWN_LIST = "R040";
    MASKED_SHOWS_PERSONAL = "R041";
    /// A comment where the header should be.
    NO_HEADER = "R042";
    /// A path that can't be read, in `where`.
    BAD_PATH = "R102";
    UNKNOWN_OPERATOR = "R103";
    BAD_OPERAND = "R104";
    WRONG_TYPE = "R105";
    WHERE_NEVER_HOLDS = "R106";
    NO_TABLE = "R107";
    NO_LIST = "R108";
    NO_TEST = "R109";
    LIST_NOT_TEXT = "L001";
    LIST_EMPTY = "L002";
    LIST_TWICE = "L003";
    LIST_QUOTE = "L004";
}

#[cfg(test)]
mod tests {
    use super::ALL;
    use std::path::Path;

    #[test]
    fn each_code_has_its_page() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/errors");
        for code in ALL {
            let page = std::fs::read_to_string(folder.join(format!("{code}.md"))).unwrap_or_default();
            assert!(page.starts_with(&format!("# {code}: ")), "docs/errors/{code}.md lacks its heading");
            for part in ["## What happened", "## Why", "## What to do"] {
                assert!(page.contains(part), "docs/errors/{code}.md lacks `{part}`");
            }
        }
    }
}
