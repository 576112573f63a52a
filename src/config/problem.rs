//! What is wrong with a configuration: where, what, and what to do. All of it at once.

use std::{fmt, path::PathBuf};

/// A key's place: `channels.kyc-operations.from` as its parts.
pub type Key = Vec<String>;

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    Default,
    File {
        path: PathBuf,
        /// From 1.
        line: usize,
    },
    /// The variable's name.
    Environment(String),
    CommandLine,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Environment(name) => write!(f, "${name}"),
            Self::CommandLine => f.write_str("command line"),
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Empty for what concerns a whole file or variable.
    pub key: Key,
    /// `Default` where nobody wrote anything.
    pub origin: Origin,
    pub what: String,
    /// What to do.
    pub help: Option<String>,
}

impl Problem {
    pub fn at(key: impl IntoIterator<Item = impl Into<String>>, what: impl Into<String>) -> Self {
        Self { key: key.into_iter().map(Into::into).collect(), origin: Origin::Default, what: what.into(), help: None }
    }

    #[must_use]
    pub fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }

    #[must_use]
    pub fn from(self, origin: Origin) -> Self {
        Self { origin, ..self }
    }
}

impl Problem {
    /// As one line, for a log and an alarm.
    #[must_use]
    pub fn line(&self) -> String {
        let help = self.help.as_ref().map_or_else(String::new, |help| format!("; {help}"));
        format!("{}: {}{help}", self.place(), self.what).replace('\n', " ")
    }

    fn place(&self) -> String {
        let key = self.key.join(".");
        match (&self.origin, key.is_empty()) {
            (Origin::Default, true) => "configuration".to_owned(),
            (Origin::Default, false) => key,
            (origin, true) => origin.to_string(),
            (origin, false) => format!("{key} ({origin})"),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place())?;
        write!(f, "\n    {}", self.what)?;
        if let Some(help) = &self.help {
            write!(f, "\n    {help}")?;
        }
        Ok(())
    }
}

/// The configuration can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("no configuration file: looked for {}; name one with --config or $REDFLAG_CONFIG", list(looked))]
    NotFound { looked: Vec<PathBuf> },
    #[error("the configuration in {} can't be read", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("the configuration can't be used: {}", report(.0))]
    Problems(Vec<Problem>),
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

fn report(problems: &[Problem]) -> String {
    let mut text = match problems.len() {
        1 => "1 problem".to_owned(),
        count => format!("{count} problems"),
    };
    for problem in problems {
        text.push_str("\n\n  ");
        text.push_str(&problem.to_string());
    }
    text
}
