//! The commands as a person or a supervisor meets them: the real binary, its output, its exit code, its signals.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpListener,
    os::unix::net::UnixDatagram,
    path::Path,
    process::{Child, Command, Output, Stdio},
    sync::mpsc,
    time::Duration,
};

use assert_cmd::cargo::CommandCargoExt as _;
use insta::assert_snapshot;
use tempfile::TempDir;

/// Longer than anything here takes on a slow machine.
const PATIENCE: Duration = Duration::from_mins(1);

const RULE: &str = r#"//! A change of customer data did not go through.
//!
//! Why: our record and the provider's now differ.
//! Do:  correct the data and send the change again.

const RULE = #{
    id:       "T-1",
    title:    "Data change failed",
    on:       ["complianceRecord"],
    where:    #{ status: #{ one_of: [801, 802] } },
    severity: "medium",
    send_to:  ["chat"],
};

const TESTS = [
    #{ name: "801 alerts", like: "complianceRecord", set: #{ status: 801 }, expect: #{ alerts: 1 } },
    #{ name: "800 stays quiet", like: "complianceRecord", set: #{ status: 800 }, expect: #{ alerts: 0 } },
];
"#;

/// A folder to work in.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn with(self, name: &str, text: &str) -> Self {
        self.write(name, text);
        self
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::cargo_bin("redflag").unwrap();
        command.args(args).current_dir(self.path()).env_clear().env("NO_COLOR", "1").stdin(Stdio::null());
        command
    }

    /// Exit code, stdout and stderr, with the folder's name taken out.
    fn run(&self, args: &[&str]) -> (i32, String, String) {
        let Output { status, stdout, stderr } = self.command(args).output().unwrap();
        let tidy = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().replace(&format!("{}/", self.path().display()), "");
        (status.code().unwrap(), tidy(stdout), tidy(stderr))
    }
}

/// What `check` says of one rule without a mistake, where there is no configuration.
fn fine() -> String {
    let note = "note: there is no configuration, so nobody looked whether it has the recipients in `send_to`";
    format!("{note}\n1 rule, 0 errors, 0 warnings\n")
}

#[test]
fn check_shows_each_mistake_and_counts_them() {
    let place = Place::new().with("rules/good.rhai", RULE).with(
        "rules/bad.rhai",
        &RULE.replace("T-1", "T-2").replace("where:    #{ status", "where:    #{ staus").replace("\"medium\"", "\"middle\""),
    );
    let (exit, stdout, stderr) = place.run(&["check"]);
    assert_eq!(exit, 1);
    assert_snapshot!(stdout);
    assert_snapshot!(stderr);

    let (exit, stdout, stderr) = place.run(&["check", "rules/good.rhai"]);
    assert_eq!((exit, &*stdout, &*stderr), (0, "", &*fine()));

    let (exit, stdout, _) = place.run(&["check", "--format", "json", "rules"]);
    let findings: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(exit, 1);
    assert!(findings.as_array().unwrap().iter().all(|finding| finding["file"] == "bad.rhai"), "{findings}");
}

#[test]
fn check_knows_the_recipients_only_with_a_configuration() {
    let place = Place::new().with("elsewhere/rule.rhai", RULE);
    assert_eq!(place.run(&["check", "--rules", "elsewhere"]).0, 0);
    let config = "[rules]\ndirectory = \"elsewhere\"\n[channels.chatt]\nkind = \"slack\"\nurl = { env = \"CHAT\" }\n";
    place.write("redflag.toml", config);
    let (exit, stdout, _) = place.run(&["check"]);
    assert_eq!(exit, 1);
    assert!(stdout.contains("chatt"), "{stdout}");
}

#[test]
fn check_says_where_it_looked_for_rules() {
    let (exit, _, stderr) = Place::new().run(&["check"]);
    assert_eq!(exit, 78);
    assert_snapshot!(stderr);
}

#[test]
fn check_finds_no_rule_in_a_file_with_another_ending_and_says_so() {
    let place = Place::new().with("rules/a.rhai.txt", RULE);
    let (exit, _, stderr) = place.run(&["check"]);
    assert_eq!(exit, 1);
    assert_snapshot!(stderr, @r"
    error: no rule was found in rules; the name of a rule file ends in .rhai
    note: there is no configuration, so nobody looked whether it has the recipients in `send_to`
    0 rules, 2 errors, 0 warnings
    ");
}

#[test]
fn a_file_belongs_to_the_folder_called_rules_above_it_whatever_lies_further_up() {
    let place = Place::new().with("team/rules/area/a.rhai", RULE).with("team/lists/x.txt", "one").with("team/other/b.rhai", RULE);
    assert_eq!(place.run(&["check", "team/rules/area/a.rhai"]), (0, String::new(), fine()));
}

#[test]
fn test_tells_every_test_and_why_one_fails() {
    let wrong = RULE.replace("T-1", "T-2").replace("set: #{ status: 800 }", "set: #{ status: 802 }");
    let place = Place::new().with("rules/a.rhai", RULE).with("rules/b.rhai", &wrong);
    let (exit, stdout, stderr) = place.run(&["test"]);
    assert_eq!(exit, 1);
    assert_snapshot!(stdout);
    assert_snapshot!(stderr);
    assert_eq!(place.run(&["test", "rules/a.rhai"]).0, 0);
}

#[test]
fn rules_lists_what_would_be_loaded() {
    let place = Place::new().with("rules/a.rhai", RULE).with("rules/b.rhai", "const RULE = 1;");
    let (exit, stdout, stderr) = place.run(&["rules"]);
    assert_eq!(exit, 1);
    assert!(stdout.contains("T-1") && stdout.contains("a.rhai"), "{stdout}");
    assert!(stderr.contains("not loaded: b.rhai"), "{stderr}");
    let (_, stdout, _) = place.run(&["rules", "--format", "json"]);
    let rules: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((&rules[0]["id"], &rules[0]["tests"], rules.as_array().unwrap().len()), (&"T-1".into(), &2.into(), 1));
}

#[test]
fn an_unusable_configuration_is_told_whole_with_its_own_exit_code() {
    let place = Place::new().with("redflag.toml", "data_dri = \"x\"\n[channels.mail]\nkind = \"email\"\n");
    for command in [&["run"][..], &["config", "show"], &["channel", "test", "mail"]] {
        let (exit, stdout, stderr) = place.run(command);
        assert_eq!((exit, &*stdout), (78, ""), "{stderr}");
        assert!(stderr.contains("did you mean `data_dir`?") && stderr.contains("`server` is missing"), "{stderr}");
    }
    let (exit, _, stderr) = Place::new().run(&["run"]);
    assert_eq!(exit, 78);
    assert_snapshot!(stderr);
}

#[test]
fn config_schema_is_the_committed_one() {
    let (exit, stdout, _) = Place::new().run(&["config", "schema"]);
    assert_eq!(exit, 0);
    assert_eq!(stdout, fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("config/schema.json")).unwrap());
}

#[test]
fn channel_test_sends_once_and_tells_how_it_went() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (refusing, _requests) = chat("400 Bad Request");
    let place = Place::new().with(
        "redflag.toml",
        "data_dir = \"state\"
         [channels.files]\nkind = \"file\"\nformat = \"json\"\npath = \"out\"
         [channels.closed]\nkind = \"slack\"\nurl = { file = \"closed\" }
         [channels.refusing]\nkind = \"slack\"\nurl = { file = \"refusing\" }\n",
    );
    place.write("closed", &format!("http://{closed}/hook"));
    place.write("refusing", &refusing);

    let (exit, stdout, stderr) = place.run(&["channel", "test", "files"]);
    assert_eq!(exit, 0, "{stderr}");
    assert!(stdout.starts_with("delivered: files: "), "{stdout}");
    let written: Vec<_> = fs::read_dir(place.path().join("out")).unwrap().map(|entry| entry.unwrap().path()).collect();
    let body: serde_json::Value = serde_json::from_slice(&fs::read(&written[0]).unwrap()).unwrap();
    assert_eq!((written.len(), body.to_string().contains("Test of channel files")), (1, true), "{body}");

    let (exit, stdout, _) = place.run(&["channel", "test", "closed"]);
    assert_eq!(exit, 69, "{stdout}");
    let (exit, stdout, _) = place.run(&["channel", "test", "refusing"]);
    assert!(exit == 1 && stdout.starts_with("rejected: refusing: "), "{exit} {stdout}");
    let (exit, _, stderr) = place.run(&["channel", "test", "file"]);
    assert_eq!((exit, &*stderr), (2, "redflag: no channel is called `file`; did you mean `files`?\n"));
}

/// A place with one rule, one recorded event that it matches, and a chat.
fn service(chat: &str) -> Place {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/events/compliance_record.json");
    let mut event: serde_json::Value = serde_json::from_str(&fs::read_to_string(sample).unwrap()).unwrap();
    event["complianceRecord"][0]["status"] = 801.into();
    Place::new().with("rules/a.rhai", RULE).with("chat", chat).with("events.jsonl", &format!("{event}\n")).with(
        "redflag.toml",
        "data_dir = \"state\"
         [feeds.recorded]\nkind = \"jsonl\"\npath = \"events.jsonl\"\nfollow = true
         [channels.chat]\nkind = \"slack\"\nurl = { file = \"chat\" }
         [http]\nlisten = \"127.0.0.1:0\"\n",
    )
}

#[test]
fn run_tells_its_supervisor_how_it_is_and_brings_an_alert_to_the_chat() {
    let (chat, posts) = chat("200 OK");
    let place = service(&chat);
    let supervisor = UnixDatagram::bind(place.path().join("notify")).unwrap();
    supervisor.set_read_timeout(Some(PATIENCE)).unwrap();
    let told = || {
        let mut message = [0; 4096];
        let length = supervisor.recv(&mut message).expect("the supervisor is told");
        String::from_utf8(message[..length].to_vec()).unwrap()
    };
    let mut service = Service(
        place.command(&["run"]).env("NOTIFY_SOCKET", place.path().join("notify")).stderr(Stdio::piped()).spawn().unwrap(),
    );

    let ready = told();
    assert!(ready.contains("READY=1") && ready.contains("1 rule live"), "{ready}");
    let post = posts.recv_timeout(PATIENCE).expect("the alert reaches the chat");
    assert!(post.contains("Data change failed"), "{post}");

    // A reload reads the rules; of settings it only says what the next start would make of them.
    place.write("conf.d/new.toml", "langauge = \"de\"\n");
    service.signal("HUP");
    let reloading = told();
    assert!(reloading.contains("RELOADING=1") && reloading.contains("MONOTONIC_USEC="), "{reloading}");
    assert!(told().contains("READY=1"));

    service.signal("TERM");
    assert!(told().contains("STOPPING=1"));
    let mut talk = String::new();
    service.0.stderr.take().unwrap().read_to_string(&mut talk).unwrap();
    assert!(service.0.wait().unwrap().success(), "{talk}");
    assert!(talk.contains("runs: 1 feed, 1 rule, 1 channel"), "{talk}");
    assert!(talk.contains("a restart would fail") && talk.contains("did you mean `language`?"), "{talk}");
    assert!(!talk.contains("customerKey"), "a payload is in the log: {talk}");
}

#[test]
fn a_second_signal_stops_at_once() {
    let (chat, posts) = chat("");
    let place = service(&chat);
    let mut service = Service(place.command(&["run"]).stderr(Stdio::piped()).spawn().unwrap());
    // The chat takes the post and never answers: stopping waits for the attempt.
    posts.recv_timeout(PATIENCE).expect("the alert reaches the chat");
    let mut talk = BufReader::new(service.0.stderr.take().unwrap()).lines().map(Result::unwrap);
    service.signal("TERM");
    assert!(talk.any(|line| line.contains("a second signal stops at once")));
    service.signal("INT");
    assert!(talk.any(|line| line.contains("stopped at once")));
    assert_eq!(service.0.wait().unwrap().code(), Some(1));
}

#[test]
fn simulate_says_where_it_listens_and_counts_at_the_end() {
    let place = Place::new();
    let mut service = Service(
        place
            .command(&["simulate", "--listen", "127.0.0.1:0", "--format", "json", "--limit", "3", "--at-once"])
            .stderr(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let talk = BufReader::new(service.0.stderr.take().unwrap());
    let auth = talk.lines().map(Result::unwrap).find(|line| line.contains("auth = ")).expect("it says where it listens");
    assert!(auth.contains("http://127.0.0.1:"), "{auth}");
    service.signal("TERM");
    let mut stats = String::new();
    service.0.stdout.take().unwrap().read_to_string(&mut stats).unwrap();
    assert!(service.0.wait().unwrap().success());
    let stats: serde_json::Value = serde_json::from_str(&stats).unwrap();
    assert_eq!(stats["connections"], 0, "{stats}");
}

#[test]
fn man_pages_are_written_a_page_a_command() {
    let place = Place::new();
    assert_eq!(place.run(&["man", "--dir", "man"]).0, 0);
    for page in ["redflag.1", "redflag-run.1", "redflag-channel-test.1"] {
        assert!(place.path().join("man").join(page).is_file(), "{page} is missing");
    }
}

/// A process that does not outlive its test.
struct Service(Child);

impl Service {
    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([format!("-{name}"), self.0.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A chat that answers each post with a status, or never; its address, and what was posted.
fn chat(status: &'static str) -> (String, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/hook", listener.local_addr().unwrap());
    let (posted, posts) = mpsc::channel();
    std::thread::spawn(move || {
        let mut open = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut length = 0;
            let mut line = String::new();
            while reader.read_line(&mut line).unwrap_or(0) > 2 {
                if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                line.clear();
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            if status.is_empty() {
                open.push(stream);
            } else {
                let _ = write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok");
            }
            if posted.send(String::from_utf8(body).unwrap()).is_err() {
                return;
            }
        }
    });
    (address, posts)
}
