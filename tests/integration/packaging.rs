//! The systemd unit: systemd accepts it as it stands, and what it leaves open stays as little as promised.
//!
//! Where systemd-analyze is not installed, only the text is checked.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

fn unit() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/systemd/redflag.service")).unwrap()
}

fn systemd_analyze() -> Option<Command> {
    Command::new("systemd-analyze").arg("--version").output().ok().map(|_| Command::new("systemd-analyze"))
}

#[test]
fn the_unit_says_everything_once_and_one_directive_a_line() {
    let unit = unit();
    let directives: Vec<&str> = unit
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with(['#', '[']) && !line.starts_with("SystemCallFilter="))
        .collect();
    let names: BTreeSet<&str> = directives.iter().map(|line| line.split_once('=').expect("a directive").0).collect();
    assert_eq!(names.len(), directives.len(), "a directive stands twice");
    assert!(
        directives
            .iter()
            .all(|line| line.trim() == *line && line.split_whitespace().filter(|word| word.contains('=')).count() == 1)
    );
    for needed in
        ["Type=notify", "DynamicUser=yes", "Restart=always", "StartLimitIntervalSec=0", "MemorySwapMax=0", "LimitCORE=0"]
    {
        assert!(directives.contains(&needed), "{needed} is missing");
    }
    assert!(!unit.contains("\nEnvironment"), "secrets come as credentials, settings from the file");
}

#[test]
fn systemd_accepts_the_unit() {
    let Some(mut verify) = systemd_analyze() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("redflag.service");
    // verify wants the program to be there; the one just built is.
    fs::write(&path, unit().replace("/usr/bin/redflag", env!("CARGO_BIN_EXE_redflag"))).unwrap();
    let output = verify.args(["verify", "--man=no", "--recursive-errors=no"]).arg(&path).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !said.contains("redflag.service"), "{said}");
}

#[test]
fn the_unit_leaves_little_open() {
    let Some(mut security) = systemd_analyze() else { return };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/systemd/redflag.service");
    let output = security.args(["security", "--offline=true", "--no-pager"]).arg(path).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let exposure: f64 = said
        .lines()
        .find_map(|line| line.split_once("exposure level for redflag.service: "))
        .and_then(|(_, rest)| rest.split_whitespace().next())
        .and_then(|number| number.parse().ok())
        .unwrap_or_else(|| panic!("no exposure in {said}{}", String::from_utf8_lossy(&output.stderr)));
    println!("exposure: {exposure}");
    assert!(exposure <= 1.2, "exposure {exposure} is above 1.2");
}
