//! 3 · The store: the journal of events, and what they caused. One writer, many readers.
//!
//! Other stages reach it through [`Journal`] and [`Outbox`] only, so that a provider that outgrows one machine can put something
//! else behind them. [`SqliteStore`] is the embedded default:
//!
//! ```text
//! commit, lease, report ─▶ bounded queue ─▶ writer thread: all that waits = one transaction = one fsync ─▶ answers
//! reads ─────────────────▶ a few read connections, which never wait for the writer
//! ```
//!
//! Promises: an answer comes after the fsync; a request commits wholly or not at all, and a bad one fails alone; after an error that
//! means the disk can't be trusted nothing is acknowledged any more, nothing is tried again, and the process is told to stop; a
//! second owner and a newer schema are refused; no byte of the database or its log that changed by itself is believed: a damaged store
//! is set aside at the start, and a fresh one begun.

mod aside;
mod books;
mod change;
mod deliveries;
mod gaps;
mod guard;
mod identifications;
mod kept;
mod lookup;
mod mark;
mod missing;
mod open;
mod owner;
mod pages;
mod query;
mod read;
mod retention;
mod rows;
mod schema;
mod space;
mod sqlite;
mod traits;
mod troubles;
mod wal;
mod window;
mod write;
mod writer;

#[cfg(test)]
mod tests;

pub use change::{Act, Change, Changed};
pub use gaps::GapRow;
pub use identifications::Announced;
pub use lookup::{AlertFilter, ChannelState, DeliveryFilter, Numbered, QuarantineFilter, Wanted};
pub use open::{DATABASE, OnChecked, OnFatal, Opened, Options};
pub use owner::Holder;
pub use query::{AlertRow, AttemptRow, AuditRow, DeliveryRow, QuarantineRow, SetAside};
pub use read::Reader;
pub use retention::{Cleared, Shelf, Step};
pub use space::{RESERVE, Room, Space, breaks_trust};
pub use sqlite::SqliteStore;
pub use traits::{Copies, Journal, KNOWN_RUNS, Outbox, Pending, StoreError};
pub use write::Note;
