//! 4 · Rule files: card, compile, lint, set, watch, evaluate, functions, tests, diagnostics.
