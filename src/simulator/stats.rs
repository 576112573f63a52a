//! What a simulator counts, so that whoever reads its feed can balance the books.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)+) => {
        /// Counts since the start.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
        pub struct Stats {
            $($(#[$doc])* pub $name: u64,)+
        }

        #[derive(Debug, Default)]
        pub(super) struct Counters {
            $(pub(super) $name: Counter,)+
        }

        impl Counters {
            pub(super) fn stats(&self) -> Stats {
                Stats { $($name: self.$name.0.load(Ordering::SeqCst),)+ }
            }
        }
    };
}

counters! {
    /// Frames the story has told, whether or not a socket was there to take them.
    told_frames,
    /// Elements in them: links, records and single messages, one event each.
    told_elements,
    /// Event frames written to sockets (an array is one), duplicates included; answers and garbage are not.
    sent_frames,
    /// Elements in them.
    sent_elements,
    /// Frames sent once more than they happened.
    duplicates,
    /// Frames of garbage.
    garbage,
    /// Sockets opened.
    connections,
    /// Sockets dropped by a fault or on request.
    drops,
    /// Sockets refused with 401.
    refused_sockets,
    /// Tokens given, refreshed ones included.
    tokens,
    /// Tokens given for a refresh token.
    refreshes,
    /// Token requests refused with 401.
    refused_tokens,
    /// Methods received.
    requests,
    /// Messages sent as answers of `getLastMessages`.
    answered,
    /// Look-ups of identifications and people.
    lookups,
}

#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, number: u64) {
        self.0.fetch_add(number, Ordering::SeqCst);
    }
}
