//! Verdicts: judging an event by a generation.
