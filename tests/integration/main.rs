//! The integration tests: one binary, since linking dominates. Each module is one subject.

#![allow(clippy::unwrap_used, reason = "a test that unwraps says where")]

mod layering;
mod packaging;
