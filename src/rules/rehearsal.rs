//! The `TESTS` of a rule file.

#[derive(Clone, Debug)]
pub struct Case;
