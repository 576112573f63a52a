//! Parse, dispatch, exit code.

use std::process::ExitCode;

use redflag::{cli, cli::Exit, engine};

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|argument| argument == engine::scout::ARGUMENT) {
        return engine::scout::main();
    }
    let (command, global) = match cli::parse(std::env::args_os()) {
        Ok(parsed) => parsed,
        Err(told) => {
            // Help and version are no errors; clap knows where each goes.
            let _ = told.print();
            return if told.use_stderr() { Exit::Usage } else { Exit::Fine }.into();
        }
    };
    match cli::run(command, &global) {
        Ok(exit) => exit.into(),
        Err(error) => cli::failed(&error, &global).into(),
    }
}
