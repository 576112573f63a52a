//! What rules may call: pure and bounded.
