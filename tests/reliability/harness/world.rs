//! A whole installation of its own: the independent feed server, mail server, webhook and archive, a rule, and redflag's home. A row
//! sends numbered events into it, does harm, and lets [`World::settle`] assert the four properties.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use redflag::model::ids::Seq;
use serde_json::Value as Json;

use super::{
    PATIENCE,
    daemon::{Daemon, Home},
    oracle::{Judgement, Oracle, Received},
    smtp::{Letter, PASSWORD, Smtp, USERNAME},
};
use crate::support::{feed::FeedServer, sink::Sink};

/// Every so-manieth event alerts.
pub const ALERTING: u64 = 5;

const RULE_FILE: &str = "rules/failed.rhai";

/// After the faults, a fresh event passes within this.
pub const ALIVE: Duration = Duration::from_secs(10);

const RULE: &str = r#"//! An identification failed.

const RULE = #{
    id: "E2E-200", title: "An identification failed", on: ["identResult"], where: #{ status: "failed" },
    severity: "high", send_to: ["SEND_TO"], subject: "failed {identId}",
};

const TESTS = [
    #{ name: "failed alerts", like: "identResult", set: #{ status: "failed" }, expect: #{ alerts: 1 } },
    #{ name: "success does not", like: "identResult", expect: #{ alerts: 0 } },
];
"#;

/// How a world is set up.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where the state lies; none: in the home.
    pub data: Option<PathBuf>,
    /// Where the archive's files go; none: in the home.
    pub archive: Option<PathBuf>,
    /// The ways out, of `mail`, `cases` (a webhook) and `archive`.
    pub channels: Vec<&'static str>,
    /// Further flags of the feed server.
    pub feed: Vec<String>,
    /// How far back past messages are asked for.
    pub overlap: &'static str,
    /// Further lines of `[feeds.concedus]`.
    pub feed_settings: String,
    /// Further sections of the configuration.
    pub settings: String,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            data: None,
            archive: None,
            channels: vec!["mail", "cases", "archive"],
            feed: Vec::new(),
            overlap: "10m",
            feed_settings: String::new(),
            settings: String::new(),
        }
    }
}

/// The installation and its peers.
pub struct World {
    pub feed: FeedServer,
    pub sink: Sink,
    pub smtp: Smtp,
    pub home: Home,
    pub oracle: Oracle,
    plan: Plan,
    /// Events of this home are numbered from here.
    first: AtomicU64,
    next: AtomicU64,
}

impl World {
    pub async fn new(folder: &Path, plan: Plan) -> anyhow::Result<Self> {
        let flags: Vec<&str> = ["--cap", "1000000"].into_iter().chain(plan.feed.iter().map(String::as_str)).collect();
        let (feed, sink) = (FeedServer::start(&flags), Sink::start().await);
        let data = plan.data.clone().unwrap_or_else(|| folder.join("data"));
        let (home, smtp) = (Home::new(folder, data)?, Smtp::faithful(folder).await?);
        let oracle = Oracle::default();
        let world = Self { feed, sink, smtp, home, oracle, plan, first: AtomicU64::new(0), next: AtomicU64::new(0) };
        world.lay_out()?;
        Ok(world)
    }

    /// The same peers, and redflag as if it had never been: another home, an empty store that begins now, other events.
    pub async fn renew(&mut self, folder: &Path) -> anyhow::Result<()> {
        self.renew_on(folder, &folder.join("data")).await
    }

    /// As [`World::renew`], with the state somewhere else.
    pub async fn renew_on(&mut self, folder: &Path, data: &Path) -> anyhow::Result<()> {
        self.feed.forget().await;
        self.home = Home::new(folder, data)?;
        self.oracle = Oracle::default();
        self.first = AtomicU64::new(self.next.load(Ordering::SeqCst).next_multiple_of(ALERTING));
        self.next = AtomicU64::new(self.first.load(Ordering::SeqCst));
        self.lay_out()
    }

    fn archive(&self) -> PathBuf {
        self.plan.archive.clone().unwrap_or_else(|| self.home.path("archive"))
    }

    /// Configuration, rule and secrets.
    fn lay_out(&self) -> anyhow::Result<()> {
        let Self { feed, sink, smtp, home, plan, .. } = self;
        home.write(RULE_FILE, &RULE.replace("SEND_TO", &plan.channels.join(r#"", ""#)))?;
        home.write("password", PASSWORD)?;
        home.write("feed-password", "secret")?;
        home.write("cases-url", &sink.url("/cases"))?;
        // What an earlier home was sent is not this one's.
        let begin = chrono::Utc::now();
        let mut text = format!(
            r#"
data_dir = "{data}"

[feeds.concedus]
kind = "concedus"
socket = "{socket}"
auth = "{auth}"
username = "partner"
password = {{ file = "feed-password" }}
reconnect_cap = "200ms"
backfill = {{ overlap = "{overlap}", start_from = "{begin}" }}
{feed_settings}

[operators]
send_to = ["alarms"]

[channels.alarms]
kind = "file"
path = "alarms"
format = "json"

[http]
listen = "127.0.0.1:0"
{settings}
"#,
            data = home.data().display(),
            socket = feed.socket(),
            auth = feed.auth(),
            overlap = plan.overlap,
            begin = begin.to_rfc3339(),
            feed_settings = plan.feed_settings,
            settings = plan.settings,
        );
        for channel in &plan.channels {
            let section = match *channel {
                "mail" => format!(
                    "kind = \"email\"\nserver = \"{}\"\nca_file = \"{}\"\nusername = \"{USERNAME}\"\npassword = {{ file = \"password\" }}\n\
                     from = \"redflag@redflag.test\"\nto = [\"kyc@redflag.test\"]",
                    smtp.url(),
                    smtp.authority().display()
                ),
                "cases" => "kind = \"webhook\"\nurl = { file = \"cases-url\" }\nsecret = { file = \"password\" }".to_owned(),
                "archive" => format!("kind = \"file\"\npath = \"{}\"\nformat = \"json\"", self.archive().display()),
                other => bail!("no channel {other} here"),
            };
            let retry = format!("[channels.{channel}.retry]\nfirst = \"200ms\"\nlongest = \"1s\"\ntimeout = \"5s\"");
            write!(text, "\n[channels.{channel}]\n{section}\nclearance = \"personal\"\n{retry}\n")?;
        }
        Ok(home.write("redflag.toml", &text)?)
    }

    /// Saves the rule with another title.
    pub fn change_rule(&self) -> anyhow::Result<()> {
        let text = fs::read_to_string(self.home.path(RULE_FILE))?;
        Ok(self.home.write(RULE_FILE, &text.replacen("An identification failed", "An identification went wrong", 2))?)
    }

    /// Whether this life has loaded its rules a second time.
    pub fn rule_changed(&self) -> bool {
        self.home.log().matches(" rules loaded ").count() > 1
    }

    /// The next so many events, one frame each, over the socket; kept by the feed if nobody listens. The oracle knows of them.
    pub async fn send(&self, count: u64) {
        let from = self.next.fetch_add(count, Ordering::SeqCst);
        let frames: Vec<_> = (from..from + count).map(event).collect();
        for frame in &frames {
            self.oracle.handed(frame);
        }
        self.feed.send_lines(&frames.join("\n")).await;
    }

    /// The next event, which nobody hears; only `getLastMessages` brings it.
    pub async fn miss(&self) {
        let frame = event(self.next.fetch_add(1, Ordering::SeqCst));
        self.oracle.handed(&frame);
        self.feed.miss(&frame).await;
    }

    /// The next event that alerts (numbers between are left out); its identId.
    pub async fn send_alerting(&self) -> String {
        let number = self.next.load(Ordering::SeqCst).next_multiple_of(ALERTING);
        self.next.store(number + 1, Ordering::SeqCst);
        let frame = event(number);
        self.oracle.handed(&frame);
        self.feed.send(&frame).await;
        format!("I{number}")
    }

    /// How many events were sent.
    pub fn sent(&self) -> u64 {
        self.oracle.elements().len() as u64
    }

    /// Waits until the feed is connected.
    pub async fn connected(&self, daemon: &Daemon) -> anyhow::Result<()> {
        self.until("the feed is connected", PATIENCE, async || {
            daemon.metric("redflag_feed_connected", "concedus").await.is_ok_and(|on| on > 0.0)
        })
        .await
        .map(drop)
    }

    /// Everything that was received so far is journaled, judged and sent. How long it took.
    pub async fn drained(&self, within: Duration) -> anyhow::Result<Duration> {
        let reader = self.home.reader()?;
        let sent = Seq(self.sent());
        let drained = async || {
            let judged = reader.judged().is_ok_and(|judged| judged >= sent);
            judged && reader.owed().is_ok_and(|owed| owed.is_empty())
        };
        self.until("everything is judged and sent", within, drained).await.with_context(|| {
            let (last, judged, owed) = (reader.last(), reader.judged(), reader.owed());
            format!("{} events were sent; last {last:?}, judged {judged:?}, owed {owed:?}", sent.0)
        })
    }

    /// The faults are over. Asserts the four properties: a fresh event passes every channel within [`ALIVE`] once what was held up is
    /// through, nothing is lost, nothing altered, nothing invented. Then stops the service.
    pub async fn settle(&self, daemon: Daemon, within: Duration) -> anyhow::Result<Judgement> {
        self.connected(&daemon).await?;
        self.drained(within).await?;
        let fresh = self.send_alerting().await;
        let came = async || {
            let received = self.received().unwrap_or_default();
            self.plan.channels.iter().all(|channel| received.iter().any(|one| one.channel == *channel && one.ident == fresh))
        };
        self.until("liveness: a fresh event passes", ALIVE, came).await?;
        self.drained(within).await?;
        let status = daemon.stop().await?;
        if !status.success() {
            bail!("it stopped with {status}; the log:\n{}", self.home.tail());
        }
        let judgement = self.judge()?;
        judgement.assert()?;
        Ok(judgement)
    }

    /// What arrived and what is journaled, against the model.
    pub fn judge(&self) -> anyhow::Result<Judgement> {
        self.oracle.judge(&self.plan.channels, &self.received()?, &self.home.reader()?)
    }

    /// Every alert that arrived, by every channel.
    pub fn received(&self) -> anyhow::Result<Vec<Received>> {
        let mut received = self.heard()?;
        let entries = fs::read_dir(self.archive()).into_iter().flatten();
        for entry in entries {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.starts_with('.') {
                continue; // Half written when a life ended.
            }
            let bytes = fs::read(&path)?;
            let body: Json = serde_json::from_slice(&bytes).with_context(|| path.display().to_string())?;
            received.extend(told("archive", &name, &body, bytes));
        }
        Ok(received)
    }

    /// What somebody outside was told, by mail or webhook.
    pub fn heard(&self) -> anyhow::Result<Vec<Received>> {
        let mut received = Vec::new();
        for request in self.sink.requests("/cases") {
            let body: Json = serde_json::from_slice(&request.body).context("a webhook's body")?;
            received.extend(told("cases", request.header("idempotency-key"), &body, request.body.clone()));
        }
        received.extend(self.smtp.letters().into_iter().filter_map(mailed));
        // The peers outlive a home: what an earlier one sent is none of this one's.
        let first = self.first.load(Ordering::SeqCst);
        received.retain(|one| one.ident.trim_start_matches('I').parse().map_or(true, |number: u64| number >= first));
        Ok(received)
    }

    /// The texts of the operators' alarms.
    pub fn alarms(&self) -> Vec<String> {
        let entries = fs::read_dir(self.home.path("alarms")).into_iter().flatten().flatten();
        let whole = entries.filter(|entry| !entry.file_name().to_string_lossy().starts_with('.'));
        whole.filter_map(|entry| fs::read_to_string(entry.path()).ok()).collect()
    }

    /// Looks until it is so; how long it took.
    pub async fn until(&self, what: &str, within: Duration, look: impl AsyncFn() -> bool) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        while !look().await {
            if begun.elapsed() > within {
                bail!("waited {} s in vain: {what}; the log:\n{}", within.as_secs(), self.home.tail());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(begun.elapsed())
    }
}

/// The frame of an event by its number.
pub fn event(number: u64) -> String {
    let status = if number.is_multiple_of(ALERTING) { "failed" } else { "success" };
    format!(
        r#"{{"topic":"identResult","kyc":"WEBID","identId":"I{number}","personKey":"PERS_{number}","reason":null,"status":"{status}"}}"#
    )
}

/// An alert out of redflag's own JSON; alarms are none.
fn told(channel: &'static str, identity: &str, body: &Json, bytes: Vec<u8>) -> Option<Received> {
    if body["purpose"] != "alert" {
        return None;
    }
    let fields = body["event"]["fields"].as_object()?;
    let shown: BTreeMap<_, _> =
        fields.keys().map(|name| (name.clone(), super::oracle::text(&body["event"]["fields"], name))).collect();
    let ident = shown.get("identId").cloned().unwrap_or_default();
    Some(Received { channel, identity: identity.to_owned(), ident, shown, bytes })
}

/// An alert out of a mail: its subject names the event.
fn mailed(letter: Letter) -> Option<Received> {
    let subject = letter.header("Subject")?;
    let ident = subject.rsplit_once("failed ")?.1.trim().to_owned();
    let identity = letter.header("Message-ID")?;
    let shown = BTreeMap::from([("identId".to_owned(), ident.clone())]);
    Some(Received { channel: "mail", identity, ident, shown, bytes: letter.bytes })
}
