//! What an operator configures: one file a section, and the loader that puts file, drop-ins and environment together.
//!
//! A path is relative to the file that names it. Unknown keys are errors with a proposal. Secrets are never clear text.

pub mod channels;
pub mod feeds;
pub mod secret;
pub mod service;

pub use channels::{ChannelConfig, EmailConfig, FileConfig, SlackConfig, WebhookConfig};
pub use feeds::{ConcedusConfig, FeedConfig, JsonlConfig};
pub use secret::Secret;
pub use service::{Config, Environment, Language};
