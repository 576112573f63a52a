//! The independent feed server of tests/feed, as a process of its own.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use serde_json::Value as Json;

/// A running feed server; it ends with this value, and with the test process in any case.
pub struct FeedServer {
    child: Child,
    http: u64,
    socket: u64,
    client: reqwest::Client,
}

impl FeedServer {
    /// Starts it with these flags (tests/feed/server.py --help) and waits for its ports.
    pub fn start(flags: &[&str]) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let python = root.join("target/tools/venv/bin/python");
        assert!(python.exists(), "{} is missing: run `make test`, which installs it", python.display());
        let mut child = Command::new(python)
            .arg(root.join("tests/feed/server.py"))
            .args(flags)
            // The server ends when this pipe does.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ports: Json = serde_json::from_str(&line)
            .unwrap_or_else(|_| panic!("the feed server did not start (is `websockets` installed? run `make test`)"));
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { child, http: ports["http"].as_u64().unwrap(), socket: ports["socket"].as_u64().unwrap(), client }
    }

    pub fn auth(&self) -> String {
        format!("http://127.0.0.1:{}/v2/auth", self.http)
    }

    pub fn socket(&self) -> String {
        format!("ws://127.0.0.1:{}/ws/connect", self.socket)
    }

    /// One frame, sent as it is.
    pub async fn send(&self, frame: &str) {
        self.post("send", frame).await;
    }

    /// One frame a line.
    pub async fn send_lines(&self, frames: &str) {
        self.post("lines", frames).await;
    }

    /// A frame that came to harm on the way.
    pub async fn send_damaged(&self, frame: &str) {
        self.post("send?kind=unkept", frame).await;
    }

    /// Changes how it behaves: `reply=none`, `topics=data`, `refuse=2`.
    pub async fn set(&self, what: &str) {
        self.post(&format!("set?{what}"), "").await;
    }

    pub async fn send_binary(&self, frame: &str) {
        self.post("send?kind=binary", frame).await;
    }

    /// A message that nobody hears; only `getLastMessages` brings it.
    pub async fn miss(&self, frame: &str) {
        self.post("send?kind=missed", frame).await;
    }

    /// As if nothing had been sent so far.
    pub async fn forget(&self) {
        self.post("forget", "").await;
    }

    /// One frame a line, which nobody hears.
    pub async fn miss_lines(&self, frames: &str) {
        self.post("lines?kind=missed", frames).await;
    }

    /// What it keeps for `getLastMessages`: moments in Unix seconds, and frames.
    pub async fn kept(&self) -> Vec<(f64, String)> {
        let url = format!("http://127.0.0.1:{}/control/kept", self.http);
        self.client.get(url).send().await.unwrap().error_for_status().unwrap().json().await.unwrap()
    }

    /// Cuts every socket without a close.
    pub async fn drop_sockets(&self) {
        self.post("drop", "").await;
    }

    pub async fn stats(&self) -> Json {
        let url = format!("http://127.0.0.1:{}/control/stats", self.http);
        self.client.get(url).send().await.unwrap().error_for_status().unwrap().json().await.unwrap()
    }

    async fn post(&self, what: &str, body: &str) {
        let url = format!("http://127.0.0.1:{}/control/{what}", self.http);
        self.client.post(url).body(body.to_owned()).send().await.unwrap().error_for_status().unwrap();
    }
}

impl Drop for FeedServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
