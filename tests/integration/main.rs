//! The integration tests: one binary, since linking dominates. Each module is one subject.

#![allow(clippy::unwrap_used, reason = "a test that unwraps says where")]

mod books;
mod commands;
mod concedus;
mod control;
mod demo;
mod docs;
mod faults;
mod feeds;
// The rows of `make reliability` are part of this binary so that a few of their trials can be tests.
#[path = "../reliability/harness/mod.rs"]
#[allow(dead_code, reason = "all of it is used by tests/reliability")]
mod harness;
mod hostile;
mod kills;
mod last_good;
mod layering;
mod lookups;
mod mail;
mod outages;
mod packaging;
mod parking;
mod path;
mod reload;
#[path = "../reliability/rows/mod.rs"]
#[allow(dead_code, reason = "all of it is used by tests/reliability")]
mod rows;
mod rule_pack;
mod sandbox;
mod saving;
mod scout;
mod support;
mod watchers;
mod webhook;
