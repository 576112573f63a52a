//! 2 · Bytes to canonical events; what can't be decoded is quarantined with its bytes.
