//! Wires the stages: batches, reload, shutdown, health.

pub mod reconcile;
