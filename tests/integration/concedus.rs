//! The CONCEDUS source against a feed server that shares no code with it.

use std::{io::Write as _, path::Path, sync::Arc, time::Duration};

use redflag::{
    config::ConcedusConfig,
    model::{
        ids::Ids,
        names::{FeedName, TopicName},
        signal::{Answer, Connection, Ground, Heard, LastTry, Latest, Meter, PastMessages, Signal},
        time::SystemClock,
    },
    source::{
        Resume,
        concedus::{Options, Source, Timing},
    },
};
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::support::feed::FeedServer;

/// The longest that a test waits for anything.
const PATIENCE: Duration = Duration::from_secs(30);
const EVENT: &str = r#"{"topic":"identResult","kyc":"WEBID","identId":"1","personKey":"P","reason":null,"status":"success"}"#;

/// A source that reads a feed server, and what it has signalled.
struct Reader {
    signals: mpsc::Receiver<Heard>,
    heard: watch::Sender<Latest>,
    stop: CancellationToken,
    run: tokio::task::JoinHandle<()>,
    seen: Vec<String>,
    _password: tempfile::NamedTempFile,
}

impl Reader {
    fn start(server: &FeedServer, more: &str) -> Self {
        let mut password = tempfile::NamedTempFile::new().unwrap();
        writeln!(password, "secret").unwrap();
        let text = format!(
            "socket = '{}'\nauth = '{}'\nusername = 'partner'\npassword = {{ file = '{}' }}\nreconnect_cap = '20ms'\n{more}",
            server.socket(),
            server.auth(),
            password.path().display()
        );
        let config: ConcedusConfig = toml::from_str(&text).unwrap();
        let millis = Duration::from_millis;
        let timing = Timing {
            try_spacing: millis(20),
            token_spacing: millis(20),
            first_window: millis(20),
            login_ladder: vec![millis(20)],
            reply_quiet: millis(300),
            ..Timing::default()
        };
        let options = Options { timing, extra_roots: Vec::new() };
        let source =
            Source::with_options(FeedName::new("concedus"), &config, Arc::new(SystemClock), Ids::seeded(1), options).unwrap();
        let (heard, receiver) = watch::channel(Latest::new());
        let (sender, signals) = mpsc::channel(64);
        let stop = CancellationToken::new();
        let resume = Resume { latest: receiver, position: None, meter: Meter::default(), last_try: LastTry::default() };
        let run = tokio::spawn(source.run(resume, sender, stop.clone()));
        Self { signals, heard, stop, run, seen: Vec::new(), _password: password }
    }

    /// The first signal of which `pick` makes something; what came before it is only noted.
    async fn until<T>(&mut self, what: &str, pick: impl Fn(&Signal) -> Option<T>) -> T {
        loop {
            let signal = match timeout(PATIENCE, self.signals.recv()).await {
                Ok(Some(Heard { signal: Signal::RequestClosed { feed, request, answer, ground }, .. })) => {
                    // As the engine does; known ground is met.
                    let _ = ground.map(|ground| ground.send(Ground::Met));
                    Signal::RequestClosed { feed, request, answer, ground: None }
                }
                Ok(Some(heard)) => heard.signal,
                ended => panic!("{what} did not come ({ended:?}); seen: {:#?}", self.seen),
            };
            self.seen.push(match &signal {
                Signal::Frame(frame) | Signal::Answered { frame, .. } => format!("frame of {} bytes", frame.bytes.len()),
                other => format!("{other:?}"),
            });
            if let Some(found) = pick(&signal) {
                return found;
            }
        }
    }

    async fn frame(&mut self) -> Vec<u8> {
        self.until("a frame", |signal| match signal {
            Signal::Frame(frame) => Some(frame.bytes.clone()),
            _ => None,
        })
        .await
    }

    async fn connected(&mut self) {
        self.until("a connection", |signal| {
            matches!(signal, Signal::Connection { state: Connection::Connected, .. }).then_some(())
        })
        .await;
    }

    async fn lost(&mut self) -> String {
        self.until("a lost connection", |signal| match signal {
            Signal::Connection { state: Connection::Lost { reason }, .. } => Some(reason.clone()),
            _ => None,
        })
        .await
    }

    async fn topics(&mut self) -> (Vec<String>, Vec<String>) {
        self.until("a list of topics", |signal| match signal {
            Signal::Topics { available, enabled, .. } => Some((available.clone(), enabled.clone())),
            _ => None,
        })
        .await
    }

    /// The frames of the next request for past messages, and how it ended.
    async fn request(&mut self) -> (PastMessages, Vec<String>, Answer) {
        let request = self
            .until("a request for past messages", |signal| match signal {
                Signal::RequestOpened { request, .. } => Some(request.clone()),
                _ => None,
            })
            .await;
        let mut frames = Vec::new();
        loop {
            let part = self
                .until("the end of a request for past messages", |signal| match signal {
                    Signal::Frame(frame) | Signal::Answered { frame, .. } => {
                        Some(Ok(String::from_utf8(frame.bytes.clone()).unwrap()))
                    }
                    Signal::RequestClosed { answer, .. } => Some(Err(answer.clone())),
                    _ => None,
                })
                .await;
            match part {
                Ok(frame) => frames.push(frame),
                Err(answer) => return (request, frames, answer),
            }
        }
    }

    async fn end(self) {
        self.stop.cancel();
        timeout(PATIENCE, self.run).await.expect("the source does not stop").unwrap();
    }
}

#[tokio::test]
async fn the_samples_arrive_byte_for_byte() {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/events");
    let server = FeedServer::start(&["--samples", samples.to_str().unwrap()]);
    let mut reader = Reader::start(&server, "");
    let mut files: Vec<_> = std::fs::read_dir(&samples)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| !path.file_name().unwrap().to_str().unwrap().starts_with("method_"))
        .collect();
    files.sort();
    assert!(files.len() >= 4, "the samples are missing");
    for file in files {
        assert_eq!(reader.frame().await, std::fs::read(&file).unwrap(), "{}", file.display());
    }
    server.send_binary(EVENT).await;
    assert_eq!(reader.frame().await, EVENT.as_bytes(), "binary frames are frames");
    reader.end().await;
}

#[tokio::test]
async fn both_lists_of_topics_are_read_in_each_shape_and_consumed() {
    for shape in ["texts", "objects", "topics", "data", "method"] {
        let server = FeedServer::start(&["--topics", shape]);
        let mut reader = Reader::start(&server, "");
        let (available, enabled) = reader.topics().await;
        assert_eq!((available.len(), enabled.len()), (5, 3), "{shape}: {available:?} {enabled:?}");
        let replies = reader.seen.iter().filter(|signal| signal.starts_with("MethodReply")).count();
        assert_eq!(replies, 2, "{shape}: {:?}", reader.seen);
        reader.end().await;
    }
}

#[tokio::test]
async fn a_provider_without_answers_holds_nothing_up() {
    let server = FeedServer::start(&["--topics", "none", "--reply", "none"]);
    let mut reader = Reader::start(&server, "backfill = { timeout = '100ms', start_from = '2026-01-01T00:00:00Z' }");
    let (request, frames, answer) = reader.request().await;
    assert_eq!((frames.len(), answer), (0, Answer::None));
    assert_eq!(request.since.to_rfc3339(), "2026-01-01T00:00:00+00:00");
    server.send(EVENT).await;
    assert_eq!(reader.frame().await, EVENT.as_bytes());
    reader.end().await;
}

#[tokio::test]
async fn what_was_missed_is_asked_for_after_a_drop_in_each_reply_shape() {
    for shape in ["array", "messages", "data", "unwrapped"] {
        let server = FeedServer::start(&["--reply", shape]);
        let mut reader = Reader::start(&server, "backfill = { overlap = '1m' }");
        reader.topics().await;
        server.send(EVENT).await;
        assert_eq!(reader.frame().await, EVENT.as_bytes());
        let journaled = chrono::Utc::now();
        reader.heard.send_replace(Latest::from([(TopicName::new("identResult"), journaled)]));

        let missed = EVENT.replace(r#""identId":"1""#, r#""identId":"2""#);
        server.miss(&missed).await;
        server.drop_sockets().await;
        reader.lost().await;
        let (request, frames, answer) = loop {
            let asked = reader.request().await;
            if asked.0.topics == ["identResult"] {
                break asked;
            }
        };
        assert!(request.since <= journaled, "{shape}: {request:?}");
        assert_eq!(request.count, 500, "{shape}");
        let all = frames.join("\n");
        assert!(all.contains(EVENT) && all.contains(&missed), "{shape}: {all}");
        let expected = if shape == "unwrapped" { Answer::Unwrapped { messages: 2 } } else { Answer::Wrapped { messages: 2 } };
        assert_eq!((answer, frames.len()), (expected, if shape == "unwrapped" { 2 } else { 1 }), "{shape}");
        reader.end().await;
    }
}

#[tokio::test]
async fn a_full_answer_is_asked_for_again_with_a_larger_count() {
    let server = FeedServer::start(&[]);
    for number in 0..7 {
        server.miss(&EVENT.replace(r#""identId":"1""#, &format!(r#""identId":"{number}""#))).await;
    }
    let mut reader = Reader::start(&server, "backfill = { count = 2, start_from = '2026-01-01T00:00:00Z' }");
    let mut asked = Vec::new();
    while asked.len() < 2 {
        let (request, _, answer) = reader.request().await;
        if request.topics == ["identResult"] {
            asked.push((request.count, answer));
        }
    }
    assert_eq!(asked, [(2, Answer::Wrapped { messages: 2 }), (8, Answer::Wrapped { messages: 7 })]);
    reader.end().await;
}

#[tokio::test]
async fn a_short_lived_token_is_renewed_and_each_socket_gets_a_new_one() {
    let server = FeedServer::start(&["--token-life", "1.5", "--close-when-expired"]);
    let mut reader = Reader::start(&server, "");
    for _ in 0..3 {
        reader.connected().await;
        let reason = reader.lost().await;
        assert_eq!(reason, "the provider closed the socket (code 4001)");
    }
    let stats = server.stats().await;
    assert_eq!(stats["refused_upgrades"], 0, "{stats}");
    assert_eq!(stats["tokens"], 1, "the password is sent once, then tokens are refreshed: {stats}");
    assert!(stats["refreshes"].as_u64().unwrap() >= 4, "renewed while connected, and anew for each socket: {stats}");
    reader.end().await;
}

#[tokio::test]
async fn without_refresh_tokens_every_token_comes_by_password() {
    let server = FeedServer::start(&["--no-refresh", "--username-field", "userName"]);
    let mut reader = Reader::start(&server, "username_field = 'userName'");
    reader.connected().await;
    reader.topics().await;
    server.drop_sockets().await;
    reader.lost().await;
    reader.connected().await;
    let stats = server.stats().await;
    assert_eq!((&stats["tokens"], &stats["refreshes"]), (&2.into(), &0.into()), "{stats}");
    assert_eq!(stats["user_fields"][0], serde_json::json!(["password", "userName"]));
    reader.end().await;
}

#[tokio::test]
async fn a_refused_login_is_told_and_tried_again() {
    let server = FeedServer::start(&["--refuse", "3"]);
    let mut reader = Reader::start(&server, "");
    let status = reader
        .until("a refused login", |signal| match signal {
            Signal::Connection { state: Connection::LoginRefused { status }, .. } => Some(*status),
            _ => None,
        })
        .await;
    assert_eq!(status, 401);
    reader.connected().await;
    assert_eq!(reader.seen.iter().filter(|signal| signal.contains("LoginRefused")).count(), 1, "told once");
    assert_eq!(server.stats().await["refused_logins"], 3);
    reader.end().await;
}
