//! Typed identities, and the one place they come from. [`Ids`] is handed in, so that one seed replays a day.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The place of an event in the journal: 1 for the first, without gaps.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Default)]
#[serde(transparent)]
pub struct Seq(pub u64);

impl Seq {
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, uuid::Error> {
                Uuid::parse_str(text).map(Self)
            }
        }
    };
}

id!(
    /// One alert: what a match became, whether it started a message or is a repeat.
    AlertId
);
id!(
    /// One message to people; it goes to channels as deliveries.
    MessageId
);
id!(
    /// One delivery = (message, channel, recipient).
    DeliveryId
);
id!(
    /// One frame of the feed that held several events.
    BatchId
);

/// Where identities and jitter come from. Version 7 UUIDs: sortable by the time they were made.
#[derive(Debug)]
pub struct Ids {
    random: fastrand::Rng,
}

impl Ids {
    /// Unpredictable identities.
    #[must_use]
    pub fn random() -> Self {
        Self { random: fastrand::Rng::new() }
    }

    /// The same identities for the same seed and the same times.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self { random: fastrand::Rng::with_seed(seed) }
    }

    pub fn alert(&mut self, at: DateTime<Utc>) -> AlertId {
        AlertId(self.uuid(at))
    }

    pub fn message(&mut self, at: DateTime<Utc>) -> MessageId {
        MessageId(self.uuid(at))
    }

    pub fn delivery(&mut self, at: DateTime<Utc>) -> DeliveryId {
        DeliveryId(self.uuid(at))
    }

    pub fn batch(&mut self, at: DateTime<Utc>) -> BatchId {
        BatchId(self.uuid(at))
    }

    /// A factor in `0.0..1.0` for full jitter.
    pub fn jitter(&mut self) -> f64 {
        self.random.f64()
    }

    fn uuid(&mut self, at: DateTime<Utc>) -> Uuid {
        let millis = u64::try_from(at.timestamp_millis()).unwrap_or(0);
        let mut random = [0; 10];
        self.random.fill(&mut random);
        uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_replays_its_identities() {
        let at = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        assert_eq!(Ids::seeded(7).alert(at), Ids::seeded(7).alert(at));
        assert_ne!(Ids::seeded(7).alert(at), Ids::seeded(8).alert(at));
    }
}
