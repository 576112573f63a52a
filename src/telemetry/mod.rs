//! What operators see of the inside: metric names in one place, and how the log is written. No payload, ever.

pub mod log;
pub mod metrics;

pub use metrics::Metrics;
