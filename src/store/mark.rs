//! How far the store had come, in a small file beside it: written after each commit and before its answer, never synced, so that it costs no
//! time. It tells a log that was torn in an unanswered commit (nothing is lost) from one that lost what was answered, and when the store
//! itself can't be believed any more, it says where to go on.
//!
//! It may lag behind after a power loss, and is never ahead of what is on disk.

use std::{
    collections::{BTreeMap, VecDeque},
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::Path,
};

use serde::{Deserialize, Serialize};

use super::pages;
use crate::model::{ids::Seq, names::FeedName, turn::Turn};

/// Room enough for a feed's name or two hundred; taken at once, so that a full disk does not matter later.
const ROOM: usize = 16 << 10;
const HEADER: usize = 16;

/// What the file says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Facts {
    /// Which filling of the log this is about, its salt, and how many of its frames were committed.
    pub filling: u64,
    pub salt: u64,
    pub frames: u64,
    pub last: u64,
    pub judged: u64,
    /// The last receipt among the events that were judged, in microseconds.
    pub received: BTreeMap<String, i64>,
    /// The last owner closed the store.
    pub clean: bool,
    /// How often running SQLite has called the store corrupt since the last orderly stop.
    pub suspected: u32,
}

/// The file, and what is not in it yet.
#[derive(Debug)]
pub(super) struct Mark {
    file: File,
    pub facts: Facts,
    /// Receipts that count once their events are judged.
    waiting: VecDeque<(Seq, FeedName, i64)>,
}

/// None when there is none, or it can't be believed.
pub(super) fn read(path: &Path) -> io::Result<Option<Facts>> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let text = || {
        let length = u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
        let check = u64::from_le_bytes(bytes.get(8..HEADER)?.try_into().ok()?);
        let text = bytes.get(HEADER..HEADER.checked_add(length)?)?;
        (pages::sum(0, text) == check).then_some(text)
    };
    Ok(text().and_then(|text| serde_json::from_slice(text).ok()))
}

impl Mark {
    /// Begins the file with these facts.
    pub fn begin(path: &Path, facts: Facts) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        if file.metadata()?.len() < ROOM as u64 {
            file.write_all_at(&[0; ROOM], 0)?;
        }
        let mark = Self { file, facts, waiting: VecDeque::new() };
        mark.write()?;
        // Once, so that a power loss finds a file; what is in it then may be old.
        mark.file.sync_all()?;
        Ok(mark)
    }

    /// Notes a turn that was committed.
    pub fn note(&mut self, turn: &Turn) {
        let mut newest: BTreeMap<&FeedName, i64> = BTreeMap::new();
        for event in turn.events.iter() {
            let at = event.received_at.timestamp_micros();
            newest.entry(&event.feed).and_modify(|newest| *newest = at.max(*newest)).or_insert(at);
        }
        if let Some(last) = turn.events.last() {
            self.waiting.extend(newest.into_iter().map(|(feed, at)| (last.seq, feed.clone(), at)));
        }
    }

    /// The cursor is here: what was received up to it counts.
    pub fn judged(&mut self, judged: Seq) {
        while let Some((_, feed, at)) = self.waiting.pop_front_if(|(seq, ..)| *seq <= judged) {
            let newest = self.facts.received.entry(feed.to_string()).or_insert(at);
            *newest = at.max(*newest);
        }
    }

    pub fn write(&self) -> io::Result<()> {
        let text = serde_json::to_vec(&self.facts).map_err(io::Error::other)?;
        let mut bytes = Vec::with_capacity(HEADER + text.len());
        bytes.extend_from_slice(&u32::try_from(text.len()).map_err(io::Error::other)?.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&pages::sum(0, &text).to_le_bytes());
        bytes.extend_from_slice(&text);
        self.file.write_all_at(&bytes, 0)
    }
}
