//! A sum of each page of the database, in a file beside it. SQLite checks the frames of its log and no page of its database: a flipped bit in
//! an alert's text would be sent as if it were true.
//!
//! The rule that makes it hold: **each page is in the log, or its sum is on disk.** Sums are written and synced before pages are moved from the
//! log to the database, and the log is begun anew only after that. So a page that the log does not hold must fit its sum.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::Path,
};

use super::wal::Log;

const MAGIC: [u8; 8] = *b"RFsums\x00\x01";
const HEADER: usize = 64;

/// Pages that are read at once: 256 KiB, which stay in the processor's own memory while they are summed.
pub(super) const CHUNK: u32 = 64;

/// SQLite never uses the page at this byte; it holds nothing.
const LOCK_BYTE: u64 = 1 << 30;

/// What the file says of all pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub page_size: u32,
    /// Pages that have a sum, or none because nothing was ever written there.
    pub pages: u32,
    /// Fillings of the log that are wholly in the database.
    pub moved: u64,
}

/// The file of sums.
#[derive(Debug)]
pub(super) struct Sums {
    file: File,
    pub head: Head,
}

impl Sums {
    /// None when there is none, or its header can't be believed.
    pub fn open(path: &Path) -> io::Result<Option<Self>> {
        let file = match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = [0; HEADER];
        if let Err(error) = file.read_exact_at(&mut bytes, 0) {
            return if error.kind() == io::ErrorKind::UnexpectedEof { Ok(None) } else { Err(error) };
        }
        Ok(Head::read(&bytes).map(|head| Self { file, head }))
    }

    /// Takes the database as it is, page by page.
    pub fn take(path: &Path, database: &File, page_size: u32, moved: u64) -> io::Result<Self> {
        let pages = u32::try_from(database.metadata()?.len() / u64::from(page_size)).map_err(io::Error::other)?;
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(path)?;
        let mut sums = Self { file, head: Head { page_size, pages: 0, moved } };
        let (mut from, mut room) = (1, Vec::new());
        while from <= pages {
            let to = pages.min(from + CHUNK - 1);
            let found = sums.read_pages(database, from, to, &mut room)?;
            sums.write(from, &found.into_iter().map(Option::unwrap_or_default).collect::<Vec<_>>())?;
            from = to + 1;
        }
        sums.head.pages = pages;
        sums.write_head()?;
        if let Some(folder) = path.parent() {
            File::open(folder)?.sync_all()?;
        }
        Ok(sums)
    }

    /// The sums of what the log holds, on disk before it is moved. `moved` has to follow once it is.
    pub fn foretell(&mut self, log: &Log) -> io::Result<()> {
        // Pages between the old end and the new one that were never written have no sum.
        let grown = (self.head.pages + 1..=log.size).map(|page| (page, log.pages.get(&page).copied().unwrap_or_default()));
        let all: BTreeMap<u32, u64> = grown.chain(log.pages.iter().map(|(page, sum)| (*page, *sum))).collect();
        let mut run: Vec<u64> = Vec::new();
        let mut next = 0;
        for (page, sum) in all {
            if page != next && !run.is_empty() {
                self.write(next - run.len() as u32, &run)?;
                run.clear();
            }
            run.push(sum);
            next = page + 1;
        }
        if !run.is_empty() {
            self.write(next - run.len() as u32, &run)?;
        }
        self.file.sync_data()
    }

    /// Everything that the log held is in the database, which has so many pages.
    pub fn moved(&mut self, pages: u32) -> io::Result<()> {
        self.head.pages = pages;
        self.head.moved += 1;
        self.write_head()
    }

    /// Pages from `from` to `to` that do not fit their sums and that the log does not hold. `room` is used again and again.
    pub fn misfits(
        &self,
        database: &File,
        from: u32,
        to: u32,
        log: &BTreeMap<u32, u64>,
        room: &mut Vec<u8>,
    ) -> io::Result<BTreeSet<u32>> {
        let mut bytes = vec![0; (to + 1 - from) as usize * 8];
        let there = read_some(&self.file, &mut bytes, entry(from))?;
        bytes.truncate(there / 8 * 8);
        let expected = bytes.as_chunks::<8>().0.iter().map(|bytes| Some(u64::from_le_bytes(*bytes)));
        let found = self.read_pages(database, from, to, room)?;
        let lock = u32::try_from(LOCK_BYTE / u64::from(self.head.page_size)).unwrap_or_default() + 1;
        let pages = (from..=to).zip(found.into_iter().zip(expected.chain(std::iter::repeat(None))));
        Ok(pages
            .filter(|(page, (found, expected))| {
                found != expected && *expected != Some(0) && *page != lock && !log.contains_key(page)
            })
            .map(|(page, _)| page)
            .collect())
    }

    /// The sum of each page; none where the file ends.
    fn read_pages(&self, database: &File, from: u32, to: u32, room: &mut Vec<u8>) -> io::Result<Vec<Option<u64>>> {
        let size = self.head.page_size as usize;
        room.resize((to + 1 - from) as usize * size, 0);
        let there = read_some(database, room, u64::from(from - 1) * u64::from(self.head.page_size))?;
        let whole = there / size;
        Ok((from..=to)
            .zip(room.chunks_exact(size))
            .enumerate()
            .map(|(place, (page, bytes))| (place < whole).then(|| sum(page, bytes)))
            .collect())
    }

    fn write(&self, from: u32, sums: &[u64]) -> io::Result<()> {
        let bytes: Vec<u8> = sums.iter().flat_map(|sum| sum.to_le_bytes()).collect();
        self.file.write_all_at(&bytes, entry(from))
    }

    fn write_head(&self) -> io::Result<()> {
        self.file.write_all_at(&self.head.bytes(), 0)?;
        self.file.sync_data()
    }
}

impl Head {
    fn bytes(self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&self.page_size.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.pages.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.moved.to_le_bytes());
        let check = sum(0, &bytes[..56]);
        bytes[56..].copy_from_slice(&check.to_le_bytes());
        bytes
    }

    fn read(bytes: &[u8; HEADER]) -> Option<Self> {
        let four = |at: usize| bytes[at..at + 4].try_into().map(u32::from_le_bytes).ok();
        let moved = bytes[16..24].try_into().map(u64::from_le_bytes).ok()?;
        let head = Self { page_size: four(8)?, pages: four(12)?, moved };
        (head.bytes() == *bytes && head.page_size >= 512).then_some(head)
    }
}

fn entry(page: u32) -> u64 {
    HEADER as u64 + u64::from(page - 1) * 8
}

/// Reads what there is; answers how much that was.
fn read_some(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut there = 0;
    while there < buffer.len() {
        match file.read_at(&mut buffer[there..], at + there as u64) {
            Ok(0) => break,
            Ok(more) => there += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(there)
}

/// Eight bytes over a page and its number, never 0. A change within one word of eight bytes always shows, since each step can be undone; any
/// other shows but for one in 2^64. It finds accidents; who forges a page can forge its sum.
pub(super) fn sum(number: u32, bytes: &[u8]) -> u64 {
    const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |state: u64, word: u64| (state ^ word).wrapping_mul(STEP).rotate_left(29);
    let mut lanes = [1, 2, 3, 4].map(|lane: u64| mix(lane, u64::from(number)));
    let (blocks, rest) = bytes.as_chunks::<32>();
    for block in blocks {
        let words = block.as_chunks::<8>().0;
        for (lane, word) in lanes.iter_mut().zip(words) {
            *lane = mix(*lane, u64::from_le_bytes(*word));
        }
    }
    for piece in rest.chunks(8) {
        let mut word = [0; 8];
        word[..piece.len()].copy_from_slice(piece);
        lanes[0] = mix(lanes[0], u64::from_le_bytes(word));
    }
    lanes.into_iter().fold(bytes.len() as u64, mix).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_and_every_misplaced_page_has_another_sum() {
        let mut page: Vec<u8> = (0..4_096_u32).map(|n| (n * 7 % 251) as u8).collect();
        let sound = sum(9, &page);
        assert_ne!(sum(10, &page), sound, "another place");
        for byte in (0..page.len()).step_by(13) {
            for bit in 0..8 {
                page[byte] ^= 1 << bit;
                assert_ne!(sum(9, &page), sound, "byte {byte}, bit {bit}");
                page[byte] ^= 1 << bit;
            }
        }
        assert_ne!(sum(9, &page[..4_095]), sound, "a shorter one");
    }
}
