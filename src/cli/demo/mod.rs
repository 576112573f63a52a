//! `redflag demo`: the main job on an embedded feed, with an embedded mail server and chat at the other end, in one folder.
//!
//! Everything between is what `redflag run` runs: the socket, the journal, the rules, the outbox and the channels.

use std::{
    collections::BTreeMap,
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use rust_embed::RustEmbed;
use tokio_util::sync::CancellationToken;

use crate::{
    config::{
        ChannelConfig, ConcedusConfig, Config, DelayConfig, EmailConfig, Environment, FeedConfig, FileConfig, Language, Secret,
        SlackConfig,
        channels::{FileFormat, MailTls, RetryConfig},
        feeds::{BackfillConfig, ByteSize, zone::ZoneName},
        service::{ControlConfig, HttpConfig, RulesConfig, SendTo, TemplatesConfig},
        upkeep::{DiskConfig, RetentionConfig},
    },
    engine::{self, Running},
    model::{
        names::{ChannelName, FeedName},
        rendered::Clearance,
        time::Span,
    },
    simulator::{self, Simulator},
};

pub mod catcher;
mod screen;
mod summary;

use screen::Screen;

/// The shipped rule pack.
#[derive(RustEmbed)]
#[folder = "rules/"]
#[include = "*.rhai"]
#[include = "*.txt"]
#[include = "*.csv"]
struct Pack;

/// How the demo runs.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// End by itself after this long, such as 10s; without it, Ctrl-C ends it
    #[arg(long = "for", value_name = "TIME")]
    pub duration: Option<Span>,
    /// Where mails, chat posts, rules and the store are left; a new folder for temporary files by default. In one of an earlier
    /// demo the rules that lie there stay as they are; shipped ones that are missing are laid out again
    #[arg(long, value_name = "FOLDER")]
    pub dir: Option<PathBuf>,
    /// Events a second
    #[arg(long, default_value_t = 5.0)]
    pub rate: f64,
    /// The same seed tells the same story
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// The user and password of the embedded feed.
const USER: &str = "demo";

/// How long the end may take: the last frames, their alerts, and their deliveries.
const ENDING: Duration = Duration::from_secs(15);

/// Runs the demo. Answers whether its books balance.
///
/// # Errors
/// When the folder can't be used or the service can't start.
pub async fn run(args: &Args) -> anyhow::Result<bool> {
    let dir = folder(args.dir.as_deref())?;
    write_rules(&dir.join("rules"))?;
    let simulator = simulator::start(simulator::Options {
        rate: args.rate,
        seed: args.seed,
        credentials: Some((USER.to_owned(), USER.to_owned())),
        ..simulator::Options::default()
    })
    .await?;
    let catchers = catcher::start(&dir).await.context("the demo's mail server and chat can't be started")?;
    let config = config(&dir, &simulator, &catchers)?;
    let running = engine::start(&config).await?;
    let before = summary::Counted::read(running.store.reader())?;
    let mut screen = Screen::new(running.store.reader().clone(), &dir, config.time_zone.0);
    screen.welcome(&running, args);

    let stop = CancellationToken::new();
    let mut reports = running.reports.subscribe();
    let end = args.duration.map(|duration| tokio::time::Instant::now() + duration.get());
    let mut tick = tokio::time::interval(Duration::from_millis(150));
    let interrupted = tokio::signal::ctrl_c();
    tokio::pin!(interrupted);
    loop {
        tokio::select! {
            _ = tick.tick() => screen.update()?,
            Ok(report) = reports.recv() => screen.reloaded(&report),
            () = async { tokio::time::sleep_until(end.unwrap_or_else(tokio::time::Instant::now)).await }, if end.is_some() => break,
            result = &mut interrupted => {
                result.context("Ctrl-C can't be waited for")?;
                break;
            }
        }
    }
    stop.cancel();
    let (told, drained) = finish(simulator, &running, &before, &mut screen).await?;
    let reader = running.store.reader().clone();
    running.stop().await?;
    let after = summary::Counted::read(&reader)?;
    let summary = summary::Summary::of(&told, &before, &after, &catchers, drained);
    screen.end(&summary);
    Ok(summary.balances())
}

/// Ends the feed, and waits until what it told has been judged and delivered.
async fn finish(
    simulator: Simulator,
    running: &Running,
    before: &summary::Counted,
    screen: &mut Screen,
) -> anyhow::Result<(simulator::Stats, bool)> {
    let told = simulator.stop().await;
    let limit = Instant::now() + ENDING;
    loop {
        screen.update()?;
        let now = summary::Counted::read(running.store.reader())?;
        if now.everything_arrived(before, &told) && now.owed == 0 {
            return Ok((told, true));
        }
        if Instant::now() > limit {
            return Ok((told, false));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn folder(dir: Option<&Path>) -> anyhow::Result<PathBuf> {
    let dir = match dir {
        Some(dir) => dir.to_owned(),
        None => std::env::temp_dir().join(format!("redflag-demo-{}", std::process::id())),
    };
    fs::create_dir_all(&dir).with_context(|| format!("the folder {} can't be made", dir.display()))?;
    fs::canonicalize(&dir).with_context(|| format!("the folder {} can't be used", dir.display()))
}

/// Lays the shipped rules out. What a person has edited in an earlier demo stays.
fn write_rules(folder: &Path) -> anyhow::Result<()> {
    for name in Pack::iter() {
        let path = folder.join(name.as_ref());
        if path.exists() {
            continue;
        }
        let Some(file) = Pack::get(&name) else { bail!("the shipped rule {name} is not in this build") };
        let write = || -> io::Result<()> {
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)?;
            }
            fs::write(&path, &file.data)
        };
        write().with_context(|| format!("the rule {} can't be written", path.display()))?;
    }
    Ok(())
}

/// A file that only its owner reads.
fn secret(dir: &Path, name: &str, text: &str) -> anyhow::Result<Secret> {
    use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _};
    let path = dir.join(name);
    fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("{} can't be written", path.display()))?;
    Ok(Secret::File(path))
}

fn config(dir: &Path, simulator: &Simulator, catchers: &catcher::Catchers) -> anyhow::Result<Config> {
    let secrets = dir.join("secrets");
    fs::create_dir_all(&secrets).with_context(|| format!("{} can't be made", secrets.display()))?;
    let feed = ConcedusConfig {
        socket: simulator.socket_url(),
        auth: simulator.auth_url(),
        username: USER.to_owned(),
        password: secret(&secrets, "feed-password", USER)?,
        username_field: "username".to_owned(),
        naive_time_zone: Some(ZoneName(chrono_tz::Europe::Berlin)),
        success_words: vec!["success".to_owned()],
        lookups: None,
        backfill: BackfillConfig::default(),
        max_message: ByteSize::default(),
        attachment_limit: ByteSize(4096),
        ping_every: Span::from_secs(5),
        dead_after: Span::from_secs(15),
        silence: crate::config::feeds::Silence::Off,
        reconnect_cap: Span::from_secs(30),
        topics: Vec::new(),
        fields: BTreeMap::new(),
    };
    let mail = EmailConfig {
        server: format!("smtp://{}", catchers.smtp_addr),
        tls: MailTls::None,
        ca_file: None,
        username: None,
        password: None,
        from: "redflag@example.com".to_owned(),
        to: vec!["kyc-operations@example.com".to_owned()],
        clearance: Clearance::Personal,
        connections: 2,
        retry: RetryConfig::default(),
    };
    let chat = SlackConfig {
        url: secret(&secrets, "chat-url", &catchers.chat_url)?,
        clearance: Clearance::Masked,
        retry: RetryConfig::default(),
    };
    let archive = FileConfig {
        path: dir.join("archive"),
        format: FileFormat::Json,
        from: None,
        to: Vec::new(),
        clearance: Clearance::Masked,
        retry: RetryConfig::default(),
    };
    let both = || vec!["kyc-operations".to_owned(), "compliance-chat".to_owned()];
    let channels = [
        ("kyc-operations", ChannelConfig::Email(mail)),
        ("compliance-chat", ChannelConfig::Slack(chat)),
        ("archive", ChannelConfig::File(archive)),
    ];
    Ok(Config {
        environment: Environment::Demo,
        data_dir: dir.to_owned(),
        time_zone: ZoneName(chrono_tz::Europe::Berlin),
        language: Language::En,
        feeds: BTreeMap::from([(FeedName::new("concedus"), FeedConfig::Concedus(feed))]),
        rules: RulesConfig { directory: dir.join("rules"), ..RulesConfig::default() },
        templates: TemplatesConfig::default(),
        channels: channels.into_iter().map(|(name, channel)| (ChannelName::new(name), channel)).collect(),
        groups: BTreeMap::from([("mlro".to_owned(), both().iter().map(ChannelName::new).collect())]),
        operators: SendTo { send_to: both() },
        fallback: SendTo { send_to: vec!["archive".to_owned()] },
        delays: DelayConfig::default(),
        heartbeat: None,
        disk: DiskConfig::default(),
        retention: RetentionConfig::default(),
        http: HttpConfig { listen: SocketAddr::from(([127, 0, 0, 1], 0)) },
        control: ControlConfig::default(),
    })
}
