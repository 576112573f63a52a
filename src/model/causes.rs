//! An error with what it came from, in one line: for logs, alarms and commands.

use std::error::Error;

/// `the store can't be opened: the folder …: permission denied`. Some libraries repeat their source at the end of their message; it is said once.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        source = error.source();
    }
    text
}
