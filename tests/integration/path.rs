//! The whole path with real parts: a feed server that shares no code with redflag, the real binary with the shipped rules, a real
//! Postfix and a chat server; read back by parsers and a signature check that are not ours.

use std::{collections::BTreeMap, path::Path, time::Duration};

use hmac::{Hmac, KeyInit, Mac};
use mail_parser::{Message, MessageParser};
use redflag::{
    model::{alert::Role, books::Counts, delivery::State, ids::Seq},
    store::Reader,
};
use sha2::Sha256;

use crate::support::{
    feed::FeedServer,
    mta::{MAILBOX, Mta, PASSWORD, USERNAME},
    service::{Place, Service, until},
    sink::{Request, Sink},
};

const SIGNING: &str = "a-signing-secret";
const CHAT: &str = "/services/T000/B000/a-secret-path";
const CASES: &str = "/cases";

/// The verification link of the samples: whoever has it can identify as that person.
const LINK: [&str; 2] = ["webid-solutions.de/service", "264618001"];

/// What the samples and this test say about people.
const PAYLOAD: [&str; 6] = ["PERS_", "166956507", "Beirut", "Frankfurt", "CUS_", "264618001"];

/// What differs between customer and document: only for channels that are cleared for personal data. (The provider's keys of a case are not
/// masked: without them nobody finds it.)
const PERSONAL: [&str; 3] = ["Beirut", "Frankfurt", "document says"];

/// Credentials of every peer.
const SECRETS: [&str; 4] = [PASSWORD, SIGNING, "a-secret-path", "feeds-own-secret"];

struct Scene {
    feed: FeedServer,
    mta: Mta,
    sink: Sink,
    place: Place,
}

impl Scene {
    async fn set() -> Self {
        let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/events");
        let feed = FeedServer::start(&[
            "--token-life",
            "3",
            "--close-when-expired",
            "--password",
            "feeds-own-secret",
            "--samples",
            samples.to_str().unwrap(),
        ]);
        let (mta, sink) = (Mta::start().await, Sink::start().await);
        let mut place = Place::new();
        // Whoever turns the log up must not get payloads by it.
        place.log_level = "trace";
        place.copy("rules", "rules");
        place.write("feed-password", "feeds-own-secret\n");
        place.write("mail-password", PASSWORD);
        place.write("chat-url", &sink.url(CHAT));
        place.write("cases-url", &sink.url(CASES));
        place.write("cases-secret", SIGNING);
        place.write(
            "redflag.toml",
            &format!(
                r#"
environment = "test"
data_dir = "data"
time_zone = "Europe/Berlin"

[feeds.concedus]
kind = "concedus"
socket = "{socket}"
auth = "{auth}"
username = "partner"
password = {{ file = "feed-password" }}
naive_time_zone = "Europe/Berlin"
reconnect_cap = "500ms"

[rules]
directory = "rules"

[channels.mail]
kind = "email"
server = "{mail}"
ca_file = "{authority}"
username = "{USERNAME}"
password = {{ file = "mail-password" }}
from = "redflag <redflag@redflag.test>"
to = ["{MAILBOX}"]
clearance = "personal"

[channels.cases]
kind = "webhook"
url = {{ file = "cases-url" }}
secret = {{ file = "cases-secret" }}

[channels.compliance-chat]
kind = "slack"
url = {{ file = "chat-url" }}

[groups]
kyc-operations = ["mail", "cases"]
mlro = ["mail"]

[operators]
send_to = ["compliance-chat"]

[http]
listen = "127.0.0.1:0"
"#,
                socket = feed.socket(),
                auth = feed.auth(),
                mail = mta.submission(),
                authority = mta.authority().display(),
            ),
        );
        Self { feed, mta, sink, place }
    }

    /// Mails, by rule id.
    async fn mails_of(&self, rule: &str, count: usize) {
        let tail = || format!("{count} mails of {rule}, there are {:?}; the log:\n{}", self.subjects(), self.place.tail());
        until(tail, async || (self.rules().get(rule).copied().unwrap_or(0) >= count).then_some(())).await;
    }

    fn mails(&self) -> Vec<Vec<u8>> {
        self.mta.mailbox()
    }

    fn subjects(&self) -> Vec<String> {
        self.mails().iter().map(|mail| parsed(mail).subject().unwrap_or_default().to_owned()).collect()
    }

    /// How many mails each rule has sent.
    fn rules(&self) -> BTreeMap<String, usize> {
        let mut rules = BTreeMap::new();
        for mail in self.mails() {
            *rules.entry(rule_of(&text(&parsed(&mail)))).or_default() += 1;
        }
        rules
    }

    fn chats(&self) -> Vec<Request> {
        self.sink.requests(CHAT)
    }

    /// Everything that left or stayed: each with a name for a failure's text.
    fn everything(&self) -> Vec<(String, Vec<u8>)> {
        let mut all = vec![("the log".to_owned(), self.place.log().into_bytes())];
        for (number, mail) in self.mails().into_iter().enumerate() {
            let message = parsed(&mail);
            let bodies = format!("{:?}\n{}\n{}", message.subject(), text(&message), message.body_html(0).unwrap());
            all.push((format!("mail {number}, decoded"), bodies.into_bytes()));
            all.push((format!("mail {number}"), mail));
        }
        for path in [CHAT, CASES] {
            all.extend(self.sink.requests(path).into_iter().map(|request| (format!("a request to {path}"), request.body)));
        }
        all.extend(self.place.data().into_iter().map(|(path, bytes)| (path.display().to_string(), bytes)));
        all
    }
}

fn parsed(mail: &[u8]) -> Message<'_> {
    MessageParser::default().parse(mail).unwrap()
}

fn text(mail: &Message<'_>) -> String {
    mail.body_text(0).unwrap().replace("\r\n", "\n")
}

/// The rule's id as the mail's foot names it.
fn rule_of(text: &str) -> String {
    let foot = text.lines().find_map(|line| line.strip_prefix("Rule: "));
    foot.and_then(|rest| rest.split(' ').next()).unwrap_or("none").to_owned()
}

fn holds(bytes: &[u8], needle: &str) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle.as_bytes())
}

/// Another person whose document names another nationality.
fn mismatch(person: &str) -> String {
    format!(
        r#"{{"topic":"mismatches","mismatches":[{{"IdentId":"900","PersonKey":"{person}","Created":"2026-01-01T10:00:00.000Z",
        "Mismatches":[{{"FieldName":"Nationality","Value":"DE","KycValue":"fr"}}]}}]}}"#
    )
}

fn totals(reader: &Reader) -> Counts {
    let books = reader.books().unwrap();
    let mut totals = Counts::default();
    for (_, counts) in &books {
        totals.add(counts);
    }
    totals
}

async fn caught_up(service: &Service<'_>, events: f64) {
    let judged = async || service.metric("redflag_journal_judged_sequence", "").await;
    until(|| format!("{events} events judged"), async || (judged().await >= events).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_the_socket_to_the_mailbox_and_the_chat_and_on_after_a_restart() {
    let scene = Scene::set().await;
    let service = scene.place.start().await;

    // The samples, as the provider documents them: the mismatch alerts by two rules, nothing else does.
    scene.mails_of("KYC-012", 1).await;
    scene.mails_of("KYC-014", 1).await;
    assert_eq!(service.page("/readyz").await, (200, "ready\n".to_owned()));

    // Something happens that the socket does not bring, and the socket breaks: it comes by asking for it. What is later comes live.
    scene.feed.miss(&mismatch("PERS_missed")).await;
    scene.feed.drop_sockets().await;
    scene.mails_of("KYC-012", 2).await;
    scene.feed.send(&mismatch("PERS_live")).await;
    scene.mails_of("KYC-012", 3).await;
    scene.feed.send_damaged("{\"topic\": \"mismatches\", \"PERS_broken").await;
    let alarms = || scene.chats().iter().filter(|chat| chat.text().contains("quarantine")).count();
    until(
        || format!("an alarm of the quarantine in the chat; the log:\n{}", scene.place.tail()),
        async || (alarms() > 0).then_some(()),
    )
    .await;
    caught_up(&service, 6.0).await;

    let (_, metrics) = service.page("/metrics").await;
    for payload in PAYLOAD.iter().chain(&SECRETS) {
        assert!(!metrics.contains(payload), "/metrics holds {payload}:\n{metrics}");
    }
    let stats = scene.feed.stats().await;
    assert!(stats["connects"].as_u64().unwrap() >= 2, "{stats}");

    let (status, took) = service.stop().await;
    assert!(status.success(), "{status}; the log:\n{}", scene.place.tail());
    assert!(took < Duration::from_secs(20), "SIGTERM took {took:?}");
    check_mails(&scene);
    check_chats(&scene);
    check_webhooks(&scene);
    check_store(&scene, 6, 1);

    // Another life: the quiet period goes on, the feed's answer brings nothing twice, a new person alerts.
    let service = scene.place.start().await;
    let connected = async || service.metric("redflag_feed_connected", "concedus").await;
    until(|| "connected again".to_owned(), async || (connected().await > 0.0).then_some(())).await;
    scene.feed.send(&mismatch("PERS_live").replace("900", "901")).await;
    scene.feed.send(&mismatch("PERS_after").replace("900", "902")).await;
    scene.mails_of("KYC-012", 4).await;
    let (status, _) = service.stop().await;
    assert!(status.success(), "{status}; the log:\n{}", scene.place.tail());
    check_store(&scene, 8, 1);
    assert_eq!(scene.rules(), BTreeMap::from([("KYC-012".to_owned(), 4), ("KYC-014".to_owned(), 1)]), "{:?}", scene.subjects());
    let alerts = scene.place.reader().alerts_after(0, 100).unwrap();
    let repeats: Vec<_> = alerts.iter().filter(|alert| alert.role == Role::Repeat).map(|alert| alert.seq).collect();
    assert_eq!(repeats, [Seq(7)], "the quiet period of PERS_live outlives the process");

    nothing_leaks(&scene);
}

fn check_mails(scene: &Scene) {
    let mails = scene.mails();
    assert_eq!(scene.rules(), BTreeMap::from([("KYC-012".to_owned(), 3), ("KYC-014".to_owned(), 1)]), "{:?}", scene.subjects());
    let find = |needle: &str| {
        let found: Vec<_> = mails.iter().filter(|mail| text(&parsed(mail)).contains(needle)).collect();
        found
    };
    // Lebanon is on the list of countries that make a case critical; the mail channel is cleared for personal data.
    let of_samples = find("Rule: KYC-012");
    let of_samples = of_samples.iter().find(|mail| text(&parsed(mail)).contains("VER0007")).unwrap();
    let mail = parsed(of_samples);
    assert_eq!(mail.subject(), Some("[test] Critical: Nationality: customer said DE, document says LB"));
    assert_eq!(mail.to().unwrap().first().unwrap().address(), Some(MAILBOX));
    let body = text(&mail);
    for part in
        ["TEST · CRITICAL", "PERS_c8f24e33-bdef-xxx2-ab7f-VER0007", "Open the case", "Legal basis: GwG § 11 (4) no. 1 d", "#"]
    {
        assert!(body.contains(part), "no {part} in:\n{body}");
    }
    assert!(mail.body_html(0).unwrap().contains("KYC-012"));
    let place_of_birth = find("Rule: KYC-014");
    assert_eq!(
        parsed(place_of_birth[0]).subject(),
        Some("[test] Low: BirthPlace: customer said Frankfurt, document says Beirut")
    );
    // Brought by asking: the reader is told that it is late.
    assert_eq!(find("PERS_missed").len(), 1);
    assert!(text(&parsed(find("PERS_missed")[0])).contains("The event is late"), "{}", text(&parsed(find("PERS_missed")[0])));
    assert!(!text(&parsed(find("PERS_live")[0])).contains("The event is late"));
    let mut ids: Vec<_> = mails.iter().map(|mail| parsed(mail).message_id().unwrap().to_owned()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), mails.len(), "every mail has a Message-ID of its own");
}

fn check_chats(scene: &Scene) {
    let chats = scene.chats();
    let alerts: Vec<_> = chats.iter().filter(|chat| chat.text().contains("KYC-012")).collect();
    assert_eq!(alerts.len(), 3, "{chats:#?}");
    for chat in &chats {
        for payload in PERSONAL {
            assert!(!chat.text().contains(payload), "the chat is not cleared for {payload}: {}", chat.text());
        }
    }
    assert!(alerts.iter().all(|chat| chat.text().contains("Nationality differs for ")), "{alerts:#?}");
}

fn check_webhooks(scene: &Scene) {
    let requests = scene.sink.requests(CASES);
    assert_eq!(requests.len(), 4, "{requests:#?}");
    let mut keys: Vec<_> = requests.iter().map(|request| request.header("idempotency-key")).collect();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), requests.len());
    for request in &requests {
        let mut mac = Hmac::<Sha256>::new_from_slice(SIGNING.as_bytes()).unwrap();
        mac.update(request.header("redflag-timestamp").as_bytes());
        mac.update(b".");
        mac.update(&request.body);
        let signature = request.header("redflag-signature").strip_prefix("v1=").unwrap().as_bytes().to_vec();
        let bytes: Vec<u8> =
            signature.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect();
        mac.verify_slice(&bytes).unwrap();
        let body = request.json();
        assert_eq!(body["schema"], "redflag.message.v1");
        assert_eq!(body["environment"], "test");
        for payload in PERSONAL {
            assert!(!request.text().contains(payload), "the webhook is not cleared for {payload}: {}", request.text());
        }
    }
}

/// `events` happened, once each; all are judged and everything balances.
fn check_store(scene: &Scene, events: u64, quarantined: u64) {
    let reader = scene.place.reader();
    assert_eq!((reader.last().unwrap(), reader.judged().unwrap()), (Seq(events), Seq(events)));
    assert_eq!(reader.quarantine_count().unwrap(), quarantined);
    let counts = totals(&reader);
    assert_eq!(counts.frames, counts.decoded + counts.refused + counts.method_replies, "{counts:?}");
    assert_eq!(counts.elements, counts.journaled + counts.already_had, "{counts:?}");
    assert_eq!((counts.journaled, counts.evaluated), (events, events), "{counts:?}");
    assert_eq!(counts.owed, counts.decided + counts.undecided, "{counts:?}");
    assert_eq!(counts.undecided, 0, "{counts:?}");
    let ledger = reader.ledger().unwrap();
    assert_eq!((ledger[0].from, ledger[ledger.len() - 1].to), (Seq(1), Seq(events)), "{ledger:?}");
    let states = reader.delivery_counts().unwrap();
    // An alarm that was held back for its hour is told at the stop, and goes out after the next start.
    let fine = |channel: &str, state| state == State::Delivered || (channel == "compliance-chat" && state == State::Waiting);
    assert!(states.iter().all(|(channel, state, _)| fine(channel, *state)), "{states:?}");
    assert_eq!(reader.dead_letter_count().unwrap(), 0);
}

fn nothing_leaks(scene: &Scene) {
    for (what, bytes) in scene.everything() {
        for link in LINK {
            // The action's number is an ordinary field of the journal; as a link it is a key.
            if link == LINK[1] && what.ends_with(redflag::store::DATABASE) {
                continue;
            }
            assert!(!holds(&bytes, link), "{what} holds the verification link ({link})");
        }
        for secret in SECRETS {
            assert!(!holds(&bytes, secret), "{what} holds a credential ({secret})");
        }
    }
    let log = scene.place.log();
    for payload in PAYLOAD {
        let line = log.lines().find(|line| line.contains(payload));
        assert!(line.is_none(), "the log holds {payload}: {line:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_that_hangs_delays_no_other_and_gets_its_own_once_it_answers() {
    /// More than a channel has under way at once.
    const PERSONS: usize = 12;
    let scene = Scene::set().await;
    let service = scene.place.start().await;
    scene.mails_of("KYC-012", 1).await;
    scene.sink.hold(true);
    for person in 0..PERSONS {
        scene.feed.send(&mismatch(&format!("PERS_{person}")).replace("900", &format!("91{person}"))).await;
    }
    scene.mails_of("KYC-012", 1 + PERSONS).await;
    let owed = || scene.place.reader().owed().unwrap();
    assert!(
        owed().iter().any(|(channel, count)| channel.as_str() == "compliance-chat" && *count >= PERSONS as u64),
        "{:?}",
        owed()
    );

    scene.sink.hold(false);
    until(|| format!("nothing owed, but {:?} is", owed()), async || owed().is_empty().then_some(())).await;
    assert!(service.stop().await.0.success());
}
