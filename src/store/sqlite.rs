//! The handle: requests go to the writer's queue, reads to the read connections.

use std::{
    collections::{HashMap, HashSet},
    path::Path,
    sync::{
        Arc,
        mpsc::{SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
};

use chrono::TimeDelta;
use tokio::sync::oneshot;

use super::{
    Act, Changed, Cleared, Copies, Journal, Note, Opened, Options, Outbox, Pending, Reader, Space, Step, StoreError, Wanted,
    open, owner,
    writer::{Committed, Request, Writer},
};
use crate::model::{
    alert::{Message, QuietPeriod},
    delivery::{AttemptReport, Leased},
    event::Event,
    hash::Digest,
    ids::{MessageId, Seq},
    lookup::Outcome,
    names::{ChannelName, FeedName, RuleId},
    signal::Latest,
    time::{Clock, Timestamp},
    turn::{GenerationRecord, KeptSet, OpenVerdicts, Parked, Turn, UndecidedRow},
};

/// Requests that wait for the writer, at most; who comes then waits until it has taken some.
const WAITING: usize = 256;

/// Quarantined bytes that one turn takes up, at most: each may have many megabytes.
const WANTED: usize = 4;

/// The embedded store. Cheap to clone; the last handle that goes waits for what was asked, ends the writer (without the mark of a clean
/// stop: see [`SqliteStore::close`]) and frees the lock.
#[derive(Clone, Debug)]
pub struct SqliteStore(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    requests: Option<SyncSender<Request>>,
    writer: Option<JoinHandle<()>>,
    committed: Arc<Committed>,
    reader: Reader,
    clock: Arc<dyn Clock>,
    space: Option<Arc<Space>>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        // The writer finishes what waits, then lets go of the lock; whoever dropped the handle may open the store again.
        self.requests.take();
        if let Some(space) = &self.space {
            space.close();
        }
        if let Some(writer) = self.writer.take()
            && writer.thread().id() != thread::current().id()
        {
            drop(writer.join());
        }
    }
}

impl SqliteStore {
    /// Takes the folder (made if missing, for its owner only), its lock and its database. A damaged store is set aside, and a fresh one
    /// begun: see [`Opened::set_aside`].
    ///
    /// # Errors
    /// A second owner, a newer schema, a foreign file, an SQLite that may lose commits, or what the system refuses.
    pub fn open(options: Options) -> Result<(Self, Opened), StoreError> {
        let owned = open::own(&options)?;
        let opened = owned.opened.clone();
        let reader = Reader::new(owned.path.clone(), Arc::clone(&owned.file));
        let committed = Arc::new(Committed::new(owned.marks));
        let (requests, waiting) = sync_channel(WAITING);
        let clock = Arc::clone(&options.clock);
        let space = options.space.clone();
        let writer = Writer::new(owned, options, waiting, Arc::clone(&committed));
        let writer = thread::Builder::new()
            .name("redflag-store".to_owned())
            .spawn(move || writer.run())
            .map_err(|source| StoreError::Thread { source })?;
        let shared = Shared { requests: Some(requests), writer: Some(writer), committed, reader, clock, space };
        Ok((Self(Arc::new(shared)), opened))
    }

    /// Another process's store, without taking it: only reads. `path` is the database or its folder.
    ///
    /// # Errors
    /// When it isn't there, can't be read, or has a newer schema.
    pub fn read_only(path: &Path) -> Result<Reader, StoreError> {
        let path = if path.is_dir() { path.join(open::DATABASE) } else { path.to_owned() };
        Reader::of_stranger(path)
    }

    /// Questions that people ask.
    #[must_use]
    pub fn reader(&self) -> &Reader {
        &self.0.reader
    }

    /// Writes a line of the audit record.
    pub fn note(&self, note: Note) -> Pending<()> {
        self.send(|answer| Request::Note(Box::new(note), answer))
    }

    /// One step of deleting what is older than its time.
    pub fn prune(&self, step: Step) -> Pending<Cleared> {
        self.send(|answer| Request::Prune(step, answer))
    }

    /// A sign of life: the time without any is not counted into a delivery's horizon.
    pub fn alive(&self) -> Pending<()> {
        self.send(Request::Alive)
    }

    /// Changes what a person wants changed, with its lines of the audit record.
    pub fn act(&self, act: Act) -> Pending<Vec<Changed>> {
        self.send(|answer| Request::Act(Box::new(act), answer))
    }

    /// Tells whoever finds the lock taken where this owner takes commands.
    ///
    /// # Errors
    /// The lock's file can't be written.
    pub fn announce(data_dir: &Path, control: &Path) -> Result<(), StoreError> {
        owner::announce(data_dir, control).map_err(|source| StoreError::Lock { path: data_dir.to_owned(), source })
    }

    /// Finishes what was asked before, empties the write-ahead log, marks the stop as clean and ends the writer: whatever is asked
    /// afterwards is answered [`StoreError::WriterGone`].
    pub fn close(&self) -> Pending<()> {
        if let Some(space) = &self.0.space {
            space.close();
        }
        self.send(Request::Close)
    }

    fn send<T>(&self, request: impl FnOnce(oneshot::Sender<Result<T, StoreError>>) -> Request) -> Pending<T> {
        let (answer, pending) = oneshot::channel();
        if let Some(requests) = &self.0.requests {
            // A writer that is gone drops the request, which reads as `WriterGone`.
            drop(requests.send(request(answer)));
        }
        Pending::new(pending)
    }
}

impl Journal for SqliteStore {
    fn commit(&self, turn: Turn) -> Pending<()> {
        self.send(|answer| Request::Commit(Box::new(turn), answer))
    }

    fn keep_generation(&self, record: GenerationRecord) -> Pending<()> {
        self.send(|answer| Request::KeepGeneration(Box::new(record), answer))
    }

    fn keep_set(&self, set: KeptSet) -> Pending<()> {
        self.send(|answer| Request::KeepSet(Box::new(set), answer))
    }

    fn last(&self) -> Result<Seq, StoreError> {
        Ok(self.0.committed.last())
    }

    fn judged(&self) -> Result<Seq, StoreError> {
        Ok(self.0.committed.judged())
    }

    fn events_after(&self, after: Seq, limit: usize) -> Result<Vec<Event>, StoreError> {
        self.reader().events_after(after, limit)
    }

    fn latest(&self, feed: &FeedName) -> Result<Latest, StoreError> {
        // A minute is no jump: see `SteadyClock`.
        self.reader().latest(feed, self.0.clock.now() + TimeDelta::minutes(1))
    }

    fn position(&self, feed: &FeedName) -> Result<Option<String>, StoreError> {
        self.reader().position(feed)
    }

    fn copies(
        &self,
        feed: &FeedName,
        since: Timestamp,
        upto: Seq,
        hashes: &[Digest],
    ) -> Result<HashMap<Digest, Copies>, StoreError> {
        self.reader().copies(feed, since, upto, hashes)
    }

    fn known_before(&self, feed: &FeedName, hashes: &[Digest], before: Timestamp) -> Result<HashSet<Digest>, StoreError> {
        self.reader().known_before(feed, hashes, before)
    }

    fn has_live(&self, feed: &FeedName, topics: &[&str], from: Timestamp, until: Timestamp) -> Result<bool, StoreError> {
        self.reader().has_live(feed, topics, from, until)
    }

    fn hours_heard(&self, feed: &FeedName, since: Timestamp) -> Result<Vec<Timestamp>, StoreError> {
        self.reader().hours_heard(feed, since)
    }

    fn outcomes(&self, feed: &FeedName, after: Seq) -> Result<Vec<Outcome>, StoreError> {
        self.reader().outcomes(feed, after)
    }

    fn quarantined_before(&self, feed: &FeedName, digest: &Digest) -> Result<bool, StoreError> {
        self.reader().quarantined_before(feed, digest)
    }

    fn wanted(&self) -> Result<Vec<Wanted>, StoreError> {
        self.reader().wanted(WANTED)
    }

    fn message(&self, id: MessageId) -> Result<Option<Message>, StoreError> {
        self.reader().message(id)
    }

    fn quiet_periods(&self) -> Result<Vec<QuietPeriod>, StoreError> {
        self.reader().quiet_periods()
    }

    fn open_verdicts(&self) -> Result<Vec<OpenVerdicts>, StoreError> {
        self.reader().open_verdicts()
    }

    fn open_verdicts_of(&self, rule: &RuleId, after: Seq, limit: usize) -> Result<Vec<UndecidedRow>, StoreError> {
        self.reader().open_verdicts_of(rule, after, limit)
    }

    fn parked(&self) -> Result<Vec<Parked>, StoreError> {
        self.reader().parked()
    }
}

impl Outbox for SqliteStore {
    fn lease(&self, channel: &ChannelName, now: Timestamp, until: Timestamp, limit: usize) -> Pending<Vec<Leased>> {
        self.send(|answer| Request::Lease { channel: channel.clone(), now, until, limit, answer })
    }

    fn report(&self, reports: Vec<AttemptReport>) -> Pending<()> {
        self.send(|answer| Request::Report(reports, answer))
    }

    fn next_due(&self, channel: &ChannelName) -> Result<Option<Timestamp>, StoreError> {
        self.reader().next_due(channel)
    }
}
