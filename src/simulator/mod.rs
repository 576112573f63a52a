//! A feed like the provider's, for the demo, tests and load: token endpoint, socket, methods, look-ups and people, and faults on request.
//!
//! ```text
//! people ─▶ events ─┐
//! load ─────────────┼─▶ feed (history, one queue a socket) ─▶ socket (methods, faults) ─▶ reader
//! recording ────────┘
//! ```
//!
//! - Everything told is seeded: the same seed, number of people and clock tell the same frames, whatever faults are asked for.
//! - Nobody in it exists: names are drawn from lists, telephone numbers from the ranges kept free for fiction, mail from `example.org`.
//! - What happens while nobody listens is remembered up to a bound and answered by `getLastMessages`.
//! - How an identification stands is known for good, and answered by look-ups, whoever was told of it.
//! - Every socket gets a copy of every frame, and the feed waits for its slowest socket: a load run measures the reader and loses
//!   nothing by itself.
//!
//! Where the provider's behaviour is unknown (the shape of answers, the fate of a socket whose token ends), it is an option.

mod control;
mod differences;
mod events;
mod faults;
mod feed;
mod frame;
mod load;
mod lookups;
mod methods;
mod options;
mod people;
mod register;
mod server;
mod socket;
mod stats;
mod tokens;

pub use faults::{Faults, Refuse, Silence};
pub use options::{Answers, Mix, Options};
pub use server::{Simulator, SimulatorError, start};
pub use stats::Stats;

#[cfg(test)]
mod tests;
