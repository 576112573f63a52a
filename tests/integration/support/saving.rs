//! Twelve ways in which editors, copying tools and accidents leave a file.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{Seek as _, SeekFrom, Write as _},
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use redflag::{model::ids::Seq, store::Reader};

use super::{lines, service::Place};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Way {
    InPlace,
    TruncateAndWrite,
    TempAndRename,
    MoveIn,
    SedInPlace,
    DeleteAndCreate,
    LinkSwap,
    /// With [`BESIDE`] others.
    FiftyAtOnce,
    HalfWritten,
    Unreadable,
    NotText,
    EmptyFolder,
}

impl Way {
    pub const ALL: [Self; 12] = [
        Self::InPlace,
        Self::TruncateAndWrite,
        Self::TempAndRename,
        Self::MoveIn,
        Self::SedInPlace,
        Self::DeleteAndCreate,
        Self::LinkSwap,
        Self::FiftyAtOnce,
        Self::HalfWritten,
        Self::Unreadable,
        Self::NotText,
        Self::EmptyFolder,
    ];

    /// Whether what it leaves in the end is a good file.
    pub fn is_good(self) -> bool {
        !matches!(self, Self::Unreadable | Self::NotText | Self::EmptyFolder)
    }
}

/// Files that are saved together with the one.
pub const BESIDE: usize = 49;

/// The file of that number beside the one.
pub fn beside(rules: &Path, number: usize) -> PathBuf {
    rules.join(format!("beside/rule_{number:02}.rhai"))
}

/// Saves a text over the file in a good way, or does to the file or its folder what a bad way does. `before` is what the file holds.
pub async fn save(way: Way, rules: &Path, file: &str, before: &str, text: &str, others: &dyn Fn(usize) -> String) {
    let path = rules.join(file);
    let aside = rules.with_file_name("aside");
    match way {
        Way::InPlace => {
            let mut open = File::options().write(true).open(&path).unwrap();
            open.seek(SeekFrom::Start(0)).unwrap();
            open.write_all(text.as_bytes()).unwrap();
            open.set_len(text.len() as u64).unwrap();
        }
        Way::TruncateAndWrite => fs::write(&path, text).unwrap(),
        Way::TempAndRename => {
            // As vim does: a probe, a backup, the new file over the old name.
            fs::write(rules.join("4913"), "").unwrap();
            fs::remove_file(rules.join("4913")).unwrap();
            let backup = rules.join(format!("{file}~"));
            fs::copy(&path, &backup).unwrap();
            let fresh = rules.join(format!(".{file}.swp"));
            fs::write(&fresh, text).unwrap();
            fs::rename(&fresh, &path).unwrap();
            fs::remove_file(backup).unwrap();
        }
        Way::MoveIn => {
            fs::write(&aside, text).unwrap();
            fs::rename(&aside, &path).unwrap();
        }
        Way::SedInPlace => {
            // The line that tells the two texts apart.
            let (old, new) = before.lines().zip(text.lines()).find(|(old, new)| old != new).unwrap_or(("", ""));
            let line = before.lines().position(|line| line == old).unwrap() + 1;
            let command = format!("{line}s/.*/{}/", new.replace('\\', "\\\\").replace('/', "\\/").replace('&', "\\&"));
            assert!(Command::new("sed").args(["-i", &command]).arg(&path).status().unwrap().success());
        }
        Way::DeleteAndCreate => {
            fs::remove_file(&path).unwrap();
            fs::write(&path, text).unwrap();
        }
        Way::LinkSwap => {
            // As mounted configuration does: the file is a link through a link to a folder, which is swapped.
            let version = (0..10_000).map(|n| format!("..version_{n}")).find(|name| !rules.join(name).exists()).unwrap();
            fs::create_dir(rules.join(&version)).unwrap();
            fs::write(rules.join(&version).join(file), text).unwrap();
            symlink(&version, rules.join("..data_new")).unwrap();
            fs::rename(rules.join("..data_new"), rules.join("..data")).unwrap();
            if fs::read_link(&path).is_err() {
                symlink(Path::new("..data").join(file), rules.join("..file_new")).unwrap();
                fs::rename(rules.join("..file_new"), &path).unwrap();
            }
        }
        Way::FiftyAtOnce => {
            for number in 0..BESIDE {
                fs::write(beside(rules, number), others(number)).unwrap();
            }
            fs::write(&path, text).unwrap();
        }
        Way::HalfWritten => {
            let mut open = File::create(&path).unwrap();
            let (first, second) = text.split_at(text.len() / 2);
            open.write_all(first.as_bytes()).unwrap();
            open.sync_all().unwrap();
            tokio::time::sleep(Duration::from_millis(900)).await;
            open.write_all(second.as_bytes()).unwrap();
        }
        Way::Unreadable => {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
            if fs::read(&path).is_ok() {
                // Nothing is closed to root; a link to nothing is to everybody.
                fs::remove_file(&path).unwrap();
                symlink("nowhere", &path).unwrap();
            }
        }
        Way::NotText => fs::write(&path, [text.as_bytes(), b"\n// caf\xe9\n"].concat()).unwrap(),
        Way::EmptyFolder => {
            fs::rename(rules, &aside).unwrap();
            fs::create_dir(rules).unwrap();
        }
    }
}

/// Ends what a bad way did, with a good file.
pub fn mend(way: Way, rules: &Path, file: &str, text: &str) {
    let path = rules.join(file);
    match way {
        Way::EmptyFolder => {
            fs::remove_dir(rules).unwrap();
            fs::rename(rules.with_file_name("aside"), rules).unwrap();
        }
        _ => {
            // Through a link, where it is one that leads somewhere.
            if fs::metadata(&path).is_err() || fs::read(&path).is_err() {
                fs::remove_file(&path).unwrap();
            }
        }
    }
    fs::write(&path, text).unwrap();
}

pub const FILE: &str = "probe.rhai";

/// The file that is saved: alerts on every failed identification, and says its version.
pub fn probe(version: usize) -> String {
    lines::rule("E2E-500", "false").replace("failed {identId}", &format!("version {version}"))
}

/// One beside it, which alerts on nothing of the load.
pub fn other(number: usize, version: usize) -> String {
    lines::rule(&format!("E2E-6{number:02}"), "false")
        .replace("An identification failed\"", &format!("Version {version}\""))
        .replace(r#"event.status == "failed""#, r#"event.status == "odd""#)
        .replace(r#"set: #{ status: "failed" }"#, r#"set: #{ status: "odd" }"#)
}

/// An installation with these fifty rules and a list.
pub fn set() -> Place {
    let place = lines::place();
    place.write(&format!("rules/{FILE}"), &probe(0));
    for number in 0..BESIDE {
        place.write(beside("rules".as_ref(), number).to_str().unwrap(), &other(number, 0));
    }
    place.write("rules/lists/watched.txt", &(0..20).map(|n| format!("PERS_{n}")).collect::<Vec<_>>().join("\n"));
    place
}

/// The ledger has no holes, every set that judged has every rule, and those that were saved together are of one version.
/// `alerts`: whether the probe alerts on that event.
pub fn each_set_was_whole(reader: &Reader, events: u64, alerts: impl Fn(u64) -> bool) {
    let ledger = reader.ledger().unwrap();
    let mut next = Seq(1);
    let mut hashes = BTreeMap::new();
    for range in &ledger {
        assert_eq!(range.from, next, "{ledger:?}");
        next = range.to.next();
        let cards = reader.generation(&range.generation).unwrap().unwrap().cards;
        assert_eq!(cards.len(), BESIDE + 1, "judged by a partial set: {:?}", range.generation);
        let versions: BTreeSet<_> = cards.iter().filter(|card| card.id.as_str() != "E2E-500").map(|card| &card.title).collect();
        assert_eq!(versions.len(), 1, "a part of the files: {versions:?}");
        let probe = cards.iter().find(|card| card.id.as_str() == "E2E-500").unwrap();
        hashes.extend((range.from.0..=range.to.0).map(|seq| (seq, probe.hash)));
    }
    assert_eq!(next, Seq(events + 1), "{ledger:?}");
    let raised = reader.alerts_after(0, 1_000_000).unwrap();
    assert_eq!(
        raised.iter().map(|alert| alert.seq.0).collect::<Vec<_>>(),
        (1..=events).filter(|seq| alerts(*seq)).collect::<Vec<_>>()
    );
    for alert in raised {
        assert_eq!(alert.rule_hash, hashes[&alert.seq.0], "event {} by the set of the ledger", alert.seq);
    }
}
