//! What crosses the stages: the types that a source, the decoder, the store, the rules, the alerts, the outbox, the renderer
//! and the channels exchange. Nothing here does I/O; nothing here imports another part of redflag.

pub mod actor;
pub mod alert;
pub mod books;
pub mod card;
pub mod causes;
pub mod delivery;
pub mod event;
pub mod hash;
pub mod ids;
pub mod lookup;
pub mod names;
pub mod rendered;
pub mod severity;
pub mod signal;
pub mod steady;
pub mod time;
pub mod topic;
pub mod turn;
pub mod value;
pub mod verdict;
