//! 1 · The feed: token, socket, methods, back-fill; and JSON-lines files.
