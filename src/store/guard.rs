//! Whether the store can be trusted: looked at before SQLite opens it, and kept true by the writer afterwards.
//!
//! - [`look`] reads the files as they lie: every page of the database that the log does not hold must fit its sum, and the log must reach as far
//!   as was answered. After an unclean stop that is finished before anything is trusted. After a clean one it ends after half a second, and the
//!   writer goes on with the rest between its commits; what it finds then ends the process, and the next start sets the store aside.
//! - [`Guard`] writes the sums and the mark.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use rusqlite::Connection;

use super::{
    StoreError,
    mark::{self, Facts, Mark},
    open::DATABASE,
    pages::{CHUNK, Sums},
    rows::failed,
    wal::{self, Log},
    writer::Marks,
};
use crate::model::turn::Turn;

/// The files beside the database.
pub(super) const LOG: &str = "redflag.db-wal";
pub(super) const SUMS: &str = "redflag.sums";
pub(super) const MARK: &str = "redflag.mark";

/// So often SQLite may call a store corrupt whose every check is fine; then it is set aside all the same, lest it end each start.
const SUSPECTED: u32 = 3;

/// What is wrong with a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Damage {
    /// For people; no content.
    pub what: String,
    /// Pages of the database that are not to be believed; none when nobody can say which.
    pub pages: Option<BTreeSet<u32>>,
}

impl Damage {
    /// Somewhere.
    pub fn somewhere(what: impl Into<String>) -> Self {
        Self { what: what.into(), pages: None }
    }
}

/// What lies in the folder.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub facts: Option<Facts>,
    sums: Option<Sums>,
    pub damage: Option<Damage>,
    /// The first page that was not looked at yet.
    rest: Option<u32>,
    /// SQLite has to look at it as well: nothing tells what its pages should be, or it was called corrupt.
    pub ask_sqlite: bool,
}

/// Looks at the files of a folder whose lock is held. `database` is the open database, empty when it was not there. `checked` is called as the
/// look gets on.
pub(super) fn look(folder: &Path, database: &File, patience: Duration, checked: &(dyn Fn() + Sync)) -> io::Result<Found> {
    let sums = Sums::open(&folder.join(SUMS))?;
    let facts = mark::read(&folder.join(MARK))?;
    let empty = database.metadata()?.len() == 0;
    let mut found = Found { facts, sums, ..Found::default() };
    if empty {
        if found.facts.as_ref().is_some_and(|facts| facts.frames > 0)
            || found.sums.as_ref().is_some_and(|sums| sums.head.pages > 0)
        {
            found.damage = Some(Damage::somewhere("the database is gone"));
        }
        return Ok(found);
    }
    let Some(sums) = &found.sums else {
        found.ask_sqlite = true;
        return Ok(found);
    };
    let log = wal::read(&folder.join(LOG), sums.head.page_size as usize, None)?;
    if let Some(facts) = &found.facts {
        if let Some(what) = lost(facts, sums.head.moved, log.as_ref()) {
            found.damage = Some(Damage { what, pages: Some(BTreeSet::new()) });
        }
        found.ask_sqlite = facts.suspected > 0;
        if facts.suspected >= SUSPECTED {
            found.damage = Some(Damage::somewhere("SQLite calls it corrupt time and again"));
        }
    }
    let pages = log.unwrap_or_default().pages;
    let clean = found.facts.as_ref().is_some_and(|facts| facts.clean);
    let until = clean.then(|| Instant::now() + patience);
    let (bad, rest) = look_through(sums, database, &pages, until, checked)?;
    found.rest = rest;
    if !bad.is_empty() {
        let also = found.damage.take().map(|damage| format!("; {}", damage.what)).unwrap_or_default();
        let what = format!("{} of {} pages have changed{also}", bad.len(), sums.head.pages);
        found.damage = Some(Damage { what, pages: Some(bad) });
    }
    Ok(found)
}

/// Pages that do not fit, and the first that was not looked at when the time was up. Without a limit by several threads: somebody waits.
fn look_through(
    sums: &Sums,
    database: &File,
    log: &BTreeMap<u32, u64>,
    until: Option<Instant>,
    checked: &(dyn Fn() + Sync),
) -> io::Result<(BTreeSet<u32>, Option<u32>)> {
    let part = |from: u32, to: u32| {
        let (mut from, mut bad, mut room) = (from, BTreeSet::new(), Vec::new());
        while from <= to {
            if until.is_some_and(|until| Instant::now() >= until) {
                return Ok((bad, Some(from)));
            }
            let end = to.min(from.saturating_add(CHUNK - 1));
            bad.append(&mut sums.misfits(database, from, end, log, &mut room)?);
            from = end + 1;
            checked();
        }
        Ok((bad, None))
    };
    let pages = sums.head.pages;
    let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get().min(4)) as u32;
    if until.is_some() || pages < CHUNK * threads {
        return part(1, pages);
    }
    let part = &part;
    let found: Vec<io::Result<(BTreeSet<u32>, _)>> = std::thread::scope(|scope| {
        let border = |number: u32| (u64::from(pages) * u64::from(number) / u64::from(threads)) as u32;
        let parts: Vec<_> =
            (0..threads).map(|number| scope.spawn(move || part(border(number) + 1, border(number + 1)))).collect();
        let broke = |_| Err(io::Error::other("a thread that checks pages broke"));
        parts.into_iter().map(|part| part.join().unwrap_or_else(broke)).collect()
    });
    let mut bad = BTreeSet::new();
    for part in found {
        bad.append(&mut part?.0);
    }
    Ok((bad, None))
}

/// Whether commits that were answered are neither in the database nor in the log.
fn lost(facts: &Facts, moved: u64, log: Option<&Log>) -> Option<String> {
    if facts.filling <= moved || facts.frames == 0 {
        return None;
    }
    if facts.filling > moved + 1 {
        return Some("the sums of its pages are older than it".to_owned());
    }
    match log {
        Some(log) if log.salt == facts.salt && log.frames >= facts.frames => None,
        Some(log) if log.salt == facts.salt => {
            Some(format!("the write-ahead log ends after {} of {} pages", log.frames, facts.frames))
        }
        _ => Some(format!("the write-ahead log with {} pages is gone", facts.frames)),
    }
}

/// SQLite's own look at everything: structure, indexes, constraints.
pub(super) fn asked(connection: &Connection) -> Result<Option<Damage>, StoreError> {
    let operation = "checking the store";
    let said: String = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0)).map_err(failed(operation))?;
    // What it says may quote a row.
    Ok((said != "ok").then(|| Damage::somewhere("SQLite's check of its structure fails")))
}

/// Keeps sums and mark. Used by the writer's thread only.
#[derive(Debug)]
pub(super) struct Guard {
    folder: PathBuf,
    database: Arc<File>,
    sums: Sums,
    mark: Mark,
    /// The next page to look at, while the start left some.
    rest: Option<u32>,
    seen: Instant,
}

/// How often the files are looked for.
pub(super) const SEEN: Duration = Duration::from_secs(2);

impl Guard {
    /// Over a store that was found sound (or asked, or begun).
    pub fn begin(
        folder: &Path,
        database: Arc<File>,
        found: Found,
        marks: Marks,
        connection: &Connection,
        frames: u64,
    ) -> Result<Self, StoreError> {
        let wrap = |source| StoreError::Guard { operation: "beginning the sums of the store's pages", source };
        let before = found.facts.unwrap_or_default();
        let sums = if let Some(sums) = found.sums {
            sums
        } else {
            let page_size = connection
                .pragma_query_value(None, "page_size", |row| row.get(0))
                .map_err(failed("reading the store's page size"))?;
            Sums::take(&folder.join(SUMS), &database, page_size, before.filling).map_err(wrap)?
        };
        let mut received = before.received;
        if received.is_empty() {
            received = last_received(connection).map_err(failed("reading when feeds were last heard"))?;
        }
        let facts = Facts {
            filling: sums.head.moved + 1,
            salt: salt(folder).map_err(wrap)?,
            frames,
            last: marks.last.0,
            judged: marks.judged.0,
            received,
            clean: false,
            suspected: before.suspected,
        };
        let mark = Mark::begin(&folder.join(MARK), facts).map_err(wrap)?;
        Ok(Self { folder: folder.to_owned(), database, sums, mark, rest: found.rest, seen: Instant::now() })
    }

    /// Turns of a group that is being committed.
    pub fn note(&mut self, turn: &Turn) {
        self.mark.note(turn);
    }

    /// A commit is on disk, and so many frames are in the log. To be called before it is answered.
    pub fn committed(&mut self, frames: u64, marks: Marks) -> io::Result<()> {
        let salt = salt(&self.folder)?;
        let facts = &mut self.mark.facts;
        if (facts.salt, facts.frames) == (salt, frames) {
            return Ok(());
        }
        (facts.salt, facts.frames, facts.last, facts.judged) = (salt, frames, marks.last.0, marks.judged.0);
        facts.filling = self.sums.head.moved + 1;
        self.mark.judged(marks.judged);
        self.mark.write()
    }

    /// Before the log's frames are moved into the database. Answers the database's pages as of then.
    pub fn foretell(&mut self, frames: u64) -> io::Result<u32> {
        let size = self.sums.head.page_size as usize;
        let log = wal::read(&self.folder.join(LOG), size, Some(frames))?.unwrap_or_default();
        if log.frames != frames {
            return Err(io::Error::other(format!("the log has {} whole pages instead of {frames}", log.frames)));
        }
        self.sums.foretell(&log)?;
        Ok(log.size)
    }

    /// After all of them were moved, before the next commit.
    pub fn moved(&mut self, pages: u32) -> io::Result<()> {
        self.sums.moved(pages)
    }

    /// Whether the start left pages to look at.
    pub fn has_rest(&self) -> bool {
        self.rest.is_some()
    }

    /// Looks at some more of them; answers what is wrong.
    pub fn look_on(&mut self) -> io::Result<Option<String>> {
        let Some(from) = self.rest else { return Ok(None) };
        let to = self.sums.head.pages.min(from.saturating_add(CHUNK - 1));
        if from > to {
            self.rest = None;
            tracing::info!(pages = self.sums.head.pages, "every page of the store fits its sum");
            return Ok(None);
        }
        self.rest = Some(to + 1);
        let mut bad = self.sums.misfits(&self.database, from, to, &BTreeMap::new(), &mut Vec::new())?;
        if !bad.is_empty() {
            let log = wal::read(&self.folder.join(LOG), self.sums.head.page_size as usize, Some(self.mark.facts.frames))?;
            let log = log.unwrap_or_default().pages;
            bad.retain(|page| !log.contains_key(page));
        }
        Ok((!bad.is_empty()).then(|| format!("{} pages of {DATABASE} have changed by themselves", bad.len())))
    }

    /// Whether the files that are open still lie in the folder, and may be written. A file that was deleted or whose folder is gone can be
    /// written for ever, and nobody will ever read it.
    pub fn still_there(&mut self) -> io::Result<()> {
        if self.seen.elapsed() < SEEN {
            return Ok(());
        }
        self.seen = Instant::now();
        let (open, lying) = (self.database.metadata()?, fs::metadata(self.folder.join(DATABASE))?);
        if (open.dev(), open.ino()) != (lying.dev(), lying.ino()) {
            return Err(io::Error::other(format!("{DATABASE} is another file now")));
        }
        fs::metadata(self.folder.join(LOG))?;
        self.mark.write()
    }

    /// Running SQLite called the store corrupt: the next start asks it about everything.
    pub fn suspect(&mut self) {
        self.mark.facts.suspected += 1;
        if let Err(error) = self.mark.write() {
            tracing::error!(%error, "the mark can't be written");
        }
    }

    /// Everything is moved and the log is empty.
    pub fn closed(&mut self) -> io::Result<()> {
        self.mark.facts.clean = true;
        self.mark.facts.suspected = 0;
        self.mark.write()
    }
}

fn salt(folder: &Path) -> io::Result<u64> {
    let mut log = File::open(folder.join(LOG))?;
    Ok(wal::salt_of(&mut log)?.unwrap_or_default())
}

fn last_received(connection: &Connection) -> rusqlite::Result<BTreeMap<String, i64>> {
    connection
        .prepare("SELECT feed, max(received_at) FROM events GROUP BY feed")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect()
}
