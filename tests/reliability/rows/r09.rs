//! R9: a mail server that fails at every step in every way. One alert goes to a channel for each cell, each with a server of its own whose
//! script fails at the first visit of that step; all at once, in one run of the real binary.
//!
//! Specified: a 5xx about the message (MAIL, RCPT, DATA, the final dot) is a dead letter at once, and the operators are told; everything
//! else waits and is delivered by a later attempt under the same Message-ID, and nobody is alarmed. Never both.

use std::{
    fmt::{self, Write as _},
    path::Path,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, bail};
use redflag::model::delivery::State;

use crate::{
    harness::{
        Bench, PATIENCE, Row,
        daemon::Home,
        smtp::{Act, Letter, PASSWORD, Script, Smtp, Step, USERNAME},
        world::event,
    },
    support::feed::FeedServer,
};

const STEPS: [(Step, &str, &str); 8] = [
    (Step::Banner, "banner", "the greeting"),
    (Step::Ehlo, "ehlo", "EHLO"),
    (Step::StartTls, "starttls", "STARTTLS"),
    (Step::Auth, "auth", "AUTH"),
    (Step::Mail, "mail", "MAIL FROM"),
    (Step::Rcpt, "rcpt", "RCPT TO"),
    (Step::Data, "data", "DATA"),
    (Step::Dot, "dot", "the end of the message"),
];

const FAULTS: [&str; 10] = ["4xx", "5xx", "421", "close", "rst", "hang", "slow", "garbage", "long", "wrong"];

/// What must become of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It waits, and a later attempt delivers it.
    Waits,
    /// A dead letter, and the operators are told.
    Dies,
    /// Nothing is wrong with it.
    Arrives,
}

/// A channel with its server, and what must come of it.
struct Cell {
    name: String,
    server: Smtp,
    /// Recipients, and what must become of each.
    to: Vec<(&'static str, Fate)>,
    /// The step that the failing attempt must name.
    said: &'static str,
}

/// How many cells are as specified, and what is wrong with the others.
#[derive(Clone, Debug, Default)]
pub struct Matrix {
    pub cells: usize,
    pub wrong: Vec<String>,
}

impl fmt::Display for Matrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} cells as specified", self.cells - self.wrong.len(), self.cells)?;
        if self.wrong.is_empty() { Ok(()) } else { write!(f, "; not: {}", self.wrong.join("; ")) }
    }
}

pub async fn run(bench: &Bench) -> anyhow::Result<Row> {
    let matrix = matrix(bench.folder()).await?;
    let pass = matrix.wrong.is_empty() && matrix.cells == STEPS.len() * FAULTS.len() + 1;
    Ok(Row::new(matrix.cells, "80/80 cells and the split envelope as specified", matrix.to_string(), pass))
}

/// The whole matrix.
pub async fn matrix(folder: &Path) -> anyhow::Result<Matrix> {
    let cells = cells(folder).await?;
    let feed = FeedServer::start(&[]);
    let home = home(folder, &feed, &cells)?;
    let daemon = home.start().await?;
    wait("the feed is connected", &home, async || {
        daemon.metric("redflag_feed_connected", "concedus").await.is_ok_and(|on| on > 0.0)
    })
    .await?;
    feed.send(&event(0)).await;
    let reader = home.reader()?;
    wait("every delivery has ended", &home, async || {
        reader.judged().is_ok_and(|judged| judged.0 > 0) && reader.owed().is_ok_and(|owed| owed.is_empty())
    })
    .await?;
    let dying = cells.iter().filter(|cell| cell.to.iter().any(|(_, fate)| *fate == Fate::Dies)).map(|cell| &cell.name);
    for name in dying {
        wait(&format!("an alarm about {name}"), &home, async || {
            alarms(&home).is_ok_and(|alarms| alarms.iter().any(|alarm| alarm.contains(&about(name))))
        })
        .await?;
    }
    let status = daemon.stop().await?;
    if !status.success() {
        bail!("it stopped with {status}; the log:\n{}", home.tail());
    }
    let alarms = alarms(&home)?;
    let message = reader.alerts_after(0, 1)?.first().and_then(|alert| alert.message).context("no message")?;
    let deliveries = reader.deliveries_of(message)?;
    let mut matrix = Matrix { cells: cells.len(), wrong: Vec::new() };
    for cell in &cells {
        let mut wrong = String::new();
        for (recipient, fate) in &cell.to {
            let Some(row) = deliveries.iter().find(|row| row.channel.as_str() == cell.name && row.recipient == *recipient) else {
                bail!("{}: no delivery", cell.name)
            };
            let attempts = reader.attempts_of(row.id)?;
            let ended = |outcome: &str| attempts.iter().filter(|attempt| attempt.outcome.as_deref() == Some(outcome)).count();
            // A reset instead of a greeting may be seen while the connection is still being made.
            let named = attempts
                .iter()
                .filter_map(|attempt| attempt.detail.as_deref())
                .any(|detail| detail.starts_with(cell.said) || (cell.name == "banner-rst" && detail.starts_with("connecting")));
            let told = alarms.iter().filter(|alarm| alarm.contains(&about(&cell.name))).count();
            let dies = cell.to.iter().any(|(_, fate)| *fate == Fate::Dies);
            let copies: Vec<Letter> =
                cell.server.letters().into_iter().filter(|letter| letter.to.iter().any(|to| to == recipient)).collect();
            let acknowledged = copies.iter().filter(|letter| letter.acknowledged).count();
            let same = copies.iter().all(|letter| {
                letter.header("Message-ID").as_deref() == Some(row.identity.as_str()) && letter.bytes == copies[0].bytes
            });
            let right = match fate {
                Fate::Waits => {
                    row.state == State::Delivered && ended("retry") > 0 && ended("dead") == 0 && ended("delivered") == 1 && named
                }
                Fate::Dies => row.state == State::Dead && ended("dead") == 1 && ended("delivered") == 0 && named,
                Fate::Arrives => row.state == State::Delivered && ended("dead") == 0 && copies.len() == 1,
            };
            let arrived = if *fate == Fate::Dies { acknowledged == 0 } else { acknowledged > 0 };
            if !right || !arrived || !same || (told > 0) != dies || told > 1 {
                let _ = write!(
                    wrong,
                    "{} → {recipient}: {:?} after {:?}, {} copies ({acknowledged} acknowledged, {}), {told} alarms",
                    cell.name,
                    row.state,
                    attempts.iter().map(|attempt| attempt.detail.as_deref().unwrap_or("no end")).collect::<Vec<_>>(),
                    copies.len(),
                    if same { "equal" } else { "not equal" }
                );
            }
        }
        // TLS comes before everything that is worth hiding.
        if cell
            .server
            .cleartext()
            .iter()
            .any(|line| !line.starts_with("EHLO") && !line.eq_ignore_ascii_case("STARTTLS") && line != "QUIT")
        {
            let _ = write!(wrong, " {}: said in the clear: {:?}", cell.name, cell.server.cleartext());
        }
        if !wrong.is_empty() {
            matrix.wrong.push(wrong);
        }
    }
    Ok(matrix)
}

async fn cells(folder: &Path) -> anyhow::Result<Vec<Cell>> {
    let mut cells = Vec::new();
    for (step, name, said) in STEPS {
        for fault in FAULTS {
            let act = act(step, fault);
            let script: Script =
                Arc::new(move |visit| if visit.step == step && visit.nth == 1 { act.clone() } else { Act::Usual });
            let server = Smtp::start(folder, script).await?;
            let about_the_message = matches!(step, Step::Mail | Step::Rcpt | Step::Data | Step::Dot);
            let fate = if fault == "5xx" && about_the_message { Fate::Dies } else { Fate::Waits };
            cells.push(Cell { name: format!("{name}-{fault}"), server, to: vec![("kyc@redflag.test", fate)], said });
        }
    }
    // One recipient of three is unknown, one is told to come back: the others don't suffer, and nobody gets it twice.
    let script: Script = Arc::new(|visit| match visit.step {
        Step::Rcpt if visit.said.contains("bad@") => Act::Say("550 5.1.1 unknown"),
        Step::Rcpt if visit.said.contains("grey@") && visit.nth <= 3 => Act::Say("450 4.7.1 later"),
        _ => Act::Usual,
    });
    cells.push(Cell {
        name: "split".to_owned(),
        server: Smtp::start(folder, script).await?,
        to: vec![("good@redflag.test", Fate::Arrives), ("grey@redflag.test", Fate::Waits), ("bad@redflag.test", Fate::Dies)],
        said: "",
    });
    Ok(cells)
}

fn act(step: Step, fault: &str) -> Act {
    match fault {
        "4xx" => Act::Say("450 4.2.0 later"),
        "5xx" => Act::Say("550 5.1.1 never"),
        "421" => Act::Say("421 4.3.2 going down"),
        "close" => Act::Close,
        "rst" => Act::Reset,
        "hang" => Act::Hang,
        "slow" => Act::Trickle(Duration::from_secs(1)),
        "garbage" => Act::Say("\u{1}HTTP/1.1 200 OK"),
        "long" => Act::Long(1 << 20),
        // A 250 where another reply belongs, and a second one where 250 is right: the next command would take it for its own.
        _ if matches!(step, Step::Ehlo | Step::Mail | Step::Rcpt | Step::Dot) => Act::Also("250 ok"),
        _ => Act::Say("250 ok"),
    }
}

fn home(folder: &Path, feed: &FeedServer, cells: &[Cell]) -> anyhow::Result<Home> {
    let home = Home::new(folder, folder.join("data"))?;
    home.write("password", PASSWORD)?;
    home.write("feed-password", "secret")?;
    let names: Vec<_> = cells.iter().map(|cell| format!("\"{}\"", cell.name)).collect();
    home.write(
        "rules/failed.rhai",
        &format!(
            r#"//! An identification failed.

const RULE = #{{
    id: "E2E-200", title: "An identification failed", on: ["identResult"], where: #{{ status: "failed" }},
    severity: "high", send_to: [{}], subject: "failed {{identId}}",
}};

const TESTS = [
    #{{ name: "failed alerts", like: "identResult", set: #{{ status: "failed" }}, expect: #{{ alerts: 1 }} }},
    #{{ name: "success does not", like: "identResult", expect: #{{ alerts: 0 }} }},
];
"#,
            names.join(", ")
        ),
    )?;
    let mut text = format!(
        r#"
data_dir = "data"

[feeds.concedus]
kind = "concedus"
socket = "{}"
auth = "{}"
username = "partner"
password = {{ file = "feed-password" }}

[operators]
send_to = ["alarms"]

[channels.alarms]
kind = "file"
path = "alarms"
format = "json"

[http]
listen = "127.0.0.1:0"
"#,
        feed.socket(),
        feed.auth()
    );
    for Cell { name, server, to, .. } in cells {
        let to: Vec<_> = to.iter().map(|(recipient, _)| format!("\"{recipient}\"")).collect();
        write!(
            text,
            r#"
[channels.{name}]
kind = "email"
server = "{}"
ca_file = "{}"
username = "{USERNAME}"
password = {{ file = "password" }}
from = "redflag@redflag.test"
to = [{}]
clearance = "personal"

[channels.{name}.retry]
first = "500ms"
longest = "1s"
timeout = "4s"
"#,
            server.url(),
            server.authority().display(),
            to.join(", ")
        )?;
    }
    home.write("redflag.toml", &text)?;
    Ok(home)
}

/// How an alarm about a channel names it.
fn about(channel: &str) -> String {
    format!("Channel {channel}: ")
}

fn alarms(home: &Home) -> anyhow::Result<Vec<String>> {
    let mut alarms = Vec::new();
    for entry in std::fs::read_dir(home.path("alarms"))? {
        let path = entry?.path();
        if !path.file_name().unwrap_or_default().to_string_lossy().starts_with('.') {
            alarms.push(std::fs::read_to_string(path)?);
        }
    }
    Ok(alarms)
}

async fn wait(what: &str, home: &Home, look: impl AsyncFn() -> bool) -> anyhow::Result<()> {
    let begun = std::time::Instant::now();
    while !look().await {
        if begun.elapsed() > PATIENCE * 2 {
            bail!("waited in vain: {what}; the log:\n{}", home.tail());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}
