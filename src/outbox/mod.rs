//! 6 · The outbox: deliveries that are owed are leased, sent, and end as delivered or as dead letters that somebody is told about.
//!
//! One [`run`] a channel, so that a slow channel never delays another. The lease saves work, the fixed identity makes a second sending
//! recognisable. What a channel is, and how a message is rendered for it, is the [`Sender`]'s business.

mod dispatch;
mod schedule;

pub use dispatch::{Notice, Options, Sender, Work, run};
pub use schedule::next;
