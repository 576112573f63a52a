//! Watching the rules' folders. (Stand-in.)

use std::{collections::BTreeMap, sync::Arc};

#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    pub files: BTreeMap<String, Arc<[u8]>>,
    pub unreadable: Vec<(String, String)>,
}
