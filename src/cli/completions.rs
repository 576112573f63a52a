//! `redflag completions`.

use clap::Args;
use clap_complete::Shell;

use super::{Exit, command, print};

#[derive(Args, Debug)]
pub struct CompletionsArgs {
    shell: Shell,
}

/// # Errors
/// stdout can't be written.
pub fn run(args: &CompletionsArgs) -> anyhow::Result<Exit> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut command(), "redflag", &mut text);
    print(&String::from_utf8_lossy(&text))?;
    Ok(Exit::Fine)
}
