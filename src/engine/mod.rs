//! Wires the stages, and is the only place that does: the turn, reload, rehearsing tests, health, start and stop.

mod absence;
mod auditor;
mod build;
mod caretaker;
pub mod control;
mod crew;
mod damage;
mod disk;
mod first;
mod health;
mod heartbeat;
mod intake;
mod last_good;
mod leak;
mod lookups;
mod pipeline;
pub mod reconcile;
pub mod rehearse;
pub mod reload;
mod rhythm;
pub mod samples;
pub mod scout;
mod senders;
mod service;
mod topics;
mod warden;
mod ways;

pub use build::declared;
pub use last_good::kept_configuration;
pub use pipeline::BATCH;
pub use service::{Origin, Running, ServiceError, start, start_from};
