//! What rules may call: pure and bounded.

use std::sync::{Arc, Mutex, PoisonError};

use super::lists::Lists;

#[derive(Debug)]
pub struct Host {
    lists: Mutex<Arc<Lists>>,
    unknown: Mutex<Vec<String>>,
}

impl Host {
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self { lists: Mutex::new(Arc::new(Lists::empty())), unknown: Mutex::default() })
    }

    pub fn use_lists(&self, lists: Arc<Lists>) {
        *self.lists.lock().unwrap_or_else(PoisonError::into_inner) = lists;
    }

    pub fn take_unknown_words(&self) -> Vec<String> {
        std::mem::take(&mut self.unknown.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

pub fn register(engine: &mut rhai::Engine, host: &Arc<Host>) {
    engine.register_fn("country", |text: rhai::ImmutableString| text.to_uppercase());
    let host = host.clone();
    engine.register_fn("list", move |name: &str| -> rhai::Array {
        let lists = host.lists.lock().unwrap_or_else(PoisonError::into_inner).clone();
        lists.get(name).map(|list| list.entries().iter().map(|entry| entry.clone().into()).collect()).unwrap_or_default()
    });
}
