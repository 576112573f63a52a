//! The `TESTS` of a rule file.
