//! The two traits behind which storage stands.

use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
};

use tokio::sync::oneshot;

use super::{Wanted, owner::Holder};
use crate::model::{
    alert::{Message, QuietPeriod},
    delivery::{AttemptReport, Leased},
    event::Event,
    hash::Digest,
    ids::{MessageId, Seq},
    lookup::Outcome,
    names::{ChannelName, FeedName, RuleId},
    signal::Latest,
    time::Timestamp,
    turn::{GenerationRecord, KeptSet, OpenVerdicts, Parked, Turn, UndecidedRow},
};

/// An answer that comes when its transaction is on disk. Await it, or [`Pending::wait`] from a thread.
#[derive(Debug)]
pub struct Pending<T>(oneshot::Receiver<Result<T, StoreError>>);

impl<T> Pending<T> {
    #[must_use]
    pub fn new(answer: oneshot::Receiver<Result<T, StoreError>>) -> Self {
        Self(answer)
    }

    /// Blocks this thread until the transaction is on disk. Not for async code.
    ///
    /// # Errors
    /// When the transaction failed, or the writer is gone.
    pub fn wait(self) -> Result<T, StoreError> {
        self.0.blocking_recv().unwrap_or(Err(StoreError::WriterGone))
    }

    /// # Errors
    /// When the transaction failed, or the writer is gone.
    pub async fn committed(self) -> Result<T, StoreError> {
        self.0.await.unwrap_or(Err(StoreError::WriterGone))
    }
}

/// How far back [`Journal::known_before`] looks: so many runs of 16,384 events.
pub const KNOWN_RUNS: u64 = 1_024;

/// What the journal has of one hash in a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copies {
    pub count: u64,
    /// When the first of those that came live was received.
    pub first_live: Option<Timestamp>,
}

/// Events, and what judging them caused.
pub trait Journal: Send + Sync {
    /// Commits one turn: everything of it or nothing. Answers after the fsync.
    fn commit(&self, turn: Turn) -> Pending<()>;

    /// Keeps a rule set before it goes live. The same hash twice is no error.
    fn keep_generation(&self, record: GenerationRecord) -> Pending<()>;

    /// Keeps what else is live, for a start that finds it broken. The same twice is no error.
    fn keep_set(&self, set: KeptSet) -> Pending<()>;

    /// The last journaled event's sequence; `Seq(0)` for an empty journal.
    ///
    /// # Errors
    /// When the store can't be read.
    fn last(&self) -> Result<Seq, StoreError>;

    /// The cursor: events up to here are judged.
    ///
    /// # Errors
    /// When the store can't be read.
    fn judged(&self) -> Result<Seq, StoreError>;

    /// Up to `limit` events behind `after`, in order.
    ///
    /// # Errors
    /// When the store can't be read.
    fn events_after(&self, after: Seq, limit: usize) -> Result<Vec<Event>, StoreError>;

    /// When each topic of this feed was last received.
    ///
    /// # Errors
    /// When the store can't be read.
    fn latest(&self, feed: &FeedName) -> Result<Latest, StoreError>;

    /// Where this feed's source left off.
    ///
    /// # Errors
    /// When the store can't be read.
    fn position(&self, feed: &FeedName) -> Result<Option<String>, StoreError>;

    /// What was journaled from this feed with these hashes, received at or after `since`, up to the sequence `upto`; hashes without a
    /// copy are not among it.
    ///
    /// # Errors
    /// When the store can't be read.
    fn copies(
        &self,
        feed: &FeedName,
        since: Timestamp,
        upto: Seq,
        hashes: &[Digest],
    ) -> Result<HashMap<Digest, Copies>, StoreError>;

    /// Which of these hashes were journaled from this feed before `before`, as far back as [`KNOWN_RUNS`] reaches.
    ///
    /// # Errors
    /// When the store can't be read.
    fn known_before(&self, feed: &FeedName, hashes: &[Digest], before: Timestamp) -> Result<HashSet<Digest>, StoreError>;

    /// Whether the journal has a live event of this feed and these topics (canonical names; empty: any), received between the two.
    ///
    /// # Errors
    /// When the store can't be read.
    fn has_live(&self, feed: &FeedName, topics: &[&str], from: Timestamp, until: Timestamp) -> Result<bool, StoreError>;

    /// The hours since then in which events of this feed were journaled, in order.
    ///
    /// # Errors
    /// When the store can't be read.
    fn hours_heard(&self, feed: &FeedName, since: Timestamp) -> Result<Vec<Timestamp>, StoreError>;

    /// The outcomes of identifications that were journaled behind `after`.
    ///
    /// # Errors
    /// When the store can't be read.
    fn outcomes(&self, feed: &FeedName, after: Seq) -> Result<Vec<Outcome>, StoreError>;

    /// Whether bytes of this feed with this digest were set aside before.
    ///
    /// # Errors
    /// When the store can't be read.
    fn quarantined_before(&self, feed: &FeedName, digest: &Digest) -> Result<bool, StoreError>;

    /// Some quarantined bytes that a person wants judged, oldest first.
    ///
    /// # Errors
    /// When the store can't be read.
    fn wanted(&self) -> Result<Vec<Wanted>, StoreError>;

    /// A message by its id.
    ///
    /// # Errors
    /// When the store can't be read.
    fn message(&self, id: MessageId) -> Result<Option<Message>, StoreError>;

    /// The quiet periods that are running.
    ///
    /// # Errors
    /// When the store can't be read.
    fn quiet_periods(&self) -> Result<Vec<QuietPeriod>, StoreError>;

    /// How many missing verdicts each rule has that are open.
    ///
    /// # Errors
    /// When the store can't be read.
    fn open_verdicts(&self) -> Result<Vec<OpenVerdicts>, StoreError>;

    /// Up to `limit` open missing verdicts of a rule, behind that event and in the order of the events.
    ///
    /// # Errors
    /// When the store can't be read.
    fn open_verdicts_of(&self, rule: &RuleId, after: Seq, limit: usize) -> Result<Vec<UndecidedRow>, StoreError>;

    /// Rules that are parked.
    ///
    /// # Errors
    /// When the store can't be read.
    fn parked(&self) -> Result<Vec<Parked>, StoreError>;
}

/// Deliveries owed.
pub trait Outbox: Send + Sync {
    /// Hands out up to `limit` deliveries of the channel that are due at `now` (waiting, or leased by a worker whose lease ended),
    /// oldest first, under a lease until `until`. The attempt's row is written with the lease, before anything is sent.
    fn lease(&self, channel: &ChannelName, now: Timestamp, until: Timestamp, limit: usize) -> Pending<Vec<Leased>>;

    /// Records how attempts ended, and what becomes of their deliveries.
    fn report(&self, reports: Vec<AttemptReport>) -> Pending<()>;

    /// When the channel's next delivery falls due (a running lease falls due at its end); none when nothing is owed.
    ///
    /// # Errors
    /// When the store can't be read.
    fn next_due(&self, channel: &ChannelName) -> Result<Option<Timestamp>, StoreError>;
}

/// What can go wrong in the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the folder {path} can't be made or synced")]
    Folder { path: PathBuf, source: std::io::Error },
    #[error("the file {path} can't be made")]
    File { path: PathBuf, source: std::io::Error },
    #[error("{path} is in use by another redflag{}", held_by(holder.as_deref()))]
    SecondOwner { path: PathBuf, holder: Option<Box<Holder>> },
    /// Nothing was ever journaled there.
    #[error("there is no store at {path}: no `redflag run` has used this data_dir yet")]
    Nothing { path: PathBuf },
    #[error("the lock {path} can't be taken")]
    Lock { path: PathBuf, source: std::io::Error },
    #[error(
        "{path} was written by a newer redflag (schema {found}, this one knows {known}): run that version, or restore a backup"
    )]
    NewerSchema { path: PathBuf, found: i64, known: i64 },
    #[error("{path} is no store of redflag; data_dir must name a folder of redflag's own")]
    Foreign { path: PathBuf },
    #[error("{operation} failed beside the database")]
    Guard { operation: &'static str, source: std::io::Error },
    #[error("{path} is damaged, and its files can't be set aside")]
    Aside { path: PathBuf, source: std::io::Error },
    #[error(
        "{path} was written by an older redflag (schema {found}, this one knows {known}): start the service once, which migrates it"
    )]
    OlderSchema { path: PathBuf, found: i64, known: i64 },
    #[error("{path} is damaged: {detail}")]
    Damaged { path: PathBuf, detail: String },
    #[error("SQLite {found} may lose commits (WAL reset); {needed} is the first that does not")]
    OldSqlite { found: &'static str, needed: &'static str },
    #[error("the store's writer can't be started")]
    Thread { source: std::io::Error },
    /// What was to be committed does not join what is there. Nothing of the turn was kept.
    #[error("{operation}: {expected} is next, {found} came")]
    OutOfOrder { operation: &'static str, expected: Seq, found: Seq },
    #[error("{operation} failed in the store")]
    Sqlite { operation: &'static str, source: rusqlite::Error },
    #[error("{operation}: a row can't be read back: {detail}")]
    Row { operation: &'static str, detail: String },
    #[error("{operation}: {detail}")]
    Refused { operation: &'static str, detail: String },
    /// The writer stopped after an error that means the disk can't be trusted; its last word is in the log.
    #[error("the store's writer has stopped")]
    WriterGone,
}

fn held_by(holder: Option<&Holder>) -> String {
    holder.map_or_else(String::new, |holder| format!(" ({holder})"))
}

impl StoreError {
    /// Whether there was no room on the disk. Nothing of the transaction is kept then.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let Self::Sqlite { source, .. } = self else { return false };
        source.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull)
            || source.sqlite_error().is_some_and(|error| error.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE)
    }
}
