//! The write-ahead log, read by ourselves: which pages it holds, and how far it is whole. SQLite cuts a log at the first frame whose checksum
//! does not fit and says nothing; only who knows how long it was can tell a torn end from a lost one.
//!
//! The format is fixed: <https://www.sqlite.org/fileformat2.html#the_write_ahead_log>.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufReader, Seek as _, SeekFrom},
    path::Path,
};

/// Bytes of the log's header, and of each frame's.
const HEADER: usize = 32;
const FRAME: usize = 24;

/// The committed part of a log.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Log {
    /// Tells one filling of the log from the next.
    pub salt: u64,
    /// Frames up to the last whole commit.
    pub frames: u64,
    /// Pages of the database as of that commit.
    pub size: u32,
    /// Each page's newest sum.
    pub pages: BTreeMap<u32, u64>,
}

/// Reads the log as SQLite would when it recovers; none when there is no log or its header does not fit. `trusted` frames are taken without
/// checking them: what this process has just written.
pub(super) fn read(path: &Path, page_size: usize, trusted: Option<u64>) -> io::Result<Option<Log>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut reader = BufReader::with_capacity(1 << 18, file);
    let mut header = [0; HEADER];
    if !fill(&mut reader, &mut header)? {
        return Ok(None);
    }
    let big = match word(&header, 0) {
        0x377f_0682 => false,
        0x377f_0683 => true,
        _ => return Ok(None),
    };
    let mut sums = checksum((0, 0), &header[..24], big);
    if sums != (word(&header, 24), word(&header, 28)) || word(&header, 8) as usize != page_size {
        return Ok(None);
    }
    let mut log = Log { salt: salt(&header), ..Log::default() };
    let mut frame = vec![0; FRAME + page_size];
    let mut open = BTreeMap::new();
    for number in 1.. {
        if trusted.is_some_and(|trusted| number > trusted) || !fill(&mut reader, &mut frame)? {
            break;
        }
        let (head, page) = frame.split_at(FRAME);
        if head[8..16] != header[16..24] {
            break;
        }
        if trusted.is_none() {
            sums = checksum(checksum(sums, &head[..8], big), page, big);
            if sums != (word(head, 16), word(head, 20)) {
                break;
            }
        }
        let (page_number, size) = (word(head, 0), word(head, 4));
        open.insert(page_number, super::pages::sum(page_number, page));
        if size != 0 {
            log.frames = number;
            log.size = size;
            log.pages.append(&mut open);
        }
    }
    log.pages.retain(|page, _| *page <= log.size);
    Ok(Some(log))
}

/// The salt of the log as it is now; none for an empty log.
pub(super) fn salt_of(file: &mut File) -> io::Result<Option<u64>> {
    let mut header = [0; HEADER];
    file.seek(SeekFrom::Start(0))?;
    Ok(fill(file, &mut header)?.then(|| salt(&header)))
}

fn salt(header: &[u8]) -> u64 {
    u64::from(word(header, 16)) << 32 | u64::from(word(header, 20))
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|four| four.try_into().ok()).map_or(0, u32::from_be_bytes)
}

/// SQLite's own: two running sums over pairs of words.
fn checksum((mut a, mut b): (u32, u32), bytes: &[u8], big: bool) -> (u32, u32) {
    let read = if big { u32::from_be_bytes } else { u32::from_le_bytes };
    for [first, second] in bytes.as_chunks::<4>().0.as_chunks::<2>().0 {
        a = a.wrapping_add(read(*first)).wrapping_add(b);
        b = b.wrapping_add(read(*second)).wrapping_add(a);
    }
    (a, b)
}

/// Whether there was enough to fill it.
fn fill(reader: &mut impl io::Read, buffer: &mut [u8]) -> io::Result<bool> {
    match reader.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}
