//! From the names in `send_to` to deliveries: groups are resolved, every recipient of every channel gets one.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use crate::config::DelayConfig;
use crate::model::{
    alert::Message,
    delivery::NewDelivery,
    ids::{DeliveryId, Ids},
    names::ChannelName,
    time::{Span, Timestamp},
};

/// A way out, as far as routing knows it.
#[derive(Clone)]
pub struct Way {
    /// One delivery each: mail addresses, or the channel's own name.
    pub recipients: Vec<String>,
    /// The form of a delivery's fixed identity: a Message-ID, or an Idempotency-Key.
    pub identity: Arc<dyn Fn(DeliveryId) -> String + Send + Sync>,
    /// After this a delivery is a dead letter.
    pub give_up: Span,
}

/// A name in `send_to` that is neither a channel nor a group.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is neither a channel nor a group")]
pub struct UnknownRecipient(pub String);

/// All channels and groups.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    ways: BTreeMap<ChannelName, Way>,
    groups: BTreeMap<String, Vec<ChannelName>>,
    fallback: Vec<String>,
    delays: DelayConfig,
}

impl Routes {
    /// `fallback`: the names that stand in where a message would go nowhere.
    #[must_use]
    pub fn new(ways: BTreeMap<ChannelName, Way>, groups: BTreeMap<String, Vec<ChannelName>>, fallback: Vec<String>) -> Self {
        Self { ways, groups, fallback, delays: DelayConfig::default() }
    }

    /// When a delivery counts as late, by severity.
    #[must_use]
    pub fn delays(self, delays: DelayConfig) -> Self {
        Self { delays, ..self }
    }

    /// Every name that `send_to` may use.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.ways.keys().map(ChannelName::as_str).chain(self.groups.keys().map(String::as_str))
    }

    /// The channels that stand in where a message would go nowhere.
    #[must_use]
    pub fn fallback(&self) -> Vec<ChannelName> {
        self.resolve(&self.fallback).0
    }

    /// The channels that the names mean, each once, in the order of their first mention; and the names that mean nothing.
    #[must_use]
    pub fn resolve(&self, names: &[String]) -> (Vec<ChannelName>, Vec<UnknownRecipient>) {
        let mut seen = BTreeSet::new();
        let mut channels = Vec::new();
        let mut unknown = Vec::new();
        for name in names {
            let members = match self.groups.get(name) {
                Some(members) => members.clone(),
                None => vec![ChannelName::new(name)],
            };
            for channel in members {
                if !self.ways.contains_key(&channel) {
                    unknown.push(UnknownRecipient(name.clone()));
                } else if seen.insert(channel.clone()) {
                    channels.push(channel);
                }
            }
        }
        (channels, unknown)
    }

    /// The deliveries that a message owes on these channels.
    pub fn deliveries(&self, message: &Message, channels: &[ChannelName], now: Timestamp, ids: &mut Ids) -> Vec<NewDelivery> {
        let mut deliveries = Vec::new();
        for channel in channels {
            let Some(way) = self.ways.get(channel) else { continue };
            for recipient in &way.recipients {
                let id = ids.delivery(now);
                deliveries.push(NewDelivery {
                    id,
                    message: message.id,
                    channel: channel.clone(),
                    recipient: recipient.clone(),
                    identity: (way.identity)(id),
                    due_at: now,
                    expires_at: now + way.give_up.delta(),
                    severity: message.severity,
                    purpose: message.purpose,
                    late_at: Some(now + self.delays.of(message.severity).delta()),
                });
            }
        }
        deliveries
    }
}

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Way").field("recipients", &self.recipients).field("give_up", &self.give_up).finish_non_exhaustive()
    }
}
