//! `redflag demo`.

pub mod catcher;
