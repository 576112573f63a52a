//! The books: per feed, topic and hour, counted where things happen, written with the turn that did them.

use std::collections::HashMap;

use crate::model::{
    names::{FeedName, TopicName},
    time::Timestamp,
    turn::{BooksDelta, Counts},
};

/// Changes of the books since they were last taken.
#[derive(Debug, Default)]
pub struct Books(HashMap<(FeedName, TopicName, i64), Counts>);

impl Books {
    /// The counters of this feed, topic (empty where none is known) and hour.
    pub fn of(&mut self, feed: &FeedName, topic: &TopicName, at: Timestamp) -> &mut Counts {
        self.0.entry((feed.clone(), topic.clone(), at.timestamp().div_euclid(3_600))).or_default()
    }

    /// Hands the changes over and begins anew.
    pub fn take(&mut self) -> Vec<BooksDelta> {
        let mut changes: Vec<_> = self
            .0
            .drain()
            .filter_map(|((feed, topic, hour), counts)| {
                Some(BooksDelta { feed, topic, hour: Timestamp::from_timestamp(hour * 3_600, 0)?, counts })
            })
            .collect();
        changes.sort_by(|a, b| (&a.feed, &a.topic, a.hour).cmp(&(&b.feed, &b.topic, b.hour)));
        changes
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
