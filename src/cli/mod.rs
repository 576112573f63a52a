//! The command line: what there is to type, and one file a command.
//!
//! stdout is data, stderr is talk. Help, completions and man pages come from the definitions below.

pub mod alerts;
pub mod channel;
pub mod check;
pub mod completions;
pub mod config;
pub mod coverage;
pub mod demo;
pub mod error;
pub mod exit;
mod folder;
pub mod gaps;
pub mod man;
pub mod outbox;
pub mod quarantine;
pub mod reload;
pub mod rules;
pub mod run;
pub mod simulate;
pub mod status;
mod supervisor;
mod table;
pub mod test;

use std::{ffi::OsString, fmt::Write as _, io::Write as _, path::PathBuf};

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

pub use exit::{Exit, exit_of};

use crate::{
    config::{LoadedConfig, Lookup},
    model::causes,
    telemetry::log,
};

/// Listens to a KYC feed, judges its events by rules that you edit as files, and brings alerts to the people who must act.
#[derive(Parser, Debug)]
#[command(name = "redflag", version, disable_help_subcommand = true, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    global: Global,
}

/// What every command takes.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Options of every command")]
pub struct Global {
    /// The configuration; otherwise ./redflag.toml or /etc/redflag/redflag.toml
    #[arg(long, value_name = "FILE", env = "REDFLAG_CONFIG", global = true, hide_env_values = true)]
    config: Option<PathBuf>,
    /// How data on stdout looks
    #[arg(long, value_enum, value_name = "FORM", default_value_t, global = true)]
    format: Format,
    /// How log lines on stderr look; $REDFLAG_LOG filters them
    #[arg(long, value_enum, value_name = "FORM", default_value_t, global = true)]
    log: Log,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Text for people
    #[default]
    Human,
    /// JSON for programs
    Json,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Log {
    /// A line for people
    #[default]
    Text,
    /// An object a line for collectors
    Json,
}

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Run the service: feeds in, alerts out, until it is told to stop
    Run(run::RunArgs),
    /// Show everything at work on this machine alone: a simulated feed, rules to edit, a mailbox and a chat
    Demo(demo::Args),
    /// Run a feed like the provider's: token endpoint, socket, methods, faults
    Simulate(Box<simulate::SimulateArgs>),
    /// Show on one screen how redflag is, and what somebody should look at
    Status(status::StatusArgs),
    /// Check rule files: every mistake with its place and a proposal
    Check(check::CheckArgs),
    /// Run the tests in rule files
    Test(test::TestArgs),
    /// List the rules: what would be loaded
    Rules(rules::RulesArgs),
    /// Read rules, lists and templates again, or let a held-back change through
    Reload(reload::ReloadArgs),
    /// List and show alerts, and say what becomes of them
    #[command(subcommand)]
    Alerts(alerts::AlertsCommand),
    /// List deliveries that are owed or were given up; send them again, or drop them
    #[command(subcommand)]
    Outbox(outbox::OutboxCommand),
    /// List what could not be decoded, and judge it after all
    #[command(subcommand)]
    Quarantine(quarantine::QuarantineCommand),
    /// List intervals in which messages may be missing, and close them
    #[command(subcommand)]
    Gaps(gaps::GapsCommand),
    /// Show what arrived and what became of it, and what no rule has decided
    Coverage(coverage::CoverageArgs),
    /// Try a channel
    #[command(subcommand)]
    Channel(channel::ChannelCommand),
    /// Show the configuration in force, or its schema
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Print the page of an error code
    Error(error::ErrorArgs),
    /// Print completions for a shell
    Completions(completions::CompletionsArgs),
    /// Print or write the man pages
    Man(man::ManArgs),
}

/// The commands by what they are for, in the order of `--help`.
const GROUPS: &[(&str, &[&str])] = &[
    ("Run", &["run", "demo", "simulate", "status"]),
    ("Rules", &["check", "test", "rules"]),
    (
        "Operate",
        &["reload", "alerts", "outbox", "quarantine", "gaps", "coverage", "channel", "config", "error", "completions", "man"],
    ),
];

/// The definitions, with the commands of `--help` in groups.
#[must_use]
pub fn command() -> clap::Command {
    let command = Cli::command();
    let mut groups = String::new();
    for (heading, names) in GROUPS {
        let _ = writeln!(groups, "{heading}:");
        for sub in names.iter().filter_map(|name| command.find_subcommand(name)) {
            let about = sub.get_about().map(ToString::to_string).unwrap_or_default();
            let _ = writeln!(groups, "  {:<12} {about}", sub.get_name());
        }
        groups.push('\n');
    }
    let exits = "Exit codes: 0 fine, 1 findings, 2 usage, 69 unreachable, 74 disk not to be trusted, 78 configuration unusable";
    command.help_template(format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{groups}Options of every command:\n{{options}}\n\n{exits}\n"
    ))
}

/// Reads a command line.
///
/// # Errors
/// It makes no sense, or it asks for help; clap's error prints both.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<(Command, Global), clap::Error> {
    let mut definitions = command();
    let matches = definitions.try_get_matches_from_mut(args)?;
    let cli = Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut definitions))?;
    Ok((cli.command, cli.global))
}

/// Does what was asked.
///
/// # Errors
/// What went wrong; [`exit_of`] tells the exit code.
pub fn run(command: Command, global: &Global) -> anyhow::Result<Exit> {
    match command {
        Command::Run(args) => wait(run::run(&args, global)),
        Command::Demo(args) => wait(async move { Ok(if demo::run(&args).await? { Exit::Fine } else { Exit::Findings }) }),
        Command::Simulate(args) => wait(simulate::run(*args, global)),
        Command::Check(args) => check::run(&args, global),
        Command::Test(args) => test::run(&args, global),
        Command::Rules(args) => rules::run(&args, global),
        Command::Status(args) => status::run(&args, global),
        Command::Reload(args) => reload::run(&args, global),
        Command::Alerts(command) => alerts::run(command, global),
        Command::Outbox(command) => outbox::run(command, global),
        Command::Quarantine(command) => quarantine::run(command, global),
        Command::Gaps(command) => gaps::run(command, global),
        Command::Coverage(args) => coverage::run(args, global),
        Command::Error(args) => error::run(&args, global),
        Command::Channel(command) => wait(channel::run(command, global)),
        Command::Config(command) => config::run(&command, global),
        Command::Completions(args) => completions::run(&args),
        Command::Man(args) => man::run(&args),
    }
}

impl Global {
    /// Where the configuration lies.
    #[must_use]
    pub fn lookup(&self) -> Lookup {
        Lookup::system(self.config.clone().filter(|path| !path.as_os_str().is_empty()))
    }

    /// Loads it whole, and says on stderr what is unwise in it.
    ///
    /// # Errors
    /// It can't be used.
    pub fn load(&self) -> anyhow::Result<LoadedConfig> {
        Ok(crate::config::load(&self.lookup())?)
    }

    #[must_use]
    pub fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    pub fn start_log(&self) {
        log::start(match self.log {
            Log::Text => log::Style::Text,
            Log::Json => log::Style::Json,
        });
    }
}

/// Threads that run tasks, at most.
const WORKERS: usize = 4;

/// Threads that wait for files, look-ups of names and commands, at most: more than commands may take at once.
const BLOCKING: usize = 24;

fn wait(work: impl Future<Output = anyhow::Result<Exit>>) -> anyhow::Result<Exit> {
    // As many on every machine: a processor more is no reason for a thread more, and the unit's TasksMax= has to be enough.
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(WORKERS);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .max_blocking_threads(BLOCKING)
        .enable_all()
        .build()?;
    let exit = runtime.block_on(work);
    // A read of standard input that nobody answers can't be cancelled; the work itself is over and on disk.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    exit
}

/// Says what went wrong: to people, and to whatever reads `--format json`.
#[must_use]
pub fn failed(error: &anyhow::Error, global: &Global) -> Exit {
    let (text, exit) = (causes::chain(error.as_ref()), exit_of(error));
    talk(&format!("redflag: {text}"));
    if global.is_json() {
        // Nobody may be reading; the exit code says it as well.
        let _ = print(&format!("{}\n", serde_json::json!({ "error": text, "exit": exit as u8 })));
    }
    exit
}

/// Data to stdout. Whoever reads it may stop reading.
///
/// # Errors
/// stdout can't be written, for another reason than that.
pub fn print(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

/// Talk to stderr, a line. Where nobody listens, there is nothing to do about it.
pub fn talk(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// `1 rule`, `2 rules`.
fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

#[cfg(test)]
mod tests;
