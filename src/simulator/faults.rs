//! What goes wrong on request, and how a socket's frames are bent by it. What is told never changes: a fault only bends how.

use fastrand::Rng;
use serde::{Deserialize, Serialize};
use tokio_tungstenite::tungstenite::{Bytes, Message};

use super::{frame::Frame, stats::Counters};
use crate::model::time::Span;

/// Faults, all off by default; they may change while the simulator runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Faults {
    /// Each socket is dropped without a close frame once it has sent so many frames.
    pub drop_every: Option<u64>,
    /// Each socket is dropped without a close frame at this age. Holds for sockets opened from now on.
    pub drop_after: Option<Span>,
    /// Token and refresh requests answered with 401.
    pub refuse_tokens: Refuse,
    /// Sockets answered with 401 whatever their token.
    pub refuse_sockets: Refuse,
    /// The share (0 to 1) of frames that are sent twice.
    pub duplicates: f64,
    /// The share (0 to 1) of frames that are followed by something that is no event.
    pub garbage: f64,
    /// The share (0 to 1) of frames that are sent in an array, with what follows at the same moment.
    pub arrays: f64,
    /// `getLastMessages` answers with so many messages at most, whatever was asked for.
    pub cap_answers: Option<usize>,
    /// Each look-up of an identification or a person is answered with this status (401, 429, 500, …).
    pub fail_lookups: Option<u16>,
    /// Open sockets fall silent: what happens meanwhile they never tell.
    pub silence: Silence,
    /// A socket falls dead silent once it has sent so many frames.
    pub silent_after: Option<u64>,
}

/// How often something is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Refuse {
    #[default]
    Never,
    /// So many times from now.
    Next(u32),
    Always,
}

impl Refuse {
    /// Whether this time is refused; counts it.
    pub(super) fn refuses(&mut self) -> bool {
        match self {
            Self::Never | Self::Next(0) => false,
            Self::Next(left) => {
                *left -= 1;
                true
            }
            Self::Always => true,
        }
    }
}

/// How a socket is silent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Silence {
    #[default]
    No,
    /// No events, but pings and methods are answered: the provider's fault, not the line's.
    Quiet,
    /// Nothing at all, as when the line is cut: only a time limit finds out.
    Dead,
}

/// Bends the frames of one socket.
#[derive(Debug)]
pub(super) struct Distortion {
    rng: Rng,
    /// Frames sent on this socket.
    sent: u64,
}

/// What is to go out, and whether the socket goes on.
#[derive(Debug, Default)]
pub(super) struct Bent {
    pub(super) messages: Vec<Message>,
    pub(super) frames: u64,
    pub(super) elements: u64,
    pub(super) then: Then,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Then {
    #[default]
    GoOn,
    Drop,
    Silence,
}

impl Distortion {
    /// `socket` tells the sockets of one simulator apart.
    pub(super) fn new(seed: u64, socket: u64) -> Self {
        Self { rng: Rng::with_seed(seed ^ 0x9e37_79b9_7f4a_7c15_u64.rotate_left((socket % 64) as u32)), sent: 0 }
    }

    pub(super) fn bend(&mut self, faults: &Faults, frames: &[Frame], counters: &Counters) -> Bent {
        let mut bent = Bent { messages: Vec::with_capacity(frames.len()), ..Bent::default() };
        let mut rest = frames;
        while let Some((frame, others)) = rest.split_first() {
            rest = others;
            let mut message = frame.message.clone();
            let mut elements = u64::from(frame.elements);
            if self.happens(faults.arrays) {
                let along = self.rng.usize(0..5).min(others.len());
                if let Some(array) = array(&frames[frames.len() - others.len() - 1..][..=along]) {
                    message = array;
                    elements += others[..along].iter().map(|frame| u64::from(frame.elements)).sum::<u64>();
                    rest = &others[along..];
                }
            }
            let times = if self.happens(faults.duplicates) { 2 } else { 1 };
            counters.duplicates.add(times - 1);
            for _ in 0..times {
                bent.messages.push(message.clone());
                bent.frames += 1;
                bent.elements += elements;
                self.sent += 1;
                if faults.drop_every.is_some_and(|every| self.sent >= every) {
                    bent.then = Then::Drop;
                    return bent;
                }
                if faults.silent_after.is_some_and(|after| self.sent >= after) {
                    bent.then = Then::Silence;
                    return bent;
                }
            }
            if self.happens(faults.garbage) {
                counters.garbage.add(1);
                bent.messages.push(self.garbage());
            }
        }
        bent
    }

    fn happens(&mut self, share: f64) -> bool {
        // No draw without a share: the fast path, and faults that are off do not disturb those that are on.
        share > 0.0 && self.rng.f64() < share
    }

    /// Something that a decoder must set aside.
    fn garbage(&mut self) -> Message {
        match self.rng.u32(0..8) {
            0 => Message::text("not json"),
            1 => Message::text(r#"{"topic":"identResult","#),
            2 => Message::text(r#"{"topic":"identResult","topic":"mismatches"}"#),
            3 => Message::text("[".repeat(2_000)),
            4 => Message::text(""),
            5 => Message::text("42"),
            6 => Message::text(r#"{"topic":"identResult","status":"\ud800"}"#),
            _ => Message::Binary(Bytes::from_static(b"\xff\xfe{\x00")),
        }
    }
}

/// The frames as one array; none when one of them is no text.
fn array(frames: &[Frame]) -> Option<Message> {
    let mut text = String::from("[");
    for (at, frame) in frames.iter().enumerate() {
        let Message::Text(one) = &frame.message else { return None };
        if at > 0 {
            text.push(',');
        }
        text.push_str(one);
    }
    text.push(']');
    Some(Message::text(text))
}
