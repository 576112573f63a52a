//! What the rows share: the service as a child under a fault, peers that keep the truth, the reference model and the four properties,
//! disks that can be taken away.
//!
//! Nothing here uses redflag's own rule, source or channel code. What it needs of redflag is the binary, and the store's reader to look
//! at the journal.

pub mod daemon;
pub mod disk;
pub mod oracle;
pub mod smtp;
pub mod strace;
pub mod world;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};

/// How long anything may take on a busy machine, where no bar is measured.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What a row gets: a folder that is its own and short enough for a socket's path, and the seed of its chance.
#[derive(Clone, Debug)]
pub struct Bench {
    folder: PathBuf,
    pub seed: u64,
    most: Option<usize>,
}

impl Bench {
    pub fn new(folder: PathBuf, seed: u64) -> Self {
        Self { folder, seed, most: shortened() }
    }

    /// So many trials; `REDFLAG_TRIALS` makes it fewer while a row is being written, and then it does not count as passed.
    pub fn trials(&self, full: usize) -> usize {
        self.most.map_or(full, |trials| trials.min(full))
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A fresh folder below the row's.
    pub fn place(&self, name: &str) -> anyhow::Result<PathBuf> {
        let place = self.folder.join(name);
        std::fs::create_dir_all(&place)?;
        Ok(place)
    }
}

/// The most trials that a row makes, if somebody has no time.
pub fn shortened() -> Option<usize> {
    std::env::var("REDFLAG_TRIALS").ok()?.parse().ok()
}

/// What a row came to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    pub trials: u64,
    /// From which figure on the promise counts as kept.
    pub bar: String,
    pub measured: String,
    pub pass: bool,
}

impl Row {
    pub fn new(trials: usize, bar: impl Into<String>, measured: impl Into<String>, pass: bool) -> Self {
        Self { trials: trials as u64, bar: bar.into(), measured: measured.into(), pass }
    }
}
