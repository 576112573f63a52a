//! R17: hostile frames and JSON. A provider that sends rubbish, or speaks the WebSocket wrongly, costs at most the connection: bytes that can
//! be kept are in quarantine, everything is counted, memory stays, and a good event passes afterwards.

use std::{
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use redflag::model::books::Counts;
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpListener, TcpStream},
    sync::{Notify, mpsc},
};

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
/// What `max_message` is here.
const LARGEST: usize = 1 << 20;

/// What good events hold, and no attack.
const MARK: &str = "in good faith";
/// After it is connected, redflag's own questions are over; what comes while one is open may be taken for its answer.
const CALM: Duration = Duration::from_millis(500);

/// What must become of what was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// So many events.
    Events(u64),
    /// Set aside.
    Quarantine,
    /// Nothing of it is a message; the connection goes on, or ends.
    Nothing,
}

struct Attack {
    name: &'static str,
    bytes: Vec<u8>,
    fate: Fate,
}

pub async fn run(bench: &Bench) -> anyhow::Result<Row> {
    let flood = Duration::from_secs(bench.trials(FLOOD) as u64);
    let (count, counts, growth) = attacked(bench, flood).await?;
    Ok(Row::new(
        count,
        "0 crashes; RSS ≤ +32 MB; 100 % quarantined and counted",
        format!(
            "0 crashes; RSS +{:.1} MB at its peak; {} of {} set aside and counted",
            growth as f64 / MIB as f64,
            counts.set_aside,
            counts.quarantined
        ),
        growth <= ROOM,
    ))
}

/// Every attack once, then all of them again and again for so long. How many there were, the books, and by how much memory grew at its peak.
pub async fn attacked(bench: &Bench, flood: Duration) -> anyhow::Result<(usize, Counts, u64)> {
    let peer = Peer::start().await?;
    let feed = FeedServer::start(&[]);
    let home = home(bench, &feed, &peer)?;
    let mut daemon = home.start().await?;
    let mut goods = 0;
    peer.good(&home, &mut goods).await?;
    let before = memory(&daemon, "VmRSS")?;
    let (mut aside, mut count) = (0, 0);
    let begun = Instant::now();
    loop {
        for attack in attacks(count) {
            let reader = home.reader()?;
            let last = reader.last()?;
            peer.send(attack.bytes, attack.fate == Fate::Nothing).await?;
            count += 1;
            peer.good(&home, &mut goods).await.with_context(|| attack.name)?;
            ensure!(daemon.lives(), "{}: it died; the log:\n{}", attack.name, home.tail());
            let came = reader.events_after(last, 10_000)?.iter().filter(|event| !event.raw.contains(MARK)).count() as u64;
            let set_aside = reader.quarantine_count()? - aside;
            let fate = match (came, set_aside) {
                (0, 0) => Fate::Nothing,
                (0, 1) => Fate::Quarantine,
                (events, 0) => Fate::Events(events),
                other => bail!("{}: (events, set aside) = {other:?}; the log:\n{}", attack.name, home.tail()),
            };
            ensure!(fate == attack.fate, "{}: {fate:?}, not {:?}; the log:\n{}", attack.name, attack.fate, home.tail());
            aside += set_aside;
        }
        if begun.elapsed() >= flood {
            break;
        }
    }
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
    Ok((count, counts, growth))
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
}

impl Peer {
    async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let (orders, mut waiting) = mpsc::channel::<Order>(1);
        let written = Arc::new(Notify::new());
        let done = Arc::clone(&written);
        tokio::spawn(async move {
            let mut stream: Option<TcpStream> = None;
            loop {
                tokio::select! {
                    biased;
                    accepted = listener.accept() => {
                        let Ok((tcp, _)) = accepted else { continue };
                        // Only the handshake is the library's: what follows is ours, right or wrong.
                        stream = tokio_tungstenite::accept_async(tcp).await.ok().map(tokio_tungstenite::WebSocketStream::into_inner);
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
        Ok(Self { address, orders, written })
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

fn good(ident: &str) -> String {
    format!(r#"{{"topic":"identResult","kyc":"WEBID","identId":"{ident}","personKey":"P","reason":null,"status":"success"}}"#)
}

/// One frame from a server: not masked.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        short @ 0..=125 => bytes.push(short as u8),
        middle @ 126..=0xffff => {
            bytes.push(126);
            bytes.extend((middle as u16).to_be_bytes());
        }
        long => {
            bytes.push(127);
            bytes.extend((long as u64).to_be_bytes());
        }
    }
    bytes.extend(payload);
    bytes
}

fn text(payload: impl AsRef<[u8]>) -> Vec<u8> {
    frame(0x81, payload.as_ref())
}

/// The list of hostile frames and JSON; the number makes their events others than those of the round before.
fn attacks(number: usize) -> Vec<Attack> {
    let plain = good(&format!("attack {number}"));
    let with = |member: &str| plain.replacen('{', &format!("{{{member},"), 1);
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let bad = |name, bytes: Vec<u8>| Attack { name, bytes, fate: Fate::Quarantine };
    let event = |name, bytes: Vec<u8>| Attack { name, bytes, fate: Fate::Events(1) };
    let nothing = |name, bytes: Vec<u8>| Attack { name, bytes, fate: Fate::Nothing };
    let mut fragments = frame(0x01, b"{");
    fragments.extend((0..100_000).flat_map(|_| frame(0x00, b" ")));
    fragments.extend(frame(0x80, &plain.as_bytes()[1..]));
    let mut empty = frame(0x01, b"");
    empty.extend((0..100_000).flat_map(|_| frame(0x00, b"")));
    let mut masked = vec![0x81, 0x80 | 4, 1, 2, 3, 4];
    masked.extend(b"abcd");
    let mut announced = vec![0x81, 127];
    announced.extend((1_u64 << 62).to_be_bytes());
    vec![
        // JSON.
        bad("no JSON", text("no JSON")),
        bad("nothing", text("")),
        bad("depth 128", text(with(&format!("\"x\":{}", nested(127))))),
        event("depth 126", text(with(&format!("\"x\":{}", nested(125))))),
        bad("half a million brackets", text("[".repeat(500_000))),
        bad("a name twice", text(with("\"status\":\"failed\""))),
        event("1e400", text(with("\"x\":1e400"))),
        event("2^64", text(with("\"x\":18446744073709551616"))),
        event("30 digits", text(with("\"x\":123456789012345678901234567890"))),
        event("minus zero", text(with("\"x\":-0"))),
        bad("NaN", text(with("\"x\":NaN"))),
        bad("01", text(with("\"x\":01"))),
        bad("a comma too many", text(plain.replace('}', ",}"))),
        bad("a comment", text(plain.replace('}', "/* */}"))),
        bad("half a surrogate pair", text(with(r#""x":"\ud800""#))),
        event("NUL in a text", text(with(r#""x":"\u0000""#))),
        bad("a raw NUL", text(with("\"x\":\"\0\""))),
        bad("UTF-16", frame(0x82, &plain.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>())),
        bad("overlong UTF-8 in a binary frame", frame(0x82, b"{\"topic\":\"\xc0\xaf\"}")),
        bad("a scalar", text("7")),
        bad("null", text("null")),
        bad("a text", text("\"identResult\"")),
        bad("an array of a scalar", text("[1]")),
        bad("no topic", text("{}")),
        bad("a topic of the wrong type", text("{\"topic\":{}}")),
        event("an unknown topic", text(format!("{{\"topic\":\"unheardOf\",\"n\":{number}}}"))),
        bad("a known topic of the wrong shape", text("{\"topic\":\"mismatches\",\"mismatches\":7}")),
        event("a key with SQL, a path and a line break", text(with(r#""'; DROP TABLE events; --\n../../etc/passwd":1"#))),
        event("a large key", text(with(&format!("\"{}\":1", "k".repeat(500_000))))),
        event("an attachment in base64", text(with(&format!("\"x\":\"{}\"", "QUJD".repeat(100_000))))),
        event("2023-02-30", text(with("\"created\":\"2023-02-30T25:61:00\""))),
        Attack {
            name: "a thousand equal events",
            bytes: (0..1_000).flat_map(|_| text(&plain)).collect(),
            fate: Fate::Events(1_000),
        },
        // Frames.
        event("a hundred thousand fragments", fragments),
        nothing("empty fragments without an end", empty),
        bad("larger than allowed", text("x".repeat(LARGEST + 1))),
        bad("larger than any memory, only announced", announced),
        nothing("cut in the middle", frame(0x81, plain.as_bytes())[..20].to_vec()),
        nothing("reserved bits", frame(0xf1, b"x")),
        nothing("compressed, which nobody agreed to", frame(0xc1, b"x")),
        nothing("a reserved opcode", frame(0x83, b"x")),
        nothing("masked by the server", masked),
        nothing("a continuation of nothing", frame(0x80, b"x")),
        nothing("a control frame of 126 bytes", frame(0x89, &[0; 126])),
        nothing("a control frame in pieces", frame(0x09, b"x")),
        nothing("a flood of pings", (0..50_000).flat_map(|_| frame(0x89, b"ping")).collect()),
        nothing("close 1000", frame(0x88, &1000_u16.to_be_bytes())),
        nothing("close 1006, which nobody may send", frame(0x88, &1006_u16.to_be_bytes())),
        nothing("close 1012", frame(0x88, &1012_u16.to_be_bytes())),
        nothing("close with half a code", frame(0x88, &[3])),
        bad("a text that is no UTF-8", frame(0x81, b"{\"topic\":\"\xff\"}")),
    ]
}
