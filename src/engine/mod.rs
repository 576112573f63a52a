//! Wires the stages: batches, reload, shutdown, health.
