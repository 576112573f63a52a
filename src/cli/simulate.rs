//! `redflag simulate`: the feed simulator as a process of its own.

use std::{net::SocketAddr, path::PathBuf};

use anyhow::Context;
use clap::{Args, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};

use super::{Exit, Format, Global, print, talk};
use crate::{
    config::Secret,
    model::time::Span,
    simulator::{self, Answers, Faults, Mix, Options, Refuse, Silence},
};

#[derive(Args, Debug)]
pub struct SimulateArgs {
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8787")]
    listen: SocketAddr,
    /// Stop after this long; otherwise at Ctrl-C
    #[arg(long = "for", value_name = "TIME")]
    duration: Option<Span>,
    /// User name that a token costs; without it any are right
    #[arg(long, value_name = "NAME", requires = "password_file")]
    username: Option<String>,
    /// File with the password
    #[arg(long, value_name = "FILE", requires = "username")]
    password_file: Option<PathBuf>,
    /// How long a token is good
    #[arg(long, value_name = "TIME", default_value = "4m")]
    token_life: Span,
    /// Token answers carry no refresh token
    #[arg(long)]
    no_refresh_tokens: bool,
    /// Close a socket when the token it was opened with ends
    #[arg(long)]
    close_at_expiry: bool,
    #[command(flatten)]
    story: StoryArgs,
    #[command(flatten)]
    faults: FaultArgs,
}

/// What is told.
#[derive(Args, Debug)]
#[command(next_help_heading = "What is told")]
struct StoryArgs {
    /// Frames a second, or `max`: as fast as they are taken
    #[arg(long, value_name = "NUMBER", default_value = "5", value_parser = rate)]
    rate: f64,
    /// The same seed tells the same story
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// How many people there are
    #[arg(long, value_name = "NUMBER", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    people: u32,
    /// Play a recorded feed instead, a frame a line
    #[arg(long, value_name = "FILE.jsonl")]
    events: Option<PathBuf>,
    /// Small plain messages instead, of which this share (0 to 1) fails
    #[arg(long, value_name = "SHARE", conflicts_with = "events")]
    load: Option<f64>,
    /// The feed ends after so many frames; the sockets stay open
    #[arg(long, value_name = "FRAMES")]
    limit: Option<u64>,
    /// Begin at once; otherwise with the first socket
    #[arg(long)]
    at_once: bool,
    /// A topic that is switched on; again for more; otherwise all are
    #[arg(long = "topic", value_name = "TOPIC")]
    topics: Vec<String>,
    /// The shape in which methods are answered
    #[arg(long, value_enum, value_name = "SHAPE", default_value_t)]
    answers: Shape,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Shape {
    /// An array
    #[default]
    Array,
    /// {"messages": […]}
    Messages,
    /// {"data": […]}
    Data,
    /// Ordinary frames, one by one
    Unwrapped,
    /// No answer
    Nothing,
}

/// What goes wrong.
#[derive(Args, Debug)]
#[command(next_help_heading = "What goes wrong")]
struct FaultArgs {
    /// Drop each socket after so many frames
    #[arg(long, value_name = "FRAMES")]
    drop_every: Option<u64>,
    /// Drop each socket at this age
    #[arg(long, value_name = "TIME")]
    drop_after: Option<Span>,
    /// Refuse the next so many tokens; without a number all
    #[arg(long, value_name = "NUMBER", num_args = 0..=1, default_missing_value = "always", value_parser = refuse)]
    refuse_tokens: Option<Refuse>,
    /// Refuse the next so many sockets; without a number all
    #[arg(long, value_name = "NUMBER", num_args = 0..=1, default_missing_value = "always", value_parser = refuse)]
    refuse_sockets: Option<Refuse>,
    /// The share (0 to 1) of frames that are sent twice
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, hide_default_value = true)]
    duplicates: f64,
    /// The share (0 to 1) of frames that are followed by garbage
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, hide_default_value = true)]
    garbage: f64,
    /// The share (0 to 1) of frames that are sent in arrays
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, hide_default_value = true)]
    arrays: f64,
    /// getLastMessages answers with so many at most
    #[arg(long, value_name = "MESSAGES")]
    cut_last_messages: Option<usize>,
    /// Answer each look-up with this HTTP status
    #[arg(long, value_name = "STATUS")]
    fail_lookups: Option<u16>,
    /// A socket falls dead silent after so many frames
    #[arg(long, value_name = "FRAMES")]
    silent_after: Option<u64>,
}

/// # Errors
/// The address is taken, a file can't be read, or a number makes no sense.
pub async fn run(args: SimulateArgs, global: &Global) -> anyhow::Result<Exit> {
    global.start_log();
    // Before it says that it listens: from then on somebody may tell it to stop.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let duration = args.duration.map(Span::get);
    let simulator = simulator::start(options(args)?).await?;
    talk("the simulator listens; in redflag.toml:\n");
    talk(&format!("  socket = \"{}\"\n  auth = \"{}\"\n", simulator.socket_url(), simulator.auth_url()));
    let limit = async {
        match duration {
            Some(duration) => tokio::time::sleep(duration).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        () = limit => {}
    }
    let stats = serde_json::to_value(simulator.stop().await)?;
    match global.format {
        Format::Json => print(&format!("{stats}\n"))?,
        Format::Human => {
            for (name, count) in stats.as_object().into_iter().flatten() {
                print(&format!("{:<18} {count}\n", name.replace('_', " ")))?;
            }
        }
    }
    Ok(Exit::Fine)
}

fn options(args: SimulateArgs) -> anyhow::Result<Options> {
    let credentials = match (args.username, args.password_file) {
        (Some(username), Some(file)) => {
            use secrecy::ExposeSecret as _;
            let password = Secret::File(file).read().context("the password can't be read")?;
            Some((username, password.expose_secret().to_owned()))
        }
        _ => None,
    };
    let StoryArgs { rate, seed, people, events, load, limit, at_once, topics, answers } = args.story;
    let faults = args.faults;
    Ok(Options {
        listen: args.listen,
        rate,
        seed,
        token_life: args.token_life.get(),
        refresh_tokens: !args.no_refresh_tokens,
        credentials,
        events,
        limit,
        faults: Faults {
            drop_every: faults.drop_every,
            drop_after: faults.drop_after,
            refuse_tokens: faults.refuse_tokens.unwrap_or_default(),
            refuse_sockets: faults.refuse_sockets.unwrap_or_default(),
            duplicates: faults.duplicates,
            garbage: faults.garbage,
            arrays: faults.arrays,
            cap_answers: faults.cut_last_messages,
            fail_lookups: faults.fail_lookups,
            silence: Silence::No,
            silent_after: faults.silent_after,
        },
        people: people as usize,
        mix: load.map_or(Mix::Realistic, |alerting| Mix::Load { alerting }),
        topics: (!topics.is_empty()).then_some(topics),
        answers: match answers {
            Shape::Array => Answers::Array,
            Shape::Messages => Answers::Messages,
            Shape::Data => Answers::Data,
            Shape::Unwrapped => Answers::Unwrapped,
            Shape::Nothing => Answers::Nothing,
        },
        close_at_expiry: args.close_at_expiry,
        wait: !at_once,
        ..Options::default()
    })
}

fn rate(text: &str) -> Result<f64, String> {
    if text == "max" {
        return Ok(f64::INFINITY);
    }
    let rate: f64 = text.parse().map_err(|_| "write a number of frames a second, or `max`".to_owned())?;
    if rate.is_finite() && rate >= 0.0 { Ok(rate) } else { Err("must not be negative; `max` has no limit".to_owned()) }
}

fn refuse(text: &str) -> Result<Refuse, String> {
    if text == "always" {
        return Ok(Refuse::Always);
    }
    text.parse().map(Refuse::Next).map_err(|_| "write how many, or nothing for all".to_owned())
}
