//! The long-lived tasks, by name: none ends unseen.
//!
//! A task that breaks, or ends before it was told to, ends the service with its name; the next start goes on from the store. A watcher that
//! is missing says nothing, and nobody would miss it.

use std::collections::HashMap;

use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;

use super::ServiceError;
use crate::config::Environment;

/// The variable that breaks a task of the real binary: its name.
const VARIABLE: &str = "REDFLAG_TEST_BREAK";

/// Owns its tasks: they end with it.
#[derive(Debug, Default)]
pub struct Crew {
    tasks: JoinSet<Result<(), ServiceError>>,
    names: HashMap<Id, String>,
    /// For tests only: the task of this name breaks as soon as it begins.
    breaks: Option<String>,
}

impl Crew {
    /// With the task in it that `$REDFLAG_TEST_BREAK` names broken. In prod none is, whatever it says.
    #[must_use]
    pub fn from_environment(environment: Environment) -> Self {
        let breaks = std::env::var(VARIABLE).ok().filter(|_| matches!(environment, Environment::Demo | Environment::Test));
        Self { breaks, ..Self::default() }
    }

    /// `task` ends when `stop` says so, and not before.
    pub fn spawn(&mut self, name: impl Into<String>, stop: &CancellationToken, task: impl Future<Output = ()> + Send + 'static) {
        let (name, stop) = (name.into(), stop.clone());
        let ended = name.clone();
        self.spawn_finite(name, async move {
            task.await;
            if stop.is_cancelled() { Ok(()) } else { Err(ServiceError::Ended { name: ended }) }
        });
    }

    /// `task` may have an end of its own.
    pub fn spawn_finite(
        &mut self,
        name: impl Into<String>,
        task: impl Future<Output = Result<(), ServiceError>> + Send + 'static,
    ) {
        let name = name.into();
        let breaks = self.breaks.as_ref() == Some(&name);
        let task = self.tasks.spawn(async move {
            assert!(!breaks, "a TEST: this task breaks on purpose");
            task.await
        });
        self.names.insert(task.id(), name);
    }

    /// How the next one ended; none: there is no more.
    pub async fn next(&mut self) -> Option<Result<(), ServiceError>> {
        Some(match self.tasks.join_next_with_id().await? {
            Ok((id, ended)) => {
                self.names.remove(&id);
                ended
            }
            // What a panic says may quote what it was about.
            Err(error) => Err(ServiceError::Broke { name: self.names.remove(&error.id()).unwrap_or_default() }),
        })
    }

    /// Resolves when one has failed.
    pub async fn failed(&mut self) -> ServiceError {
        while let Some(ended) = self.next().await {
            if let Err(error) = ended {
                return error;
            }
        }
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_watcher_that_breaks_or_ends_unasked_is_a_failure_with_its_name() {
        let stop = CancellationToken::new();
        let mut crew = Crew { breaks: Some("the auditor".to_owned()), ..Crew::default() };
        crew.spawn("the warden", &stop, std::future::pending());
        crew.spawn("the auditor", &stop, std::future::pending());
        assert_eq!(crew.failed().await.to_string(), "the auditor broke; the log has the place");
        crew.spawn("the watch of the disk", &stop, std::future::ready(()));
        assert_eq!(crew.failed().await.to_string(), "the watch of the disk ended, and nobody had told it to");
    }

    #[tokio::test]
    async fn a_task_that_ends_when_it_is_told_or_has_an_end_of_its_own_is_no_failure() {
        let stop = CancellationToken::new();
        let mut crew = Crew::default();
        crew.spawn("the warden", &stop, stop.clone().cancelled_owned());
        crew.spawn_finite("feed file", std::future::ready(Ok(())));
        assert!(crew.next().await.unwrap().is_ok(), "the feed is at its end");
        assert!(futures_util::FutureExt::now_or_never(crew.failed()).is_none(), "nothing has failed");
        stop.cancel();
        assert!(crew.next().await.unwrap().is_ok(), "the warden was told");
        assert!(crew.next().await.is_none());
    }
}
