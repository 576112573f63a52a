//! What every part needs: the disk's own speed, a configuration, the feed and the engine as processes, and a look at the store from outside.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Write as _,
    net::SocketAddr,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context as _, ensure};
use redflag::{
    config::{
        ChannelConfig, ConcedusConfig, Config, DelayConfig, Environment, FeedConfig, Language, Secret, WebhookConfig,
        channels::RetryConfig,
        feeds::{BackfillConfig, ByteSize, zone::ZoneName},
        service::{ControlConfig, HttpConfig, RulesConfig, SendTo, TemplatesConfig},
        upkeep::{DiskConfig, RetentionConfig},
    },
    model::{
        names::{ChannelName, FeedName},
        rendered::Clearance,
        time::Span,
    },
    store::{Reader, SqliteStore},
};
use rusqlite::{Connection, OpenFlags};

use crate::{
    child::{Feed, Load, Process, Ready},
    rules,
};

pub const MEBIBYTE: f64 = (1 << 20) as f64;

/// Where this binary was built.
pub fn target() -> anyhow::Result<PathBuf> {
    let binary = std::env::current_exe()?;
    binary.ancestors().nth(3).map(Path::to_owned).context("this binary lies nowhere below a target folder")
}

/// The processor, and what else it is busy with.
pub fn machine() -> anyhow::Result<String> {
    let cpu = fs::read_to_string("/proc/cpuinfo")?;
    let model =
        cpu.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1)).unwrap_or("an unknown processor");
    let cores = std::thread::available_parallelism()?;
    let load = fs::read_to_string("/proc/loadavg")?;
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    Ok(format!("{cores} × {model}, Linux {}, load before the run {}", kernel.trim(), load.split(' ').next().unwrap_or("?")))
}

/// Seconds that a 4 KiB append takes to be on disk.
pub fn fsync(dir: &Path) -> anyhow::Result<f64> {
    let mut file = File::options().create(true).append(true).open(dir.join("fsync"))?;
    let began = Instant::now();
    file.write_all(&[0x5a; 4_096])?;
    file.sync_data()?;
    Ok(began.elapsed().as_secs_f64())
}

pub fn open(dir: &Path) -> anyhow::Result<Connection> {
    Ok(Connection::open_with_flags(dir.join("redflag.db"), OpenFlags::SQLITE_OPEN_READ_ONLY)?)
}

pub fn count(dir: &Path, sql: &str) -> anyhow::Result<u64> {
    Ok(open(dir)?.query_row(sql, [], |row| row.get::<_, i64>(0))?.unsigned_abs())
}

pub fn reader(dir: &Path) -> anyhow::Result<Reader> {
    Ok(SqliteStore::read_only(dir)?)
}

pub fn feed(load: Load) -> anyhow::Result<(Process, Feed)> {
    Process::start("feed", &serde_json::to_string(&load)?)
}

/// Starts an engine whose rules must all be live.
pub fn engine(config: &Path) -> anyhow::Result<Process> {
    let (engine, ready): (_, Ready) = Process::start("engine", &config.to_string_lossy())?;
    ensure!(ready.diagnostics.is_empty(), "the rules are not as they should be:\n{}", ready.diagnostics.join("\n"));
    Ok(engine)
}

/// Posts to what takes everything.
pub fn webhook(dir: &Path, address: &Feed) -> anyhow::Result<ChannelConfig> {
    Ok(ChannelConfig::Webhook(WebhookConfig {
        url: secret(dir, "webhook-url", &address.sink)?,
        secret: secret(dir, "webhook-key", "a key for the bench and nothing else")?,
        clearance: Clearance::Masked,
        retry: RetryConfig::default(),
    }))
}

/// A file that only its owner reads.
pub fn secret(dir: &Path, name: &str, text: &str) -> anyhow::Result<Secret> {
    fs::create_dir_all(dir)?;
    let path = dir.join(name);
    File::options().write(true).create(true).truncate(true).mode(0o600).open(&path)?.write_all(text.as_bytes())?;
    Ok(Secret::File(path))
}

/// Writes the configuration of an engine whose recipients all are this channel.
pub fn config(dir: &Path, address: &Feed, rules: &Path, way: ChannelConfig) -> anyhow::Result<PathBuf> {
    let feed = ConcedusConfig {
        socket: address.socket.clone(),
        auth: address.auth.clone(),
        username: "bench".to_owned(),
        password: secret(dir, "feed-password", "bench")?,
        username_field: "username".to_owned(),
        naive_time_zone: Some(ZoneName(chrono_tz::Europe::Berlin)),
        success_words: vec!["success".to_owned()],
        lookups: None,
        backfill: BackfillConfig::default(),
        max_message: ByteSize::default(),
        attachment_limit: ByteSize(4_096),
        ping_every: Span::from_secs(5),
        dead_after: Span::from_secs(15),
        silence: redflag::config::feeds::Silence::Off,
        reconnect_cap: Span::from_secs(30),
        topics: Vec::new(),
        fields: BTreeMap::new(),
    };
    let channel = ChannelName::new(rules::CHANNEL);
    let also = |name: &str| (name.to_owned(), vec![channel.clone()]);
    let config = Config {
        environment: Environment::Test,
        data_dir: dir.to_owned(),
        time_zone: ZoneName(chrono_tz::Europe::Berlin),
        language: Language::En,
        feeds: BTreeMap::from([(FeedName::new("concedus"), FeedConfig::Concedus(feed))]),
        rules: RulesConfig { directory: rules.to_owned(), ..RulesConfig::default() },
        templates: TemplatesConfig::default(),
        groups: BTreeMap::from([also("mlro"), also("compliance-chat")]),
        operators: SendTo { send_to: vec![channel.to_string()] },
        fallback: SendTo { send_to: vec![channel.to_string()] },
        delays: DelayConfig::default(),
        heartbeat: None,
        disk: DiskConfig::default(),
        retention: RetentionConfig::default(),
        channels: BTreeMap::from([(channel.clone(), way)]),
        http: HttpConfig { listen: SocketAddr::from(([127, 0, 0, 1], 0)) },
        control: ControlConfig::default(),
    };
    let path = dir.join("config.json");
    fs::write(&path, serde_json::to_vec(&config)?)?;
    Ok(path)
}

/// Rewrites the feed's section of a configuration.
pub fn change(path: &Path, change: impl FnOnce(&mut ConcedusConfig)) -> anyhow::Result<()> {
    let mut config: Config = serde_json::from_slice(&fs::read(path)?)?;
    for feed in config.feeds.values_mut() {
        if let FeedConfig::Concedus(feed) = feed {
            change(feed);
            break;
        }
    }
    Ok(fs::write(path, serde_json::to_vec(&config)?)?)
}
