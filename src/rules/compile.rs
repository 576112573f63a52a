//! From a file's text to a compiled rule: every step's findings are diagnostics.
