//! The other end of chat and webhook: an HTTP server in the test that keeps every request, byte for byte, before it answers.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
};
use serde_json::Value as Json;
use tokio::{net::TcpListener, task::JoinHandle};

/// One request as it came.
#[derive(Clone, Debug)]
pub struct Request {
    pub path: String,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Request {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or_else(|| panic!("no header {name} in {:?}", self.headers), String::as_str)
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn json(&self) -> Json {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// Answers `ok` to everything, as Slack does; or nothing at all while it holds.
pub struct Sink {
    port: u16,
    state: Shared,
    task: JoinHandle<()>,
}

#[derive(Clone, Default)]
struct Shared {
    requests: Arc<Mutex<Vec<Request>>>,
    hold: Arc<AtomicBool>,
    refuse: Arc<Mutex<Option<String>>>,
}

impl Sink {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Shared::default();
        let app = Router::new().fallback(take).with_state(state.clone());
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { port, state, task }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// From now on requests are kept and not answered until the hold ends.
    pub fn hold(&self, hold: bool) {
        self.state.hold.store(hold, Ordering::SeqCst);
    }

    /// From now on whatever comes to this path is refused for good.
    pub fn refuse(&self, path: &str) {
        *self.state.refuse.lock().unwrap() = Some(path.to_owned());
    }

    /// What came to this path, oldest first.
    pub fn requests(&self, path: &str) -> Vec<Request> {
        self.state.requests.lock().unwrap().iter().filter(|request| request.path == path).cloned().collect()
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn take(State(state): State<Shared>, uri: Uri, headers: HeaderMap, body: Bytes) -> (StatusCode, &'static str) {
    let headers =
        headers.iter().map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())).collect();
    state.requests.lock().unwrap().push(Request { path: uri.path().to_owned(), headers, body: body.to_vec() });
    while state.hold.load(Ordering::SeqCst) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    if state.refuse.lock().unwrap().as_deref() == Some(uri.path()) {
        return (StatusCode::BAD_REQUEST, "no");
    }
    (StatusCode::OK, "ok")
}
