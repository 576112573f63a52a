//! 5 · What a verdict becomes: quiet periods and routes.
