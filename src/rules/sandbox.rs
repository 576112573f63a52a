//! The Rhai engine as a sandbox.
