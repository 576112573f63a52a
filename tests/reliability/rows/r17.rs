//! R17: hostile frames and JSON. A provider that sends rubbish, or speaks the WebSocket wrongly, costs at most the connection: bytes that can
//! be kept are in quarantine, everything is counted and told, memory stays, and a good event passes afterwards.

use std::{
    fs,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use redflag::model::books::Counts;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::{Notify, mpsc},
};

use super::attacks::{Fate, Greeting, attacks, frame, good, greetings, text};
use crate::{
    harness::{
        Bench, PATIENCE, Row,
        daemon::{Daemon, Home},
    },
    support::feed::FeedServer,
};

/// Seconds of the flood.
const FLOOD: usize = 600;
const MIB: u64 = 1 << 20;
/// Memory may grow by so much.
const ROOM: u64 = 32 * MIB;

/// Good events before a flood: SQLite's caches are full then (16 MiB of the writer's), as they are after a day.
const WARM: usize = 40_000;

/// What good events hold, and no attack.
const MARK: &str = "in good faith";
/// After it is connected, redflag's own questions are over; what comes while one is open may be taken for its answer.
const CALM: Duration = Duration::from_millis(500);

pub async fn run(bench: &Bench) -> anyhow::Result<Row> {
    let flood = Duration::from_secs(bench.trials(FLOOD) as u64);
    let (count, counts, (growth, worst)) = attacked(bench, flood).await?;
    Ok(Row::new(
        count,
        "0 crashes; RSS ≤ +32 MB; 100 % quarantined and counted",
        format!(
            "0 crashes; RSS +{:.1} MB at its peak (most of it by {worst}); {} of {} set aside and counted",
            growth as f64 / MIB as f64,
            counts.set_aside,
            counts.quarantined
        ),
        growth <= ROOM,
    ))
}

/// Every attack once, then all of them again and again for so long. How many there were, the books, by how much memory grew at its peak, and
/// what made it grow most.
pub async fn attacked(bench: &Bench, flood: Duration) -> anyhow::Result<(usize, Counts, (u64, String))> {
    let peer = Peer::start().await?;
    let feed = FeedServer::start(&[]);
    let home = home(bench, &feed, &peer)?;
    let mut daemon = home.start().await?;
    let mut goods = 0;
    peer.good(&home, &mut goods).await?;
    if !flood.is_zero() {
        for part in 0..WARM / 1_000 {
            let events = (0..1_000).flat_map(|n| text(good(&format!("{MARK}, early {part} {n}")))).collect();
            peer.send(events, false).await?;
        }
        peer.good(&home, &mut goods).await?;
    }
    let before = memory(&daemon, "VmRSS")?;
    let (mut aside, mut count) = (0, 0);
    let (mut peak, mut worst) = (memory(&daemon, "VmHWM")?, (0, String::new()));
    for (name, greeting) in greetings() {
        peer.greet(greeting);
        peer.send(Vec::new(), true).await?;
        count += 1;
        peer.good(&home, &mut goods).await.with_context(|| name.to_owned())?;
        ensure!(peer.greeted(), "{name}: nobody connected");
        ensure!(daemon.lives(), "{name}: it died; the log:\n{}", home.tail());
    }
    let begun = Instant::now();
    loop {
        for attack in attacks(count) {
            let reader = home.reader()?;
            let last = reader.last()?;
            peer.send(attack.bytes, attack.fate == Fate::Nothing).await?;
            count += 1;
            peer.good(&home, &mut goods).await.with_context(|| attack.name.clone())?;
            ensure!(daemon.lives(), "{}: it died; the log:\n{}", attack.name, home.tail());
            let came = reader.events_after(last, 20_000)?.iter().filter(|event| !event.raw.contains(MARK)).count() as u64;
            let set_aside = reader.quarantine_count()? - aside;
            let fate = match (came, set_aside) {
                (0, 0) => Fate::Nothing,
                (0, 1) => Fate::Quarantine,
                (events, 0) => Fate::Events(events),
                other => bail!("{}: (events, set aside) = {other:?}; the log:\n{}", attack.name, home.tail()),
            };
            ensure!(fate == attack.fate, "{}: {fate:?}, not {:?}; the log:\n{}", attack.name, attack.fate, home.tail());
            aside += set_aside;
            let now = memory(&daemon, "VmHWM")?;
            // The kernel counts by processor, and may see less than a moment ago.
            let more = now.saturating_sub(peak);
            worst = worst.max((more, format!("{}, {:.1} MB", attack.name, more as f64 / MIB as f64)));
            peak = peak.max(now);
        }
        if begun.elapsed() >= flood {
            break;
        }
    }
    let alarms = alarms(&home);
    ensure!(
        alarms.iter().any(|alarm| alarm.contains("a message was set aside")),
        "the operators were not told; there are {alarms:?}"
    );
    let growth = memory(&daemon, "VmHWM")?.saturating_sub(before);
    let status = daemon.stop().await?;
    ensure!(status.success(), "it stopped with {status}; the log:\n{}", home.tail());
    ensure!(!home.log().contains("panicked"), "it panicked; the log:\n{}", home.tail());
    let mut counts = Counts::default();
    for (_, feed) in home.reader()?.books()? {
        counts.add(&feed);
    }
    ensure!(counts.elements == counts.journaled + counts.already_had, "{counts:?}");
    ensure!(counts.frames == counts.decoded + counts.refused + counts.method_replies, "{counts:?}");
    ensure!((counts.quarantined, counts.set_aside) == (aside, aside), "{aside} were bad: {counts:?}");
    Ok((count, counts, (growth, worst.1)))
}

fn home(bench: &Bench, feed: &FeedServer, peer: &Peer) -> anyhow::Result<Home> {
    let folder = bench.place("hostile")?;
    let home = Home::new(&folder, folder.join("data"))?;
    home.write("feed-password", "secret")?;
    home.write(
        "redflag.toml",
        &format!(
            r#"
data_dir = "data"
[feeds.concedus]
kind = "concedus"
socket = "ws://{}/ws/connect"
auth = "{}"
username = "partner"
password = {{ file = "feed-password" }}
reconnect_cap = "100ms"
max_message = "1MiB"
ping_every = "100ms"
dead_after = "1h"
backfill = {{ timeout = "50ms" }}
[channels.archive]
kind = "file"
path = "archive"
format = "json"
[operators]
send_to = ["archive"]
[http]
listen = "127.0.0.1:0"
"#,
            peer.address,
            feed.auth()
        ),
    )?;
    Ok(home)
}

/// What the operators were told.
fn alarms(home: &Home) -> Vec<String> {
    let entries = fs::read_dir(home.path("archive")).into_iter().flatten().flatten();
    let whole = entries.filter(|entry| !entry.file_name().to_string_lossy().starts_with('.'));
    whole.filter_map(|entry| fs::read_to_string(entry.path()).ok()).collect()
}

/// Kilobytes in /proc as bytes.
fn memory(daemon: &Daemon, what: &str) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.id()?))?;
    let line = status.lines().find(|line| line.starts_with(what)).context("no such line in /proc")?;
    let number = line.split_whitespace().nth(1).context("no number")?;
    Ok(number.parse::<u64>()? * 1_024)
}

/// What the peer is told to write, and whether it then cuts the connection.
type Order = (Vec<u8>, bool);

/// A WebSocket server that writes what it is told, byte for byte, to whoever is connected.
struct Peer {
    address: String,
    orders: mpsc::Sender<Order>,
    written: Arc<Notify>,
    greeting: Arc<Mutex<Option<Greeting>>>,
}

impl Peer {
    async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let (orders, mut waiting) = mpsc::channel::<Order>(1);
        let written = Arc::new(Notify::new());
        let done = Arc::clone(&written);
        let greeting = Arc::new(Mutex::new(None));
        let greets = Arc::clone(&greeting);
        tokio::spawn(async move {
            let mut stream: Option<TcpStream> = None;
            loop {
                tokio::select! {
                    biased;
                    accepted = listener.accept() => {
                        let Ok((mut tcp, _)) = accepted else { continue };
                        let greeting: Option<Greeting> = greets.lock().unwrap_or_else(PoisonError::into_inner).take();
                        if let Some(Greeting::Bytes(bytes)) = &greeting {
                            let _ = tcp.read(&mut [0; 4_096]).await;
                            let _ = tcp.write_all(bytes).await;
                            continue;
                        }
                        // Only the handshake is the library's: what follows is ours, right or wrong.
                        stream = tokio_tungstenite::accept_async(tcp).await.ok().map(tokio_tungstenite::WebSocketStream::into_inner);
                        if let Some(Greeting::Close(code)) = greeting
                            && let Some(mut open) = stream.take()
                        {
                            let _ = open.read(&mut [0; 4_096]).await;
                            let _ = open.write_all(&frame(0x88, &code.to_be_bytes())).await;
                            continue;
                        }
                        tokio::time::sleep(CALM).await;
                    }
                    order = waiting.recv(), if stream.is_some() => {
                        let Some((bytes, cut)) = order else { return };
                        let Some(open) = &mut stream else { continue };
                        // Redflag may close in the middle, and rightly.
                        if open.write_all(&bytes).await.is_err() || cut {
                            stream = None;
                        }
                        done.notify_one();
                    }
                }
            }
        });
        Ok(Self { address, orders, written, greeting })
    }

    /// Whoever connects next is met with this.
    fn greet(&self, greeting: Greeting) {
        *self.greeting.lock().unwrap_or_else(PoisonError::into_inner) = Some(greeting);
    }

    fn greeted(&self) -> bool {
        self.greeting.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    async fn send(&self, bytes: Vec<u8>, cut: bool) -> anyhow::Result<()> {
        self.orders.send((bytes, cut)).await.context("the peer is gone")?;
        if tokio::time::timeout(PATIENCE, self.written.notified()).await.is_err() {
            bail!("it reads nothing any more");
        }
        Ok(())
    }

    /// Sends good events until one is the journal's last: the connection that an attack broke may swallow some.
    async fn good(&self, home: &Home, goods: &mut u64) -> anyhow::Result<()> {
        let begun = Instant::now();
        loop {
            *goods += 1;
            let mark = format!("{MARK} {goods}");
            self.send(text(good(&mark)), false).await?;
            let wait = Instant::now();
            while wait.elapsed() < Duration::from_secs(2) {
                let reader = home.reader()?;
                let last = reader.event(reader.last()?)?;
                if last.is_some_and(|event| event.raw.contains(&mark)) {
                    return Ok(());
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            ensure!(begun.elapsed() < PATIENCE * 2, "a good event does not pass; the log:\n{}", home.tail());
        }
    }
}
