//! Chat by an incoming webhook, as Slack and those that imitate it have it.
//!
//! Delivered means status 200 and the body `ok`: a proxy's log-in page is also a 200, and an alert that ended there is lost in silence.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use reqwest::header::HeaderMap;

use super::{Channel, ChannelError, http::Target};
use crate::{
    config::SlackConfig,
    model::{
        delivery::{Outcome, Parcel},
        ids::DeliveryId,
        names::ChannelName,
        rendered::{Clearance, Form, Rendered},
        time::Clock,
    },
};

/// The chat channel.
pub struct Slack {
    name: ChannelName,
    target: Target,
    clearance: Clearance,
    recipients: [String; 1],
}

impl Slack {
    /// # Errors
    /// When the address can't be read or may not be used.
    pub fn new(name: &ChannelName, config: &SlackConfig, clock: Arc<dyn Clock>) -> Result<Self, ChannelError> {
        let url = config.url.read().map_err(|source| ChannelError::Secret { channel: name.clone(), what: "url", source })?;
        let target = Target::new(name, &url, config.retry.timeout.get(), clock)?;
        Ok(Self { name: name.clone(), target, clearance: config.clearance, recipients: [name.to_string()] })
    }
}

impl Channel for Slack {
    fn name(&self) -> &ChannelName {
        &self.name
    }

    fn kind(&self) -> &'static str {
        "slack"
    }

    fn form(&self) -> Form {
        Form::Slack
    }

    fn clearance(&self) -> Clearance {
        self.clearance
    }

    fn recipients(&self) -> &[String] {
        &self.recipients
    }

    fn identity(&self, delivery: DeliveryId) -> String {
        delivery.to_string()
    }

    fn host(&self) -> &str {
        self.target.host()
    }

    fn send<'a>(&'a self, parcel: &'a Parcel) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            let Rendered::Json(json) = &parcel.rendered else {
                return Outcome::Reject { detail: "a mail was handed to a chat channel".to_owned() };
            };
            let answer = match self.target.post(json.to_string().into_bytes(), HeaderMap::new()).await {
                Ok(answer) => answer,
                Err(outcome) => return outcome,
            };
            match answer.outcome() {
                Outcome::Delivered { detail } if answer.body() != "ok" => {
                    Outcome::Retry { detail: format!("{detail}, but not `ok`: is this the chat's own address?"), after: None }
                }
                outcome => outcome,
            }
        })
    }
}
