//! The scout: a child process that judges events before the service does.
//!
//! After an unclean stop nobody knows whether judging one of the events above the cursor was what ended the process. So a child goes first. It
//! says before each step what it is about to judge, and its verdicts are thrown away. Only a child that dies by its own signal, twice on
//! the same (event, rule) pair, convicts the pair; one that is killed from outside, or stands still, is replaced and convicts nobody.
//! Memory and processor time are limited, so that what would take the machine down ends the child instead.

mod child;

use std::{
    collections::BTreeSet,
    io,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{ChildStdout, Command},
    time::timeout,
};

pub use child::main;

use crate::{
    model::{ids::Seq, names::RuleId},
    rules::set::Declared,
};

/// What the program is called with to be the scout. No part of the command line: nobody types it.
pub const ARGUMENT: &str = "scout-for-the-service";

/// How often a child that says nothing is looked at. One that has used no processor since the last look stands still; one that has is slow,
/// and ended by its own limit if need be.
const LOOK: Duration = Duration::from_secs(5);

/// Children that end from outside without a step forward, and children at all: then the service goes on without a scout.
const IN_VAIN: usize = 3;
const CHILDREN: usize = 200;

/// Rounds in which an event killed a child and none of its rules did so alone.
const ROUNDS: usize = 2;

/// What a process is killed by for what it did, as against what others send it.
const OWN: [Signal; 7] = [Signal::SEGV, Signal::ABORT, Signal::BUS, Signal::ILL, Signal::FPE, Signal::SYS, Signal::XCPU];

/// An event and a rule.
pub type Pair = (Seq, RuleId);

/// What is to be judged ahead of the service.
#[derive(Clone, Debug)]
pub struct Ground {
    pub data_dir: PathBuf,
    pub declared: Declared,
    /// Every event behind `after` and up to `to`, by every rule.
    pub after: Seq,
    pub to: Seq,
    /// Pairs besides.
    pub pairs: Vec<Pair>,
}

impl Ground {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.to <= self.after && self.pairs.is_empty()
    }
}

/// What the scouts found.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Not to be judged in this process.
    pub convicted: BTreeSet<Pair>,
    /// Pairs that were asked for and that a child survived.
    pub cleared: BTreeSet<Pair>,
}

/// What one child is told on standard input.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Errand {
    data_dir: PathBuf,
    declared: Declared,
    skip: Vec<Pair>,
    leg: Leg,
}

/// A stretch of the way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Leg {
    /// Event by event.
    Events {
        after: Seq,
        to: Seq,
    },
    /// One event, rule by rule.
    Rules {
        event: Seq,
    },
    Pairs(Vec<Pair>),
}

/// What a child says, a line each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Said {
    Event(Seq),
    Pair(Seq, RuleId),
    Survived,
}

/// How a child ended.
#[derive(Debug)]
enum End {
    Survived,
    /// By its own signal, after it had said this.
    Died(Option<Said>),
    /// From outside, or it stood still.
    Ended(Option<Said>, String),
}

/// Sends children ahead until the ground is covered.
pub async fn explore(ground: &Ground) -> Found {
    let mut found = Found::default();
    match std::env::current_exe() {
        Ok(program) => {
            let begun = Instant::now();
            let mut scouts = Scouts { program, ground, deaths: BTreeSet::new(), left: CHILDREN, found: &mut found };
            if let Err(error) = scouts.events().await {
                tracing::error!(%error, "events are judged without a scout");
            } else if let Err(error) = scouts.pairs().await {
                tracing::error!(%error, "missing verdicts are judged without a scout");
            }
            let children = CHILDREN - scouts.left;
            tracing::info!(children, took_ms = begun.elapsed().as_millis() as u64, "a scout judged what the last run left");
        }
        Err(error) => tracing::error!(%error, "the program can't be found, so events are judged without a scout"),
    }
    found
}

struct Scouts<'a> {
    program: PathBuf,
    ground: &'a Ground,
    /// Pairs that a child died of once.
    deaths: BTreeSet<Pair>,
    left: usize,
    found: &'a mut Found,
}

impl Scouts<'_> {
    async fn events(&mut self) -> io::Result<()> {
        let (mut after, to) = (self.ground.after, self.ground.to);
        let (mut rounds, mut vain) = (0, 0);
        while after < to {
            let (reached, died) = match self.send(Leg::Events { after, to }).await? {
                End::Survived => return Ok(()),
                End::Died(said) => (said, true),
                End::Ended(said, how) => {
                    tracing::warn!(how, "the scout ended from outside; another takes its place");
                    (said, false)
                }
            };
            let Some(Said::Event(at)) = reached else {
                vain = give_up(vain)?;
                continue;
            };
            // What it had said before is done.
            let before = Seq(at.0.saturating_sub(1));
            if before > after {
                (after, rounds, vain) = (before, 0, 0);
            }
            if !died {
                vain = give_up(vain)?;
                continue;
            }
            rounds += 1;
            if !self.rules(at).await? && rounds >= ROUNDS {
                tracing::error!(event = %at, "judging an event killed a scout, and none of its rules does so alone");
                (after, rounds) = (at, 0);
            }
        }
        Ok(())
    }

    /// Finds the rules that kill at this event. Answers whether there is one.
    async fn rules(&mut self, event: Seq) -> io::Result<bool> {
        let (mut convicted, mut vain) = (false, 0);
        loop {
            match self.send(Leg::Rules { event }).await? {
                End::Survived => return Ok(convicted),
                End::Died(Some(Said::Pair(seq, rule))) => convicted |= self.died_of((seq, rule)),
                End::Died(_) | End::Ended(..) => vain = give_up(vain)?,
            }
        }
    }

    async fn pairs(&mut self) -> io::Result<()> {
        let mut left: Vec<Pair> = self.ground.pairs.iter().filter(|pair| !self.found.convicted.contains(pair)).cloned().collect();
        let mut vain = 0;
        while !left.is_empty() {
            let (reached, died) = match self.send(Leg::Pairs(left.clone())).await? {
                End::Survived => {
                    self.found.cleared.extend(left);
                    return Ok(());
                }
                End::Died(said) => (said, true),
                End::Ended(said, _) => (said, false),
            };
            let Some(at) = reached.and_then(|said| left.iter().position(|(seq, rule)| said == Said::Pair(*seq, rule.clone())))
            else {
                vain = give_up(vain)?;
                continue;
            };
            vain = if at > 0 || died { 0 } else { give_up(vain)? };
            self.found.cleared.extend(left.drain(..at));
            if died && self.died_of(left[0].clone()) {
                left.remove(0);
            }
        }
        Ok(())
    }

    /// Twice convicts.
    fn died_of(&mut self, pair: Pair) -> bool {
        if self.deaths.insert(pair.clone()) {
            return false;
        }
        tracing::error!(event = %pair.0, rule = %pair.1, "two scouts died of judging an event by a rule: it is not judged by it");
        self.found.convicted.insert(pair)
    }

    async fn send(&mut self, leg: Leg) -> io::Result<End> {
        self.left = self.left.checked_sub(1).ok_or_else(|| io::Error::other(format!("{CHILDREN} scouts were not enough")))?;
        let errand = Errand {
            data_dir: self.ground.data_dir.clone(),
            declared: self.ground.declared.clone(),
            skip: self.found.convicted.iter().cloned().collect(),
            leg,
        };
        run(&self.program, &errand).await
    }
}

fn give_up(vain: usize) -> io::Result<usize> {
    if vain + 1 >= IN_VAIN {
        return Err(io::Error::other("scouts ended from outside again and again"));
    }
    Ok(vain + 1)
}

async fn run(program: &Path, errand: &Errand) -> io::Result<End> {
    let mut child = Command::new(program)
        .arg(ARGUMENT)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .env_remove("NOTIFY_SOCKET")
        .env_remove("WATCHDOG_USEC")
        .kill_on_drop(true)
        .spawn()?;
    let mut errand = serde_json::to_vec(errand)?;
    errand.push(b'\n');
    if let Some(mut input) = child.stdin.take() {
        // One that is dead already is told from its end.
        let _ = input.write_all(&errand).await;
    }
    let Some(output) = child.stdout.take() else { return Err(io::Error::other("the scout has no standard output")) };
    let mut last = None;
    let heard = listen(BufReader::new(output).lines(), &mut last, child.id()).await;
    if !heard {
        child.start_kill()?;
        child.wait().await?;
        return Ok(End::Ended(last, format!("it stood still for {} s", LOOK.as_secs())));
    }
    let status = child.wait().await?;
    Ok(end(status, last))
}

/// Until it says no more; false if it stands still.
async fn listen(mut lines: Lines<BufReader<ChildStdout>>, last: &mut Option<Said>, child: Option<u32>) -> bool {
    let mut before = None;
    loop {
        match timeout(LOOK, lines.next_line()).await {
            Ok(Ok(Some(line))) => {
                if let Ok(said) = serde_json::from_str(&line) {
                    *last = Some(said);
                }
            }
            Ok(_) => return true,
            Err(_) => {
                let used = child.and_then(used);
                if used == before {
                    return false;
                }
                before = used;
            }
        }
    }
}

/// The processor time of a process, in ticks, as the kernel tells it.
fn used(process: u32) -> Option<u64> {
    let told = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name stands in brackets and may hold anything.
    let mut figures = told.rsplit_once(')')?.1.split_whitespace().skip(11);
    Some(figures.next()?.parse::<u64>().ok()? + figures.next()?.parse::<u64>().ok()?)
}

fn end(status: ExitStatus, last: Option<Said>) -> End {
    if status.success() && last == Some(Said::Survived) {
        return End::Survived;
    }
    if status.signal().is_some_and(|signal| OWN.iter().any(|own| own.as_raw() == signal)) {
        return End::Died(last);
    }
    End::Ended(last, status.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_own_signal_is_held_against_what_it_judged() {
        let at = || Some(Said::Pair(Seq(7), RuleId::new("R")));
        for own in OWN {
            assert!(matches!(end(ExitStatus::from_raw(own.as_raw()), at()), End::Died(Some(Said::Pair(Seq(7), _)))));
        }
        for other in [Signal::KILL, Signal::TERM, Signal::INT, Signal::HUP, Signal::PIPE] {
            assert!(matches!(end(ExitStatus::from_raw(other.as_raw()), at()), End::Ended(..)), "{other:?}");
        }
        // An exit code, even 0, without having come to the end.
        for code in [0, 1, 101] {
            assert!(matches!(end(ExitStatus::from_raw(code << 8), at()), End::Ended(..)));
        }
        assert!(matches!(end(ExitStatus::from_raw(0), Some(Said::Survived)), End::Survived));
    }
}
