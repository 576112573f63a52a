//! What the other parts get of the configuration: routes, what rules may name, decoders, where each feed goes on.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use tokio::sync::watch;

use crate::{
    alerts::{Routes, Way},
    channels::Channel,
    config::{self, Config, FeedConfig},
    decode::{self, Decoder},
    model::{
        names::{ChannelName, FeedName},
        signal::Latest,
    },
    rules::set::Declared,
    store::{Journal, StoreError},
};

/// What routing knows of the channels.
pub(super) fn routes(config: &Config, channels: &BTreeMap<ChannelName, Arc<dyn Channel>>) -> Routes {
    let ways = channels.iter().map(|(name, channel)| {
        let give_up = config.channels.get(name).map(|channel| channel.retry().give_up).unwrap_or_default();
        let recipients = channel.recipients().to_vec();
        let channel = Arc::clone(channel);
        (name.clone(), Way { recipients, identity: Arc::new(move |id| channel.identity(id)), give_up })
    });
    Routes::new(ways.collect(), config.groups.clone(), config.fallback.send_to.clone()).delays(config.delays)
}

/// What rules may name beyond what redflag knows.
pub fn declared(config: &Config, routes: &Routes) -> Declared {
    let mut topics = Vec::new();
    let mut fields: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for feed in config.feeds.values() {
        let more_fields = match feed {
            FeedConfig::Concedus(feed) => &feed.fields,
            FeedConfig::Jsonl(feed) => &feed.fields,
        };
        topics.extend(declared_topics(feed).iter().cloned());
        for (topic, names) in more_fields {
            fields.entry(topic.clone()).or_default().extend(names.iter().cloned());
        }
    }
    Declared { topics, fields, recipients: Some(routes.names().map(str::to_owned).collect()) }
}

pub(super) fn declared_topics(feed: &FeedConfig) -> &[String] {
    match feed {
        FeedConfig::Concedus(feed) => &feed.topics,
        FeedConfig::Jsonl(feed) => &feed.topics,
    }
}

/// Feeds that have a rhythm; a file has none.
pub(super) fn expected((name, feed): (&FeedName, &FeedConfig)) -> Option<(FeedName, config::feeds::Silence)> {
    match feed {
        FeedConfig::Concedus(feed) => Some((name.clone(), feed.silence)),
        FeedConfig::Jsonl(_) => None,
    }
}

pub(super) fn decoders(config: &Config) -> HashMap<FeedName, Decoder> {
    let decoder = |(name, feed): (&FeedName, &FeedConfig)| {
        let (zone, limit, words) = match feed {
            FeedConfig::Concedus(feed) => (feed.naive_time_zone, feed.attachment_limit, &feed.success_words),
            FeedConfig::Jsonl(feed) => (feed.naive_time_zone, feed.attachment_limit, &feed.success_words),
        };
        let attachment_limit = usize::try_from(limit.0).unwrap_or(usize::MAX);
        let options = decode::Options { naive_zone: zone.map(|zone| zone.0), attachment_limit, success_words: words.clone() };
        (name.clone(), Decoder::new(name.clone(), options))
    };
    config.feeds.iter().map(decoder).collect()
}

pub(super) fn received(config: &Config, journal: &dyn Journal) -> Result<HashMap<FeedName, watch::Sender<Latest>>, StoreError> {
    config.feeds.keys().map(|name| Ok((name.clone(), watch::channel(journal.latest(name)?).0))).collect()
}
