//! `redflag man`.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;

use super::{Exit, command, print};

#[derive(Args, Debug)]
pub struct ManArgs {
    /// Write a page a command into this folder; otherwise the main page goes to stdout
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
}

/// # Errors
/// The folder can't be written.
pub fn run(args: &ManArgs) -> anyhow::Result<Exit> {
    if let Some(folder) = &args.dir {
        let written = std::fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(command(), folder));
        written.with_context(|| format!("the man pages can't be written to {}", folder.display()))?;
    } else {
        let mut page = Vec::new();
        clap_mangen::Man::new(command()).render(&mut page)?;
        print(&String::from_utf8_lossy(&page))?;
    }
    Ok(Exit::Fine)
}
