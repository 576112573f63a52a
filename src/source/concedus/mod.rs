//! The CONCEDUS feed: a token, a WebSocket, three methods (feed.md §3, 4, 6, 11).
//!
//! Promises: every message off the socket is exactly one of [`Signal::Frame`], [`Signal::Refused`] and [`Signal::MethodReply`], in
//! the order of the socket; a lost connection is tried again for ever, never in a tight loop; a dead peer is found within
//! `dead_after` and two ticks; a refused login is told apart from a lost network and tried rarely; what may have been missed is
//! asked for after each connect, topic by topic, until it is proven complete or told as a gap. It leaves to others what a frame means
//! (decode) and what of an answer is new (the journal).
//!
//! | file | holds |
//! | --- | --- |
//! | [`token`](self) | getting, refreshing, renewing tokens |
//! | `socket` | TCP, TLS, the upgrade |
//! | `session` | one connection: frames, pings, requests |
//! | `methods` | what can be asked |
//! | `plan` | what is asked after a connect, and what is owed |
//! | `search` | one topic's past: growing counts, then a bisection |
//! | `replies` | what a frame is while a request is open |
//! | `pace` | how fast it tries again |
//! | [`lookup`] | how single identifications stand, for whoever asks after a gap |

pub mod lookup;
mod methods;
mod pace;
mod plan;
mod replies;
mod search;
mod session;
mod socket;
#[cfg(test)]
mod tests;
mod tls;
mod token;

use std::{sync::Arc, time::Duration};

use rustls::pki_types::CertificateDer;
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;
use url::{Host, Url};

pub use self::pace::Timing;
use self::{
    lookup::Lookups,
    pace::Pace,
    plan::Plan,
    session::{Limits, Session},
    socket::{ConnectError, Socket, Target},
    token::{TokenError, Tokens},
};
use super::Resume;
use crate::{
    config::ConcedusConfig,
    model::{
        causes,
        ids::Ids,
        names::FeedName,
        signal::{Connection, Heard, Meter, Signal},
        time::Clock,
    },
};

/// The feed's configuration can't be used.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("feed `{feed}`: {key} = `{url}` can't be used: {problem}")]
    Url { feed: FeedName, key: &'static str, url: String, problem: String },
    #[error("feed `{feed}`: max_message must not be 0")]
    NoMessage { feed: FeedName },
    #[error("feed `{feed}`: dead_after must be longer than ping_every, and both longer than 0")]
    Pings { feed: FeedName },
    #[error("feed `{feed}`: TLS can't be set up")]
    Tls { feed: FeedName, source: rustls::Error },
    #[error("feed `{feed}`: the client of the token endpoint can't be set up")]
    Http { feed: FeedName, source: reqwest::Error },
}

/// What no operator sets.
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub timing: Timing,
    /// Roots to trust beside the machine's own.
    pub extra_roots: Vec<CertificateDer<'static>>,
}

/// One CONCEDUS feed, ready to run.
#[derive(Debug)]
pub struct Source {
    feed: FeedName,
    clock: Arc<dyn Clock>,
    target: Target,
    tokens: Tokens,
    plan: Plan,
    pace: Pace,
    limits: Limits,
    lookups: Option<Lookups>,
}

impl Source {
    /// Checks the configuration and prepares TLS. Nothing is connected and no secret is read.
    ///
    /// # Errors
    /// When a URL is not wss/https (or plain on loopback), a limit makes no sense, or the machine's trust can't be loaded.
    pub fn new(feed: FeedName, config: &ConcedusConfig, clock: Arc<dyn Clock>, ids: Ids) -> Result<Self, SourceError> {
        Self::with_options(feed, config, clock, ids, Options::default())
    }

    /// As [`Source::new`], with other waits or further roots.
    ///
    /// # Errors
    /// As [`Source::new`].
    pub fn with_options(
        feed: FeedName,
        config: &ConcedusConfig,
        clock: Arc<dyn Clock>,
        ids: Ids,
        options: Options,
    ) -> Result<Self, SourceError> {
        let Options { timing, extra_roots } = options;
        let url = |key, text: &str, secure, plain| {
            checked_url(text, secure, plain).map_err(|problem| SourceError::Url {
                feed: feed.clone(),
                key,
                // Whatever stands before an `@` is a secret.
                url: text.rsplit('@').next().unwrap_or_default().to_owned(),
                problem,
            })
        };
        let socket = url("socket", &config.socket, "wss", "ws")?;
        let auth = url("auth", &config.auth, "https", "http")?;
        let (ping_every, dead_after) = (config.ping_every.get(), config.dead_after.get());
        if ping_every.is_zero() || dead_after <= ping_every {
            return Err(SourceError::Pings { feed });
        }
        if config.max_message.0 == 0 {
            return Err(SourceError::NoMessage { feed });
        }
        let tls = tls::client_config(extra_roots).map_err(|source| SourceError::Tls { feed: feed.clone(), source })?;
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured((*tls).clone())
            // A password follows no redirect, and the socket knows no proxy either.
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .timeout(timing.step_timeout)
            .user_agent(concat!("redflag/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|source| SourceError::Http { feed: feed.clone(), source })?;
        let below = config.lookups.as_ref();
        let base = below.map(|lookups| url("lookups.url", &lookups.url, "https", "http")).transpose()?;
        let tokens = Tokens::new(http.clone(), &auth, config, Arc::clone(&clock), timing.token_spacing);
        let spacing = below.map(|lookups| lookups.spacing.get()).unwrap_or_default();
        Ok(Self {
            lookups: base.map(|base| Lookups::new(http, base, tokens.bearer(), spacing)),
            tokens,
            target: Target {
                url: socket,
                tls,
                max_message: usize::try_from(config.max_message.0).unwrap_or(usize::MAX),
                timeout: timing.step_timeout,
            },
            plan: Plan::new(config.backfill.clone()),
            pace: Pace::new(timing.clone(), config.reconnect_cap.get(), ids),
            limits: Limits { ping_every, dead_after, request_timeout: config.backfill.timeout.get(), timing },
            feed,
            clock,
        })
    }

    /// Who looks up by this feed's login, where that is configured; once.
    #[must_use]
    pub fn lookups(&mut self) -> Option<Lookups> {
        self.lookups.take()
    }

    /// Connects, reads, and connects again until `stop` is cancelled or nobody takes the signals any more.
    pub async fn run(mut self, resume: Resume, signals: mpsc::Sender<Heard>, stop: CancellationToken) {
        self.plan.resume(resume.position.as_deref());
        let outlet = Outlet { signals, meter: resume.meter.clone(), stop, grace: self.limits.timing.close_grace };
        let Err(Over) = self.cycle(&resume, &outlet).await;
        tracing::info!(feed = %self.feed, "the feed has stopped");
    }

    async fn cycle(&mut self, resume: &Resume, outlet: &Outlet) -> Result<std::convert::Infallible, Over> {
        let mut told = None;
        loop {
            outlet.unless_stopped(tokio::time::sleep_until(self.pace.next_try())).await?;
            self.plan.connecting(resume.latest.borrow().clone(), self.clock.now());
            // Before the connection stands: what happens from the very first try on is owed, however often a process ends in between.
            if let Some(position) = self.plan.position() {
                outlet.send(Signal::Position { feed: self.feed.clone(), position }).await?;
            }
            let socket = match outlet.unless_stopped(self.connect()).await? {
                Ok(socket) => socket,
                Err(Failure::Refused { status, reason }) => {
                    let wait = self.pace.refused();
                    self.note(&reason, wait, resume);
                    tracing::error!(feed = %self.feed, reason, ?wait, "the login was refused; trying again rarely, tries may lock the account");
                    self.tell(&mut told, Connection::LoginRefused { status }, outlet).await?;
                    continue;
                }
                Err(Failure::Lost(reason)) => {
                    let wait = self.pace.lost();
                    self.note(&reason, wait, resume);
                    tracing::warn!(feed = %self.feed, reason, ?wait, "not connected; trying again");
                    self.tell(&mut told, Connection::Lost { reason }, outlet).await?;
                    continue;
                }
            };
            self.pace.connected();
            resume.last_try.succeeded();
            let begun = Instant::now();
            tracing::info!(feed = %self.feed, "connected");
            if self.plan.begins_now() {
                tracing::info!(feed = %self.feed, "nothing is journaled yet: events count from now on, no past ones are asked for (start_from)");
            } else if let (true, Some(begun)) = (resume.latest.borrow().is_empty(), self.plan.begun()) {
                tracing::info!(feed = %self.feed, since = %begun, "nothing is journaled yet: past events are asked for from start_from on");
            }
            self.tell(&mut told, Connection::Connected, outlet).await?;
            let session = Session::new(socket, &self.feed, &*self.clock, outlet, &mut self.plan, &self.limits);
            let end = tokio::select! {
                end = session.run() => end?,
                never = self.tokens.keep_fresh() => match never {},
            };
            let wait = self.pace.ended(begun.elapsed());
            let reason = causes::chain(&end);
            self.note(&reason, wait, resume);
            tracing::warn!(feed = %self.feed, reason, "the connection ended; connecting again");
            self.tell(&mut told, Connection::Lost { reason }, outlet).await?;
        }
    }

    fn note(&self, reason: &str, wait: Duration, resume: &Resume) {
        let wait = chrono::TimeDelta::from_std(wait).unwrap_or(chrono::TimeDelta::MAX);
        resume.last_try.failed(reason, self.clock.now().checked_add_signed(wait));
    }

    async fn connect(&mut self) -> Result<Socket, Failure> {
        let token = self.tokens.fresh().await.map_err(|error| match error {
            TokenError::Refused { status } => Failure::Refused { status, reason: causes::chain(&error) },
            _ => Failure::Lost(causes::chain(&error)),
        })?;
        self.target.open(&token).await.map_err(|error| match error {
            // The password was not tried yet: the next try does.
            ConnectError::Refused { .. } if token.refreshed => {
                self.tokens.forget();
                Failure::Lost(causes::chain(&error))
            }
            ConnectError::Refused { status } => {
                self.tokens.forget();
                Failure::Refused { status, reason: causes::chain(&error) }
            }
            _ => Failure::Lost(causes::chain(&error)),
        })
    }

    /// Signals a change of state, once.
    async fn tell(
        &self,
        told: &mut Option<std::mem::Discriminant<Connection>>,
        state: Connection,
        outlet: &Outlet,
    ) -> Result<(), Over> {
        if told.replace(std::mem::discriminant(&state)) == Some(std::mem::discriminant(&state)) {
            return Ok(());
        }
        outlet.send(Signal::Connection { feed: self.feed.clone(), at: self.clock.now(), state }).await.map(drop)
    }
}

/// Why there is no connection.
enum Failure {
    Refused { status: u16, reason: String },
    Lost(String),
}

/// The source is to end.
#[derive(Debug)]
struct Over;

/// The way out: the bounded channel, and the wish to stop.
struct Outlet {
    signals: mpsc::Sender<Heard>,
    meter: Meter,
    stop: CancellationToken,
    /// How long a full channel may hold up a stop.
    grace: Duration,
}

impl Outlet {
    /// Hands a signal on, waiting for a place where there is none. Says how long it waited.
    async fn send(&self, signal: Signal) -> Result<Duration, Over> {
        let heard = match self.signals.try_send(Heard { signal, read: self.meter.read() }) {
            Ok(()) => return Ok(Duration::ZERO),
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(Over),
            Err(mpsc::error::TrySendError::Full(heard)) => heard,
        };
        let begun = Instant::now();
        let too_late = async {
            self.stop.cancelled().await;
            tokio::time::sleep(self.grace).await;
        };
        tokio::select! {
            biased;
            sent = self.signals.send(heard) => sent.map_err(|_| Over)?,
            () = too_late => return Err(Over),
        }
        Ok(begun.elapsed().max(Duration::from_nanos(1)))
    }

    async fn unless_stopped<F: Future>(&self, work: F) -> Result<F::Output, Over> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(Over),
            () = self.signals.closed() => Err(Over),
            done = work => Ok(done),
        }
    }
}

/// `secure` anywhere, `plain` on loopback only; no user name or password in it.
fn checked_url(text: &str, secure: &str, plain: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("a URL must hold no user name or password".to_owned());
    }
    let loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => return Err("it names no host".to_owned()),
    };
    match url.scheme() {
        scheme if scheme == secure => Ok(url),
        scheme if scheme == plain && loopback => Ok(url),
        scheme if scheme == plain => Err(format!("`{plain}://` is for loopback only; write `{secure}://`")),
        scheme => Err(format!("`{scheme}://` is unknown here; write `{secure}://`")),
    }
}
