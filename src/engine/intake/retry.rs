//! Quarantined bytes that a person wants judged: decoded by today's decoder, journaled behind everything else, judged by today's rules.
//!
//! The wish is a row, so that it outlives the process; what comes of it is committed with the events. An entry that can't be decoded today
//! either is open again, and says why.

use super::{Batch, Intake};
use crate::{
    model::{event::Element, names::FeedName, turn::Retried},
    store::{StoreError, Wanted},
};

impl Intake {
    /// Takes up some of what is wanted. The caller commits the batch before it asks again.
    ///
    /// # Errors
    /// When the store can't be read.
    pub fn take_wanted(&mut self, batch: &mut Batch) -> Result<(), StoreError> {
        for wanted in self.journal.wanted()? {
            self.judge_after_all(&wanted, batch)?;
        }
        Ok(())
    }

    fn judge_after_all(&mut self, wanted: &Wanted, batch: &mut Batch) -> Result<(), StoreError> {
        let frame = &wanted.frame;
        let (id, at) = (wanted.id, self.clock.now());
        let mut done = |judged, outcome| batch.retried.push(Retried { id, at, judged, outcome });
        let Some(decoder) = self.decoders.get(&frame.feed) else {
            done(false, format!("the configuration no longer has the feed {}", frame.feed));
            return Ok(());
        };
        let decoded = decoder.decode(frame, &mut self.ids);
        if let Some(refused) = decoded.quarantined.first() {
            // All or nothing: half of it would leave nobody knowing which half.
            done(false, format!("still refused: {} ({})", refused.detail, refused.reason.as_str()));
            return Ok(());
        }
        if decoded.elements.is_empty() {
            done(true, "it answers a method of ours: there is nothing to judge".to_owned());
            return Ok(());
        }
        let first = self.last.next();
        for mut element in decoded.elements {
            element.late = true;
            // Meanwhile it may have come by another way.
            element.maybe_repeat = !self.journal.known_before(&frame.feed, &[element.hash], at)?.is_empty();
            element.warnings.push(format!(
                "set aside as {} when it was received (quarantine {id}), and judged after all on {}",
                wanted.reason.as_str(),
                at.format("%Y-%m-%d %H:%M:%S UTC")
            ));
            batch.books.of(&frame.feed, &element.topic, element.received_at).elements += 1;
            self.append_after_all(element, batch);
        }
        let last = self.last;
        let events = if first == last { format!("event {first}") } else { format!("events {first} to {last}") };
        tracing::info!(feed = %frame.feed, entry = id, events, "quarantined bytes are journaled after all");
        batch.retried.push(Retried { id, at, judged: true, outcome: format!("journaled as {events}") });
        Ok(())
    }

    /// As [`Intake::append`], but it says nothing about when the feed was last heard.
    fn append_after_all(&mut self, element: Element, batch: &mut Batch) {
        let feed: FeedName = element.feed.clone();
        let latest = batch.latest.get(&feed).cloned();
        self.append(element, batch);
        match latest {
            Some(latest) => drop(batch.latest.insert(feed, latest)),
            None => drop(batch.latest.remove(&feed)),
        }
    }
}
