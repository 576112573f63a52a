//! What operators see of the inside: metric names in one place, and how the log is written. No payload, ever.

pub mod log;
pub mod metrics;
pub mod progress;

pub use metrics::Metrics;
pub use progress::Progress;
