//! The one writer: a thread that owns the only writing connection. It takes all that waits, up to a bound, makes one transaction of
//! it, and answers after the fsync.

use std::{
    fs::File,
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::Duration,
};

use rusqlite::{Connection, ErrorCode};
use tokio::sync::oneshot;

use super::{
    StoreError,
    change::{self, Act, Changed},
    deliveries,
    guard::{Guard, SEEN},
    kept,
    open::{DATABASE, Durably, OnFatal, Options, Owned},
    retention::{self, Cleared, Step},
    rows::failed,
    space::Space,
    write::{self, Note},
};
use crate::model::{
    causes,
    delivery::{AttemptReport, Leased},
    ids::Seq,
    names::ChannelName,
    time::{Clock, Timestamp},
    turn::{GenerationRecord, KeptSet, Turn},
};

/// Requests in one transaction, at most.
const GROUP: usize = 64;

/// How long the writer waits for room on a full disk before it tries again.
const ROOM: Duration = Duration::from_millis(500);

/// Frames in the write-ahead log from which on the writer moves them to the database: 16 MiB of 4 KiB pages. Larger means fewer, longer
/// pauses, and pages that are written often are moved once.
const LONG: i64 = 4_096;

const TRANSACTION: &str = "the store's transaction";

type Answer<T> = oneshot::Sender<Result<T, StoreError>>;

#[derive(Debug)]
pub(super) enum Request {
    Commit(Box<Turn>, Answer<()>),
    KeepGeneration(Box<GenerationRecord>, Answer<()>),
    KeepSet(Box<KeptSet>, Answer<()>),
    Lease {
        channel: ChannelName,
        now: Timestamp,
        until: Timestamp,
        limit: usize,
        answer: Answer<Vec<Leased>>,
    },
    Report(Vec<AttemptReport>, Answer<()>),
    Note(Box<Note>, Answer<()>),
    Prune(Step, Answer<Cleared>),
    /// A sign of life: until now this service ran.
    Alive(Answer<()>),
    Act(Box<Act>, Answer<Vec<Changed>>),
    /// The last request: marks the stop as clean.
    Close(Answer<()>),
}

/// What a request is answered, once it is on disk.
enum Reply {
    Done,
    Leased(Vec<Leased>),
    Changed(Vec<Changed>),
    Cleared(Cleared),
}

impl Request {
    fn answer(self, reply: Result<Reply, StoreError>) {
        // Nobody listening is no failure: the work is on disk.
        match self {
            Self::Commit(_, answer)
            | Self::KeepGeneration(_, answer)
            | Self::KeepSet(_, answer)
            | Self::Report(_, answer)
            | Self::Note(_, answer)
            | Self::Alive(answer)
            | Self::Close(answer) => drop(answer.send(reply.map(|_| ()))),
            Self::Lease { answer, .. } => drop(answer.send(reply.map(|reply| match reply {
                Reply::Leased(leased) => leased,
                Reply::Done | Reply::Changed(_) | Reply::Cleared(_) => Vec::new(),
            }))),
            Self::Act(_, answer) => drop(answer.send(reply.map(|reply| match reply {
                Reply::Changed(changed) => changed,
                Reply::Done | Reply::Leased(_) | Reply::Cleared(_) => Vec::new(),
            }))),
            Self::Prune(_, answer) => drop(answer.send(reply.map(|reply| match reply {
                Reply::Cleared(cleared) => cleared,
                Reply::Done | Reply::Leased(_) | Reply::Changed(_) => Cleared::default(),
            }))),
        }
    }
}

/// How far the journal and its judging reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Marks {
    pub last: Seq,
    pub judged: Seq,
}

/// The committed [`Marks`], for readers.
#[derive(Debug)]
pub(super) struct Committed {
    last: AtomicU64,
    judged: AtomicU64,
}

impl Committed {
    pub fn new(marks: Marks) -> Self {
        Self { last: AtomicU64::new(marks.last.0), judged: AtomicU64::new(marks.judged.0) }
    }

    pub fn last(&self) -> Seq {
        Seq(self.last.load(Ordering::Acquire))
    }

    pub fn judged(&self) -> Seq {
        Seq(self.judged.load(Ordering::Acquire))
    }

    fn set(&self, marks: Marks) {
        self.last.store(marks.last.0, Ordering::Release);
        self.judged.store(marks.judged.0, Ordering::Release);
    }
}

pub(super) struct Writer {
    connection: Connection,
    requests: Receiver<Request>,
    marks: Marks,
    committed: Arc<Committed>,
    clock: Arc<dyn Clock>,
    on_fatal: OnFatal,
    durably: Durably,
    guard: Guard,
    space: Option<Arc<Space>>,
    /// A log that readers keep from being moved is not tried again before it has this many frames.
    again: i64,
    visiting: bool,
    /// Held until the thread ends.
    _lock: File,
}

impl Writer {
    pub fn new(owned: Owned, options: Options, requests: Receiver<Request>, committed: Arc<Committed>) -> Self {
        Self {
            connection: owned.connection,
            requests,
            marks: owned.marks,
            committed,
            clock: options.clock,
            on_fatal: options.on_fatal,
            durably: options.durably,
            guard: owned.guard,
            space: options.space,
            again: 0,
            visiting: owned.visiting,
            _lock: owned.lock,
        }
    }

    /// Until the last handle is gone, the store is closed, or the disk can't be trusted.
    pub fn run(mut self) {
        if let Err(error) = self.serve() {
            if matches!(&error, StoreError::Sqlite { source, .. } if source.sqlite_error_code() == Some(ErrorCode::DatabaseCorrupt))
            {
                self.guard.suspect();
            }
            tracing::error!(error = %causes::chain(&error), "the disk can't be trusted: redflag stops, the journal tells the rest at the next start");
            (self.on_fatal)(&error);
        }
        // What was not answered is dropped now, and reads as `WriterGone`.
    }

    /// Fails only when the process must stop.
    fn serve(&mut self) -> Result<(), StoreError> {
        while let Some(group) = self.next_group()? {
            let mut replies = self.commit_with_room(&group)?;
            self.remember(&group, &replies)?;
            let closing = matches!(group.last(), Some(Request::Close(_)));
            if closing && let Err(error) = self.finish() {
                if distrust(&error) {
                    return Err(error);
                }
                replies.pop();
                replies.push(Err(error));
            }
            for (request, reply) in group.into_iter().zip(replies) {
                request.answer(reply);
            }
            if closing {
                return Ok(());
            }
            self.shorten_log()?;
            self.look_on()?;
        }
        Ok(())
    }

    /// The mark says what is committed before anybody is answered.
    fn remember(&mut self, group: &[Request], replies: &[Result<Reply, StoreError>]) -> Result<(), StoreError> {
        for (request, reply) in group.iter().zip(replies) {
            if let (Request::Commit(turn, _), Ok(_)) = (request, reply) {
                self.guard.note(turn);
            }
        }
        let (log, _) = self.checkpoint("noop")?;
        self.guard.committed(u64::try_from(log).unwrap_or_default(), self.marks).map_err(beside("marking what is committed"))
    }

    /// Whether the files are still there, and a little of what the start left to look at.
    fn look_on(&mut self) -> Result<(), StoreError> {
        self.guard.still_there().map_err(beside("looking for the store's files"))?;
        if !self.guard.has_rest() {
            return Ok(());
        }
        match self.guard.look_on().map_err(beside("checking the store's pages"))? {
            None => Ok(()),
            Some(detail) => Err(StoreError::Damaged { path: DATABASE.into(), detail }),
        }
    }

    /// Waits for a request and takes what waits behind it; nothing behind a [`Request::Close`].
    fn next_group(&mut self) -> Result<Option<Vec<Request>>, StoreError> {
        let first = loop {
            let wait = if self.guard.has_rest() { Duration::ZERO } else { SEEN };
            match self.requests.recv_timeout(wait) {
                Ok(request) => break Some(request),
                Err(RecvTimeoutError::Disconnected) => break None,
                Err(RecvTimeoutError::Timeout) => self.look_on()?,
            }
        };
        let Some(first) = first else { return Ok(None) };
        let mut group = vec![first];
        while group.len() < GROUP && !matches!(group.last(), Some(Request::Close(_))) {
            let Ok(request) = self.requests.try_recv() else { break };
            group.push(request);
        }
        Ok(Some(group))
    }

    /// Commits the group. When the disk is full, gives up the reserve, and then waits for room as long as it takes: nothing of the group
    /// was kept, so that all of it is tried again.
    fn commit_with_room(&mut self, group: &[Request]) -> Result<Vec<Result<Reply, StoreError>>, StoreError> {
        loop {
            let replies = self.commit(group)?;
            let Some(space) = &self.space else { return Ok(replies) };
            let full = replies.iter().any(|reply| reply.as_ref().is_err_and(StoreError::is_full));
            if !full || space.is_closing() {
                space.wait(false);
                return Ok(replies);
            }
            if !space.ran_out() {
                space.wait(true);
                std::thread::park_timeout(ROOM);
            }
        }
    }

    /// One transaction for the group. When a request fails, everything is done again, each request in a savepoint of its own, so that
    /// a bad one fails alone.
    fn commit(&mut self, group: &[Request]) -> Result<Vec<Result<Reply, StoreError>>, StoreError> {
        if let Err(error) = self.begin() {
            return all_failed(group, error);
        }
        let mut marks = self.marks;
        let together: Result<Vec<_>, _> = group.iter().map(|request| self.apply(request, &mut marks)).collect();
        match together {
            Ok(replies) => self.settle(group, replies.into_iter().map(Ok).collect(), marks),
            Err(error) if distrust(&error) => Err(error),
            Err(error) => {
                self.roll_back()?;
                if error.is_full() {
                    return all_failed(group, error);
                }
                if group.len() == 1 {
                    return Ok(vec![Err(error)]);
                }
                tracing::warn!(error = %causes::chain(&error), requests = group.len(), "a request failed in the store: each is tried alone");
                self.commit_apart(group)
            }
        }
    }

    fn commit_apart(&mut self, group: &[Request]) -> Result<Vec<Result<Reply, StoreError>>, StoreError> {
        if let Err(error) = self.begin() {
            return all_failed(group, error);
        }
        let mut marks = self.marks;
        let mut replies = Vec::with_capacity(group.len());
        for request in group {
            self.execute("SAVEPOINT request")?;
            let mut reached = marks;
            match self.apply(request, &mut reached) {
                Ok(reply) => {
                    marks = reached;
                    replies.push(Ok(reply));
                }
                Err(error) if distrust(&error) => return Err(error),
                // Some errors (a full disk) end the whole transaction.
                Err(error) if self.connection.is_autocommit() || error.is_full() => {
                    self.roll_back()?;
                    return all_failed(group, error);
                }
                Err(error) => {
                    self.execute("ROLLBACK TO request")?;
                    replies.push(Err(error));
                }
            }
            self.execute("RELEASE request")?;
        }
        self.settle(group, replies, marks)
    }

    /// Commits. Only then the new marks are seen and the replies are true.
    fn settle(
        &mut self,
        group: &[Request],
        replies: Vec<Result<Reply, StoreError>>,
        marks: Marks,
    ) -> Result<Vec<Result<Reply, StoreError>>, StoreError> {
        match (self.durably)(&self.connection).map_err(failed(TRANSACTION)) {
            Ok(()) => {
                self.marks = marks;
                self.committed.set(marks);
                Ok(replies)
            }
            Err(error) => {
                if !distrust(&error) {
                    self.roll_back()?;
                }
                all_failed(group, error)
            }
        }
    }

    fn apply(&self, request: &Request, marks: &mut Marks) -> Result<Reply, StoreError> {
        let connection = &self.connection;
        match request {
            Request::Commit(turn, _) => write::turn(connection, turn, marks)?,
            Request::KeepGeneration(record, _) => write::generation(connection, record)?,
            Request::KeepSet(set, _) => kept::keep(connection, set)?,
            Request::Report(reports, _) => deliveries::report(connection, reports)?,
            Request::Note(note, _) => write::note(connection, note, self.clock.now())?,
            Request::Alive(_) => write::alive(connection, self.clock.now())?,
            Request::Act(act, _) => return change::act(connection, act, self.clock.now()).map(Reply::Changed),
            Request::Lease { channel, now, until, limit, .. } => {
                return deliveries::lease(connection, channel, *now, *until, *limit).map(Reply::Leased);
            }
            Request::Prune(step, _) => return retention::step(connection, step, self.clock.now()).map(Reply::Cleared),
            Request::Close(_) => {}
        }
        Ok(Reply::Done)
    }

    /// Moves a long write-ahead log into the database; the readers' snapshots stay. A failed fsync here is as bad as in a commit.
    fn shorten_log(&mut self) -> Result<(), StoreError> {
        let (log, moved) = self.checkpoint("noop")?;
        if log - moved >= LONG && log >= self.again {
            let whole = self.move_log("passive", log)?;
            self.again = if whole { 0 } else { log + LONG };
        }
        Ok(())
    }

    /// Moves the log into the database, its sums first. Answers whether all of it was moved: a reader may be in the way.
    fn move_log(&mut self, mode: &str, log: i64) -> Result<bool, StoreError> {
        let pages = match self.guard.foretell(u64::try_from(log).unwrap_or_default()) {
            Ok(pages) => pages,
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                tracing::warn!(%error, "the write-ahead log stays long");
                return Ok(false);
            }
            Err(source) => return Err(beside("writing the sums of the store's pages")(source)),
        };
        let (log, moved) = self.checkpoint(mode)?;
        tracing::debug!(log, moved, "the write-ahead log was moved into the database");
        if log == 0 || moved < log {
            return Ok(false);
        }
        self.guard.moved(pages).map_err(beside("writing the sums of the store's pages")).map(|()| true)
    }

    /// Everything into the database, and only then the mark of a clean stop.
    fn finish(&mut self) -> Result<(), StoreError> {
        let operation = "closing the store";
        // A reader that is still busy only leaves the log longer.
        self.connection.busy_timeout(Duration::from_millis(250)).map_err(failed(operation))?;
        let (log, _) = self.checkpoint("noop")?;
        self.move_log("full", log)?;
        // How the last run ended is not for a visitor to say.
        if !self.visiting {
            write::alive(&self.connection, self.clock.now())?;
            self.connection.execute("UPDATE service SET clean = 1", []).map_err(failed(operation))?;
        }
        let (log, _) = self.checkpoint("noop")?;
        self.guard.committed(u64::try_from(log).unwrap_or_default(), self.marks).map_err(beside("marking what is committed"))?;
        if self.move_log("full", log)? {
            self.checkpoint("truncate")?;
            self.guard.closed().map_err(beside("marking the clean stop"))?;
        }
        Ok(())
    }

    /// Frames in the log, and how many of them the database has.
    fn checkpoint(&self, mode: &str) -> Result<(i64, i64), StoreError> {
        let result = self
            .connection
            .prepare_cached(&format!("PRAGMA wal_checkpoint({mode})"))
            .and_then(|mut checkpoint| checkpoint.query_row([], |row| Ok((row.get(1)?, row.get(2)?))));
        match result.map_err(failed("moving the write-ahead log")) {
            Err(error) if !distrust(&error) => {
                tracing::warn!(error = %causes::chain(&error), "the write-ahead log stays long");
                Ok((0, 0))
            }
            other => other,
        }
    }

    fn begin(&self) -> Result<(), StoreError> {
        self.execute("BEGIN IMMEDIATE")
    }

    fn roll_back(&self) -> Result<(), StoreError> {
        if self.connection.is_autocommit() { Ok(()) } else { self.execute("ROLLBACK") }
    }

    fn execute(&self, sql: &str) -> Result<(), StoreError> {
        self.connection.prepare_cached(sql).and_then(|mut statement| statement.execute([])).map(drop).map_err(failed(TRANSACTION))
    }
}

/// What failed in a file beside the database.
fn beside(operation: &'static str) -> impl FnOnce(io::Error) -> StoreError {
    move |source| StoreError::Guard { operation, source }
}

/// Every request of the group fails for the same reason, unless the process must stop.
fn all_failed(group: &[Request], error: StoreError) -> Result<Vec<Result<Reply, StoreError>>, StoreError> {
    if distrust(&error) {
        return Err(error);
    }
    tracing::error!(error = %causes::chain(&error), requests = group.len(), "nothing of these requests was kept");
    Ok(group.iter().map(|_| Err(same(&error))).collect())
}

/// Whether the error means that the disk can't be trusted. A full disk is not of this kind: SQLite rolls back, and nothing is lost.
fn distrust(error: &StoreError) -> bool {
    let StoreError::Sqlite { source, .. } = error else {
        return matches!(error, StoreError::Guard { .. } | StoreError::Damaged { .. });
    };
    if error.is_full() {
        return false;
    }
    matches!(
        source.sqlite_error_code(),
        Some(ErrorCode::SystemIoFailure | ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::ReadOnly)
    )
}

/// The same failure for another request.
fn same(error: &StoreError) -> StoreError {
    let StoreError::Sqlite { operation, source } = error else {
        return StoreError::Refused { operation: TRANSACTION, detail: error.to_string() };
    };
    let source = match source {
        rusqlite::Error::SqliteFailure(code, text) => rusqlite::Error::SqliteFailure(*code, text.clone()),
        other => rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_ERROR), Some(other.to_string())),
    };
    StoreError::Sqlite { operation, source }
}
