//! Every step of the dialogue against every way in which a server can fail, by a scripted server. The real server is in tests/integration.

use std::{
    fmt::Write as _,
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::future::join_all;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};

use super::*;
use crate::{
    config::{Secret, channels::RetryConfig},
    model::{ids::Ids, time::Span},
};

/// What the scripted server does at its step.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Act {
    Say(&'static str),
    /// A reply, and another that nobody asked for.
    Twice(&'static str),
    Close,
    Hang,
    /// A line without an end.
    Endless,
}

#[derive(Clone, Copy, Debug)]
struct Script {
    step: &'static str,
    act: Act,
    /// On which occurrence of the step, from 1, over all connections.
    nth: usize,
    /// The extensions that EHLO offers.
    offers: &'static [&'static str],
}

const FAITHFUL: Script = Script { step: "", act: Act::Close, nth: 1, offers: &["8BITMIME", "AUTH PLAIN LOGIN"] };

/// What the server saw.
#[derive(Default)]
struct Seen {
    connections: usize,
    lines: Vec<String>,
    mails: Vec<String>,
}

impl Seen {
    fn count(&self, verb: &str) -> usize {
        self.lines.iter().filter(|line| line.starts_with(verb)).count()
    }
}

struct Fake {
    port: u16,
    seen: Arc<Mutex<Seen>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Fake {
    async fn start(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let shared = seen.clone();
        let task = tokio::spawn(async move {
            let mut steps = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                shared.lock().unwrap().connections += 1;
                let _ = serve(stream, script, &shared, &mut steps).await;
            }
        });
        Self { port, seen, task }
    }

    fn seen<T>(&self, look: impl FnOnce(&Seen) -> T) -> T {
        look(&self.seen.lock().unwrap())
    }
}

/// One connection. An error ends it, as does the act `Close`.
async fn serve(stream: TcpStream, script: Script, seen: &Mutex<Seen>, steps: &mut Vec<String>) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let offers: Vec<_> = script.offers.iter().map(|offer| format!("250-{offer}\r\n")).collect();
    let hello = format!("250-fake\r\n{}250 SIZE\r\n", offers.concat());
    step(&mut stream, "banner", "220 fake\r\n", script, steps).await?;
    let mut line = String::new();
    loop {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let text = line.trim_end().to_owned();
        seen.lock().unwrap().lines.push(text.clone());
        match text.split([' ', ':']).next().unwrap() {
            "EHLO" => step(&mut stream, "EHLO", &hello, script, steps).await?,
            "STARTTLS" => step(&mut stream, "STARTTLS", "220 go\r\n", script, steps).await?,
            "AUTH" => step(&mut stream, "AUTH", "235 in\r\n", script, steps).await?,
            "MAIL" => step(&mut stream, "MAIL", "250 ok\r\n", script, steps).await?,
            "RCPT" => step(&mut stream, "RCPT", "250 ok\r\n", script, steps).await?,
            "DATA" => {
                step(&mut stream, "DATA", "354 go\r\n", script, steps).await?;
                let mut mail = String::new();
                while !mail.ends_with("\r\n.\r\n") {
                    if stream.read_line(&mut mail).await? == 0 {
                        return Ok(());
                    }
                }
                seen.lock().unwrap().mails.push(mail);
                step(&mut stream, "dot", "250 queued as 1\r\n", script, steps).await?;
            }
            _ => return Ok(()),
        }
    }
}

async fn step(
    stream: &mut BufReader<TcpStream>,
    name: &str,
    usual: &str,
    script: Script,
    steps: &mut Vec<String>,
) -> io::Result<()> {
    steps.push(name.to_owned());
    let nth = steps.iter().filter(|step| *step == name).count();
    if name != script.step || nth != script.nth {
        return stream.write_all(usual.as_bytes()).await;
    }
    match script.act {
        Act::Say(text) => stream.write_all(format!("{text}\r\n").as_bytes()).await,
        Act::Twice(text) => stream.write_all(format!("{text}\r\n{text}\r\n").as_bytes()).await,
        Act::Close => Err(io::ErrorKind::ConnectionAborted.into()),
        Act::Hang => std::future::pending().await,
        Act::Endless => {
            while stream.write_all(&[b'x'; 4096]).await.is_ok() {}
            Ok(())
        }
    }
}

/// A channel to the scripted server, and the folder with its password and authority.
fn channel(port: u16, change: impl FnOnce(&mut EmailConfig)) -> (Email, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let password = folder.path().join("password");
    std::fs::write(&password, "s3cret-pass\n").unwrap();
    let mut config = EmailConfig {
        server: format!("smtp://127.0.0.1:{port}"),
        tls: MailTls::None,
        ca_file: None,
        username: Some("redflag".to_owned()),
        password: Some(Secret::File(password)),
        from: "redflag@example.com".to_owned(),
        to: vec!["kyc@example.com".to_owned()],
        clearance: Clearance::Masked,
        connections: 1,
        retry: RetryConfig { timeout: Span::from_secs(20), ..RetryConfig::default() },
    };
    change(&mut config);
    (Email::new(&ChannelName::new("kyc-operations"), &config).unwrap(), folder)
}

/// Demands STARTTLS, trusting a certificate made here.
fn demand_tls(config: &mut EmailConfig) {
    let Some(Secret::File(password)) = &config.password else { unreachable!() };
    let authority = password.with_file_name("ca.pem");
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(&authority, made.cert.pem()).unwrap();
    config.tls = MailTls::Required;
    config.ca_file = Some(authority);
}

fn parcel(seed: u64) -> Parcel {
    let at = chrono::DateTime::from_timestamp(1_790_000_000, 0).unwrap();
    let mut ids = Ids::seeded(seed);
    let delivery = ids.delivery(at);
    let mail = Mail { subject: "name differs".to_owned(), text: "See event 7.\n.\nEnd".to_owned(), html: None };
    Parcel {
        delivery,
        message: ids.message(at),
        recipient: "kyc@example.com".to_owned(),
        identity: eml::identity(delivery.0, "kyc-operations", "example.com"),
        attempt: 1,
        rendered: Rendered::Mail(mail),
    }
}

fn word(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Delivered { detail } => format!("delivered · {detail}"),
        Outcome::Retry { detail, .. } => format!("retry     · {detail}"),
        Outcome::Reject { detail } => format!("reject    · {detail}"),
    }
}

#[tokio::test]
async fn every_step_answers_every_fault_as_the_table_says() {
    let acts = [
        ("4xx", Act::Say("450 4.2.0 later")),
        ("5xx", Act::Say("550 5.1.1 never")),
        ("multi", Act::Say("554-5.7.1 never\r\n554 5.7.1 ever")),
        ("421", Act::Say("421 4.3.2 going down")),
        ("2xx", Act::Say("252 what")),
        ("3xx", Act::Say("354 what")),
        ("garbage", Act::Say("\u{1}HTTP/1.1 200 OK")),
        ("twice", Act::Twice("450 4.2.0 later")),
        ("endless", Act::Endless),
        ("close", Act::Close),
        ("hang", Act::Hang),
    ];
    let steps = ["banner", "EHLO", "STARTTLS", "AUTH", "MAIL", "RCPT", "DATA", "dot"];
    let cells = steps.iter().flat_map(|step| acts.iter().map(move |(name, act)| (*step, *name, *act)));
    let rows = join_all(cells.map(|(step, name, act)| async move {
        let offers: &[&str] = if step == "STARTTLS" { &["STARTTLS"] } else { FAITHFUL.offers };
        let fake = Fake::start(Script { step, act, nth: 1, offers }).await;
        let (channel, _folder) = channel(fake.port, |config| {
            if step == "STARTTLS" {
                demand_tls(config);
            }
            if act == Act::Hang {
                // Long enough for every step before the hanging one, all cells at once on a busy machine.
                config.retry.timeout = Span::from_secs(4);
            }
        });
        let outcome = channel.send(&parcel(1)).await;
        assert!(fake.seen(|seen| seen.mails.len() <= 1), "sent twice in one attempt");
        format!("{step:8} {name:8} {}\n", word(&outcome))
    }))
    .await;
    insta::assert_snapshot!(rows.concat());
}

#[tokio::test]
async fn a_mail_goes_out_and_the_next_uses_the_same_connection() {
    let fake = Fake::start(FAITHFUL).await;
    let (channel, _folder) = channel(fake.port, |_| {});
    for seed in 1..=3 {
        assert_eq!(word(&channel.send(&parcel(seed)).await), "delivered · accepted: queued as 1");
    }
    assert_eq!(fake.seen(|seen| (seen.connections, seen.count("AUTH"), seen.mails.len())), (1, 1, 3));
    let mail = fake.seen(|seen| seen.mails[0].clone());
    assert!(mail.contains(&format!("Message-ID: {}\r\n", parcel(1).identity)), "{mail}");
    assert!(mail.ends_with("See event 7.\r\n..\r\nEnd\r\n.\r\n"), "{mail}");
}

#[tokio::test]
async fn a_kept_connection_that_died_is_replaced_once() {
    for act in [Act::Close, Act::Say("421 4.4.2 idle too long")] {
        let fake = Fake::start(Script { step: "MAIL", act, nth: 2, ..FAITHFUL }).await;
        let (channel, _folder) = channel(fake.port, |_| {});
        for seed in 1..=2 {
            assert!(matches!(channel.send(&parcel(seed)).await, Outcome::Delivered { .. }));
        }
        assert_eq!(fake.seen(|seen| (seen.connections, seen.mails.len())), (2, 2));
    }
}

#[tokio::test]
async fn a_lost_acknowledgement_is_left_to_the_outbox_which_sends_the_same_identity() {
    let fake = Fake::start(Script { step: "dot", act: Act::Close, nth: 2, ..FAITHFUL }).await;
    let (channel, _folder) = channel(fake.port, |_| {});
    assert!(matches!(channel.send(&parcel(1)).await, Outcome::Delivered { .. }));
    assert!(matches!(channel.send(&parcel(2)).await, Outcome::Retry { .. }));
    assert_eq!(fake.seen(|seen| seen.mails.len()), 2);
    assert!(matches!(channel.send(&parcel(2)).await, Outcome::Delivered { .. }));
    fake.seen(|seen| assert_eq!(seen.mails[1], seen.mails[2]));
}

#[tokio::test]
async fn without_starttls_nothing_is_said_in_the_clear() {
    let offers: [&'static [&'static str]; 3] = [&["AUTH PLAIN LOGIN"], &[], &["X-STARTTLS", "STARTTLSX"]];
    for offers in offers {
        let fake = Fake::start(Script { offers, ..FAITHFUL }).await;
        let (channel, _folder) = channel(fake.port, demand_tls);
        let outcome = word(&channel.send(&parcel(1)).await);
        assert_eq!(outcome, "retry     · STARTTLS: the server does not offer it, and nothing is sent in the clear");
        fake.seen(|seen| assert_eq!(seen.lines, ["EHLO [127.0.0.1]"]));
    }
}

#[tokio::test]
async fn a_reply_smuggled_in_before_tls_is_refused() {
    let script = Script { step: "STARTTLS", act: Act::Twice("220 go"), nth: 1, offers: &["STARTTLS"] };
    let fake = Fake::start(script).await;
    let (channel, _folder) = channel(fake.port, demand_tls);
    assert_eq!(word(&channel.send(&parcel(1)).await), "retry     · STARTTLS: the server spoke out of turn");
    fake.seen(|seen| assert_eq!(seen.lines, ["EHLO [127.0.0.1]", "STARTTLS"]));
}

#[tokio::test]
async fn a_server_without_the_log_in_or_with_another_alphabet_says_so() {
    let fake = Fake::start(Script { offers: &["8BITMIME"], ..FAITHFUL }).await;
    let (closed, _folder) = channel(fake.port, |_| {});
    let mut said = word(&closed.send(&parcel(1)).await) + "\n";
    let (open, _folder) = channel(fake.port, |config| (config.username, config.password) = (None, None));
    let mut abroad = parcel(1);
    for recipient in ["käthe@example.com", "no address", "kyc@example.com\r\nBcc: evil@example.net"] {
        recipient.clone_into(&mut abroad.recipient);
        writeln!(said, "{}", word(&open.send(&abroad).await)).unwrap();
    }
    assert!(fake.seen(|seen| seen.mails.is_empty() && seen.count("MAIL") == 0));
    insta::assert_snapshot!(said, @r"
    retry     · AUTH: the server offers neither PLAIN nor LOGIN
    reject    · MAIL FROM: the address is not ASCII and the server knows no SMTPUTF8
    reject    · the recipient is no mail address: `no address`
    reject    · the recipient holds control characters
    ");
}

#[tokio::test]
async fn an_attempt_ends_in_time_when_every_connection_is_busy() {
    let fake = Fake::start(Script { step: "MAIL", act: Act::Hang, nth: 1, ..FAITHFUL }).await;
    let (channel, _folder) = channel(fake.port, |config| config.retry.timeout = Span::from_millis(200));
    let (one, two) = (parcel(1), parcel(2));
    let outcomes =
        tokio::time::timeout(Duration::from_secs(20), join_all([channel.send(&one), channel.send(&two)])).await.unwrap();
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Retry { .. })), "{outcomes:?}");
}

#[test]
fn a_server_quoting_the_subject_is_not_quoted() {
    let why = Why::Reply { code: 554, text: "rejected: header Subject: name differs; from x".to_owned() };
    let said = word(&outcome(&Fault { step: Step::Dot, why }, "name differs"));
    assert_eq!(said, "reject    · the end of the message: 554 rejected: header Subject: …; from x");
}

#[test]
fn settings_that_are_unsafe_or_nonsense_are_refused() {
    let (_, folder) = channel(1, |_| {});
    let mut said = String::new();
    let mut refuse = |change: &dyn Fn(&mut EmailConfig)| {
        let mut config = EmailConfig {
            server: "smtp://mail.example:587".to_owned(),
            tls: MailTls::Required,
            ca_file: None,
            username: None,
            password: None,
            from: "redflag <redflag@example.com>".to_owned(),
            to: vec!["kyc@example.com".to_owned()],
            clearance: Clearance::Masked,
            connections: 2,
            retry: RetryConfig::default(),
        };
        change(&mut config);
        let error = Email::new(&ChannelName::new("kyc"), &config).map(drop).unwrap_err();
        writeln!(said, "{}", chain(&error).replace(&folder.path().display().to_string(), "DIR")).unwrap();
    };
    refuse(&|config| config.tls = MailTls::None);
    refuse(&|config| (config.tls, config.server) = (MailTls::None, "smtps://localhost".to_owned()));
    refuse(&|config| config.server = "mail.example:587".to_owned());
    refuse(&|config| config.server = "smtp://user:pass@mail.example".to_owned());
    refuse(&|config| config.server = "smtp://mail.example/inbox".to_owned());
    refuse(&|config| config.username = Some("redflag".to_owned()));
    refuse(&|config| config.password = Some(Secret::File(folder.path().join("none"))));
    refuse(&|config| {
        config.username = Some("redflag".to_owned());
        config.password = Some(Secret::File(folder.path().join("none")));
    });
    refuse(&|config| config.from = "redflag@example.com\r\nBcc: x@example.com".to_owned());
    refuse(&|config| config.to = vec!["nobody".to_owned()]);
    refuse(&|config| config.to = Vec::new());
    refuse(&|config| config.connections = 0);
    refuse(&|config| config.ca_file = Some(folder.path().join("password")));
    refuse(&|config| config.ca_file = Some(folder.path().join("none")));
    insta::assert_snapshot!(said, @r"
    channel `kyc`: `tls` may be `none` only for a server on loopback (localhost, 127.0.0.1, ::1)
    channel `kyc`: `tls` is `none`, but smtps:// is TLS from the start
    channel `kyc`: `server` must begin with smtp:// or smtps://
    channel `kyc`: `server` holds a log-in; use `username` and `password`
    channel `kyc`: `server` has something after the port
    channel `kyc`: `password` is missing: `username` is set
    channel `kyc`: `username` is missing: `password` is set
    channel `kyc`: its password can't be read: DIR/none: No such file or directory (os error 2)
    channel `kyc`: `from` holds control characters
    channel `kyc`: `to` is no mail address: `nobody`
    channel `kyc`: `to` names nobody
    channel `kyc`: `connections` must be at least 1
    channel `kyc`: the authority in DIR/password can't be used: the PEM file holds no certificate
    channel `kyc`: the authority in DIR/none can't be used: the PEM file can't be read: I/O error: No such file or directory (os error 2)
    ");
}
