//! Folders on disk, read and watched. Waits are bounded; nothing sleeps.

use std::os::unix::fs::symlink;

use tempfile::TempDir;

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

fn folder(files: &[(&str, &str)]) -> TempDir {
    let directory = TempDir::new().unwrap();
    for (name, text) in files {
        put(directory.path(), name, text);
    }
    directory
}

fn put(directory: &Path, name: &str, text: &str) {
    let path = directory.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn names(snapshot: &Snapshot) -> Vec<&str> {
    snapshot.files.keys().map(String::as_str).collect()
}

#[test]
fn a_snapshot_holds_rules_lists_and_exceptions_and_nothing_that_editors_drop() {
    let directory = folder(&[
        ("identity/a.rhai", "a"),
        ("shared/names.rhai", "b"),
        ("lists/risky.txt", "LB"),
        ("lists/codes.csv", "1,x"),
        ("lists/README.md", ""),
        ("exceptions/KYC-012.toml", ""),
        ("README.md", ""),
        ("identity/.a.rhai.swp", ""),
        ("identity/.a.rhai.Xy12Zz", ""),
        ("identity/a.rhai~", ""),
        ("identity/#a.rhai#", ""),
        ("identity/4913", ""),
        ("identity/a.rhai.tmp", ""),
        (".git/hooks/x.rhai", ""),
    ]);
    let snapshot = Snapshot::read(directory.path()).unwrap();
    assert_eq!(
        names(&snapshot),
        ["exceptions/KYC-012.toml", "identity/a.rhai", "lists/codes.csv", "lists/risky.txt", "shared/names.rhai"]
    );
    assert_eq!(&*snapshot.files["identity/a.rhai"], b"a");
    assert!(snapshot.unreadable.is_empty(), "{:?}", snapshot.unreadable);
}

#[test]
fn what_cannot_be_read_is_named_with_its_reason_and_never_opened() {
    let directory = folder(&[
        ("ok.rhai", ""),
        ("lists/risky.xlsx", ""),
        ("BIG.RHAI", ""),
        ("in/real.rhai", ""),
        ("in/a.rhai.txt", ""),
        ("in/b.rahi", ""),
        ("in/c.txt", ""),
    ]);
    let root = directory.path();
    put(root, "long.rhai", &"x".repeat(RULE_CAP as usize + 1));
    symlink("/dev/zero", root.join("zero.rhai")).unwrap();
    symlink("nowhere", root.join("lost.rhai")).unwrap();
    symlink("in/real.rhai", root.join("link.rhai")).unwrap();
    symlink(".", root.join("round")).unwrap();
    fs::create_dir(root.join("folder.rhai")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(root.join("socket.rhai")).unwrap();
    let fifo = std::process::Command::new("mkfifo").arg(root.join("fifo.rhai")).status().unwrap();
    assert!(fifo.success());
    let snapshot = Snapshot::read(root).unwrap();
    assert_eq!(names(&snapshot), ["in/real.rhai", "link.rhai", "ok.rhai"]);
    let told: Vec<String> = snapshot.unreadable.iter().map(|(name, why)| format!("{name}: {why}")).collect();
    insta::assert_snapshot!(told.join("\n"), @r"
    BIG.RHAI: a rule's file ends in .rhai, in small letters
    fifo.rhai: neither a file nor a folder
    in/a.rhai.txt: a rule's file ends in .rhai, in small letters
    in/b.rahi: a rule's file ends in .rhai, in small letters
    lists/risky.xlsx: a list is a .txt or a .csv file
    long.rhai: larger than 1024 KiB
    lost.rhai: a link to nothing
    socket.rhai: neither a file nor a folder
    zero.rhai: a link out of the rules' folder
    ");
}

#[test]
fn a_folder_that_is_not_there_is_an_error() {
    let directory = folder(&[]);
    let error = Snapshot::read(&directory.path().join("rules")).unwrap_err();
    assert!(error.to_string().starts_with("could not read the folder"));
    assert!(Snapshot::read(directory.path()).unwrap().files.is_empty());
}

#[test]
fn the_digest_follows_names_bytes_and_what_is_unreadable() {
    let directory = folder(&[("a.rhai", "1")]);
    let digest = || Snapshot::read(directory.path()).unwrap().digest();
    let first = digest();
    put(directory.path(), "note.md", "not ours");
    assert_eq!(digest(), first);
    put(directory.path(), "a.rhai", "2");
    let second = digest();
    assert_ne!(second, first);
    fs::rename(directory.path().join("a.rhai"), directory.path().join("b.rhai")).unwrap();
    assert_ne!(digest(), second);
    put(directory.path(), "a.rhai", "1");
    fs::remove_file(directory.path().join("b.rhai")).unwrap();
    assert_eq!(digest(), first);
    symlink("nowhere", directory.path().join("c.rhai")).unwrap();
    assert_ne!(digest(), first);
}

#[test]
fn a_configuration_that_is_mounted_by_swapped_links_is_read_through_them() {
    let directory = folder(&[("..2026_1/a.rhai", "old"), ("..2026_2/a.rhai", "new")]);
    let root = directory.path();
    symlink("..2026_1", root.join("..data")).unwrap();
    symlink("..data/a.rhai", root.join("a.rhai")).unwrap();
    assert_eq!(&*Snapshot::read(root).unwrap().files["a.rhai"], b"old");
    symlink("..2026_2", root.join("..next")).unwrap();
    fs::rename(root.join("..next"), root.join("..data")).unwrap();
    assert_eq!(&*Snapshot::read(root).unwrap().files["a.rhai"], b"new");
}

/// A watched folder.
struct Watched {
    changed: mpsc::Receiver<()>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Watched {
    /// Starts watching and waits for the first signal.
    async fn start(directory: &Path, how: Watch) -> Self {
        let (tell, changed) = mpsc::channel(1);
        let stop = CancellationToken::new();
        let quiet = Duration::from_millis(30);
        let task = tokio::spawn(watch(vec![directory.to_owned()], how, quiet, Duration::from_millis(300), tell, stop.clone()));
        let mut watched = Self { changed, stop, task };
        watched.expect("the first signal").await;
        watched
    }

    async fn expect(&mut self, what: &str) {
        let signal = timeout(PATIENCE, self.changed.recv()).await.unwrap_or_else(|_| panic!("no signal for {what}"));
        assert!(signal.is_some(), "the watcher ended before {what}");
    }

    /// Signals until the folder reads like that: one change may come in several.
    async fn until(&mut self, what: &str, holds: impl Fn() -> bool) {
        loop {
            self.expect(what).await;
            if holds() {
                return;
            }
        }
    }

    async fn end(self) {
        self.stop.cancel();
        timeout(PATIENCE, self.task).await.expect("the watcher stops when it is told").unwrap();
    }
}

async fn every_way_of_saving(how: Watch) {
    let directory = folder(&[("rules/a.rhai", "1"), ("elsewhere/a.rhai", "linked")]);
    let root = directory.path().join("rules");
    let mut watched = Watched::start(&root, how).await;
    let reads = |name: &'static str, text: &'static str| {
        let root = root.clone();
        move || {
            let files = Snapshot::read(&root).unwrap_or_default().files;
            files.get(name).map_or("", |bytes| std::str::from_utf8(bytes).unwrap()) == text
        }
    };

    put(&root, "a.rhai", "22");
    watched.until("a write in place", reads("a.rhai", "22")).await;

    put(&root, ".a.rhai.new", "333");
    fs::rename(root.join(".a.rhai.new"), root.join("a.rhai")).unwrap();
    watched.until("a rename over it", reads("a.rhai", "333")).await;

    fs::remove_file(root.join("a.rhai")).unwrap();
    watched.until("a removal", reads("a.rhai", "")).await;
    put(&root, "new/deep/b.rhai", "4444");
    watched.until("a file in a new folder", reads("new/deep/b.rhai", "4444")).await;
    put(&root, "new/deep/b.rhai", "55555");
    watched.until("a write in the new folder", reads("new/deep/b.rhai", "55555")).await;

    put(&root, "v1.rhai", "one");
    put(&root, "v2.rhai", "other");
    symlink("v1.rhai", root.join("link.rhai")).unwrap();
    watched.until("a link", reads("link.rhai", "one")).await;
    symlink("v2.rhai", root.join(".link")).unwrap();
    fs::rename(root.join(".link"), root.join("link.rhai")).unwrap();
    watched.until("a swapped link", reads("link.rhai", "other")).await;

    watched.end().await;
}

#[tokio::test]
async fn every_way_of_saving_is_noticed() {
    every_way_of_saving(Watch::Notify).await;
}

#[tokio::test]
async fn every_way_of_saving_is_noticed_by_polling() {
    every_way_of_saving(Watch::Poll).await;
}

#[tokio::test]
async fn a_folder_that_is_removed_and_made_again_is_watched_again() {
    let directory = folder(&[("rules/a.rhai", "1")]);
    let root = directory.path().join("rules");
    let mut watched = Watched::start(&root, Watch::Notify).await;
    fs::remove_dir_all(&root).unwrap();
    watched.until("the removal", || Snapshot::read(&root).is_err()).await;
    put(&root, "a.rhai", "again");
    watched.until("the folder made again", || Snapshot::read(&root).is_ok_and(|found| found.files.len() == 1)).await;
    put(&root, "b.rhai", "and watched");
    watched.until("a file in it", || Snapshot::read(&root).is_ok_and(|found| found.files.len() == 2)).await;
    watched.end().await;
}

#[tokio::test]
async fn a_folder_in_the_place_of_another_is_noticed_well_within_five_seconds() {
    let directory = folder(&[("rules/a.rhai", "1")]);
    let root = directory.path().join("rules");
    let mut watched = Watched::start(&root, Watch::Notify).await;
    // The kernel tells of the folder that went, not of the one that came.
    fs::rename(&root, directory.path().join("aside")).unwrap();
    fs::create_dir(&root).unwrap();
    tokio::time::timeout(Duration::from_secs(4), watched.expect("the swap")).await.expect("it is noticed too late");
    watched.end().await;
}

#[tokio::test]
async fn a_folder_that_is_a_swapped_link_is_watched_again() {
    let directory = folder(&[("v1/a.rhai", "1"), ("v2/a.rhai", "2")]);
    let root = directory.path().join("rules");
    symlink("v1", &root).unwrap();
    let reads = |text: &str| Snapshot::read(&root).is_ok_and(|found| &*found.files["a.rhai"] == text.as_bytes());
    let mut watched = Watched::start(&root, Watch::Notify).await;
    symlink("v2", directory.path().join("next")).unwrap();
    fs::rename(directory.path().join("next"), &root).unwrap();
    watched.until("the swap", || reads("2")).await;
    put(&directory.path().join("v2"), "a.rhai", "3");
    watched.until("a write behind the new link", || reads("3")).await;
    watched.end().await;
}

#[tokio::test]
async fn a_burst_of_saves_becomes_few_signals() {
    let directory = folder(&[("a.rhai", "0")]);
    let mut watched = Watched::start(directory.path(), Watch::Notify).await;
    for n in 0..200 {
        put(directory.path(), &format!("r{n}.rhai"), "x");
    }
    let mut signals = 0;
    loop {
        watched.expect("the burst").await;
        signals += 1;
        if Snapshot::read(directory.path()).unwrap().files.len() == 201 {
            break;
        }
    }
    assert!(signals <= 10, "{signals} signals for one burst");
    watched.end().await;
}

#[tokio::test]
async fn reading_the_folder_and_droppings_in_it_signal_nothing() {
    let directory = folder(&[("a.rhai", "0")]);
    let mut watched = Watched::start(directory.path(), Watch::Notify).await;
    Snapshot::read(directory.path()).unwrap();
    put(directory.path(), ".a.rhai.swp", "x");
    put(directory.path(), "4913", "x");
    assert!(timeout(Duration::from_millis(500), watched.changed.recv()).await.is_err());
    watched.end().await;
}

#[tokio::test]
async fn nobody_listening_ends_the_watch() {
    let directory = folder(&[]);
    let (tell, changed) = mpsc::channel(1);
    drop(changed);
    let brief = Duration::from_millis(10);
    let done = watch(vec![directory.path().to_owned()], Watch::Poll, brief, brief, tell, CancellationToken::new());
    assert!(timeout(PATIENCE, done).await.is_ok());
}
