//! `redflag config`: the configuration in force, and its schema.

use clap::Subcommand;

use super::{Exit, Global, print, talk};
use crate::config::{schema, show};

#[derive(Subcommand, Debug)]
pub enum ConfigCommand {
    /// The configuration in force, each value with where it comes from; secrets as their places
    Show,
    /// The JSON schema of redflag.toml
    Schema,
}

/// # Errors
/// The configuration can't be used.
pub fn run(command: &ConfigCommand, global: &Global) -> anyhow::Result<Exit> {
    match command {
        ConfigCommand::Show => {
            let loaded = global.load()?;
            for warning in &loaded.warnings {
                talk(&format!("warning: {warning}"));
            }
            let text = if global.is_json() {
                format!("{}\n", serde_json::to_string_pretty(&loaded.config)?)
            } else {
                show(&loaded.config, &loaded.provenance)
            };
            print(&text)?;
        }
        ConfigCommand::Schema => print(&format!("{}\n", serde_json::to_string_pretty(&schema())?))?,
    }
    Ok(Exit::Fine)
}
