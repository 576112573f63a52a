//! `redflag check`: what is wrong in rule files, as the service would find it.

use std::path::PathBuf;

use clap::Args;

use super::{Exit, Global, counted, folder, print, talk};
use crate::{
    config::ConfigError,
    rules::diagnostic::{Diagnostic, Level, to_json},
};

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
    for warning in configuration(args, global) {
        talk(&format!("warning: {warning}"));
    }
    if folders.iter().any(|folder| !folder.knows_recipients) {
        talk("note: there is no configuration, so nobody looked whether it has the recipients in `send_to`");
    }
    let warnings = folder::count(findings.iter(), Level::Warning);
    let files = folders.iter().map(folder::Folder::rule_files).sum();
    talk(&format!("{}, {}, {}", counted(files, "rule"), counted(errors, "error"), counted(warnings, "warning")));
    Ok(if errors > 0 { Exit::Findings } else { Exit::Fine })
}

/// What is unwise in the configuration as a whole, where there is one and it is the rules' own. A rule file needs none to be checked, so a
/// configuration that can't be used is said, and is no finding.
fn configuration(args: &CheckArgs, global: &Global) -> Vec<String> {
    if args.rules.is_some() || !args.paths.is_empty() {
        return Vec::new();
    }
    match global.load() {
        Ok(loaded) => loaded.warnings,
        Err(error) => match error.downcast_ref::<ConfigError>() {
            Some(ConfigError::NotFound { .. }) => Vec::new(),
            _ => vec!["the configuration can't be used as a whole; `redflag config show` says why".to_owned()],
        },
    }
}
