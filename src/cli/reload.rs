//! `redflag reload`: rules, lists and templates are read again, by the running service.

use std::fmt::Write as _;

use clap::Args;

use super::{
    Exit, Global, counted,
    table::{self, Owner, show},
};
use crate::engine::control::{Ask, Reloaded};

#[derive(Args, Debug)]
pub struct ReloadArgs {
    /// Let a change through that is held back: many rules, or much of a list, gone at once
    #[arg(long)]
    confirm: bool,
    #[command(flatten)]
    note: table::Note,
}

/// # Errors
/// Nothing runs, or the service could not reload.
pub fn run(args: &ReloadArgs, global: &Global) -> anyhow::Result<Exit> {
    let owner = Owner::of(global)?;
    let what = if args.confirm { "reload --confirm" } else { "reload" };
    let answered = owner.ask::<Reloaded>(what, Ask::Reload { confirm: args.confirm, note: args.note.note.clone() })?;
    show(global, &answered.answer, text)?;
    Ok(if answered.answer.good { Exit::Fine } else { Exit::Findings })
}

fn text(reloaded: &Reloaded) -> String {
    let mut out = String::new();
    let short = reloaded.generation.get(..12).unwrap_or(&reloaded.generation);
    let what = if reloaded.changed { "live from now on" } else { "unchanged" };
    let _ = writeln!(out, "generation {short}, {}: {what} ({} ms)", counted(reloaded.rules, "rule"), reloaded.took_ms);
    if !reloaded.withdrawn.is_empty() {
        let _ = writeln!(out, "withdrawn: {}", reloaded.withdrawn.join(", "));
    }
    if let Some(held_back) = &reloaded.held_back {
        let _ = writeln!(out, "held back: {held_back}; if it is meant, `redflag reload --confirm`");
    }
    if !reloaded.stale.is_empty() {
        let _ = writeln!(out, "as their last good version: {}", reloaded.stale.join(", "));
    }
    for error in &reloaded.errors {
        let _ = writeln!(out, "error[{}]: {}:{}: {}", error.code, error.file, error.line, error.message);
    }
    for error in &reloaded.template_errors {
        let _ = writeln!(out, "error: {error}");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::control::Finding;

    #[test]
    fn a_reload_tells_what_is_live_and_what_is_not() {
        let mut reloaded = Reloaded {
            good: true,
            changed: true,
            generation: "ab".repeat(32),
            rules: 12,
            errors: Vec::new(),
            stale: Vec::new(),
            withdrawn: vec!["KYC-009".to_owned()],
            held_back: None,
            template_errors: Vec::new(),
            took_ms: 41,
        };
        insta::assert_snapshot!(text(&reloaded), @r"
        generation abababababab, 12 rules: live from now on (41 ms)
        withdrawn: KYC-009
        ");
        reloaded.changed = false;
        reloaded.withdrawn.clear();
        reloaded.held_back = Some("3 of 10 rules are gone at once".to_owned());
        reloaded.stale = vec!["kyc/kyc_012.rhai".to_owned()];
        reloaded.errors = vec![Finding {
            code: "R001".to_owned(),
            file: "kyc/kyc_012.rhai".to_owned(),
            line: 7,
            message: "a bracket is missing".to_owned(),
        }];
        reloaded.template_errors = vec!["alert/chat.txt, line 2: a brace is missing".to_owned()];
        insta::assert_snapshot!(text(&reloaded), @r"
        generation abababababab, 12 rules: unchanged (41 ms)
        held back: 3 of 10 rules are gone at once; if it is meant, `redflag reload --confirm`
        as their last good version: kyc/kyc_012.rhai
        error[R001]: kyc/kyc_012.rhai:7: a bracket is missing
        error: alert/chat.txt, line 2: a brace is missing
        ");
    }
}
