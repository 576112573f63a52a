//! What several subjects need: the real binary, and peers that redflag did not write.

pub mod feed;
pub mod lines;
pub mod mta;
pub mod service;
pub mod sink;
