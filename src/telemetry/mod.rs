//! Typed events become log lines and metrics.
