//! 3 · The store: the journal of events, and what they caused. One writer, many readers.
//!
//! Other stages reach it through [`Journal`] and [`Outbox`] only, so that a provider that outgrows one machine can put something
//! else behind them.

mod traits;

pub use traits::{Journal, Outbox, Pending, StoreError};
