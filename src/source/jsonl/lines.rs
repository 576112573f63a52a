//! Bytes to lines, within a limit: of an over-long line only size and digest are kept, never its bytes.

use sha2::{Digest as _, Sha256};

use crate::model::hash::Digest;

/// A line without its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    Whole(Vec<u8>),
    TooLong { size: u64, digest: Digest },
}

/// Cuts what is read into lines and knows where in the file it is.
#[derive(Debug)]
pub(super) struct Lines {
    limit: usize,
    /// The beginning of a line whose end has not come.
    begun: Vec<u8>,
    /// Such a beginning that is longer than the limit already.
    too_long: Option<(Sha256, u64)>,
    read: u64,
    behind: u64,
}

impl Lines {
    /// Goes on at this place, which is the beginning of a line.
    pub(super) fn from(place: u64, limit: usize) -> Self {
        Self { limit, begun: Vec::new(), too_long: None, read: place, behind: place }
    }

    /// How far the file was read, in bytes.
    pub(super) fn read(&self) -> u64 {
        self.read
    }

    /// The place behind the last line that was handed out.
    pub(super) fn behind(&self) -> u64 {
        self.behind
    }

    /// How many bytes of a line have come whose end has not.
    pub(super) fn unfinished(&self) -> u64 {
        self.read - self.behind
    }

    /// The next line that ends in `chunk`, which is cut behind it; None when `chunk` is used up.
    pub(super) fn next(&mut self, chunk: &mut &[u8]) -> Option<Line> {
        let end = chunk.iter().position(|byte| *byte == b'\n');
        let (part, rest) = chunk.split_at(end.unwrap_or(chunk.len()));
        self.take(part);
        self.read += part.len() as u64;
        *chunk = rest;
        end?;
        *chunk = &rest[1..];
        self.read += 1;
        Some(self.complete())
    }

    /// The last line of what has an end, where no newline stands behind it.
    pub(super) fn last(&mut self) -> Option<Line> {
        (self.unfinished() > 0).then(|| self.complete())
    }

    fn take(&mut self, part: &[u8]) {
        if self.too_long.is_none() && self.begun.len() + part.len() > self.limit {
            let begun = std::mem::take(&mut self.begun);
            self.too_long = Some((Sha256::new_with_prefix(&begun), begun.len() as u64));
        }
        match &mut self.too_long {
            Some((hasher, size)) => {
                hasher.update(part);
                *size += part.len() as u64;
            }
            None => self.begun.extend_from_slice(part),
        }
    }

    fn complete(&mut self) -> Line {
        self.behind = self.read;
        if let Some((hasher, size)) = self.too_long.take() {
            return Line::TooLong { size, digest: Digest::from_bytes(hasher.finalize().into()) };
        }
        let mut line = std::mem::take(&mut self.begun);
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Line::Whole(line)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn lines_are_the_same_however_the_bytes_are_cut(text in "[ab\n]{0,60}", cuts in prop::collection::vec(1_usize..9, 1..60)) {
            let mut lines = Lines::from(0, 5);
            let mut got = Vec::new();
            let (mut rest, mut cuts) = (text.as_bytes(), cuts.into_iter().cycle());
            while !rest.is_empty() {
                let (mut chunk, behind) = rest.split_at(cuts.next().unwrap_or(1).min(rest.len()));
                rest = behind;
                got.extend(std::iter::from_fn(|| lines.next(&mut chunk)));
            }
            got.extend(lines.last());
            let expected: Vec<Line> = text
                .split_inclusive('\n')
                .map(|line| line.trim_end_matches('\n').as_bytes())
                .map(|line| if line.len() <= 5 {
                    Line::Whole(line.to_vec())
                } else {
                    Line::TooLong { size: line.len() as u64, digest: Digest::of(line) }
                })
                .collect();
            prop_assert_eq!(got, expected);
            prop_assert_eq!((lines.read(), lines.behind()), (text.len() as u64, text.len() as u64));
        }
    }
}
