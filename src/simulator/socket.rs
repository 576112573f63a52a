//! One open socket: sends what happens, answers methods, and ends as it was told to.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    select,
    sync::{mpsc, watch},
    time::{sleep, timeout},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        self, Message,
        protocol::{CloseFrame, frame::coding::CloseCode},
    },
};

use super::{
    faults::{Distortion, Silence, Then},
    feed::Batch,
    methods,
    server::Shared,
};
use crate::model::time::{Span, Timestamp};

/// How long a peer may take to hear that a socket closes.
const FAREWELL: Duration = Duration::from_secs(1);

enum End {
    /// The reader went, or can't be reached.
    Gone,
    Dropped,
    Expired,
    Stopped,
}

/// A socket's place in the feed.
pub(super) struct Place {
    number: u64,
    batches: mpsc::Receiver<Batch>,
    drops: watch::Receiver<()>,
    /// When the token it was opened with ends.
    expires: Timestamp,
}

impl Place {
    pub(super) fn take(shared: &Shared, expires: Timestamp) -> Self {
        let drops = shared.drops.subscribe();
        let (number, batches) = shared.feed.join();
        shared.counters.connections.add(1);
        Self { number, batches, drops, expires }
    }
}

/// Serves one socket to its end.
pub(super) async fn serve<S>(shared: &Shared, mut socket: WebSocketStream<S>, place: Place)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let Place { number, batches, mut drops, expires } = place;
    let age = shared.faults.borrow().drop_after;
    let expiry = shared.close_at_expiry.then(|| (expires - shared.clock.now()).to_std().unwrap_or_default());
    tracing::debug!(socket = number, "socket opened");
    let session = Session { shared, distortion: Distortion::new(shared.seed, number), deaf: false };
    let end = select! {
        end = session.run(&mut socket, batches) => end,
        _ = drops.changed() => End::Dropped,
        () = after(age.map(Span::get)) => End::Dropped,
        () = after(expiry) => End::Expired,
        () = shared.stop.cancelled() => End::Stopped,
    };
    let farewell = match end {
        End::Gone => None,
        End::Dropped => {
            shared.counters.drops.add(1);
            None
        }
        End::Expired => Some((CloseCode::Policy, "token expired")),
        End::Stopped => Some((CloseCode::Away, "going away")),
    };
    if let Some((code, reason)) = farewell {
        // A peer that does not take it is left behind.
        let _ = timeout(FAREWELL, socket.close(Some(CloseFrame { code, reason: reason.into() }))).await;
    }
    tracing::debug!(socket = number, "socket closed");
}

async fn after(time: Option<Duration>) {
    match time {
        Some(time) => sleep(time).await,
        None => std::future::pending().await,
    }
}

struct Session<'a> {
    shared: &'a Shared,
    distortion: Distortion,
    /// Dead silent for the rest of its life.
    deaf: bool,
}

impl Session<'_> {
    async fn run<S>(mut self, socket: &mut WebSocketStream<S>, mut batches: mpsc::Receiver<Batch>) -> End
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut faults = self.shared.faults.subscribe();
        loop {
            let dead = self.deaf || faults.borrow_and_update().silence == Silence::Dead;
            let step = select! {
                biased;
                message = socket.next(), if !dead => match message {
                    Some(Ok(message)) => self.answer(socket, message).await,
                    Some(Err(_)) | None => return End::Gone,
                },
                _ = faults.changed() => Ok(Then::GoOn),
                batch = batches.recv() => match batch {
                    Some(batch) => self.send(socket, &batch).await,
                    None => return End::Stopped,
                },
            };
            match step {
                Ok(Then::GoOn) => {}
                Ok(Then::Drop) => return End::Dropped,
                Ok(Then::Silence) => self.deaf = true,
                Err(_) => return End::Gone,
            }
        }
    }

    async fn send<S>(&mut self, socket: &mut WebSocketStream<S>, batch: &Batch) -> Result<Then, tungstenite::Error>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let faults = self.shared.faults.borrow().clone();
        if self.deaf || faults.silence != Silence::No {
            return Ok(Then::GoOn);
        }
        let counters = &self.shared.counters;
        let bent = self.distortion.bend(&faults, batch, counters);
        for message in bent.messages {
            socket.feed(message).await?;
        }
        socket.flush().await?;
        counters.sent_frames.add(bent.frames);
        counters.sent_elements.add(bent.elements);
        Ok(bent.then)
    }

    async fn answer<S>(&mut self, socket: &mut WebSocketStream<S>, message: Message) -> Result<Then, tungstenite::Error>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let request = match &message {
            Message::Text(text) => text.as_bytes(),
            Message::Binary(bytes) => bytes,
            // Pings are answered by the protocol itself; this sends the answer.
            Message::Ping(_) | Message::Close(_) => {
                return match socket.flush().await {
                    Ok(()) | Err(tungstenite::Error::ConnectionClosed) => Ok(Then::GoOn),
                    Err(error) => Err(error),
                };
            }
            Message::Pong(_) | Message::Frame(_) => return Ok(Then::GoOn),
        };
        let cap = self.shared.faults.borrow().cap_answers;
        let answer = methods::answer(request, &self.shared.feed, self.shared.answers, cap);
        for frame in answer.frames {
            socket.feed(frame).await?;
        }
        socket.flush().await?;
        self.shared.counters.requests.add(1);
        self.shared.counters.answered.add(answer.messages);
        Ok(Then::GoOn)
    }
}
