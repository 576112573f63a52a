//! One connection, from the upgrade to its end: frames into the channel, pings, and one request at a time.
//!
//! The loop is tight: a frame costs a look at the clock and a place in the channel; frames are only looked into while a request is
//! open; timers are looked at once a tick. Nothing counts as silence while a full channel keeps us from reading.

use std::{pin::pin, time::Duration};

use futures_util::{SinkExt, StreamExt};
use tokio::{
    sync::oneshot,
    time::{Instant, timeout},
};
use tokio_tungstenite::tungstenite::{self, Message, error::CapacityError, protocol::frame::Utf8Bytes};

use super::{
    Outlet, Over,
    methods::Ask,
    pace::Timing,
    plan::{Plan, Unproven},
    replies::{self, Reply},
    socket::Socket,
};
use crate::model::{
    event::{Frame, Origin, QuarantineReason, Quarantined},
    hash::Digest,
    names::FeedName,
    signal::{Answer, Ground, PastMessages, Signal},
    time::Clock,
    topic,
};

/// A request that got no answer in time is remembered for so many time-outs: its answer may still come.
const OVERDUE: u32 = 12;

/// After so many frames without a pause the timers are looked at between two frames.
const BURST: u32 = 256;

/// Why a connection ended, for people.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    #[error("the provider closed the socket (code {0})")]
    Closed(u16),
    #[error("the socket ended without a close")]
    Dropped,
    #[error("the peer was silent for {0:?}")]
    Dead(Duration),
    #[error("a message was too long or no text")]
    Refused,
    #[error("the socket failed")]
    Failed(#[source] tungstenite::Error),
}

/// The limits of one connection.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    pub(super) ping_every: Duration,
    pub(super) dead_after: Duration,
    pub(super) request_timeout: Duration,
    pub(super) timing: Timing,
}

/// A request that waits for its answer.
#[derive(Debug)]
struct Open {
    ask: Ask,
    deadline: Instant,
    /// Events that came since; they may be the answer.
    frames: usize,
    last_frame: Instant,
    /// So many messages had an array that may be a probe's answer.
    probed: usize,
}

pub(super) struct Session<'a> {
    pub(super) feed: &'a FeedName,
    pub(super) clock: &'a dyn Clock,
    pub(super) outlet: &'a Outlet,
    pub(super) plan: &'a mut Plan,
    pub(super) limits: &'a Limits,
    socket: Socket,
    open: Option<Open>,
    /// The answer that was handed on, until it is known how far back it reaches.
    handed: Option<(Answer, oneshot::Receiver<Ground>)>,
    /// Requests without an answer in time, and until when it may still come.
    overdue: Vec<(PastMessages, Instant)>,
    topics: (Option<Vec<String>>, Option<Vec<String>>),
    /// Something came since the last tick.
    heard: bool,
    last_heard: Instant,
    last_ping: Instant,
    close_code: Option<u16>,
}

/// What ends the loop: the connection, or the source.
enum Stop {
    End(End),
    Over(Over),
}

impl From<Over> for Stop {
    fn from(over: Over) -> Self {
        Self::Over(over)
    }
}

impl<'a> Session<'a> {
    pub(super) fn new(
        socket: Socket,
        feed: &'a FeedName,
        clock: &'a dyn Clock,
        outlet: &'a Outlet,
        plan: &'a mut Plan,
        limits: &'a Limits,
    ) -> Self {
        let now = Instant::now();
        Self {
            feed,
            clock,
            outlet,
            plan,
            limits,
            socket,
            open: None,
            handed: None,
            overdue: Vec::new(),
            topics: (None, None),
            heard: false,
            last_heard: now,
            last_ping: now,
            close_code: None,
        }
    }

    /// Runs until the connection ends. `Err`: the source is to end.
    pub(super) async fn run(mut self) -> Result<End, Over> {
        let end = match self.serve().await {
            Ok(never) => match never {},
            Err(end) => end,
        };
        match end {
            Stop::End(end) => {
                self.break_off().await?;
                Ok(end)
            }
            Stop::Over(over) => {
                // The channel may be full or gone; what is left of the connection is ended within the grace period.
                let _ = timeout(self.limits.timing.close_grace, self.break_off()).await;
                let _ = timeout(self.limits.timing.close_grace, self.socket.close(None)).await;
                Err(over)
            }
        }
    }

    async fn serve(&mut self) -> Result<std::convert::Infallible, Stop> {
        self.ask_next().await?;
        let tick = (self.limits.ping_every / 5).clamp(Duration::from_millis(10), Duration::from_secs(1));
        let mut next_tick = Instant::now() + tick;
        let mut timer = pin!(tokio::time::sleep_until(next_tick));
        let stop = self.outlet.stop.clone();
        let mut stopped = pin!(stop.cancelled());
        let mut burst = 0;
        loop {
            let ticked = if burst < BURST {
                tokio::select! {
                    biased;
                    message = self.socket.next() => {
                        burst += 1;
                        self.take(message).await?;
                        false
                    }
                    ground = reach(&mut self.handed) => {
                        self.go_on(ground).await?;
                        false
                    }
                    () = timer.as_mut() => true,
                    () = stopped.as_mut() => return Err(Over.into()),
                }
            } else {
                burst = 0;
                if let Some(ground) = self.handed.as_mut().and_then(|(_, ground)| ground.try_recv().ok()) {
                    self.go_on(ground).await?;
                }
                if stop.is_cancelled() {
                    return Err(Over.into());
                }
                Instant::now() >= next_tick
            };
            if ticked {
                burst = 0;
                self.tick().await?;
                next_tick = Instant::now() + tick;
                timer.as_mut().reset(next_tick);
            }
        }
    }

    async fn take(&mut self, message: Option<Result<Message, tungstenite::Error>>) -> Result<(), Stop> {
        self.heard = true;
        if is_message(message.as_ref()) {
            self.outlet.meter.count();
        }
        match message {
            Some(Ok(Message::Text(text))) => self.frame(Vec::from(tungstenite::Bytes::from(text))).await,
            Some(Ok(Message::Binary(bytes))) => self.frame(Vec::from(bytes)).await,
            Some(Ok(Message::Close(close))) => {
                // 1005: a close without a code. The stream ends by itself once our answer is out.
                self.close_code = Some(close.map_or(1005, |close| close.code.into()));
                Ok(())
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => Ok(()),
            Some(Err(tungstenite::Error::Capacity(CapacityError::MessageTooLong { size, max_size }))) => {
                if let Some(Open { ask: Ask::PastMessages(request) | Ask::Probe(request), .. }) = &self.open {
                    tracing::warn!(feed = %self.feed, since = %request.since, count = request.count, size, max_size, "past messages are longer than max_message together, or one of them is; asking for fewer");
                    return self.ask_for_fewer().await;
                }
                let detail = format!(
                    "a message of at least {size} bytes, {max_size} are allowed (max_message); it was not read, so its digest is unknown"
                );
                self.refuse(QuarantineReason::TooLarge, detail, size as u64).await
            }
            Some(Err(tungstenite::Error::Utf8(_))) => {
                let detail = "a text message that is no UTF-8; the WebSocket ended with it, so its bytes are unknown".to_owned();
                self.refuse(QuarantineReason::InvalidUtf8, detail, 0).await
            }
            Some(Err(error)) => Err(Stop::End(match (self.close_code, error) {
                (Some(code), _) => End::Closed(code),
                (None, tungstenite::Error::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake)) => {
                    End::Dropped
                }
                (None, error) => End::Failed(error),
            })),
            None => Err(Stop::End(self.close_code.map_or(End::Dropped, End::Closed))),
        }
    }

    /// One frame off the socket becomes exactly one signal that counts it.
    async fn frame(&mut self, bytes: Vec<u8>) -> Result<(), Stop> {
        if self.open.is_none() && self.overdue.is_empty() {
            return self.pass_frame(bytes).await;
        }
        let reply = match self.open.as_ref().map(|open| &open.ask) {
            Some(Ask::AvailableTopics | Ask::EnabledTopics) => replies::while_topics_are_asked(&bytes),
            Some(Ask::PastMessages(_) | Ask::Probe(_)) | None => replies::while_messages_are_asked(&bytes),
        };
        match reply {
            Reply::Topics { method, topics } if self.open.is_some() => {
                self.pass(Signal::MethodReply { feed: self.feed.clone() }).await?;
                self.take_topics(method.as_deref(), topics).await
            }
            Reply::Wrapped { messages, topic } => self.wrapped(bytes, messages, topic.as_deref()).await,
            Reply::Event { topic } => self.event(bytes, topic.as_deref()).await,
            Reply::Unrecognised => {
                if let Some(open) = &self.open {
                    tracing::warn!(
                        feed = %self.feed, method = open.ask.method(), bytes = bytes.len(),
                        "unrecognised reply: kept as a frame, the request stays open"
                    );
                }
                self.pass_frame(bytes).await
            }
            Reply::Topics { .. } | Reply::Unreadable => self.pass_frame(bytes).await,
        }
    }

    /// An array of messages, or an object with one: the open request's answer, a late one, or events in their array form.
    async fn wrapped(&mut self, bytes: Vec<u8>, messages: usize, topic: Option<&str>) -> Result<(), Stop> {
        let asked = self.open.as_ref().and_then(|open| open.ask.past()).is_some_and(|request| may_hold(request, topic));
        if !asked {
            let now = Instant::now();
            self.overdue.retain(|(_, until)| *until > now);
            let late = topic.and_then(|topic| self.overdue.iter().position(|(request, _)| may_hold(request, Some(topic))));
            let Some(late) = late else { return self.pass_frame(bytes).await };
            let (request, _) = self.overdue.remove(late);
            tracing::info!(feed = %self.feed, since = %request.since, messages, "an answer came after its time");
            let frame = self.answer_frame(bytes);
            return self.pass(Signal::Answered { request, frame }).await;
        }
        if let Some(Ask::PastMessages(request)) = self.open.as_ref().map(|open| &open.ask)
            && replies::is_too_much(&bytes)
        {
            tracing::warn!(feed = %self.feed, since = %request.since, count = request.count, messages, "past messages hold more values together than are read at once; asking for fewer");
            return self.ask_for_fewer().await;
        }
        if let Some(Open { ask: Ask::Probe(request), .. }) = &self.open
            && messages > 0
        {
            let request = request.clone();
            return self.probed(request, bytes, messages).await;
        }
        let counted = match self.open.as_ref().map(|open| &open.ask) {
            // An empty answer holds no events. A full one is the decoder's, which unwraps it.
            Some(Ask::PastMessages(request)) if messages > 0 => {
                let request = request.clone();
                let frame = self.answer_frame(bytes);
                Signal::Answered { request, frame }
            }
            _ => Signal::MethodReply { feed: self.feed.clone() },
        };
        self.pass(counted).await?;
        self.close_request(Answer::Wrapped { messages }).await
    }

    /// An array while a probe is open. The provider just gave all but one of the messages that are asked for: fewer are events. So may as
    /// many be, and more: whatever it is, it is compared with the journal, and what that lacks is taken.
    async fn probed(&mut self, request: PastMessages, bytes: Vec<u8>, messages: usize) -> Result<(), Stop> {
        let asked = request.count as usize;
        if messages + 1 < asked {
            return self.pass_frame(bytes).await;
        }
        let frame = self.answer_frame(bytes);
        self.pass(Signal::Answered { request, frame }).await?;
        if messages >= asked {
            return self.close_request(Answer::Wrapped { messages }).await;
        }
        if let Some(open) = &mut self.open {
            (open.probed, open.last_frame) = (messages, Instant::now());
        }
        Ok(())
    }

    /// The answer that came is not to be used: the next connection asks for fewer.
    async fn ask_for_fewer(&mut self) -> Result<(), Stop> {
        self.plan.too_long(self.clock.now());
        self.pass(Signal::MethodReply { feed: self.feed.clone() }).await?;
        Err(Stop::End(End::Refused))
    }

    /// An ordinary event, which may be a part of the answer.
    async fn event(&mut self, bytes: Vec<u8>, topic: Option<&str>) -> Result<(), Stop> {
        let mut reached = None;
        // A probe is only made where the provider answered by an array.
        if let Some(open) = &mut self.open
            && !matches!(open.ask, Ask::Probe(_))
            && open.ask.past().is_none_or(|request| may_hold(request, topic))
        {
            open.frames += 1;
            open.last_frame = Instant::now();
            let count = open.ask.past().map_or(usize::MAX, |request| request.count as usize);
            reached = (!self.plan.wraps() && open.frames >= count).then_some(open.frames);
        }
        self.pass_frame(bytes).await?;
        match reached {
            Some(messages) => self.close_request(Answer::Unwrapped { messages }).await,
            None => Ok(()),
        }
    }

    async fn pass_frame(&mut self, bytes: Vec<u8>) -> Result<(), Stop> {
        let frame = Frame { origin: Origin::Live, ..self.answer_frame(bytes) };
        self.pass(Signal::Frame(frame)).await
    }

    fn answer_frame(&mut self, bytes: Vec<u8>) -> Frame {
        let (feed, position) = (self.feed.clone(), self.plan.position());
        Frame { feed, received_at: self.clock.now(), origin: Origin::BackFill, bytes, position }
    }

    async fn take_topics(&mut self, method: Option<&str>, topics: Vec<String>) -> Result<(), Stop> {
        let asked = self.open.as_ref().map(|open| open.ask.method());
        let of = method.filter(|method| method.starts_with("get")).or(asked);
        match of {
            Some("getAvailableTopics") => self.topics.0 = Some(topics),
            Some("getEnabledTopics") => self.topics.1 = Some(topics),
            // A late list that does not say which it is.
            _ => return Ok(()),
        }
        if of == asked { self.close_request(Answer::None).await } else { Ok(()) }
    }

    async fn tick(&mut self) -> Result<(), Stop> {
        let now = Instant::now();
        let Limits { ping_every, dead_after, timing, .. } = self.limits;
        if std::mem::take(&mut self.heard) {
            self.last_heard = now;
        }
        let silent = now - self.last_heard;
        if silent >= *dead_after {
            return Err(Stop::End(End::Dead(*dead_after)));
        }
        if silent >= *ping_every && now - self.last_ping >= *ping_every {
            self.last_ping = now;
            self.send(Message::Ping(tungstenite::Bytes::new())).await?;
        }
        if let Some(open) = &self.open {
            let messages = open.frames;
            let unwrapped = open.ask.past().is_some() && !self.plan.wraps() && messages > 0;
            let expired = now >= open.deadline;
            let quiet = expired || now - open.last_frame >= timing.reply_quiet;
            if quiet && open.probed > 0 {
                let messages = open.probed;
                self.close_request(Answer::Wrapped { messages }).await?;
            } else if quiet && unwrapped {
                self.close_request(Answer::Unwrapped { messages }).await?;
            } else if expired {
                tracing::warn!(feed = %self.feed, method = open.ask.method(), "no answer within the limit; going on");
                self.close_request(Answer::None).await?;
            }
        }
        Ok(())
    }

    /// Asks the plan's next question, if there is one, and says what it came to where there is none.
    async fn ask_next(&mut self) -> Result<(), Stop> {
        let ask = self.plan.next(self.clock.now());
        for signal in self.unproven() {
            self.pass(signal).await?;
        }
        if let Some(position) = self.plan.position() {
            self.pass(Signal::Position { feed: self.feed.clone(), position }).await?;
        }
        let Some(ask) = ask else { return Ok(()) };
        if let Ask::PastMessages(request) = &ask {
            let (request, frames) = (request.clone(), !self.plan.wraps());
            self.pass(Signal::RequestOpened { feed: self.feed.clone(), request, frames }).await?;
        }
        let text = Utf8Bytes::from(ask.frame());
        let now = Instant::now();
        let deadline = now + self.limits.request_timeout;
        self.open = Some(Open { ask, deadline, frames: 0, last_frame: now, probed: 0 });
        self.send(Message::Text(text)).await
    }

    fn unproven(&mut self) -> Vec<Signal> {
        let signal = |Unproven { topics, since, until, reason }| Signal::Unproven {
            feed: self.feed.clone(),
            topics,
            since,
            until,
            reason,
        };
        self.plan.unproven().into_iter().map(signal).collect()
    }

    /// The open request is done (for topics, `answer` says nothing); the next one follows, once it is known what this one came to.
    async fn close_request(&mut self, answer: Answer) -> Result<(), Stop> {
        let Some(open) = self.open.take() else { return Ok(()) };
        match open.ask {
            Ask::AvailableTopics => {}
            Ask::EnabledTopics => {
                if self.topics != (None, None) {
                    let (available, enabled) = std::mem::take(&mut self.topics);
                    let (available, enabled) = (available.unwrap_or_default(), enabled.unwrap_or_default());
                    let before = self.plan.topics(&enabled);
                    self.pass(Signal::Topics { feed: self.feed.clone(), available, enabled, before }).await?;
                }
            }
            Ask::PastMessages(request) => {
                if self.close_past(request, answer).await? {
                    return Ok(());
                }
            }
            Ask::Probe(_) if answer == Answer::None => self.plan.unanswered(&answer, self.clock.now()),
            Ask::Probe(_) => self.plan.answered(&answer, Ground::None, self.clock.now()),
        }
        Box::pin(self.ask_next()).await
    }

    /// Answers whether the next request has to wait until the journal has said how far back the answer reaches.
    async fn close_past(&mut self, request: PastMessages, answer: Answer) -> Result<bool, Over> {
        tracing::debug!(feed = %self.feed, topics = request.topics.join(" "), since = %request.since, count = request.count, %answer, "past messages were asked for");
        let ground = match answer {
            Answer::Wrapped { .. } | Answer::Unwrapped { .. } => {
                let (tell, ground) = oneshot::channel();
                self.handed = Some((answer.clone(), ground));
                Some(tell)
            }
            Answer::None | Answer::Broken => {
                if answer == Answer::None {
                    self.overdue.push((request.clone(), Instant::now() + self.limits.request_timeout * OVERDUE));
                }
                self.plan.unanswered(&answer, self.clock.now());
                None
            }
        };
        let waits = ground.is_some();
        self.outlet.send(Signal::RequestClosed { feed: self.feed.clone(), request, answer, ground }).await?;
        Ok(waits)
    }

    async fn go_on(&mut self, ground: Ground) -> Result<(), Stop> {
        if let Some((answer, _)) = self.handed.take() {
            self.plan.answered(&answer, ground, self.clock.now());
        }
        self.ask_next().await
    }

    /// The connection is over: so is an open request.
    async fn break_off(&mut self) -> Result<(), Over> {
        if self.handed.take().is_some() {
            self.plan.unanswered(&Answer::Broken, self.clock.now());
        }
        match self.open.take().map(|open| open.ask) {
            Some(Ask::PastMessages(request)) => drop(self.close_past(request, Answer::Broken).await?),
            Some(Ask::Probe(_)) => self.plan.unanswered(&Answer::Broken, self.clock.now()),
            _ => {}
        }
        // Before the position that no longer owes it.
        for signal in self.unproven() {
            self.outlet.send(signal).await?;
        }
        Ok(())
    }

    async fn refuse(&mut self, reason: QuarantineReason, detail: String, size: u64) -> Result<(), Stop> {
        tracing::error!(feed = %self.feed, reason = reason.as_str(), size, "a message was refused; the connection ends with it");
        let refused = Quarantined {
            feed: self.feed.clone(),
            received_at: self.clock.now(),
            origin: Origin::Live,
            reason,
            detail,
            bytes: Vec::new(),
            size,
            digest: Digest::default(),
        };
        self.pass(Signal::Refused(refused)).await?;
        Err(Stop::End(End::Refused))
    }

    /// Hands a signal on. While the channel is full nothing is read, so that time is no one's silence.
    async fn pass(&mut self, signal: Signal) -> Result<(), Stop> {
        let blocked = self.outlet.send(signal).await?;
        if !blocked.is_zero() {
            self.heard = true;
            if let Some(open) = &mut self.open {
                open.deadline += blocked;
                open.last_frame += blocked;
            }
        }
        Ok(())
    }

    /// Writes; a peer that takes nothing for as long as a dead one may be silent is dead.
    async fn send(&mut self, message: Message) -> Result<(), Stop> {
        match timeout(self.limits.dead_after, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            // A peer that is closing is read to its end.
            Ok(Err(_)) if self.close_code.is_some() => Ok(()),
            Ok(Err(error)) => Err(Stop::End(End::Failed(error))),
            Err(_) => Err(Stop::End(End::Dead(self.limits.dead_after))),
        }
    }
}

/// Resolves once it is known how far back the answer reaches; never where none was handed on.
async fn reach(handed: &mut Option<(Answer, oneshot::Receiver<Ground>)>) -> Ground {
    match handed {
        // Nobody compares: the engine is gone, or stopping.
        Some((_, ground)) => ground.await.unwrap_or(Ground::None),
        None => std::future::pending().await,
    }
}

/// Whether the request asks for the topic. A message without one is anybody's.
fn may_hold(request: &PastMessages, name: Option<&str>) -> bool {
    let canonical = |name| topic::find(name).map_or(name, |topic| topic.name);
    request.topics.is_empty() || name.is_none_or(|name| request.topics.iter().any(|asked| canonical(asked) == canonical(name)))
}

/// What came off the socket and becomes a signal, whole or as its refusal.
fn is_message(message: Option<&Result<Message, tungstenite::Error>>) -> bool {
    matches!(
        message,
        Some(
            Ok(Message::Text(_) | Message::Binary(_))
                | Err(tungstenite::Error::Capacity(CapacityError::MessageTooLong { .. }) | tungstenite::Error::Utf8(_))
        )
    )
}
