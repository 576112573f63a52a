//! The heartbeat's request: one GET or POST to an address that somebody outside watches, by the rules of the channels over HTTP.

use std::{sync::Arc, time::Duration};

use reqwest::header::HeaderMap;

use super::{ChannelError, http::Target};
use crate::{
    config::upkeep::{HeartbeatConfig, HeartbeatMethod},
    model::{delivery::Outcome, names::ChannelName, time::Clock},
};

/// How long one beat may take.
const TIMEOUT: Duration = Duration::from_secs(10);

pub struct Beat {
    target: Target,
    method: HeartbeatMethod,
}

impl Beat {
    /// # Errors
    /// When the address can't be read, or must not be used.
    pub fn new(config: &HeartbeatConfig, clock: Arc<dyn Clock>) -> Result<Self, ChannelError> {
        let name = ChannelName::new("heartbeat");
        let url = config.url.read().map_err(|source| ChannelError::Secret { channel: name.clone(), what: "address", source })?;
        Ok(Self { target: Target::new(&name, &url, TIMEOUT, clock)?, method: config.method })
    }

    /// One beat. The error is for people, and holds no address.
    ///
    /// # Errors
    /// When it was not taken.
    pub async fn send(&self) -> Result<(), String> {
        let answer = match self.method {
            HeartbeatMethod::Get => self.target.get().await,
            HeartbeatMethod::Post => self.target.post(b"{}".to_vec(), HeaderMap::new()).await,
        };
        match answer.map(|answer| answer.outcome()) {
            Ok(Outcome::Delivered { .. }) => Ok(()),
            Ok(Outcome::Retry { detail, .. } | Outcome::Reject { detail }) | Err(Outcome::Retry { detail, .. }) => Err(detail),
            Err(_) => Err("no answer".to_owned()),
        }
    }
}
