//! Deaths on purpose, for tests of what redflag does about them. Built into no release.
//!
//! `REDFLAG_TEST_FAULT="RULE WORD HOW TIMES FILE"`: when that rule judges an event whose text holds the word, the process dies of it in the
//! way HOW; so many times, counted in the file.

use std::{fs::File, hint::black_box, io::Write as _, path::PathBuf, sync::OnceLock};

use rustix::process::{Signal, getpid, kill_process};

use crate::model::{event::Event, names::RuleId};

struct Fault {
    rule: String,
    word: String,
    how: String,
    times: u64,
    file: PathBuf,
}

impl Fault {
    fn asked_for() -> Option<Self> {
        let told = std::env::var("REDFLAG_TEST_FAULT").ok()?;
        let mut words = told.split(' ').map(str::to_owned);
        let (rule, word, how) = (words.next()?, words.next()?, words.next()?);
        Some(Self { rule, word, how, times: words.next()?.parse().ok()?, file: words.next()?.into() })
    }

    /// Whether it is one of the times, which it then uses up.
    fn is_due(&self) -> bool {
        let file = File::options().create(true).append(true).open(&self.file);
        file.is_ok_and(|mut file| file.metadata().is_ok_and(|data| data.len() < self.times) && file.write_all(b"x").is_ok())
    }
}

/// Does to the process what the environment asks for, at the verdict it names.
pub fn strike(rule: &RuleId, event: &Event) {
    static FAULT: OnceLock<Option<Fault>> = OnceLock::new();
    if let Some(fault) = FAULT.get_or_init(Fault::asked_for)
        && fault.rule == rule.as_str()
        && event.raw.contains(&fault.word)
        && fault.is_due()
    {
        die(&fault.how);
    }
}

fn die(how: &str) {
    let signal = match how {
        "abort" => std::process::abort(),
        "segv" => Signal::SEGV,
        "kill" => Signal::KILL,
        "stop" => Signal::STOP,
        "memory" => loop {
            black_box(Vec::leak(vec![1_u8; 1 << 20]));
        },
        "hang" => loop {
            std::hint::spin_loop();
        },
        other => panic!("no way to die: {other}"),
    };
    // The handler of the standard library lets the second one through. Another thread may be the one that gets it: this one goes no further.
    for _ in 0..2 {
        let _ = kill_process(getpid(), signal);
        std::thread::park_timeout(std::time::Duration::from_millis(200));
    }
}
