//! The `where` table: total conditions, never an error.
