//! redflag listens to a KYC provider's event feed, evaluates rules that a compliance team edits as plain files, and brings every
//! alert to the people who must act.
//!
//! ```text
//! feed ─▶ source ─▶ decode ─▶ journal ─▶ rules ─▶ alerts ─▶ outbox ─▶ render ─▶ channels ─▶ mailbox, chat
//! ```
//!
//! The modules below are these stages, in this order. A stage never imports another: only the types of [`model`] cross, the [`store`]
//! is reached through its traits, and [`engine`] wires them.
#![forbid(unsafe_code)]

pub mod model;

pub mod config;
pub mod telemetry;

pub mod source;

pub mod decode;

pub mod store;

pub mod rules;

pub mod alerts;

pub mod outbox;

pub mod render;

pub mod channels;

pub mod engine;

pub mod simulator;

pub mod cli;
