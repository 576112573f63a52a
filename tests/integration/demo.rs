//! The demo, as whoever has just downloaded redflag sees it: the real binary, its folder, its last word.

use std::{
    fs::{self, OpenOptions},
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Command, Stdio},
};

use assert_cmd::cargo::CommandCargoExt as _;

fn count(folder: &Path, ending: &str) -> usize {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|found| found == ending)).count()
}

#[test]
fn the_demo_alerts_by_mail_and_chat_takes_up_an_edited_rule_and_its_books_balance() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("demo");
    let mut demo = Command::cargo_bin("redflag")
        .unwrap()
        .args(["demo", "--for", "12s", "--rate", "10", "--seed", "7", "--dir"])
        .arg(&dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut said = Vec::new();
    // It ends by itself; the test runner bounds what doesn't.
    for line in BufReader::new(demo.stdout.take().unwrap()).lines() {
        if said.is_empty() {
            let rule = dir.join("rules/identity/ident_failed.rhai");
            OpenOptions::new().append(true).open(rule).unwrap().write_all(b"// edited\n").unwrap();
        }
        said.push(line.unwrap());
    }
    let said = said.join("\n");
    assert_eq!(demo.wait().unwrap().code(), Some(0), "{said}");
    assert!(said.contains("↻ rules reloaded"), "{said}");
    assert!(said.contains("The books balance."), "{said}");
    assert!(said.contains(&dir.display().to_string()), "{said}");
    assert!(count(&dir.join("mail"), "eml") > 0 && count(&dir.join("chat"), "json") > 0, "{said}");
    assert!(dir.join("redflag.db").is_file());
}
