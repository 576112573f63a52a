//! `redflag test`: the tests in rule files, one line each.

use std::path::PathBuf;

use clap::Args;

use super::{Exit, Global, counted, folder, print, talk};

#[derive(Args, Debug)]
pub struct TestArgs {
    /// Rule files, or a rules' folder; otherwise the configured folder
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// The rules' folder, in the place of the configured one
    #[arg(long, value_name = "FOLDER")]
    rules: Option<PathBuf>,
}

/// # Errors
/// The folder can't be read, or the configuration's sections that matter can't be used.
pub fn run(args: &TestArgs, global: &Global) -> anyhow::Result<Exit> {
    let folders = folder::open(global, args.rules.as_deref(), &args.paths)?;
    let mut runs = Vec::new();
    let mut broken = 0;
    for folder in &folders {
        for finding in folder.broken() {
            broken += 1;
            talk(&format!("{}\n", folder.render(finding, false)));
        }
        runs.extend(folder.tests.iter().filter(|run| folder.covers(&run.file)));
        for error in &folder.template_errors {
            broken += 1;
            talk(&format!("error: {error}"));
        }
    }
    if global.is_json() {
        print(&format!("{}\n", serde_json::to_string(&runs)?))?;
    } else {
        for run in &runs {
            let state = if run.failure.is_none() { "pass" } else { "FAIL" };
            print(&format!("{state}  {}: {}\n", run.file, run.test))?;
            if let Some(failure) = &run.failure {
                print(&format!("      line {}: {failure}\n", run.line))?;
                if let Some(help) = &run.help {
                    print(&format!("      {help}\n"))?;
                }
            }
        }
    }
    let failed = runs.iter().filter(|run| run.failure.is_some()).count();
    let rest =
        if broken > 0 { format!(", {} in files whose tests could not run", counted(broken, "error")) } else { String::new() };
    talk(&format!("{}, {failed} failed{rest}", counted(runs.len(), "test")));
    Ok(if failed + broken > 0 { Exit::Findings } else { Exit::Fine })
}
