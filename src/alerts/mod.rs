//! 5 · What a verdict becomes: alerts, the messages that they start, and the deliveries that those owe.
//!
//! The [`Desk`] owns the running quiet periods, and [`Routes`] knows which channels a name means. [`Alarms`] are redflag's own words to
//! its operators. Nothing here sends: all of it is rows for the next transaction.

mod alarms;
mod desk;
mod outages;
mod routes;

pub use alarms::{Alarm, Alarms};
pub use desk::{Desk, Judged};
pub use outages::{Outages, Standing};
pub use routes::{Routes, UnknownRecipient, Way};
