//! What types alone don't catch: names that must exist, addresses, URLs, limits that contradict each other.

use std::collections::BTreeSet;

use lettre::message::Mailbox;
use url::{Host, Url};

use super::{
    ChannelConfig, ConcedusConfig, Config, EmailConfig, Environment, FeedConfig, FileConfig, JsonlConfig, Secret,
    channels::{FileFormat, MailTls, RetryConfig},
    feeds::ByteSize,
    problem::Problem,
};
use crate::model::time::Span;

/// Beyond this an event would not fit what the journal keeps in one row.
const LARGEST_MESSAGE: ByteSize = ByteSize(512 * 1024 * 1024);
const MOST_CONNECTIONS: u8 = 32;
/// What is deleted younger than that was never looked at.
const DAY: Span = Span::from_secs(86_400);
/// Five years, which § 8 (4) GwG demands for what a due diligence was made of.
const LEGAL: Span = Span::from_secs(1_826 * 86_400);

/// What is wrong, and what is merely unwise.
#[derive(Debug, Default)]
pub struct Findings {
    pub problems: Vec<Problem>,
    pub warnings: Vec<String>,
}

/// Checks a configuration as a whole. Touches neither network nor files.
#[must_use]
pub fn validate(config: &Config) -> Findings {
    let mut findings = Findings::default();
    if config.data_dir.as_os_str().is_empty() {
        findings.wrong("data_dir", "must not be empty", "name the folder that holds the store");
    }
    if !config.http.listen.ip().is_loopback() {
        findings.wrong(
            "http.listen",
            "must be a loopback address",
            "write listen = \"127.0.0.1:7878\"; put a proxy in front to show it elsewhere",
        );
    }
    for (name, feed) in &config.feeds {
        let at = At(&mut findings, format!("feeds.{name}"));
        at.0.name(&at.1, name);
        match feed {
            FeedConfig::Concedus(feed) => concedus(at, feed),
            FeedConfig::Jsonl(feed) => jsonl(at, feed),
        }
    }
    for (name, channel) in &config.channels {
        let mut at = At(&mut findings, format!("channels.{name}"));
        at.0.name(&at.1, name);
        match channel {
            ChannelConfig::Email(email) => self::email(&mut at, email),
            ChannelConfig::File(file) => self::file(&mut at, file),
            ChannelConfig::Slack(_) | ChannelConfig::Webhook(_) => {}
        }
        retry(&mut at, channel.retry());
    }
    for (key, span) in [("critical", config.delays.critical), ("high", config.delays.high), ("others", config.delays.others)] {
        At(&mut findings, "delays".to_owned()).above_zero(key, span);
    }
    upkeep(config, &mut findings);
    names(config, &mut findings);
    warn(config, &mut findings.warnings);
    findings
}

impl Findings {
    fn wrong(&mut self, key: &str, what: impl Into<String>, help: impl Into<String>) {
        self.problems.push(Problem::at(key.split('.'), what).help(help));
    }

    /// Names appear in logs, metrics, file names and variables.
    fn name(&mut self, key: &str, name: &str) {
        let fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        if name.is_empty() || name.len() > 64 || !name.chars().all(fine) {
            let key = key.split_once('.').map_or(key, |(section, _)| section);
            let problem = Problem::at([key, name], format!("`{name}` can't be a name"));
            self.problems.push(problem.help("use a-z, 0-9, - and _, at most 64"));
        }
    }
}

/// Findings below one table.
struct At<'a>(&'a mut Findings, String);

impl At<'_> {
    fn wrong(&mut self, key: &str, what: impl Into<String>, help: impl Into<String>) {
        self.0.wrong(&format!("{}.{key}", self.1), what, help);
    }

    fn not_empty(&mut self, key: &str, text: &str) {
        if text.trim().is_empty() {
            self.wrong(key, "must not be empty", format!("write {key} = \"…\""));
        }
    }

    fn above_zero(&mut self, key: &str, span: Span) {
        if span.get().is_zero() {
            self.wrong(key, "must be longer than zero", format!("write for example {key} = \"10s\""));
        }
    }

    fn size(&mut self, key: &str, size: ByteSize) {
        if size.0 == 0 || size > LARGEST_MESSAGE {
            self.wrong(key, format!("must be between 1B and {LARGEST_MESSAGE}, not {size}"), "");
            if let Some(problem) = self.0.problems.last_mut() {
                problem.help = None;
            }
        }
    }

    /// `secure` is the scheme wanted, `plain` the one that is allowed on loopback.
    fn address(&mut self, key: &str, text: &str, secure: &str, plain: &str) {
        let help = format!("write {key} = \"{secure}://host/path\"");
        match Url::parse(text) {
            Err(error) => self.wrong(key, format!("is no URL: {error}"), help),
            Ok(url) if !url.username().is_empty() || url.password().is_some() => {
                self.wrong(key, "must not contain a user or a password", "they have keys of their own");
            }
            Ok(url) if url.scheme() == secure && url.host().is_some() => {}
            Ok(url) if url.scheme() == plain && loopback(&url) => {}
            Ok(url) if url.scheme() == plain => {
                self.wrong(
                    key,
                    format!("{plain}:// is not encrypted and allowed on loopback only"),
                    format!("write {secure}://"),
                );
            }
            Ok(_) => self.wrong(key, format!("must begin with {secure}://"), help),
        }
    }

    fn mailbox(&mut self, key: &str, text: &str) {
        if text.parse::<Mailbox>().is_err() {
            self.wrong(key, format!("`{text}` is no mail address"), "write name@example.com or Name <name@example.com>");
        }
    }

    fn mailboxes(&mut self, texts: &[String]) {
        let mut seen = BTreeSet::new();
        for (number, text) in texts.iter().enumerate() {
            self.mailbox(&format!("to.{number}"), text);
            if !seen.insert(text.to_lowercase()) {
                self.wrong(&format!("to.{number}"), format!("`{text}` is there twice"), "remove one of the two");
            }
        }
    }
}

fn concedus(mut at: At<'_>, feed: &ConcedusConfig) {
    at.address("socket", &feed.socket, "wss", "ws");
    at.address("auth", &feed.auth, "https", "http");
    at.not_empty("username", &feed.username);
    at.not_empty("username_field", &feed.username_field);
    for (key, span) in [("ping_every", feed.ping_every), ("dead_after", feed.dead_after), ("reconnect_cap", feed.reconnect_cap)] {
        at.above_zero(key, span);
    }
    if feed.dead_after <= feed.ping_every {
        let what = format!("must be longer than ping_every ({}): a ping needs time to be answered", feed.ping_every);
        at.wrong("dead_after", what, "three times ping_every is a good value");
    }
    at.above_zero("backfill.timeout", feed.backfill.timeout);
    if feed.backfill.count == 0 {
        at.wrong("backfill.count", "must be at least 1", "write count = 500");
    }
    if let Some(lookups) = &feed.lookups {
        at.address("lookups.url", &lookups.url, "https", "http");
        at.above_zero("lookups.reach", lookups.reach);
        at.above_zero("lookups.spacing", lookups.spacing);
        if lookups.limit == 0 {
            at.wrong("lookups.limit", "must be at least 1", "write limit = 500, or leave the section out");
        }
    }
    at.size("max_message", feed.max_message);
    at.size("attachment_limit", feed.attachment_limit);
}

fn jsonl(mut at: At<'_>, feed: &JsonlConfig) {
    at.not_empty("path", &feed.path.to_string_lossy());
    if feed.follow && feed.path.as_os_str() == "-" {
        at.wrong("follow", "standard input can't be followed beyond its end", "remove the key");
    }
    at.size("max_message", feed.max_message);
    at.size("attachment_limit", feed.attachment_limit);
}

fn email(at: &mut At<'_>, email: &EmailConfig) {
    let forms = "write smtp://host:587 (STARTTLS is required) or smtps://host:465";
    match Url::parse(&email.server) {
        Err(error) => at.wrong("server", format!("is no URL: {error}"), forms),
        Ok(url) => {
            if !matches!(url.scheme(), "smtp" | "smtps") || !url.has_host() {
                at.wrong("server", "must begin with smtp:// or smtps://", forms);
            } else if !url.username().is_empty() || url.password().is_some() {
                at.wrong("server", "must not contain a user or a password", "use the keys `username` and `password`");
            }
            if email.tls == MailTls::None && !loopback(&url) {
                at.wrong("tls", "sending in the clear is allowed on loopback only", "remove the key: TLS is the default");
            } else if email.tls == MailTls::None && url.scheme() == "smtps" {
                at.wrong("tls", "contradicts smtps://, which is TLS from the start", "write smtp:// or remove the key");
            }
        }
    }
    match (&email.username, &email.password) {
        (Some(_), None) => at.wrong("password", "is missing: there is a username", "write password = { file = \"…\" }"),
        (None, Some(_)) => at.wrong("username", "is missing: there is a password", "write username = \"…\""),
        _ => {}
    }
    at.mailbox("from", &email.from);
    if email.to.is_empty() {
        at.wrong("to", "must name somebody", "write to = [\"name@example.com\"]");
    }
    at.mailboxes(&email.to);
    if email.connections == 0 || email.connections > MOST_CONNECTIONS {
        at.wrong("connections", format!("must be between 1 and {MOST_CONNECTIONS}"), "write connections = 2");
    }
}

fn file(at: &mut At<'_>, file: &FileConfig) {
    at.not_empty("path", &file.path.to_string_lossy());
    if file.format == FileFormat::Eml {
        match &file.from {
            Some(from) => at.mailbox("from", from),
            None => {
                at.wrong(
                    "from",
                    "is missing: an .eml has a sender",
                    "write from = \"redflag@example.com\", or format = \"json\"",
                );
            }
        }
        if file.to.is_empty() {
            at.wrong("to", "is missing: an .eml has recipients", "write to = [\"name@example.com\"], or format = \"json\"");
        }
        at.mailboxes(&file.to);
    }
}

fn retry(at: &mut At<'_>, retry: &RetryConfig) {
    for (key, span) in
        [("first", retry.first), ("longest", retry.longest), ("give_up", retry.give_up), ("timeout", retry.timeout)]
    {
        at.above_zero(&format!("retry.{key}"), span);
    }
    if retry.first > retry.longest {
        at.wrong(
            "retry.first",
            format!("must not be longer than `longest` ({})", retry.longest),
            "lower `first` or raise `longest`",
        );
    }
    if retry.longest > retry.give_up {
        at.wrong(
            "retry.longest",
            format!("must not be longer than `give_up` ({})", retry.give_up),
            "lower `longest` or raise `give_up`",
        );
    }
}

fn upkeep(config: &Config, findings: &mut Findings) {
    if let Some(heartbeat) = &config.heartbeat {
        At(findings, "heartbeat".to_owned()).above_zero("every", heartbeat.every);
    }
    let kept = [
        ("journal", config.retention.journal),
        ("deliveries", config.retention.deliveries),
        ("quarantine", config.retention.quarantine),
    ];
    for (key, keep) in kept {
        if keep.is_some_and(|keep| keep < DAY) {
            findings.wrong(
                &format!("retention.{key}"),
                "must be at least a day",
                format!("write {key} = \"1826d\", or remove the key to keep everything"),
            );
        }
    }
}

/// Groups and recipients name what exists.
fn names(config: &Config, findings: &mut Findings) {
    let channels: Vec<&str> = config.channels.keys().map(|name| &**name).collect();
    for (name, members) in &config.groups {
        findings.name(&format!("groups.{name}"), name);
        if channels.contains(&name.as_str()) {
            findings.wrong(
                &format!("groups.{name}"),
                "a channel has the same name",
                "rename one of them: rules could mean either",
            );
        }
        if members.is_empty() {
            findings.wrong(&format!("groups.{name}"), "must name a channel", "remove the group, or name channels");
        }
        for (number, member) in members.iter().enumerate() {
            let key = format!("groups.{name}.{number}");
            if config.groups.contains_key(&**member) {
                findings.wrong(&key, format!("`{member}` is a group itself"), "a group holds channels, no groups");
            } else {
                known(&key, member, "channel", &channels, findings);
            }
        }
    }
    let both: Vec<&str> = channels.iter().copied().chain(config.groups.keys().map(String::as_str)).collect();
    for (section, send_to) in [("operators", &config.operators), ("fallback", &config.fallback)] {
        for (number, name) in send_to.send_to.iter().enumerate() {
            known(&format!("{section}.send_to.{number}"), name, "channel or group", &both, findings);
        }
    }
}

fn known(key: &str, name: &str, what: &str, names: &[&str], findings: &mut Findings) {
    if names.contains(&name) {
        return;
    }
    let help = match super::shape::nearest(name, names.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if names.is_empty() => "no channel is configured".to_owned(),
        None => format!("there are: {}", names.join(", ")),
    };
    findings.wrong(key, format!("no {what} is called `{name}`"), help);
}

fn warn(config: &Config, warnings: &mut Vec<String>) {
    if config.feeds.is_empty() {
        warnings.push("no feed is configured: redflag will hear nothing; add [feeds.NAME]".to_owned());
    }
    if config.channels.is_empty() {
        warnings.push("no channel is configured: alerts reach nobody; add [channels.NAME]".to_owned());
    }
    let operators: Vec<&str> = config
        .operators
        .send_to
        .iter()
        .flat_map(|name| match config.groups.get(name) {
            Some(group) => group.iter().map(|member| &**member).collect(),
            None => vec![name.as_str()],
        })
        .collect();
    if operators.is_empty() {
        warnings.push("nobody hears of redflag's own troubles; name channels in [operators] send_to".to_owned());
    } else {
        let ways: BTreeSet<_> = operators.iter().filter_map(|name| config.channels.get(*name)).map(way).collect();
        let kinds: BTreeSet<_> = ways.iter().map(|(kind, _)| kind).collect();
        let hosts: BTreeSet<_> = ways.iter().map(|(_, host)| host).collect();
        if kinds.len() < 2 || hosts.len() < 2 {
            warnings.push(
                "the operators have one way only: when it fails, nobody hears of it; add a channel of another kind and host to [operators] send_to"
                    .to_owned(),
            );
        }
    }
    if config.fallback.send_to.is_empty() {
        warnings.push("there is no fallback for alerts that can't be delivered; name channels in [fallback] send_to".to_owned());
    }
    if config.environment == Environment::Prod {
        for (key, keep) in [("journal", config.retention.journal), ("deliveries", config.retention.deliveries)] {
            if let Some(keep) = keep.filter(|keep| *keep < LEGAL) {
                warnings.push(format!("retention.{key} = \"{keep}\" is shorter than the five years for which § 8 (4) GwG demands records; see to it that they are kept elsewhere"));
            }
        }
        for (key, secret) in secrets(config) {
            if let Secret::Env(name) = secret {
                warnings.push(format!(
                    "{key} comes from the environment (${name}), which other processes may read; use a credential or a file"
                ));
            }
        }
    }
}

/// A channel's kind and, where it is known without reading a secret, its host.
fn way(channel: &ChannelConfig) -> (&'static str, String) {
    match channel {
        ChannelConfig::Email(email) => {
            ("email", Url::parse(&email.server).ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default())
        }
        // The address is a secret: two of them count as two hosts.
        ChannelConfig::Slack(slack) => ("slack", format!("{:?}", slack.url)),
        ChannelConfig::Webhook(webhook) => ("webhook", format!("{:?}", webhook.url)),
        ChannelConfig::File(_) => ("file", "this machine".to_owned()),
    }
}

/// Secrets in files that are not redflag's alone. Looks at the files' modes; what can't be looked at is told when it is read.
#[must_use]
pub fn exposed(config: &Config) -> Vec<String> {
    use std::os::unix::fs::PermissionsExt as _;
    let warning = |(key, secret): (String, &Secret)| {
        let Secret::File(path) = secret else { return None };
        let mode = std::fs::metadata(path).ok()?.permissions().mode() & 0o777;
        (mode & 0o007 != 0).then(|| {
            let path = path.display();
            format!(
                "{key}: everybody on this machine may use {path} (mode {mode:04o}); chmod 600 {path}, owned by redflag's user"
            )
        })
    };
    secrets(config).into_iter().filter_map(warning).collect()
}

/// Every secret and its key.
fn secrets(config: &Config) -> Vec<(String, &Secret)> {
    let mut found = Vec::new();
    for (name, feed) in &config.feeds {
        if let FeedConfig::Concedus(feed) = feed {
            found.push((format!("feeds.{name}.password"), &feed.password));
        }
    }
    found.extend(config.heartbeat.iter().map(|heartbeat| ("heartbeat.url".to_owned(), &heartbeat.url)));
    for (name, channel) in &config.channels {
        let at = |key: &str| format!("channels.{name}.{key}");
        match channel {
            ChannelConfig::Email(email) => found.extend(email.password.iter().map(|secret| (at("password"), secret))),
            ChannelConfig::Slack(slack) => found.push((at("url"), &slack.url)),
            ChannelConfig::Webhook(webhook) => found.extend([(at("url"), &webhook.url), (at("secret"), &webhook.secret)]),
            ChannelConfig::File(_) => {}
        }
    }
    found
}

fn loopback(url: &Url) -> bool {
    match url.host() {
        // Schemes that the URL standard does not know keep addresses as names.
        Some(Host::Domain(name)) => name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback()),
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}
