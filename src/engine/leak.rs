//! For tests only: loses one thing at one seam, so that a test can see the books raise the alarm.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use crate::{config::Environment, model::books::Seam};

/// The variable that opens a leak in the real binary, `SEAM` or `SEAM:N` (the Nth thing that passes the seam is lost).
const VARIABLE: &str = "REDFLAG_TEST_LEAK";

/// Loses nothing, unless a test asks for it.
#[derive(Clone, Debug, Default)]
pub struct Leak(Option<(Seam, Arc<AtomicU64>)>);

impl Leak {
    /// The `nth` thing (from 1) that passes this seam is lost.
    #[must_use]
    pub fn at(seam: Seam, nth: u64) -> Self {
        Self(Some((seam, Arc::new(AtomicU64::new(nth)))))
    }

    /// What `$REDFLAG_TEST_LEAK` says. In prod nothing is lost whatever it says, and where something will be, the log says so as an error.
    #[must_use]
    pub fn from_environment(environment: Environment) -> Self {
        let Ok(text) = std::env::var(VARIABLE) else { return Self::default() };
        let (seam, nth) = text.split_once(':').unwrap_or((&text, "1"));
        if let (Environment::Demo | Environment::Test, Ok(seam), Ok(nth)) = (environment, seam.parse(), nth.parse()) {
            tracing::error!(variable = VARIABLE, text, "a TEST: one thing will be lost on purpose");
            return Self::at(seam, nth);
        }
        tracing::error!(variable = VARIABLE, "it is for tests, and has no effect here");
        Self::default()
    }

    /// Whether what passes this seam now is to be lost.
    #[must_use]
    pub fn drops(&self, seam: Seam) -> bool {
        match &self.0 {
            Some((leak, left)) if *leak == seam => left.fetch_sub(1, Ordering::Relaxed) == 1,
            _ => false,
        }
    }
}
