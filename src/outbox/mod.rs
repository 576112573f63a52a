//! 6 · Leases, the retry schedule, dead letters.
