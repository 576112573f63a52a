//! What several subjects need: the real binary, and peers that redflag did not write.

pub mod feed;
pub mod hostile;
pub mod lines;
pub mod mta;
pub mod saving;
pub mod service;
pub mod sink;
