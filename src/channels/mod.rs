//! 8 · The ways out, one file a channel.
