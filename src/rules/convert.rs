//! An event as the Rhai map that rules see.
