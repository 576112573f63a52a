use std::collections::BTreeSet;

use insta::assert_snapshot;
use tempfile::TempDir;

use super::*;
use crate::config::{ChannelConfig, FeedConfig, Secret, show};

/// A folder with `redflag.toml` and further files.
struct Folder(TempDir);

impl Folder {
    fn new(main: &str) -> Self {
        Self(tempfile::tempdir().unwrap()).with("redflag.toml", main)
    }

    fn with(self, name: &str, text: &str) -> Self {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    fn lookup(&self) -> Lookup {
        Lookup { file: Some(self.0.path().join("redflag.toml")), ..Lookup::default() }
    }

    fn load(&self) -> LoadedConfig {
        load(&self.lookup()).unwrap_or_else(|error| panic!("{}", self.tidy(&error.to_string())))
    }

    fn with_variables(&self, variables: &[(&str, &str)]) -> Lookup {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Lookup { variables, ..self.lookup() }
    }

    fn refused(&self, lookup: &Lookup) -> String {
        self.tidy(&load(lookup).unwrap_err().to_string())
    }

    fn tidy(&self, text: &str) -> String {
        text.replace(&format!("{}/", self.0.path().display()), "")
    }
}

const SMALL: &str = r#"
data_dir = "state"

[channels.kyc-operations]
kind = "email"
server = "smtp://mail.example:587"
from = "redflag@example.com"
to = ["kyc@example.com"]
username = "redflag"
password = { file = "mail-password" }

[operators]
send_to = ["kyc-operations"]
"#;

#[test]
fn the_shipped_file_loads_as_it_is() {
    let lookup = Lookup { file: Some(shipped()), ..Lookup::default() };
    let loaded = load(&lookup).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(loaded.warnings, Vec::<String>::new());
}

#[test]
fn the_shipped_file_shows_every_key_with_its_default() {
    let text = fs::read_to_string(shipped()).unwrap();
    // Text begins with `# `, a key that may be left out with `#`.
    let whole: String = text
        .lines()
        .map(|line| {
            line.strip_prefix('#').filter(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '[')).unwrap_or(line)
        })
        .flat_map(|line| [line, "\n"])
        .collect();
    let folder = Folder::new(&whole);
    let shown = folder.load();
    let plain = load(&Lookup { file: Some(shipped()), ..Lookup::default() }).unwrap();

    let mut keys = BTreeSet::new();
    written_keys(&shown.provenance, &mut keys);
    let mut owed = BTreeSet::new();
    schema_keys(shape::root(), &mut Key::new(), &mut owed);
    let missing: Vec<_> = owed.difference(&keys).collect();
    assert!(missing.is_empty(), "config/redflag.toml does not mention {missing:#?}");

    // What is commented out is the default, except where there is none.
    let FeedConfig::Concedus(mut feed) = shown.config.feeds["concedus"].clone() else { panic!("another kind") };
    feed.naive_time_zone = None;
    let lookups = feed.lookups.take().unwrap();
    let least = serde_json::from_value(serde_json::json!({ "url": lookups.url })).unwrap();
    assert_eq!(lookups, least);
    assert_eq!(FeedConfig::Concedus(feed), plain.config.feeds["concedus"]);
    let ChannelConfig::Email(mut email) = shown.config.channels["kyc-operations"].clone() else { panic!("another kind") };
    (email.username, email.password, email.ca_file) = (None, None, None);
    assert_eq!(ChannelConfig::Email(email), plain.config.channels["kyc-operations"]);
    for name in ["compliance-chat", "archive"] {
        assert_eq!(shown.config.channels[name], plain.config.channels[name]);
    }
    assert_eq!(
        (shown.config.environment, shown.config.language, shown.config.time_zone, shown.config.http, shown.config.rules.watch),
        (plain.config.environment, plain.config.language, plain.config.time_zone, plain.config.http, plain.config.rules.watch)
    );
}

#[test]
fn the_committed_schema_is_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/schema.json");
    let schema = format!("{}\n", serde_json::to_string_pretty(&shape::schema()).unwrap());
    if std::env::var_os("INSTA_UPDATE").is_some_and(|how| how == "always") {
        fs::write(&path, &schema).unwrap();
    }
    let committed = fs::read_to_string(path).unwrap();
    assert!(committed == schema, "config/schema.json is old; write it anew: redflag config schema > config/schema.json");
}

#[test]
fn drop_ins_follow_in_the_order_of_their_names_and_the_environment_wins() {
    let folder = Folder::new(SMALL)
        .with("conf.d/20-second.toml", "language = \"de\"\n[channels.kyc-operations]\nfrom = \"second@example.com\"\n")
        .with("conf.d/10-first.toml", "[channels.kyc-operations]\nfrom = \"first@example.com\"\nconnections = 3\n")
        .with("conf.d/notes.txt", "not read");
    let lookup = folder.with_variables(&[
        ("REDFLAG__CHANNELS__KYC_OPERATIONS__CONNECTIONS", "4"),
        ("REDFLAG__CHANNELS__KYC_OPERATIONS__TO", r#"["one@example.com", "two@example.com"]"#),
        ("REDFLAG__CHANNELS__KYC_OPERATIONS__PASSWORD__ENV", "MAIL_PASSWORD"),
        ("REDFLAG__FEEDS__STANDARD_INPUT__KIND", "jsonl"),
        ("REDFLAG__FEEDS__STANDARD_INPUT__PATH", "-"),
    ]);
    let lookup = Lookup { overrides: vec![("data_dir".to_owned(), "/elsewhere".to_owned())], ..lookup };
    let loaded = load(&lookup).unwrap_or_else(|error| panic!("{error}"));
    let ChannelConfig::Email(email) = &loaded.config.channels["kyc-operations"] else { panic!("another kind") };
    assert_eq!(email.from, "second@example.com");
    assert_eq!(email.password, Some(Secret::Env("MAIL_PASSWORD".to_owned())));
    assert_eq!(email.to.len(), 2);
    let shown = show(&loaded.config, &loaded.provenance);
    // The width of the column depends on the length of the folder's name.
    let lines =
        shown.lines().map(|line| line.split_once(" #").map_or(line.to_owned(), |(v, o)| format!("{}  #{o}", v.trim_end())));
    assert_snapshot!(folder.tidy(&lines.collect::<Vec<_>>().join("\n")));
    assert_snapshot!(loaded.files.iter().map(|file| folder.tidy(&file.display().to_string())).collect::<Vec<_>>().join(" "), @"redflag.toml conf.d/10-first.toml conf.d/20-second.toml");
}

#[test]
fn what_config_show_prints_loads_again_as_the_same() {
    let loaded = load(&Lookup { file: Some(shipped()), ..Lookup::default() }).unwrap();
    let again = Folder::new(&show(&loaded.config, &loaded.provenance)).load();
    assert_eq!(again.config, loaded.config);
}

#[test]
fn paths_are_relative_to_the_file_that_names_them() {
    let folder = Folder::new(SMALL)
        .with("conf.d/x.toml", "[templates]\ndirectory = \"texts\"\n[feeds.a]\nkind = \"jsonl\"\npath = \"-\"\n");
    let loaded = folder.load();
    let tidy = |path: &Path| folder.tidy(&path.display().to_string());
    assert_eq!(tidy(&loaded.config.data_dir), "state");
    assert_eq!(tidy(&loaded.config.rules.directory), "rules");
    assert_eq!(tidy(loaded.config.templates.directory.as_deref().unwrap()), "conf.d/texts");
    let (FeedConfig::Jsonl(feed), ChannelConfig::Email(email)) =
        (&loaded.config.feeds["a"], &loaded.config.channels["kyc-operations"])
    else {
        panic!("other kinds")
    };
    assert_eq!(feed.path, Path::new("-"));
    assert_eq!(email.password, Some(Secret::File(folder.0.path().join("mail-password"))));
}

#[test]
fn all_mistakes_of_form_are_told_at_once_with_their_lines() {
    let folder = Folder::new(
        r#"
enviroment = "prod"
language = "fr"
time_zone = "Europe/Berln"

[feeds.concedus]
kind = "concedus"
socket = "wss://example.com/ws"
auth = 5
password = "hunter2"
backfill = { overlap = "10", count = -1 }
max_message = "lots"

[channels.chat]
kind = "slak"

[channels.mail]
kind = "email"
server = "smtp://mail.example:587"
form = "redflag@example.com"
to = "kyc@example.com"
url = { file = "x" }

[channels.hook]
url = { file = "x" }

[channels.other]
kind = "webhook"
url = { file = "x", env = "X" }
secret = {}
"#,
    );
    let refused = folder.refused(&folder.lookup());
    assert!(!refused.contains("hunter2"), "a secret is repeated in {refused}");
    assert_snapshot!(refused);
}

#[test]
fn a_mistake_of_form_hides_nothing_that_is_wrong_elsewhere() {
    let folder = Folder::new(
        r#"
data_dir = "state"

[channels.kyc-operations]
kind = "email"
server = "smtp://mail.example:587"
tls = "none"
form = "redflag"
to = "kyc@example.com"
password = "hunter2"
username = "redflag"

[channels.chat]
kind = "slak"
url = { file = "chat-url" }

[channels.archive]
kind = "file"
path = "out"

[groups]
mlro = ["kyc-operations", "chat", 5, "chats"]

[heartbeat]
every = "0s"
"#,
    )
    .with("conf.d/20-host.toml", "[operators]\nsend_to = [\"kyc-operatoins\"]\n[fallback]\nsend_to = [\"archive\"]\n");
    assert_snapshot!(folder.refused(&folder.lookup()));
}

#[test]
fn all_contradictions_are_told_at_once_with_their_lines() {
    let folder = Folder::new(
        r#"
data_dir = ""

[feeds.Main]
kind = "concedus"
socket = "ws://example.com/ws"
auth = "https://user:pass@example.com/auth"
username = ""
password = { env = "P" }
ping_every = "20s"
backfill.count = 0

[feeds.lines]
kind = "jsonl"
path = "-"
follow = true
max_message = "0B"

[channels.mail]
kind = "email"
server = "smtp://mail.example:25"
tls = "none"
from = "nobody"
to = []
connections = 0
username = "x"
retry = { first = "2h", longest = "1h", timeout = "0s" }

[channels.second]
kind = "email"
server = "http://mail.example"
from = "Red Flag <redflag@example.com>"
to = ["a@example.com", "A@example.com"]

[channels.out]
kind = "file"
path = "out"

[groups]
out = ["mail"]
all = ["out", "mial", "second"]
none = []

[operators]
send_to = ["al"]

[fallback]
send_to = ["archive"]

[http]
listen = "0.0.0.0:7878"
"#,
    );
    assert_snapshot!(folder.refused(&folder.lookup()));
}

#[test]
fn a_variable_that_means_nothing_or_two_things_is_refused() {
    let folder = Folder::new(SMALL).with(
        "conf.d/two.toml",
        "[channels.a-b]\nkind = \"slack\"\nurl = { env = \"A\" }\n[channels.a_b]\nkind = \"slack\"\nurl = { env = \"B\" }\n",
    );
    let lookup = folder.with_variables(&[
        ("REDFLAG__CHANNELS__KYC_OPERATIONS__FORM", "x@example.com"),
        ("REDFLAG__CHANELS__KYC_OPERATIONS__FROM", "x@example.com"),
        ("REDFLAG__CHANNELS__A_B__CLEARANCE", "masked"),
        ("REDFLAG__DATA_DIR__DEEPER", "x"),
        ("REDFLAG__LANGUAGE", "de"),
        ("REDFLAG__Language", "en"),
        ("REDFLAG__CHANNELS__KYC_OPERATIONS__CONNECTIONS", "many"),
        ("REDFLAG__CHANNELS__KYC_OPERATIONS__RETRY__FIRST", "5"),
        ("OTHER__THINGS", "are not ours"),
    ]);
    assert_snapshot!(folder.refused(&lookup));
}

#[test]
fn a_file_that_is_no_toml_is_refused_with_line_and_column() {
    let folder = Folder::new("data_dir = \"x\"\nlanguage = en\n").with("conf.d/a.toml", "[channels\n");
    assert_snapshot!(folder.refused(&folder.lookup()));
}

#[test]
fn no_file_and_an_unreadable_one_are_told_apart() {
    let folder = Folder::new(SMALL);
    let lookup = Lookup { places: vec![PathBuf::from("nowhere/redflag.toml")], ..Lookup::default() };
    assert_snapshot!(load(&lookup).unwrap_err(), @"no configuration file: looked for nowhere/redflag.toml; name one with --config or $REDFLAG_CONFIG");
    let lookup = Lookup { file: Some(folder.0.path().join("other.toml")), ..Lookup::default() };
    assert_snapshot!(folder.refused(&lookup), @"the configuration in other.toml can't be read");
}

#[test]
fn what_is_unwise_is_a_warning() {
    let folder = Folder::new(&format!("environment = \"prod\"\n{}", SMALL.replace("file = \"mail-password\"", "env = \"MAIL\"")));
    assert_snapshot!(folder.load().warnings.join("\n"));
}

#[test]
fn a_secret_that_everybody_may_read_is_a_warning() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = Folder::new(SMALL).with("mail-password", "hunter2\n");
    let warnings = |mode| {
        fs::set_permissions(folder.0.path().join("mail-password"), fs::Permissions::from_mode(mode)).unwrap();
        folder.load().warnings.into_iter().filter(|text| text.contains("mail-password")).collect::<Vec<_>>().join("\n")
    };
    assert_snapshot!(folder.tidy(&warnings(0o644)), @"channels.kyc-operations.password: everybody on this machine may use mail-password (mode 0644); chmod 600 mail-password, owned by redflag's user");
    assert_eq!((warnings(0o640), warnings(0o600)), (String::new(), String::new()));
}

#[test]
fn a_relative_path_is_shown_with_what_it_comes_to() {
    let config: crate::config::Config = toml::from_str("data_dir = \"state\"\n[rules]\ndirectory = \"/rules\"\n").unwrap();
    let shown = show(&config, &Provenance::default());
    let here = std::path::absolute("state").unwrap();
    let line = |key: &str| shown.lines().find(|line| line.starts_with(key)).unwrap().to_owned();
    assert!(line("data_dir").ends_with(&format!("# default; {}", here.display())), "{shown}");
    assert!(line("directory").ends_with("# default"), "{shown}");
}

#[test]
fn a_problem_is_one_line_in_a_log() {
    let problem = Problem::at(["channels", "mail", "form"], "unknown key")
        .help("did you mean `from`?")
        .from(Origin::File { path: PathBuf::from("redflag.toml"), line: 20 });
    assert_snapshot!(problem.line(), @"channels.mail.form (redflag.toml:20): unknown key; did you mean `from`?");
}

#[test]
fn rule_authors_need_only_their_sections() {
    let folder = Folder::new(
        r#"
[rules]
directory = "our-rules"

[feeds.main]
kind = "concedus"
topics = ["vendorSpecific"]
fields = { identResult = ["partnerRef"] }

[channels.mail]
kind = "email"

[groups]
mlro = ["mail"]
"#,
    );
    let loaded = load_rules(&folder.lookup()).unwrap();
    assert_eq!(loaded.recipients, Some(vec!["mail".to_owned(), "mlro".to_owned()]));
    assert_eq!(loaded.topics, ["vendorSpecific"]);
    assert_eq!(loaded.fields["identResult"], ["partnerRef"]);
    assert!(loaded.rules.directory.ends_with("our-rules"));

    let without = load_rules(&Lookup::default()).unwrap();
    assert_eq!((without.recipients, without.rules.directory.as_path()), (None, Path::new("rules")));

    let wrong = Folder::new("[rules]\nwach = \"poll\"\n");
    let error = load_rules(&wrong.lookup()).unwrap_err();
    assert_snapshot!(wrong.tidy(&error.to_string()));
}

fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config/redflag.toml")
}

/// Keys with user-chosen names and kinds left out: `channels.to`, once for all kinds that have it.
fn written_keys(provenance: &Provenance, keys: &mut BTreeSet<String>) {
    for key in provenance.places.iter().flat_map(BTreeMap::keys) {
        let mut parts: Vec<&str> = key.iter().map(String::as_str).collect();
        if ["feeds", "channels"].contains(&parts[0]) && parts.len() > 1 {
            parts.remove(1);
        }
        keys.insert(parts.join("."));
    }
}

fn schema_keys(shape: &Shape, at: &mut Key, keys: &mut BTreeSet<String>) {
    match shape {
        Shape::Table(table) => {
            for (name, field) in table {
                at.push(name.clone());
                keys.insert(at.join("."));
                schema_keys(&field.shape, at, keys);
                at.pop();
            }
        }
        Shape::Kinds(kinds) => kinds.values().for_each(|table| schema_keys(&Shape::Table(table.clone()), at, keys)),
        Shape::Map(inner) => schema_keys(inner, at, keys),
        _ => {}
    }
}
