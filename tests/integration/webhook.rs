//! Chat and webhook against servers that behave, misbehave and never end.

use std::{
    fmt::Write,
    sync::{Arc, Mutex},
    time::Duration,
};

use hmac::{Hmac, KeyInit, Mac};
use redflag::{
    channels::{self, Channel},
    config::{ChannelConfig, Secret, SlackConfig, WebhookConfig, channels::RetryConfig},
    model::{
        delivery::{Outcome, Parcel},
        ids::Ids,
        names::ChannelName,
        rendered::{Clearance, Mail, Rendered},
        time::{ManualClock, Span, Timestamp},
    },
};
use serde_json::json;
use sha2::Sha256;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

const SECRET: &str = "signing-secret";
const PATH: &str = "/T000/B000/very-secret-token";

/// One request as the server read it, byte for byte.
#[derive(Clone, Debug, Default)]
struct Request {
    head: String,
    body: Vec<u8>,
}

impl Request {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// How the server answers each request.
#[derive(Clone)]
enum Answer {
    Whole(String),
    /// A body without an end.
    Endless,
    Hang,
    Close,
}

struct Server {
    port: u16,
    requests: Arc<Mutex<Vec<Request>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    async fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let shared = requests.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, answer.clone(), shared.clone()));
            }
        });
        Self { port, requests, task }
    }

    async fn answering(status: &str, headers: &str, body: &str) -> Self {
        let length = body.len();
        Self::start(Answer::Whole(format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n{headers}\r\n{body}"))).await
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}{PATH}", self.port)
    }

    fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

async fn serve(mut stream: TcpStream, answer: Answer, requests: Arc<Mutex<Vec<Request>>>) -> std::io::Result<()> {
    loop {
        let mut bytes = Vec::new();
        let end = loop {
            if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            if stream.read_buf(&mut bytes).await? == 0 {
                return Ok(());
            }
        };
        let mut request = Request { head: String::from_utf8(bytes[..end].to_vec()).unwrap(), body: bytes[end..].to_vec() };
        let length: usize = request.header("content-length").unwrap().parse().unwrap();
        while request.body.len() < length {
            stream.read_buf(&mut request.body).await?;
        }
        requests.lock().unwrap().push(request);
        match &answer {
            Answer::Whole(text) => stream.write_all(text.as_bytes()).await?,
            Answer::Endless => {
                stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await?;
                loop {
                    stream.write_all(format!("1000\r\n{}\r\n", "x".repeat(4096)).as_bytes()).await?;
                }
            }
            Answer::Hang => std::future::pending().await,
            Answer::Close => return Ok(()),
        }
    }
}

fn now() -> Timestamp {
    chrono::DateTime::from_timestamp(1_790_000_000, 0).unwrap()
}

fn retry(timeout: Span) -> RetryConfig {
    RetryConfig { timeout, ..RetryConfig::default() }
}

fn file(folder: &TempDir, name: &str, text: &str) -> Secret {
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    Secret::File(path)
}

fn build(config: &ChannelConfig) -> Arc<dyn Channel> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    channels::build(&ChannelName::new("out"), config, Arc::new(ManualClock::at(now()))).unwrap()
}

fn webhook(url: &str, timeout: Span) -> Arc<dyn Channel> {
    let folder = tempfile::tempdir().unwrap();
    build(&ChannelConfig::Webhook(WebhookConfig {
        url: file(&folder, "url", url),
        secret: file(&folder, "secret", SECRET),
        clearance: Clearance::Masked,
        retry: retry(timeout),
    }))
}

fn slack(url: &str, timeout: Span) -> Arc<dyn Channel> {
    let folder = tempfile::tempdir().unwrap();
    build(&ChannelConfig::Slack(SlackConfig {
        url: file(&folder, "url", url),
        clearance: Clearance::Masked,
        retry: retry(timeout),
    }))
}

fn parcel(channel: &dyn Channel) -> Parcel {
    let mut ids = Ids::seeded(5);
    let delivery = ids.delivery(now());
    Parcel {
        delivery,
        message: ids.message(now()),
        recipient: channel.recipients()[0].clone(),
        identity: channel.identity(delivery),
        attempt: 1,
        rendered: Rendered::Json(json!({"text": "Größe weicht ab", "severity": "high"})),
    }
}

async fn sent(channel: &dyn Channel) -> Outcome {
    channel.send(&parcel(channel)).await
}

#[tokio::test]
async fn a_post_is_signed_over_its_time_and_bytes_and_carries_its_identity_each_time() {
    let server = Server::answering("200 OK", "", "").await;
    let channel = webhook(&server.url(), Span::from_secs(20));
    for _ in 0..2 {
        assert_eq!(sent(&*channel).await, Outcome::Delivered { detail: "answered 200".to_owned() });
    }
    let requests = server.requests();
    for request in &requests {
        assert!(request.head.starts_with(&format!("POST {PATH} HTTP/1.1\r\n")), "{}", request.head);
        assert_eq!(request.header("content-type"), Some("application/json"));
        assert_eq!(request.header("idempotency-key"), Some(parcel(&*channel).delivery.to_string().as_str()));
        assert_eq!(request.header("redflag-timestamp"), Some("1790000000"));
        let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
        mac.update(&[b"1790000000.", request.body.as_slice()].concat());
        let hex: String = request.header("redflag-signature").unwrap().strip_prefix("v1=").unwrap().to_owned();
        let bytes: Vec<u8> = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
        mac.verify_slice(&bytes).unwrap();
        assert_eq!(
            serde_json::from_slice::<serde_json::Value>(&request.body).unwrap(),
            json!({"text": "Größe weicht ab", "severity": "high"})
        );
    }
    assert_eq!(requests.len(), 2);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = Server::answering("200 OK", "", "ok").await;
    let location = format!("location: {}\r\n", elsewhere.url());
    for status in ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"] {
        let server = Server::answering(status, &location, "").await;
        let outcome = sent(&*slack(&server.url(), Span::from_secs(20))).await;
        assert!(
            matches!(&outcome, Outcome::Retry { detail, .. } if detail.contains("redirects are not followed")),
            "{outcome:?}"
        );
        assert_eq!(server.requests().len(), 1);
    }
    assert!(elsewhere.requests().is_empty());
}

#[tokio::test]
async fn a_chat_message_is_delivered_only_by_an_ok() {
    let mut said = String::new();
    for (status, headers, body) in [
        ("200 OK", "", "ok"),
        ("200 OK", "", "<html>Please log in</html>"),
        ("204 No Content", "", ""),
        ("400 Bad Request", "", "invalid_payload"),
        ("404 Not Found", "", "no_service"),
        ("410 Gone", "", "channel_is_archived"),
        ("403 Forbidden", "", "you sent: Größe weicht ab"),
        ("429 Too Many Requests", "retry-after: 30\r\n", "rate_limited"),
        ("429 Too Many Requests", "retry-after: 315360000\r\n", ""),
        ("500 Internal Server Error", "", "rollup_error"),
        ("503 Service Unavailable", "retry-after: Mon, 21 Sep 2026 14:23:20 GMT\r\n", ""),
    ] {
        let server = Server::answering(status, headers, body).await;
        let outcome = sent(&*slack(&server.url(), Span::from_secs(20))).await;
        writeln!(said, "{outcome:?}").unwrap();
    }
    insta::assert_snapshot!(said, @r#"
    Delivered { detail: "answered 200: ok" }
    Retry { detail: "answered 200, but not `ok`: is this the chat's own address?", after: None }
    Retry { detail: "answered 204, but not `ok`: is this the chat's own address?", after: None }
    Reject { detail: "answered 400: invalid_payload" }
    Reject { detail: "answered 404: no_service" }
    Reject { detail: "answered 410: channel_is_archived" }
    Reject { detail: "answered 403" }
    Retry { detail: "answered 429: rate_limited", after: Some(30s) }
    Retry { detail: "answered 429", after: Some(3600s) }
    Retry { detail: "answered 500: rollup_error", after: None }
    Retry { detail: "answered 503", after: Some(600s) }
    "#);
}

#[tokio::test]
async fn an_endless_answer_is_cut_and_its_status_stands() {
    let server = Server::start(Answer::Endless).await;
    let outcome = sent(&*webhook(&server.url(), Span::from_secs(20))).await;
    assert_eq!(outcome, Outcome::Delivered { detail: "answered 200".to_owned() });
    let outcome = sent(&*slack(&server.url(), Span::from_secs(20))).await;
    assert!(matches!(outcome, Outcome::Retry { .. }), "{outcome:?}");
}

#[tokio::test]
async fn silence_and_broken_connections_are_tried_again_and_the_address_is_never_said() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let (hang, close) = (Server::start(Answer::Hang).await, Server::start(Answer::Close).await);
    for url in
        [hang.url(), close.url(), format!("http://127.0.0.1:{closed}{PATH}"), format!("https://127.0.0.1:{}{PATH}", close.port)]
    {
        let channel = slack(&url, Span::from_millis(500));
        let attempt = tokio::time::timeout(Duration::from_secs(20), sent(&*channel));
        let outcome = attempt.await.unwrap();
        let Outcome::Retry { detail, after: None } = &outcome else { panic!("{outcome:?}") };
        assert!(!detail.is_empty() && !detail.contains("secret") && !detail.contains("T000"), "{detail}");
    }
}

#[tokio::test]
async fn a_mail_handed_to_a_webhook_is_refused_without_a_request() {
    let server = Server::answering("200 OK", "", "ok").await;
    let channel = webhook(&server.url(), Span::from_secs(20));
    let mut parcel = parcel(&*channel);
    parcel.rendered = Rendered::Mail(Mail { subject: "s".to_owned(), text: "t".to_owned(), html: None });
    assert!(matches!(channel.send(&parcel).await, Outcome::Reject { .. }));
    assert!(server.requests().is_empty());
}
