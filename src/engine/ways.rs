//! The ways in and out, built from the configuration alone: channels, feeds, the sign of life.
//!
//! Secrets are read here, so that a missing one is a fault of the start. Whatever can't be built is told together: who mends one thing does
//! not find the next at the next start.

use std::{collections::BTreeMap, sync::Arc};

use super::service::ServiceError;
use crate::{
    channels::{self, Channel, beat::Beat},
    config::{Config, FeedConfig},
    model::{
        ids::Ids,
        names::{ChannelName, FeedName},
        time::Clock,
    },
    source::{concedus, jsonl},
};

pub(super) enum Source {
    Concedus(Box<concedus::Source>),
    Jsonl(jsonl::Source),
}

pub(super) struct Ways {
    pub(super) channels: BTreeMap<ChannelName, Arc<dyn Channel>>,
    pub(super) sources: Vec<(FeedName, Source)>,
    pub(super) beat: Option<Beat>,
}

impl Ways {
    /// # Errors
    /// What can't be built: all of it.
    pub(super) fn build(config: &Config, clock: &Arc<dyn Clock>) -> Result<Self, ServiceError> {
        let mut refused = Vec::new();
        let mut sources = Vec::new();
        for (name, feed) in &config.feeds {
            match source(name, feed, clock) {
                Ok(source) => sources.push((name.clone(), source)),
                Err(error) => refused.push(error),
            }
        }
        let mut built = BTreeMap::new();
        for (name, channel) in &config.channels {
            match channels::build(name, channel, Arc::clone(clock)) {
                Ok(channel) => drop(built.insert(name.clone(), channel)),
                Err(error) => refused.push(error.into()),
            }
        }
        let beat = config.heartbeat.as_ref().map(|heartbeat| Beat::new(heartbeat, Arc::clone(clock)));
        let beat = beat.transpose().unwrap_or_else(|error| {
            refused.push(error.into());
            None
        });
        match refused.len() {
            0 => Ok(Self { channels: built, sources, beat }),
            1 => Err(refused.remove(0)),
            _ => Err(ServiceError::Several(refused)),
        }
    }
}

fn source(name: &FeedName, feed: &FeedConfig, clock: &Arc<dyn Clock>) -> Result<Source, ServiceError> {
    Ok(match feed {
        FeedConfig::Concedus(feed) => {
            // The source reads it again for each token; a start without it would only look like a service.
            feed.password.read().map_err(|source| ServiceError::Password { feed: name.clone(), source })?;
            Source::Concedus(Box::new(concedus::Source::new(name.clone(), feed, Arc::clone(clock), Ids::random())?))
        }
        FeedConfig::Jsonl(feed) => Source::Jsonl(jsonl::Source::new(name.clone(), feed.clone(), Arc::clone(clock))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{causes::chain, time::SystemClock};

    #[test]
    fn every_secret_that_cant_be_read_is_told_at_once() {
        let text = r#"
            data_dir = "state"
            [feeds.concedus]
            kind = "concedus"
            socket = "ws://127.0.0.1:1/ws"
            auth = "http://127.0.0.1:1/auth"
            username = "u"
            password = { file = "/nowhere/feed-password" }
            [channels.chat]
            kind = "slack"
            url = { file = "/nowhere/chat-hook" }
            [channels.mail]
            kind = "email"
            server = "smtp://127.0.0.1:1"
            from = "redflag@example.com"
            to = ["kyc@example.com"]
            username = "u"
            password = { env = "REDFLAG_TEST_THAT_NOBODY_SETS" }
        "#;
        let config: Config = toml::from_str(text).unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let Err(error) = Ways::build(&config, &clock) else { panic!("it was built without its secrets") };
        insta::assert_snapshot!(chain(&error), @r"
        3 settings can't be used

          feed `concedus`: its password can't be read: /nowhere/feed-password: No such file or directory (os error 2)

          channel `chat`: its url can't be read: /nowhere/chat-hook: No such file or directory (os error 2)

          channel `mail`: its password can't be read: the environment variable `REDFLAG_TEST_THAT_NOBODY_SETS`, which should hold a secret, is not set
        ");
    }
}
