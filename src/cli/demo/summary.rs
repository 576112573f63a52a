//! The demo's last word: what the feed told, what the store has of it, and what the mail server and the chat got. Each number is counted where it
//! happens; the books balance when they agree.

use std::fmt;

use super::catcher::Catchers;
use crate::{
    model::{alert::Role, books::Counts, delivery::State},
    simulator::Stats,
    store::{Reader, StoreError},
};

/// The channels that a catcher is behind.
pub const CAUGHT: [&str; 2] = ["kyc-operations", "compliance-chat"];

/// What the store holds at a moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counted {
    pub books: Counts,
    pub first: u64,
    pub repeats: u64,
    pub shadow: u64,
    pub delivered: u64,
    /// Of them those by the channels whose receivers count, too.
    pub caught: u64,
    pub dead: u64,
    pub owed: u64,
}

impl Counted {
    pub fn read(reader: &Reader) -> Result<Self, StoreError> {
        let mut counted = Self::default();
        for (_, books) in reader.books()? {
            counted.books.add(&books);
        }
        let mut last = 0;
        loop {
            let rows = reader.alerts_after(last, 1_000)?;
            let Some(newest) = rows.last() else { break };
            last = newest.n;
            for row in &rows {
                match row.role {
                    Role::First => counted.first += 1,
                    Role::Repeat => counted.repeats += 1,
                    Role::Shadow => counted.shadow += 1,
                }
            }
        }
        for (channel, state, count) in reader.delivery_counts()? {
            match state {
                State::Delivered => {
                    counted.delivered += count;
                    counted.caught += if CAUGHT.contains(&channel.as_str()) { count } else { 0 };
                }
                State::Dead => counted.dead += count,
                State::Waiting | State::Leased => counted.owed += count,
            }
        }
        Ok(counted)
    }

    /// Whether everything that the feed told has been read and judged.
    pub fn everything_arrived(&self, before: &Self, told: &Stats) -> bool {
        let books = &self.books;
        let events = books.frames - before.books.frames - (books.method_replies - before.books.method_replies);
        events >= told.sent_frames + told.answered && books.evaluated == books.journaled
    }
}

/// One line of the books: two numbers that must agree.
struct Line {
    text: &'static str,
    left: u64,
    right: u64,
}

/// The books of one demo.
pub struct Summary {
    told: u64,
    lines: Vec<Line>,
    alerts: (u64, u64, u64),
    drained: bool,
}

impl Summary {
    pub fn of(told: &Stats, before: &Counted, after: &Counted, catchers: &Catchers, drained: bool) -> Self {
        let now = &after.books;
        let old = &before.books;
        let frames = now.frames - old.frames;
        let replies = now.method_replies - old.method_replies;
        let line = |text, left, right| Line { text, left, right };
        let lines = vec![
            line(
                "frames the feed sent = frames received, but for answers to our questions",
                told.sent_frames + told.answered,
                frames - replies,
            ),
            line(
                "frames received, these answers included = decoded + set aside + answers",
                frames,
                (now.decoded - old.decoded) + (now.refused - old.refused) + replies,
            ),
            line(
                "entries in them = journaled + already had",
                (now.elements + now.given_back) - (old.elements + old.given_back),
                (now.journaled - old.journaled) + (now.already_had - old.already_had),
            ),
            line("events journaled = judged", now.journaled - old.journaled, now.evaluated - old.evaluated),
            line(
                "verdicts owed or asked for again = decided + undecided + parked",
                (now.owed - old.owed) + (now.asked_again - old.asked_again),
                (now.decided - old.decided) + (now.undecided - old.undecided) + (now.parked - old.parked),
            ),
            line(
                "deliveries written = delivered + given up",
                after.delivered + after.dead + after.owed - before.delivered - before.dead - before.owed,
                after.delivered + after.dead - before.delivered - before.dead,
            ),
            line(
                "deliveries by mail and chat = mails and chat posts caught",
                after.caught - before.caught,
                catchers.mails() + catchers.chats(),
            ),
        ];
        let alerts = (after.first - before.first, after.repeats - before.repeats, after.shadow - before.shadow);
        Self { told: told.sent_elements, lines, alerts, drained }
    }

    /// Whether every line agrees.
    pub fn balances(&self) -> bool {
        self.drained && self.lines.iter().all(|line| line.left == line.right)
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, repeats, shadow) = self.alerts;
        writeln!(f, "{} events told; {first} alerts sent, {repeats} repeats held back, {shadow} in shadow.", self.told)?;
        for line in &self.lines {
            let mark = if line.left == line.right { "=" } else { "≠" };
            writeln!(f, "  {:>8} {mark} {:<8} {}", line.left, line.right, line.text)?;
        }
        if !self.drained {
            writeln!(f, "  Not everything had been judged and delivered when the time was up.")?;
        }
        write!(f, "{}", if self.balances() { "The books balance." } else { "THE BOOKS DO NOT BALANCE." })
    }
}
