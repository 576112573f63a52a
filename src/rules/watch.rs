//! Watching the rules' folders.
