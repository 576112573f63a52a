//! `redflag check`: what is wrong in rule files, as the service would find it.

use std::path::PathBuf;

use clap::Args;

use super::{Exit, Global, counted, folder, print, talk};
use crate::rules::diagnostic::{Diagnostic, Level, to_json};

#[derive(Args, Debug)]
pub struct CheckArgs {
    /// Rule files, or a rules' folder; otherwise the configured folder
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// The rules' folder, in the place of the configured one
    #[arg(long, value_name = "FOLDER")]
    rules: Option<PathBuf>,
}

/// # Errors
/// The folder can't be read, or the configuration's sections that matter can't be used.
pub fn run(args: &CheckArgs, global: &Global) -> anyhow::Result<Exit> {
    let folders = folder::open(global, args.rules.as_deref(), &args.paths)?;
    let findings: Vec<Diagnostic> = folders.iter().flat_map(|folder| folder.findings().cloned()).collect();
    if global.is_json() {
        print(&format!("{}\n", to_json(&findings)))?;
    } else {
        for folder in &folders {
            for finding in folder.findings() {
                print(&format!("{}\n\n", folder.render(finding, folder::colour())))?;
            }
        }
    }
    let templates: Vec<&String> = folders.iter().flat_map(|folder| &folder.template_errors).collect();
    for error in &templates {
        talk(&format!("error: {error}"));
    }
    let mut errors = folder::count(findings.iter(), Level::Error) + templates.len();
    for empty in folders.iter().filter(|folder| !folder.snapshot.files.keys().any(|file| folder.covers(file))) {
        talk(&format!("error: no rule was found in {}; the name of a rule file ends in .rhai", empty.root.display()));
        errors += 1;
    }
    let warnings = folder::count(findings.iter(), Level::Warning);
    let files = folders.iter().map(folder::Folder::rule_files).sum();
    talk(&format!("{}, {}, {}", counted(files, "rule"), counted(errors, "error"), counted(warnings, "warning")));
    Ok(if errors > 0 { Exit::Findings } else { Exit::Fine })
}
