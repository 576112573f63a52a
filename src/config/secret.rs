//! Secrets: named in the configuration, read from a credential, a file or the environment, never written down in clear text.

use std::path::PathBuf;

use schemars::JsonSchema;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

/// Where a secret lies. Exactly one of the three.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Secret {
    /// A file below `$CREDENTIALS_DIRECTORY`, as systemd hands it over.
    Credential(String),
    /// A file; a line break at its end does not count.
    File(PathBuf),
    /// An environment variable; worth a warning in prod.
    Env(String),
}

/// A secret could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("credential `{0}`: $CREDENTIALS_DIRECTORY is not set (LoadCredential= in the unit sets it)")]
    NoCredentialsDirectory(String),
    #[error("{}", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("the environment variable `{0}`, which should hold a secret, is not set")]
    Unset(String),
    #[error("the secret in {0} is empty")]
    Empty(String),
}

impl Secret {
    /// Reads the secret now. Nothing of it is kept here.
    ///
    /// # Errors
    /// When it is absent, unreadable, not UTF-8 or empty.
    pub fn read(&self) -> Result<SecretString, SecretError> {
        let (place, text) = match self {
            Self::Credential(name) => {
                let folder =
                    std::env::var_os("CREDENTIALS_DIRECTORY").ok_or_else(|| SecretError::NoCredentialsDirectory(name.clone()))?;
                let path = PathBuf::from(folder).join(name);
                (path.display().to_string(), read_file(&path)?)
            }
            Self::File(path) => (path.display().to_string(), read_file(path)?),
            Self::Env(name) => (format!("${name}"), std::env::var(name).map_err(|_| SecretError::Unset(name.clone()))?),
        };
        let text = text.trim_end_matches(['\r', '\n']);
        if text.is_empty() {
            return Err(SecretError::Empty(place));
        }
        Ok(SecretString::from(text.to_owned()))
    }
}

fn read_file(path: &std::path::Path) -> Result<String, SecretError> {
    std::fs::read_to_string(path).map_err(|source| SecretError::Unreadable { path: path.to_owned(), source })
}
