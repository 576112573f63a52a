//! What a command's exit code says.

use std::process::ExitCode;

use crate::{
    channels::ChannelError,
    config::ConfigError,
    engine::{
        ServiceError,
        control::{Why, client::ClientError},
        reload::ReloadError,
    },
    rules::watch::WatchError,
    store::StoreError,
};

/// How a command ended; documented, stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Fine = 0,
    /// It ran and found something, or it failed.
    Findings = 1,
    Usage = 2,
    /// What it needed to reach did not answer.
    Unreachable = 69,
    /// The configuration can't be used.
    Config = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// The exit code of an error: 78 where an operator must mend the configuration, 69 where nobody answers, 2 for a name that is not there,
/// else 1.
#[must_use]
pub fn exit_of(error: &anyhow::Error) -> Exit {
    if let Some(client) = error.downcast_ref::<ClientError>() {
        return of_client(client);
    }
    let config = error.chain().any(|cause| {
        let service = cause.downcast_ref::<ServiceError>().is_some_and(|error| {
            matches!(
                error,
                ServiceError::Channel { .. }
                    | ServiceError::Feed { .. }
                    | ServiceError::Password { .. }
                    | ServiceError::Several(_)
                    | ServiceError::Templates(_)
                    | ServiceError::Rules(ReloadError::Folder { .. })
            )
        });
        service || cause.is::<ConfigError>() || cause.is::<ChannelError>() || cause.is::<WatchError>()
    });
    if config { Exit::Config } else { Exit::Findings }
}

fn of_client(error: &ClientError) -> Exit {
    match error {
        ClientError::Refused(refusal) => match refusal.why {
            Why::Unknown => Exit::Usage,
            Why::NotNow | Why::Failed => Exit::Findings,
            Why::NeedsService | Why::OtherStore | Why::Version => Exit::Unreachable,
        },
        ClientError::Denied { .. }
        | ClientError::Silent { .. }
        | ClientError::Broken { .. }
        | ClientError::Store(StoreError::Nothing { .. } | StoreError::SecondOwner { .. }) => Exit::Unreachable,
        ClientError::Store(_) => Exit::Findings,
        ClientError::NoConfig => Exit::Config,
    }
}
