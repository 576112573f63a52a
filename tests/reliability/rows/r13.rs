//! R13: the line fails: half-open, reset, cut, lossy, down, and names that don't resolve. Found within the limit, never tried in a storm,
//! tried ever more rarely and never in step, and the four properties hold.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::ensure;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UdpSocket},
    sync::Notify,
};

use super::{link, outage};
use crate::harness::{
    Bench, PATIENCE, Row,
    world::{Plan, World},
};

/// At a proxy; [`link::TRIALS`] more below it, and the names.
const TRIALS: usize = 60;
/// The limit for a peer that answers nothing.
const FOUND: Duration = Duration::from_secs(20);
/// A busy machine starts a try late, and the next one in time.
const APART: Duration = Duration::from_millis(900);

pub async fn run(bench: &Bench) -> anyhow::Result<Row> {
    let trials = bench.trials(TRIALS);
    let (line, link, names, waits) =
        tokio::try_join!(faults(bench, trials, ""), link::in_a_namespace(bench), names(bench), backs_off(bench))?;
    Ok(Row::new(
        trials + usize::try_from(link.trials)? + names.trials + 1,
        "found within 20 s, at most 1 try a second, waits that grow and are jittered; half-open, RST, loss, link down, NXDOMAIN, SERVFAIL and a \
         silent resolver alike: 0 lost, altered or invented, a fresh event passes in ≤ 10 s",
        format!("proxy: {line:?}; link: {}; names: {names:?}; refused for a while: tries {waits:.1?} s apart", link.measured),
        line.holds() && link.pass && names.holds(),
    ))
}

#[derive(Debug, Default)]
pub struct Outcome {
    pub trials: usize,
    pub events: usize,
    pub alerts: usize,
    pub slowest: Duration,
    /// Between the starts of two tries.
    pub closest: Option<Duration>,
    pub tries: usize,
}

impl Outcome {
    pub fn holds(&self) -> bool {
        self.slowest <= FOUND && self.closest.is_none_or(|closest| closest >= APART)
    }

    pub(super) fn tries(&mut self, at: &[Instant]) {
        self.tries += at.len();
        self.closest = at.windows(2).map(|pair| pair[1] - pair[0]).chain(self.closest).min();
    }
}

/// An event while the line is bad: in one trial the feed sends it into the void, in the next nobody listens.
pub(super) async fn unheard(world: &World, trial: usize) {
    if trial.is_multiple_of(2) {
        world.send(1).await;
    } else {
        world.miss().await;
    }
}

/// Half-open, reset and cut in turn, with events before, during and after each.
pub async fn faults(bench: &Bench, trials: usize, settings: &str) -> anyhow::Result<Outcome> {
    let plan = Plan { overlap: "5s", channels: vec!["archive"], feed_settings: settings.to_owned(), ..Plan::default() };
    let world = World::new(&bench.place("line")?, plan).await?;
    let proxy = Proxy::start(&world.feed.socket()).await?;
    replace(&world, &world.feed.socket(), &proxy.url("127.0.0.1"))?;
    let daemon = world.home.start().await?;
    world.connected(&daemon).await?;
    outage::settled(&world).await?;
    let mut outcome = Outcome { trials, ..Outcome::default() };
    for trial in 0..trials {
        let connects = proxy.tries().len();
        world.send(1).await;
        outage::journaled(&world, world.sent()).await?;
        let begun = Instant::now();
        match trial % 3 {
            0 => proxy.set(Mode::Frozen),
            1 => proxy.reset(),
            _ => {
                proxy.set(Mode::Closed);
                proxy.reset();
            }
        }
        unheard(&world, trial).await;
        if trial % 3 == 2 {
            tokio::time::sleep(Duration::from_secs(3)).await;
            proxy.set(Mode::Open);
        }
        let again = async || proxy.tries().len() > connects;
        world.until("it connects again", PATIENCE, again).await?;
        outcome.slowest = outcome.slowest.max(begun.elapsed());
        proxy.set(Mode::Open);
        outage::journaled(&world, world.sent()).await?;
        outage::settled(&world).await?;
    }
    outcome.tries(&proxy.tries());
    let judgement = world.settle(daemon, PATIENCE).await?;
    (outcome.events, outcome.alerts) = (judgement.events, judgement.alerts);
    Ok(outcome)
}

/// Whoever connects is refused for a while, and the cap is the usual one: how many seconds lie between the tries.
async fn backs_off(bench: &Bench) -> anyhow::Result<Vec<f64>> {
    const REFUSED: Duration = Duration::from_mins(1);
    let plan = Plan { channels: vec!["archive"], ..Plan::default() };
    let world = World::new(&bench.place("waits")?, plan).await?;
    let proxy = Proxy::start(&world.feed.socket()).await?;
    replace(&world, &world.feed.socket(), &proxy.url("127.0.0.1"))?;
    replace(&world, "reconnect_cap = \"200ms\"", "")?;
    let daemon = world.home.start().await?;
    world.connected(&daemon).await?;
    outage::settled(&world).await?;
    let before = proxy.tries().len();
    proxy.set(Mode::Closed);
    proxy.reset();
    world.miss().await;
    tokio::time::sleep(REFUSED).await;
    let tries = proxy.tries();
    proxy.set(Mode::Open);
    let apart: Vec<f64> = tries[before..].windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()).collect();
    ensure!(apart.iter().all(|apart| *apart >= APART.as_secs_f64()), "a storm: {apart:?}");
    // Windows of 1, 2, 4 … 30 s: on average a dozen tries a minute; without a wait that grows it would be sixty.
    ensure!((2..30).contains(&apart.len()), "the waits do not grow: {apart:?}");
    let same = apart.iter().filter(|other| (*other - apart[0]).abs() < 0.05).count();
    ensure!(same < apart.len(), "no jitter: {apart:?}");
    outage::journaled(&world, world.sent()).await?;
    world.settle(daemon, PATIENCE).await?;
    Ok(apart)
}

/// The socket's host has a name, and the resolver does not help.
async fn names(bench: &Bench) -> anyhow::Result<Outcome> {
    let plan = Plan { overlap: "5s", channels: vec!["archive"], ..Plan::default() };
    let world = World::new(&bench.place("names")?, plan).await?;
    let proxy = Proxy::start(&world.feed.socket()).await?;
    replace(&world, &world.feed.socket(), &proxy.url("localhost"))?;
    let resolver = Resolver::start().await?;
    for (name, text) in
        [("hosts", ""), ("resolv", "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n"), ("nsswitch", "hosts: dns\n")]
    {
        world.home.write(name, text)?;
    }
    let mounts = ["hosts:/etc/hosts", "resolv:/etc/resolv.conf", "nsswitch:/etc/nsswitch.conf"].map(|mount| {
        let (from, to) = mount.split_once(':').unwrap_or_default();
        format!("mount --bind {} $(readlink -f {to})", world.home.path(from).display())
    });
    let script = format!(r#"{} && exec "$@""#, mounts.join(" && "));
    let wrapper: Vec<String> = ["unshare", "-m", "sh", "-c", &script, "sh"].map(str::to_owned).to_vec();
    let mut daemon = world.home.launch(&wrapper)?;
    daemon.ready(PATIENCE).await?;
    world.connected(&daemon).await?;
    outage::settled(&world).await?;
    let mut outcome = Outcome { trials: 3, ..Outcome::default() };
    for (trial, answer) in [NXDOMAIN, SERVFAIL, SILENT].into_iter().enumerate() {
        resolver.set(answer);
        let (connects, asked) = (proxy.tries().len(), resolver.asked().len());
        proxy.reset();
        unheard(&world, trial).await;
        let begun = Instant::now();
        world.until("the name is asked for", PATIENCE, async || resolver.asked().len() > asked).await?;
        outcome.slowest = outcome.slowest.max(begun.elapsed());
        tokio::time::sleep(Duration::from_secs(5)).await;
        resolver.set(FINE);
        world.until("it connects again", PATIENCE, async || proxy.tries().len() > connects).await?;
        outage::journaled(&world, world.sent()).await?;
        outage::settled(&world).await?;
    }
    outcome.tries(&proxy.tries());
    let judgement = world.settle(daemon, PATIENCE).await?;
    (outcome.events, outcome.alerts) = (judgement.events, judgement.alerts);
    Ok(outcome)
}

pub(super) fn replace(world: &World, from: &str, to: &str) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(world.home.path("redflag.toml"))?;
    Ok(world.home.write("redflag.toml", &text.replace(from, to))?)
}

#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Mode {
    Open,
    /// What is connected stays so, and nothing passes; a new connection does.
    Frozen,
    /// Whoever connects is reset.
    Closed,
}

/// Stands between redflag and the feed, and does harm to the line.
pub(super) struct Proxy {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    mode: AtomicU8,
    reset: Notify,
    tries: Mutex<Vec<Instant>>,
}

impl Proxy {
    pub(super) async fn start(upstream: &str) -> anyhow::Result<Self> {
        let upstream = upstream.trim_start_matches("ws://").split('/').next().unwrap_or_default().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                shared.tries.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
                if shared.mode.load(Ordering::SeqCst) == Mode::Closed as u8 {
                    reset(&client);
                    continue;
                }
                // Only what was connected before is frozen.
                shared.mode.store(Mode::Open as u8, Ordering::SeqCst);
                let (upstream, state) = (upstream.clone(), Arc::clone(&shared));
                tokio::spawn(async move { pass(client, &upstream, &state).await });
            }
        });
        Ok(Self { address, state })
    }

    pub(super) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(super) fn url(&self, host: &str) -> String {
        format!("ws://{host}:{}/ws/connect", self.port())
    }

    fn set(&self, mode: Mode) {
        self.state.mode.store(mode as u8, Ordering::SeqCst);
    }

    /// Every connection ends with RST.
    fn reset(&self) {
        self.state.reset.notify_waiters();
    }

    pub(super) fn tries(&self) -> Vec<Instant> {
        self.state.tries.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn reset(stream: &TcpStream) {
    let _ = stream.set_zero_linger();
}

async fn pass(mut client: TcpStream, upstream: &str, state: &State) {
    let Ok(mut server) = TcpStream::connect(upstream).await else { return };
    let (mut up, mut down) = (vec![0; 16_384], vec![0; 16_384]);
    let mut frozen = false;
    loop {
        let step = tokio::select! {
            () = state.reset.notified() => {
                reset(&client);
                return;
            }
            read = client.read(&mut up) => match read {
                Ok(0) | Err(_) => return,
                Ok(count) => (true, count),
            },
            read = server.read(&mut down) => match read {
                Ok(0) | Err(_) => return,
                Ok(count) => (false, count),
            },
        };
        frozen |= state.mode.load(Ordering::SeqCst) == Mode::Frozen as u8;
        if frozen {
            continue;
        }
        let written = match step {
            (true, count) => server.write_all(&up[..count]).await,
            (false, count) => client.write_all(&down[..count]).await,
        };
        if written.is_err() {
            return;
        }
    }
}

const FINE: u8 = 0;
const SERVFAIL: u8 = 2;
const NXDOMAIN: u8 = 3;
const SILENT: u8 = 255;

/// Answers every question for an address with 127.0.0.1, or as it is told.
struct Resolver {
    answer: Arc<AtomicU8>,
    asked: Arc<Mutex<Vec<Instant>>>,
}

impl Resolver {
    async fn start() -> anyhow::Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:53").await?;
        let (answer, asked) = (Arc::new(AtomicU8::new(FINE)), Arc::new(Mutex::new(Vec::new())));
        let resolver = Self { answer: Arc::clone(&answer), asked: Arc::clone(&asked) };
        tokio::spawn(async move {
            let mut question = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut question).await {
                asked.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
                let code = answer.load(Ordering::SeqCst);
                if code != SILENT
                    && let Some(reply) = reply(&question[..length], code)
                {
                    let _ = socket.send_to(&reply, from).await;
                }
            }
        });
        Ok(resolver)
    }

    fn set(&self, answer: u8) {
        self.answer.store(answer, Ordering::SeqCst);
    }

    fn asked(&self) -> Vec<Instant> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The header, the question as it came, and for type A one record.
fn reply(question: &[u8], code: u8) -> Option<Vec<u8>> {
    let name = question.get(12..)?.iter().position(|byte| *byte == 0)?;
    let end = 12 + name + 1 + 4;
    let asked = question.get(12..end)?;
    let address = code == FINE && asked.ends_with(&[0, 1, 0, 1]);
    let mut reply = question.get(..2)?.to_vec();
    reply.extend([0x81, 0x80 | code, 0, 1, 0, u8::from(address), 0, 0, 0, 0]);
    reply.extend(asked);
    if address {
        reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 127, 0, 0, 1]);
    }
    Some(reply)
}
