use std::fmt::Write as _;

use insta::assert_snapshot;

use super::*;

/// Every command and subcommand, by what is typed.
fn all() -> Vec<(String, clap::Command)> {
    fn walk(command: &clap::Command, typed: &str, found: &mut Vec<(String, clap::Command)>) {
        found.push((typed.to_owned(), command.clone()));
        for sub in command.get_subcommands() {
            walk(sub, &format!("{typed} {}", sub.get_name()), found);
        }
    }
    let mut root = command();
    root.build();
    let mut found = Vec::new();
    walk(&root, "redflag", &mut found);
    found
}

fn help(command: &mut clap::Command) -> String {
    command.clone().term_width(100).render_long_help().to_string()
}

#[test]
fn the_definitions_hold_together() {
    command().debug_assert();
}

#[test]
fn help_lists_every_command_once_in_its_group() {
    let listed: Vec<&str> = GROUPS.iter().flat_map(|(_, names)| names.iter().copied()).collect();
    let there: Vec<String> = command().get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    assert_eq!(listed, there);
    assert_snapshot!(help(&mut command()));
}

#[test]
fn the_page_of_commands_is_what_help_says() {
    let mut page = String::from(
        "# Commands\n\nWhat `--help` says, command by command. stdout is data, stderr is talk.\n\n\
         Exit codes: 0 fine, 1 findings or failure, 2 usage, 69 unreachable, 74 disk not to be trusted, 78 configuration unusable.\n",
    );
    for (typed, mut command) in all() {
        let text = help(&mut command);
        // Once is enough: the first command shows them.
        let own = if typed == "redflag" { &*text } else { text.split("\nOptions of every command:").next().unwrap() };
        let lines: Vec<&str> = own.trim_end().lines().map(str::trim_end).collect();
        let _ = write!(page, "\n## {typed}\n\n```text\n{}\n```\n", lines.join("\n"));
    }
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/cli.md");
    if std::env::var_os("INSTA_UPDATE").is_some_and(|how| how == "always") {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &page).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap();
    assert!(committed == page, "docs/cli.md is old: INSTA_UPDATE=always cargo test --lib cli writes it anew");
}

#[test]
fn a_wrong_command_line_says_what_would_be_right() {
    let told = |args: &[&str]| parse(args.iter().map(OsString::from)).unwrap_err().to_string();
    assert_snapshot!(told(&["redflag", "chekc"]));
    assert_snapshot!(told(&["redflag", "demo", "--for", "10"]));
    assert_snapshot!(told(&["redflag", "simulate", "--rate", "fast"]));
}

#[test]
fn global_options_stand_before_or_after_the_command() {
    for args in [["redflag", "--format", "json", "check"], ["redflag", "check", "--format", "json"]] {
        let (_, global) = parse(args.iter().map(OsString::from)).unwrap();
        assert!(global.is_json());
    }
}

#[test]
fn completions_and_man_pages_know_every_command() {
    let mut page = Vec::new();
    clap_mangen::Man::new(command()).render(&mut page).unwrap();
    let page = String::from_utf8(page).unwrap();
    for shell in [clap_complete::Shell::Bash, clap_complete::Shell::Zsh, clap_complete::Shell::Fish] {
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut command(), "redflag", &mut text);
        let text = String::from_utf8(text).unwrap();
        for sub in command().get_subcommands() {
            assert!(text.contains(sub.get_name()), "{shell} does not complete {}", sub.get_name());
            assert!(page.contains(sub.get_name()), "the man page lacks {}", sub.get_name());
        }
    }
}

#[test]
fn an_unusable_configuration_is_told_apart_from_other_failures() {
    let config = crate::config::ConfigError::NotFound { looked: Vec::new() };
    assert_eq!(exit_of(&anyhow::Error::from(config)), Exit::Config);
    assert_eq!(exit_of(&anyhow::anyhow!("the disk is gone")), Exit::Findings);
}
