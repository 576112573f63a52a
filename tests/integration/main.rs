//! The integration tests: one binary, since linking dominates. Each module is one subject.

#![allow(clippy::unwrap_used, reason = "a test that unwraps says where")]

mod books;
mod commands;
mod concedus;
mod docs;
mod kills;
mod layering;
mod mail;
mod packaging;
mod path;
mod reload;
mod rule_pack;
mod sandbox;
mod support;
mod webhook;
