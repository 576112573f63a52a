//! Faults, by peers made here: what a feed server that works can't show.

use std::io::Write as _;

use futures_util::{SinkExt, StreamExt};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    time::timeout,
};
use tokio_tungstenite::{WebSocketStream, accept_async, tungstenite::Message};

use super::*;
use crate::model::{event::QuarantineReason, signal::LastTry, time::SystemClock};

/// The longest that a test waits for anything.
const PATIENCE: Duration = Duration::from_secs(20);

/// Answers every request with the next of these statuses; the last one repeats.
async fn token_endpoint(statuses: &'static [u16]) -> (String, watch::Receiver<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v2/auth", listener.local_addr().unwrap());
    let (asked, count) = watch::channel(0);
    tokio::spawn(async move {
        loop {
            let (mut tcp, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"}") {
                if tcp.read_buf(&mut request).await.unwrap() == 0 {
                    break;
                }
            }
            let nth = *asked.borrow();
            let status = statuses[nth.min(statuses.len() - 1)];
            let body = if status == 200 { r#"{"accessToken":"t","exp":4102444800}"# } else { r#"{"code":"no"}"# };
            let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
            tcp.write_all(answer.as_bytes()).await.unwrap();
            asked.send_modify(|count| *count += 1);
        }
    });
    (url, count)
}

struct Bench {
    signals: mpsc::Receiver<Heard>,
    stop: CancellationToken,
    run: tokio::task::JoinHandle<()>,
    _heard: watch::Sender<crate::model::signal::Latest>,
    _password: tempfile::NamedTempFile,
}

impl Bench {
    fn start(socket: &str, auth: &str, more: &str) -> Self {
        Self::start_trusting(socket, auth, more, Vec::new())
    }

    fn start_trusting(socket: &str, auth: &str, more: &str, extra_roots: Vec<CertificateDer<'static>>) -> Self {
        let mut password = tempfile::NamedTempFile::new().unwrap();
        writeln!(password, "secret").unwrap();
        let text = format!(
            "socket = '{socket}'\nauth = '{auth}'\nusername = 'u'\npassword = {{ file = '{}' }}\n\
             reconnect_cap = '20ms'\nping_every = '50ms'\ndead_after = '300ms'\n{more}",
            password.path().display()
        );
        let config: ConcedusConfig = toml::from_str(&text).unwrap();
        let millis = Duration::from_millis;
        let timing = Timing {
            try_spacing: millis(5),
            token_spacing: millis(5),
            first_window: millis(5),
            login_ladder: vec![millis(5)],
            reply_quiet: millis(50),
            ..Timing::default()
        };
        let options = Options { timing, extra_roots };
        let source =
            Source::with_options(FeedName::new("test"), &config, Arc::new(SystemClock), Ids::seeded(1), options).unwrap();
        let (heard, receiver) = watch::channel(crate::model::signal::Latest::new());
        let (sender, signals) = mpsc::channel(4);
        let stop = CancellationToken::new();
        let resume = Resume { latest: receiver, position: None, meter: Meter::default(), last_try: LastTry::default() };
        let run = tokio::spawn(source.run(resume, sender, stop.clone()));
        Self { signals, stop, run, _heard: heard, _password: password }
    }

    async fn next(&mut self) -> Signal {
        loop {
            match timeout(PATIENCE, self.signals.recv()).await.expect("no signal came").expect("the source ended").signal {
                Signal::Position { .. } => {}
                signal => return signal,
            }
        }
    }

    async fn expect_state(&mut self) -> Connection {
        match self.next().await {
            Signal::Connection { state, .. } => state,
            other => panic!("expected a change of the connection's state, got {other:?}"),
        }
    }

    /// What is owed may be noted at any time.
    fn expect_nothing_told(&mut self) {
        while let Ok(heard) = self.signals.try_recv() {
            assert!(matches!(heard.signal, Signal::Position { .. }), "told twice: {heard:?}");
        }
    }

    async fn end(self) {
        self.stop.cancel();
        timeout(PATIENCE, self.run).await.expect("the source does not stop").unwrap();
    }
}

async fn socket_endpoint() -> (String, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    (format!("ws://{}/ws/connect", listener.local_addr().unwrap()), listener)
}

async fn accept(listener: &TcpListener) -> WebSocketStream<TcpStream> {
    let (tcp, _) = timeout(PATIENCE, listener.accept()).await.expect("nobody connected").unwrap();
    accept_async(tcp).await.unwrap()
}

#[tokio::test]
async fn a_refused_login_is_told_once_and_ends_with_a_connection() {
    let (auth, mut asked) = token_endpoint(&[401, 401, 403, 401, 200]).await;
    let (url, listener) = socket_endpoint().await;
    let mut bench = Bench::start(&url, &auth, "");
    assert_eq!(bench.expect_state().await, Connection::LoginRefused { status: 401 });
    asked.wait_for(|count| *count >= 5).await.unwrap();
    let _peer = accept(&listener).await;
    assert_eq!(bench.expect_state().await, Connection::Connected);
    bench.end().await;
}

#[tokio::test]
async fn an_unwell_token_endpoint_is_a_loss_and_no_refusal() {
    let (auth, mut asked) = token_endpoint(&[500]).await;
    let mut bench = Bench::start("ws://127.0.0.1:9/ws/connect", &auth, "");
    asked.wait_for(|count| *count >= 3).await.unwrap();
    match bench.expect_state().await {
        Connection::Lost { reason } => insta::assert_snapshot!(reason, @"the token endpoint answered with status 500"),
        other => panic!("{other:?}"),
    }
    bench.expect_nothing_told();
    bench.end().await;
}

#[tokio::test]
async fn where_an_empty_journal_begins_is_said_before_anything_is_tried() {
    let (auth, _asked) = token_endpoint(&[401]).await;
    let mut bench = Bench::start("ws://127.0.0.1:9/ws/connect", &auth, "");
    match bench.signals.recv().await.unwrap().signal {
        Signal::Position { position, .. } => assert!(position.contains("\"begun\""), "{position}"),
        other => panic!("{other:?}"),
    }
    bench.end().await;
}

#[tokio::test]
async fn a_peer_that_answers_nothing_is_found_dead() {
    let (auth, _asked) = token_endpoint(&[200]).await;
    let (url, listener) = socket_endpoint().await;
    let mut bench = Bench::start(&url, &auth, "");
    // It stays open and is never read: no pong comes.
    let _half_open = accept(&listener).await;
    assert_eq!(bench.expect_state().await, Connection::Connected);
    match bench.expect_state().await {
        Connection::Lost { reason } => insta::assert_snapshot!(reason, @"the peer was silent for 300ms"),
        other => panic!("{other:?}"),
    }
    let _again = accept(&listener).await;
    assert_eq!(bench.expect_state().await, Connection::Connected);
    bench.end().await;
}

#[tokio::test]
async fn a_peer_that_only_answers_pings_is_alive() {
    let (auth, _asked) = token_endpoint(&[200]).await;
    let (url, listener) = socket_endpoint().await;
    let mut bench = Bench::start(&url, &auth, "");
    let mut peer = accept(&listener).await;
    let mut pings = 0;
    // More pings than fit before a dead peer would be given up.
    while pings < 12 {
        match timeout(PATIENCE, peer.next()).await.expect("no ping came").unwrap().unwrap() {
            Message::Ping(_) => pings += 1,
            Message::Close(_) => panic!("given up after {pings} pings"),
            _ => {}
        }
    }
    assert_eq!(bench.expect_state().await, Connection::Connected);
    assert!(bench.signals.try_recv().is_err());
    bench.end().await;
}

#[tokio::test]
async fn an_over_long_message_is_refused_and_the_feed_goes_on() {
    let (auth, _asked) = token_endpoint(&[200]).await;
    let (url, listener) = socket_endpoint().await;
    let mut bench = Bench::start(&url, &auth, "max_message = '1KiB'");
    let mut peer = accept(&listener).await;
    peer.send(Message::text("x".repeat(1025))).await.unwrap();
    assert_eq!(bench.expect_state().await, Connection::Connected);
    let Signal::Refused(refused) = bench.next().await else { panic!("expected the message to be refused") };
    assert_eq!((refused.reason, refused.size, refused.bytes.len()), (QuarantineReason::TooLarge, 1025, 0));
    assert!(matches!(bench.expect_state().await, Connection::Lost { .. }));
    let mut peer = accept(&listener).await;
    assert_eq!(bench.expect_state().await, Connection::Connected);
    peer.send(Message::text("y".repeat(1024))).await.unwrap();
    let Signal::Frame(frame) = bench.next().await else { panic!("expected a frame") };
    assert_eq!(frame.bytes.len(), 1024);
    bench.end().await;
}

/// Answers the lists of topics; the request for past messages that follows.
async fn past_messages_asked(peer: &mut WebSocketStream<TcpStream>) -> serde_json::Value {
    loop {
        let Message::Text(text) = timeout(PATIENCE, peer.next()).await.expect("nothing is asked").unwrap().unwrap() else {
            continue;
        };
        let asked: serde_json::Value = serde_json::from_str(&text).unwrap();
        if asked["method"] == "getLastMessages" {
            return asked;
        }
        peer.send(Message::text(r#"["identResult"]"#)).await.unwrap();
    }
}

#[tokio::test]
async fn an_answer_of_more_values_than_are_read_at_once_is_asked_for_in_parts() {
    let (auth, _asked) = token_endpoint(&[200]).await;
    let (url, listener) = socket_endpoint().await;
    let bench = Bench::start(&url, &auth, "backfill = { start_from = '2026-01-01T00:00:00Z' }");
    let mut signals = bench.signals;
    let taken = tokio::spawn(async move {
        let mut taken = 0;
        while let Some(heard) = signals.recv().await {
            taken += usize::from(matches!(heard.signal, Signal::Answered { .. } | Signal::Frame(_)));
        }
        taken
    });
    let mut peer = accept(&listener).await;
    let first = past_messages_asked(&mut peer).await;
    let message = format!(r#"{{"topic":"identResult","values":[{}1]}}"#, "1,".repeat(99));
    peer.send(Message::text(format!("[{}{message}]", format!("{message},").repeat(10_000)))).await.unwrap();
    let mut peer = accept(&listener).await;
    let second = past_messages_asked(&mut peer).await;
    assert!(second["since"].as_str() > first["since"].as_str(), "{first} {second}");
    bench.stop.cancel();
    timeout(PATIENCE, bench.run).await.expect("the source does not stop").unwrap();
    assert_eq!(taken.await.unwrap(), 0);
}

#[tokio::test]
async fn a_socket_that_ends_at_each_request_for_past_messages_is_told_as_a_gap() {
    let (auth, _asked) = token_endpoint(&[200]).await;
    let (url, listener) = socket_endpoint().await;
    let mut bench = Bench::start(&url, &auth, "backfill = { start_from = '2026-01-01T00:00:00Z' }");
    let closing = tokio::spawn(async move {
        loop {
            let mut peer = accept(&listener).await;
            past_messages_asked(&mut peer).await;
            // A text that is no UTF-8 would end it as well.
            peer.close(None).await.unwrap();
        }
    });
    let (topics, reason) = loop {
        if let Signal::Unproven { topics, reason, .. } = bench.next().await {
            break (topics, reason);
        }
    };
    assert_eq!(topics, ["identResult"]);
    insta::assert_snapshot!(reason, @"the connection ended each time that its past messages were asked for");
    closing.abort();
    bench.end().await;
}

#[tokio::test]
async fn no_array_that_comes_while_messages_are_only_counted_is_consumed() {
    let (auth, _asked) = token_endpoint(&[200]).await;
    let (url, listener) = socket_endpoint().await;
    let mut bench = Bench::start(&url, &auth, "backfill = { start_from = '2026-01-01T00:00:00Z' }");
    let array = |numbers: &[u8]| {
        let events: Vec<String> =
            numbers.iter().map(|number| format!(r#"{{"topic":"identResult","identId":"{number}"}}"#)).collect();
        format!("[{}]", events.join(","))
    };
    // Fewer of an unknown topic are all.
    let (known, all): (Vec<u8>, Vec<u8>) = ((1..=10).collect(), (0..=10).collect());
    let sent = [array(&known), array(&known), array(&[30]), array(&known), array(&all)];
    let expected = ["compared", "compared", "live", "compared", "compared"].into_iter().zip(sent.clone());
    let expected: Vec<(&str, String)> = expected.collect();
    let mut peer = accept(&listener).await;
    let asking = tokio::spawn(async move {
        // What meets nothing known is asked for twice.
        for answer in &sent[..2] {
            past_messages_asked(&mut peer).await;
            peer.send(Message::text(answer.clone())).await.unwrap();
        }
        let probe = past_messages_asked(&mut peer).await;
        assert_eq!(probe["count"], 11, "{probe}");
        // A live batch; as many as are known, which may be all or another batch; the answer.
        for array in &sent[2..] {
            peer.send(Message::text(array.clone())).await.unwrap();
        }
        peer
    });
    let mut came = Vec::new();
    while came.len() < 5 {
        match bench.next().await {
            Signal::Answered { frame, .. } => came.push(("compared", String::from_utf8(frame.bytes).unwrap())),
            Signal::Frame(frame) => came.push(("live", String::from_utf8(frame.bytes).unwrap())),
            // Nobody compares: the journal has nothing.
            Signal::RequestClosed { ground, .. } => drop(ground),
            _ => {}
        }
    }
    assert_eq!(came, expected);
    let _peer = timeout(PATIENCE, asking).await.expect("nothing was asked").unwrap();
    bench.end().await;
}

#[tokio::test]
async fn a_full_channel_stops_the_reading_without_killing_the_peer() {
    let (auth, _asked) = token_endpoint(&[200]).await;
    let (url, listener) = socket_endpoint().await;
    let mut bench = Bench::start(&url, &auth, "");
    let mut peer = accept(&listener).await;
    for number in 0..50 {
        peer.send(Message::binary(format!("{number}").into_bytes())).await.unwrap();
    }
    // Nobody takes signals for three times the silence that a dead peer is allowed; the peer goes on answering.
    let answering = tokio::spawn(async move { while let Some(Ok(_)) = peer.next().await {} });
    assert!(timeout(Duration::from_millis(900), &mut bench.run).await.is_err(), "the source ended");
    assert_eq!(bench.expect_state().await, Connection::Connected);
    for number in 0..50 {
        let Signal::Frame(frame) = bench.next().await else { panic!("expected frame {number}") };
        assert_eq!(frame.bytes, number.to_string().into_bytes());
    }
    bench.end().await;
    answering.await.unwrap();
}

#[tokio::test]
async fn a_stop_closes_the_socket_politely() {
    let (auth, _asked) = token_endpoint(&[200]).await;
    let (url, listener) = socket_endpoint().await;
    let mut bench = Bench::start(&url, &auth, "");
    let mut peer = accept(&listener).await;
    assert_eq!(bench.expect_state().await, Connection::Connected);
    let reading = tokio::spawn(async move {
        while let Some(Ok(message)) = peer.next().await {
            if message.is_close() {
                return true;
            }
        }
        false
    });
    bench.end().await;
    assert!(timeout(PATIENCE, reading).await.unwrap().unwrap(), "no close frame came");
}

#[tokio::test]
async fn frames_come_over_tls_from_a_trusted_peer_only() {
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let root = own.cert.der().clone();
    let key = rustls::pki_types::PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let server = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![root.clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(server));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("wss://localhost:{}/ws/connect", listener.local_addr().unwrap().port());
    let (auth, _asked) = token_endpoint(&[200]).await;

    let mut stranger = Bench::start(&url, &auth, "");
    let (tcp, _) = listener.accept().await.unwrap();
    assert!(acceptor.accept(tcp).await.is_err(), "an unknown root was trusted");
    match stranger.expect_state().await {
        Connection::Lost { reason } => assert!(reason.starts_with("TLS with the socket's host failed: "), "{reason}"),
        other => panic!("{other:?}"),
    }
    stranger.end().await;

    let mut bench = Bench::start_trusting(&url, &auth, "", vec![root]);
    // What the stranger may have left in the queue fails here.
    let tls = loop {
        let (tcp, _) = timeout(PATIENCE, listener.accept()).await.expect("nobody connected").unwrap();
        if let Ok(tls) = acceptor.accept(tcp).await {
            break tls;
        }
    };
    let mut peer = accept_async(tls).await.unwrap();
    peer.send(Message::text("{}")).await.unwrap();
    assert_eq!(bench.expect_state().await, Connection::Connected);
    assert!(matches!(bench.next().await, Signal::Frame(frame) if frame.bytes == b"{}"));
    bench.end().await;
}

#[test]
fn a_url_must_be_secure_unless_it_is_loopback() {
    let problem = |text| checked_url(text, "wss", "ws").err().unwrap_or_else(|| "fine".to_owned());
    insta::assert_snapshot!(
        [
            "wss://feed.example/ws/connect",
            "ws://127.0.0.1:8080/ws/connect",
            "ws://[::1]:8080/ws/connect",
            "ws://localhost/ws/connect",
            "ws://feed.example/ws/connect",
            "ws://localhost.feed.example/",
            "https://feed.example/",
            "wss://user:word@feed.example/",
            "feed.example",
        ]
        .map(|text| format!("{text} -> {}", problem(text)))
        .join("\n"),
        @"
    wss://feed.example/ws/connect -> fine
    ws://127.0.0.1:8080/ws/connect -> fine
    ws://[::1]:8080/ws/connect -> fine
    ws://localhost/ws/connect -> fine
    ws://feed.example/ws/connect -> `ws://` is for loopback only; write `wss://`
    ws://localhost.feed.example/ -> `ws://` is for loopback only; write `wss://`
    https://feed.example/ -> `https://` is unknown here; write `wss://`
    wss://user:word@feed.example/ -> a URL must hold no user name or password
    feed.example -> relative URL without a base
    "
    );
}
