//! What several subjects need: peers that redflag did not write.

pub mod feed;
