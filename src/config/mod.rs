//! What an operator configures: one file a section, and the loader that puts file, drop-ins and environment together.
//!
//! A path is relative to the file that names it. Unknown keys are errors with a proposal. Secrets are never clear text.

pub mod channels;
pub mod feeds;
mod inspect;
mod layers;
pub mod load;
mod places;
pub mod problem;
pub mod secret;
pub mod service;
pub mod shape;
mod show;
pub mod upkeep;
pub mod validate;

pub use channels::{ChannelConfig, EmailConfig, FileConfig, SlackConfig, WebhookConfig};
pub use feeds::{ConcedusConfig, FeedConfig, JsonlConfig};
pub use load::{LoadedConfig, LoadedPlace, LoadedRules, Lookup, Provenance, load, load_place, load_rules, load_texts};
pub use places::data_dirs;
pub use problem::{ConfigError, Key, Origin, Problem};
pub use secret::Secret;
pub use service::{Config, DelayConfig, Environment, Language};
pub use shape::schema;
pub use show::show;
pub use validate::validate;
