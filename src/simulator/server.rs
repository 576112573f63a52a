//! Starts and stops a simulator, and its HTTP side: the token endpoint and the upgrade to the socket (look-ups have a file of their own).

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc};

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
    serve::ListenerExt,
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{net::TcpListener, select, sync::watch, task::JoinHandle};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        handshake::derive_accept_key,
        protocol::{Role, WebSocketConfig},
    },
};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use super::{
    control,
    events::World,
    faults::{Faults, Refuse},
    feed::{self, Feed, Pace, Story},
    frame::Frame,
    load::Load,
    lookups,
    options::{Answers, Mix, Options},
    register::Register,
    socket::{self, Place},
    stats::{Counters, Stats},
    tokens::Tokens,
};
use crate::model::time::{Clock, Timestamp};

/// A client's frames are requests: small.
const MAX_REQUEST: usize = 1 << 20;

/// Why a simulator did not start.
#[derive(Debug, thiserror::Error)]
pub enum SimulatorError {
    #[error("the simulator can't listen on {address}")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("the recorded feed {} can't be opened", path.display())]
    Events { path: PathBuf, source: io::Error },
    #[error("{what} must be a number from {from} to {to}, not {value}")]
    Number { what: &'static str, from: f64, to: f64, value: f64 },
}

/// A running simulator. It stops when it is dropped; [`stop`](Self::stop) also waits for the sockets to close.
#[derive(Debug)]
pub struct Simulator {
    address: SocketAddr,
    shared: Arc<Shared>,
    serving: JoinHandle<io::Result<()>>,
    tasks: TaskTracker,
    _stop: DropGuard,
}

/// What the parts of one simulator share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) feed: Feed,
    pub(super) faults: watch::Sender<Faults>,
    /// Changes when every open socket is to be dropped.
    pub(super) drops: watch::Sender<()>,
    pub(super) counters: Counters,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) stop: CancellationToken,
    pub(super) seed: u64,
    pub(super) answers: Answers,
    pub(super) close_at_expiry: bool,
    tokens: Tokens,
    credentials: Option<Credentials>,
    tasks: TaskTracker,
}

struct Credentials(String, String);

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Starts a simulator on the current runtime; it listens when this returns.
///
/// # Errors
/// The address is taken, the recorded feed is not there, or a rate or share makes no sense.
pub async fn start(options: Options) -> Result<Simulator, SimulatorError> {
    check(&options)?;
    let story = match (&options.events, options.mix) {
        (Some(path), _) => {
            let file = std::fs::File::open(path).map_err(|source| SimulatorError::Events { path: path.clone(), source })?;
            Story::Recording { lines: io::BufReader::new(file), path: path.clone() }
        }
        (None, Mix::Realistic) => Story::World(Box::new(World::new(options.seed, options.people))),
        (None, Mix::Load { alerting }) => Story::Load(Box::new(Load::new(options.seed, options.people, alerting))),
    };
    let refused = |source| SimulatorError::Listen { address: options.listen, source };
    let listener = TcpListener::bind(options.listen).await.map_err(refused)?;
    let address = listener.local_addr().map_err(refused)?;

    let register = matches!(options.mix, Mix::Realistic).then(Register::default);
    let stop = CancellationToken::new();
    let tasks = TaskTracker::new();
    let shared = Arc::new(Shared {
        feed: Feed::new(options.topics.as_deref(), options.history, register),
        faults: watch::Sender::new(options.faults),
        drops: watch::Sender::new(()),
        counters: Counters::default(),
        clock: options.clock,
        stop: stop.clone(),
        seed: options.seed,
        answers: options.answers,
        close_at_expiry: options.close_at_expiry,
        tokens: Tokens::new(options.seed, options.token_life, options.refresh_tokens),
        credentials: options.credentials.map(|(user, password)| Credentials(user, password)),
        tasks: tasks.clone(),
    });

    let pace = Pace { rate: options.rate, limit: options.limit, wait: options.wait };
    let teller = shared.clone();
    tasks.spawn(async move {
        select! {
            () = feed::tell(&teller.feed, story, pace, &*teller.clock, &teller.counters) => {}
            () = teller.stop.cancelled() => {}
        }
    });
    // Small frames go out at once, as latency figures need it.
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    let serve = axum::serve(listener, router(shared.clone())).with_graceful_shutdown(stop.clone().cancelled_owned());
    let serving = tokio::spawn(serve.into_future());
    tracing::info!(%address, "simulator listens");
    Ok(Simulator { address, shared, serving, tasks, _stop: stop.drop_guard() })
}

fn check(options: &Options) -> Result<(), SimulatorError> {
    let Faults { duplicates, garbage, arrays, .. } = options.faults;
    let alerting = match options.mix {
        Mix::Load { alerting } => alerting,
        Mix::Realistic => 0.0,
    };
    let shares = [("duplicates", duplicates), ("garbage", garbage), ("arrays", arrays), ("the alerting share", alerting)];
    let numbers = shares.into_iter().map(|(what, value)| (what, 1.0, value)).chain([("the rate", f64::INFINITY, options.rate)]);
    for (what, to, value) in numbers {
        if !(0.0..=to).contains(&value) {
            return Err(SimulatorError::Number { what, from: 0.0, to, value });
        }
    }
    Ok(())
}

impl Simulator {
    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// `ws://…/ws/connect`
    #[must_use]
    pub fn socket_url(&self) -> String {
        format!("ws://{}/ws/connect", self.address)
    }

    /// `http://…/v2/auth`; `token`, `refresh` and `check` lie below it.
    #[must_use]
    pub fn auth_url(&self) -> String {
        format!("http://{}/v2/auth", self.address)
    }

    /// `http://…/v2`; look-ups lie below it.
    #[must_use]
    pub fn rest_url(&self) -> String {
        format!("http://{}/v2", self.address)
    }

    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared.counters.stats()
    }

    /// Something happens now: any bytes, sent as they are after all that was told before. Returns when every socket's queue has it.
    pub async fn push(&self, frame: impl Into<Vec<u8>>) {
        self.shared.push(frame.into()).await;
    }

    /// Changes what goes wrong from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.shared.faults.send_replace(faults);
    }

    /// Drops every open socket without a close frame.
    pub fn drop_sockets(&self) {
        self.shared.drop_sockets();
    }

    /// Returns once the story is over: its limit told, or its recording played, and handed to the sockets' queues. A story without an
    /// end is never over.
    pub async fn ended(&self) {
        self.shared.feed.ended().await;
    }

    /// Closes the sockets (1001), frees the port, and says what was counted.
    pub async fn stop(self) -> Stats {
        self.shared.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        // A request that hangs is no reason to: whoever sent it is gone, too.
        self.serving.abort();
        let _ = self.serving.await;
        self.shared.counters.stats()
    }
}

impl Shared {
    pub(super) async fn push(&self, frame: Vec<u8>) {
        self.feed.publish(vec![Frame::read(frame)], self.clock.now(), &self.counters).await;
    }

    pub(super) fn drop_sockets(&self) {
        self.drops.send_replace(());
    }

    /// Whether this time is refused; counts it without waking those who watch the faults.
    fn refuses(&self, which: fn(&mut Faults) -> &mut Refuse) -> bool {
        let mut refused = false;
        self.faults.send_if_modified(|faults| {
            refused = which(faults).refuses();
            false
        });
        refused
    }

    /// Until when the bearer of this request may ask; `None`: not (any more).
    pub(super) fn bearer(&self, headers: &HeaderMap) -> Option<Timestamp> {
        let header = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
        let (scheme, token) = header.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| self.tokens.end(token.trim(), self.clock.now())).flatten()
    }
}

fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/v2/auth/token", post(token))
        .route("/v2/auth/refresh", post(refresh))
        .route("/v2/auth/check", get(check_token))
        .route("/ws/connect", get(connect))
        .merge(lookups::routes())
        .merge(control::routes())
        .fallback(async || refusal(StatusCode::NOT_FOUND, "unknown path"))
        .with_state(shared)
}

async fn token(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    let Ok(body) = serde_json::from_slice::<Value>(&body) else {
        return refusal(StatusCode::BAD_REQUEST, "no JSON");
    };
    // The documents say `username`, integrators send `userName`.
    let text = |name: &str| body.get(name).and_then(Value::as_str);
    let (Some(user), Some(password)) = (text("username").or_else(|| text("userName")), text("password")) else {
        return refusal(StatusCode::BAD_REQUEST, "username and password are needed");
    };
    let known = shared.credentials.as_ref().is_none_or(|known| known.0 == user && known.1 == password);
    if !known || shared.refuses(|faults| &mut faults.refuse_tokens) {
        shared.counters.refused_tokens.add(1);
        return refusal(StatusCode::UNAUTHORIZED, "wrong user name or password");
    }
    shared.counters.tokens.add(1);
    Json(shared.tokens.grant(user, shared.clock.now())).into_response()
}

async fn refresh(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    let body = serde_json::from_slice::<Value>(&body).unwrap_or_default();
    let token = body.get("RefreshToken").and_then(Value::as_str);
    let granted = if shared.refuses(|faults| &mut faults.refuse_tokens) {
        None
    } else {
        token.and_then(|token| shared.tokens.refresh(token, shared.clock.now()))
    };
    let Some(granted) = granted else {
        shared.counters.refused_tokens.add(1);
        return (StatusCode::UNAUTHORIZED, Json(json!({ "error": "Invalid request" }))).into_response();
    };
    shared.counters.tokens.add(1);
    shared.counters.refreshes.add(1);
    Json(granted).into_response()
}

async fn check_token(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    match shared.bearer(&headers) {
        Some(end) => Json(json!({ "exp": end.timestamp() })).into_response(),
        None => refusal(StatusCode::UNAUTHORIZED, "the token is unknown or has expired"),
    }
}

async fn connect(State(shared): State<Arc<Shared>>, mut request: Request) -> Response {
    let expires = shared.bearer(request.headers());
    let refused = shared.refuses(|faults| &mut faults.refuse_sockets);
    let Some(expires) = expires.filter(|_| !refused) else {
        shared.counters.refused_sockets.add(1);
        return refusal(StatusCode::UNAUTHORIZED, "the token is unknown or has expired");
    };
    let Some(key) = request.headers().get(header::SEC_WEBSOCKET_KEY) else {
        return refusal(StatusCode::BAD_REQUEST, "no WebSocket handshake");
    };
    let accept = derive_accept_key(key.as_bytes());
    let upgrade = hyper::upgrade::on(&mut request);
    // Before the answer, so that the reader gets all that happens once it has it.
    let place = Place::take(&shared, expires);
    let tasks = shared.tasks.clone();
    tasks.spawn(async move {
        let upgraded = match upgrade.await {
            Ok(upgraded) => TokioIo::new(upgraded),
            Err(error) => return tracing::debug!(%error, "a socket was not opened: the upgrade failed"),
        };
        let config = WebSocketConfig::default().max_message_size(Some(MAX_REQUEST)).max_frame_size(Some(MAX_REQUEST));
        let stream = WebSocketStream::from_raw_socket(upgraded, Role::Server, Some(config)).await;
        socket::serve(&shared, stream, place).await;
    });
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = HeaderValue::from_str(&accept) {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    response
}

/// The provider's shape of an error, whose code is a text.
pub(super) fn refusal(status: StatusCode, reason: &str) -> Response {
    let info = status.canonical_reason().unwrap_or_default();
    (status, Json(json!({ "code": status.as_str(), "info": info, "reason": reason }))).into_response()
}
