//! The commands of operators on the real binary: over the control socket of a running service, and on the store while nothing runs.

use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, net::UnixStream},
    path::{Path, PathBuf},
};

use redflag::{
    model::{
        actor::Via,
        books::Books,
        event::{Origin, QuarantineReason, Quarantined},
        hash::Digest,
        names::{FeedName, TopicName},
        time::Timestamp,
        turn::Turn,
    },
    simulator::{self, Simulator},
    store::{AuditRow, Holder, Journal as _, Options, SqliteStore},
};
use serde_json::Value as Json;

use crate::support::{
    service::{Place, until},
    sink::Sink,
};

const RULE: &str = r#"//! A change of customer data did not go through.

const RULE = #{
    id: "T-1", title: "Data change failed", on: ["complianceRecord"], where: #{ status: 801 },
    severity: "medium", send_to: ["chat", "cases"], subject: "{customerKey} differs", personal: ["customerKey"],
};

const TESTS = [
    #{ name: "801 alerts", like: "complianceRecord", set: #{ status: 801 }, expect: #{ alerts: 1 } },
    #{ name: "800 stays quiet", like: "complianceRecord", set: #{ status: 800 }, expect: #{ alerts: 0 } },
];
"#;

/// What must not be shown without being asked for.
const PERSONAL: &str = "CUS_4711";

struct Scene {
    simulator: Simulator,
    sink: Sink,
    place: Place,
}

impl Scene {
    async fn set() -> Self {
        let simulator = simulator::start(simulator::Options { rate: 0.0, ..simulator::Options::default() }).await.unwrap();
        let sink = Sink::start().await;
        sink.refuse("/cases");
        let place = Place::new();
        place.write("rules/one.rhai", RULE);
        for number in 2..=5 {
            place
                .write(&format!("rules/other_{number}.rhai"), &RULE.replace("T-1", &format!("T-{number}")).replace("801", "802"));
        }
        place.write("secret", "secret");
        place.write("chat-url", &sink.url("/chat"));
        place.write("cases-url", &sink.url("/cases"));
        place.write(
            "redflag.toml",
            &format!(
                r#"
data_dir = "data"
feeds.provider = {{ kind = "concedus", socket = "{}", auth = "{}", username = "partner", password = {{ file = "secret" }} }}
channels.chat = {{ kind = "slack", url = {{ file = "chat-url" }} }}
channels.cases = {{ kind = "webhook", url = {{ file = "cases-url" }}, secret = {{ file = "secret" }} }}
operators.send_to = ["chat"]
fallback.send_to = ["chat"]
http.listen = "127.0.0.1:0"
"#,
                simulator.socket_url(),
                simulator.auth_url(),
            ),
        );
        Self { simulator, sink, place }
    }

    async fn push(&self, number: u32) {
        let connected = async || (self.json(&["status"]).await["feeds"][0]["connected"] == true).then_some(());
        until(|| format!("the feed connected; the log:\n{}", self.place.tail()), connected).await;
        self.simulator.push(event(number)).await;
    }

    /// A command that must end so, and its data.
    async fn told(&self, exit: i32, args: &[&str]) -> String {
        let (code, stdout, stderr) = self.place.command(args).await;
        assert_eq!(code, exit, "{args:?}\n{stdout}\n{stderr}\nthe log:\n{}", self.place.tail());
        format!("{stdout}{stderr}")
    }

    async fn json(&self, args: &[&str]) -> Json {
        let all: Vec<&str> = args.iter().copied().chain(["--format", "json"]).collect();
        let (_, stdout, stderr) = self.place.command(&all).await;
        serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{args:?}: {error}\n{stdout}\n{stderr}"))
    }

    async fn until_listed(&self, args: &[&str], count: usize, is: impl Fn(&Json) -> bool) -> Vec<Json> {
        let missing = || format!("{count} of `{}`; the log:\n{}", args.join(" "), self.place.tail());
        until(missing, async || {
            let listed = self.json(args).await;
            let found: Vec<Json> = listed.as_array().unwrap().iter().filter(|line| is(line)).cloned().collect();
            (found.len() >= count).then_some(found)
        })
        .await
    }

    fn audit(&self) -> Vec<AuditRow> {
        let mut lines = self.place.reader().audit(100).unwrap();
        lines.reverse();
        lines
    }

    fn socket(&self) -> PathBuf {
        self.place.path("data").join("control.sock")
    }
}

fn event(number: u32) -> String {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/events/compliance_record.json");
    let mut event: Json = serde_json::from_str(&fs::read_to_string(sample).unwrap()).unwrap();
    event["complianceRecord"][0]["status"] = 801.into();
    event["complianceRecord"][0]["customerKey"] = format!("{PERSONAL}{number}").into();
    event.to_string()
}

/// What an older decoder set aside and today's can read, and what none can.
async fn set_aside(place: &Place) {
    let (store, _) = SqliteStore::open(Options::new(place.path("data"))).unwrap();
    let entry = |bytes: String| Quarantined {
        feed: FeedName::new("provider"),
        received_at: Timestamp::from_timestamp(1_780_000_000, 0).unwrap(),
        origin: Origin::Live,
        reason: QuarantineReason::WrongShape,
        detail: "an older redflag could not read it".to_owned(),
        size: bytes.len() as u64,
        digest: Digest::of(bytes.as_bytes()),
        bytes: bytes.into_bytes(),
    };
    let quarantined = vec![entry(event(9)), entry("{\"topic\":".to_owned())];
    let mut books = Books::default();
    let counts = books.of(&quarantined[0].feed, &TopicName::new(""), quarantined[0].received_at);
    (counts.frames, counts.refused, counts.quarantined) = (2, 2, 2);
    store.commit(Turn { quarantined, books: books.take(), ..Turn::default() }).committed().await.unwrap();
    store.close().committed().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_see_and_change_everything_over_the_socket_and_without_a_service() {
    let scene = Scene::set().await;
    set_aside(&scene.place).await;
    let service = scene.place.start().await;
    assert_eq!(fs::metadata(scene.socket()).unwrap().permissions().mode() & 0o777, 0o600);
    scene.push(1).await;

    // Alerts: masked, unless somebody asks, which is recorded.
    let alerts = scene.until_listed(&["alerts", "list"], 1, |_| true).await;
    assert_eq!((&alerts[0]["number"], &alerts[0]["rule"], &alerts[0]["state"]), (&1.into(), &"T-1".into(), &"open".into()));
    for masked in [scene.told(0, &["alerts", "list"]).await, scene.told(0, &["alerts", "show", "1"]).await] {
        assert!(!masked.contains(PERSONAL), "{masked}");
    }
    let id = alerts[0]["id"].as_str().unwrap();
    assert!(scene.told(0, &["alerts", "show", id, "--personal"]).await.contains(PERSONAL));
    let message = alerts[0]["message"].as_str().unwrap();
    assert!(scene.told(0, &["alerts", "ack", message, "--note", "called them"]).await.contains("alert 1: open → acknowledged"));
    scene.told(0, &["alerts", "note", "1", "--note", "nobody answers"]).await;
    scene.told(0, &["alerts", "close", "1"]).await;
    let shown = scene.told(0, &["alerts", "show", "1"]).await;
    assert!(shown.contains("open → acknowledged: called them") && shown.contains("alerts show --personal"), "{shown}");
    assert_eq!(scene.json(&["alerts", "list", "--state", "open"]).await.as_array().unwrap().len(), 0);
    let audit = scene.audit();
    let actions: Vec<&str> = audit.iter().map(|line| &*line.action).collect();
    assert_eq!(actions, ["alerts show --personal", "alerts ack", "alerts note", "alerts close"]);
    let me = rustix_uid();
    assert!(audit.iter().all(|line| line.actor.via == Via::Socket && line.actor.uid == Some(me)), "{audit:#?}");

    // What is not there, with what is.
    assert!(scene.told(2, &["alerts", "show", "99"]).await.contains("there is no alert 99; the last one is 1"));
    assert!(scene.told(2, &["alerts", "list", "--rule", "T-11"]).await.contains("did you mean `T-1"));
    let unknown = scene.told(2, &["alerts", "list", "--rule", "NOPE"]).await;
    assert_eq!(unknown.matches("T-1").count(), 1, "each rule is named once: {unknown}");
    let failed = scene.json(&["alerts", "list", "--rule", "NOPE"]).await;
    assert!(failed["exit"] == 2 && failed["error"].as_str().unwrap().contains("no rule is called `NOPE`"), "{failed}");
    assert!(scene.told(2, &["outbox", "list", "--channel", "caes"]).await.contains("did you mean `cases`?"));
    assert!(scene.told(2, &["quarantine", "retry", "7"]).await.contains("the last one is 2"));

    // The outbox: a dead letter, and sent again.
    let dead = scene.until_listed(&["outbox", "list"], 1, |line| line["state"] == "dead").await;
    let status = scene.told(1, &["status"]).await;
    assert!(status.contains("channel cases: 1 given up") && status.contains("connected"), "{status}");
    scene.sink.refuse("/nowhere");
    scene.told(0, &["outbox", "retry", "--dead", "--channel", "cases"]).await;
    let number = dead[0]["number"].clone();
    scene.until_listed(&["outbox", "list", "--state", "delivered"], 1, |line| line["number"] == number).await;

    // The quarantine: judged by today's rules, and the entry stays.
    let judged = scene.told(0, &["quarantine", "retry", "1", "--note", "read by the new decoder"]).await;
    assert!(judged.contains("entry 1: retried: journaled as event 2"), "{judged}");
    scene.until_listed(&["alerts", "list"], 1, |line| line["event"] == 2).await;
    assert!(scene.told(1, &["quarantine", "retry", "2"]).await.contains("entry 2: open: still refused"));
    assert!(scene.told(1, &["quarantine", "retry", "1"]).await.contains("was judged already"));
    let entries = scene.json(&["quarantine", "list"]).await;
    assert_eq!((&entries[0]["state"], &entries[1]["state"]), (&"open".into(), &"retried".into()));
    let late = &scene.json(&["alerts", "show", "2", "--personal"]).await["facts"]["event"]["late"];
    assert_eq!(late, &true);

    // Coverage: the books balance, and what is not covered is named.
    let coverage = scene.json(&["coverage"]).await;
    assert_eq!((&coverage["imbalances"], &coverage["gaps"]), (&Json::Array(Vec::new()), &Json::Array(Vec::new())));
    assert_eq!((&coverage["ledger"][0]["to"], &coverage["ledger"][0]["rules"]), (&2.into(), &5.into()));
    assert!(coverage["not_covered"][0].as_str().unwrap().contains("1 entries of the quarantine"), "{coverage}");

    // A configuration that was broken meanwhile: the service that runs is reachable all the same.
    for broken in ["langauge = \"de\"\n", "no TOML"] {
        scene.place.write("conf.d/new.toml", broken);
        let listed = scene.told(0, &["alerts", "list"]).await;
        assert!(listed.contains("the configuration can't be used") && listed.contains("T-1"), "{listed}");
    }
    scene.place.remove("conf.d/new.toml");

    // Reload: a drop is held back until somebody confirms it, and a restart changes nothing about that.
    for number in 2..=4 {
        scene.place.remove(&format!("rules/other_{number}.rhai"));
    }
    assert!(scene.told(1, &["reload"]).await.contains("held back: 3 of 5 rules are gone at once"));
    assert!(service.stop().await.0.success());
    assert!(!scene.socket().exists(), "a clean stop takes its socket along");

    // Nothing runs: the same commands on the store.
    let status = scene.told(69, &["status"]).await;
    assert!(status.contains("does not run") && status.contains("5 live"), "{status}");
    assert!(scene.told(0, &["alerts", "list"]).await.contains("T-1"));
    scene.told(0, &["alerts", "ack", "2"]).await;
    assert_eq!(scene.audit().last().unwrap().actor.via, Via::Direct);
    assert!(scene.told(0, &["quarantine", "retry", "2"]).await.contains("judged when redflag runs"));
    assert!(scene.told(0, &["outbox", "list", "--state", "delivered"]).await.contains("cases"));
    assert!(scene.told(1, &["coverage"]).await.contains("1 to 2"));
    assert!(scene.told(69, &["reload", "--confirm"]).await.contains("nothing runs"));

    let service = scene.place.start().await;
    let status = scene.told(1, &["status"]).await;
    assert!(status.contains("a change of the rules is held back: 3 of 5 rules are gone at once"), "{status}");
    let wanted = async || scene.json(&["quarantine", "list", "--state", "wanted"]).await;
    let none_wanted = async || wanted().await.as_array().unwrap().is_empty().then_some(());
    until(|| "what was wanted is judged".to_owned(), none_wanted).await;
    // What can't be judged and needs no judging is closed, by somebody who says why.
    assert!(scene.told(2, &["quarantine", "drop", "2"]).await.contains("--note"));
    assert!(scene.told(1, &["quarantine", "drop", "1", "--note", "no"]).await.contains("was judged: there is nothing to drop"));
    assert!(scene.told(1, &["status"]).await.contains("set aside and judged by no rule: 1"));
    let dropped = scene.told(0, &["quarantine", "drop", "2", "--note", "a test of the provider's"]).await;
    assert!(dropped.contains("quarantine 2") && dropped.contains("dropped"), "{dropped}");
    assert!(!scene.told(1, &["status"]).await.contains("judged by no rule"));
    assert_eq!(scene.json(&["quarantine", "list", "--state", "dropped"]).await[0]["number"], 2);
    let audit = scene.audit().pop().unwrap();
    assert_eq!(
        (audit.action.as_str(), audit.object.as_str(), audit.detail.as_str()),
        ("quarantine drop", "quarantine 2", "a test of the provider's")
    );
    assert_eq!((audit.before.as_deref(), audit.after.as_deref()), (Some("open"), Some("dropped")));

    assert!(scene.told(0, &["reload", "--confirm"]).await.contains("2 rules: live from now on"));
    assert_eq!(scene.json(&["status"]).await["rules"]["live"], 2);
    assert!(service.stop().await.0.success());
}

fn rustix_uid() -> u32 {
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata("/proc/self").unwrap().uid()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_run_is_told_who_holds_the_store_and_a_socket_that_was_left_is_no_obstacle() {
    let scene = Scene::set().await;
    let service = scene.place.start().await;
    // The first has the port as well; the store is what counts.
    let holder = Holder::of(&scene.place.path("data")).unwrap();
    let told = scene.told(1, &["run"]).await;
    assert!(told.contains(&format!("in use by another redflag (pid {}, `redflag run` since", holder.pid)), "{told}");
    assert_eq!(holder.control.as_deref(), Some(&*scene.socket()));

    service.kill().await;
    assert!(scene.socket().exists() && UnixStream::connect(scene.socket()).is_err());
    assert!(scene.told(69, &["status"]).await.contains("does not run"));
    let config = fs::read_to_string(scene.place.path("redflag.toml")).unwrap();
    scene.place.write("redflag.toml", &format!("{config}disk.low = \"1000000GiB\"\n"));
    let service = scene.place.start().await;
    scene.told(0, &["alerts", "list"]).await;
    // Whatever somebody calls low; only above it the disk is no finding.
    assert!(scene.told(1, &["status"]).await.contains("are left on the disk of the store; [disk] low is 1000000GiB"));
    assert!(service.stop().await.0.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_socket_lies_where_systemd_says_and_speaks_one_version() {
    let mut scene = Scene::set().await;
    let run = scene.place.path("run");
    fs::create_dir(&run).unwrap();
    scene.place.variables.push(("RUNTIME_DIRECTORY", run.display().to_string()));
    let service = scene.place.start().await;
    let socket = run.join("control.sock");
    assert!(socket.exists() && !scene.socket().exists());
    assert_eq!(fs::read_dir(&run).unwrap().count(), 1, "nothing is left beside it");
    scene.told(0, &["alerts", "list"]).await;

    let ask = |line: &str| {
        use std::io::{BufRead as _, BufReader, Write as _};
        let mut stream = UnixStream::connect(&socket).unwrap();
        writeln!(stream, "{line}").unwrap();
        let mut reply = String::new();
        BufReader::new(stream).read_line(&mut reply).unwrap();
        serde_json::from_str::<Json>(&reply).unwrap()
    };
    let replies = tokio::task::block_in_place(|| {
        [
            r#"{"version":99,"ask":{"what":"something new"}}"#,
            r#"{"version":1,"store":"/elsewhere","claims":null,"ask":{"what":"status"}}"#,
            "no JSON",
        ]
        .map(ask)
    });
    let why: Vec<&str> = replies.iter().map(|reply| reply["refused"]["why"].as_str().unwrap()).collect();
    assert_eq!(why, ["version", "other-store", "failed"]);
    assert!(service.stop().await.0.success());
}
