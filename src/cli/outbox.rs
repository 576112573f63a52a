//! `redflag outbox`: deliveries that are owed or were given up.

use chrono_tz::Tz;
use clap::{Args, Subcommand, ValueEnum};

use super::{
    Exit, Global,
    table::{self, Owner, changed, local, moment, or_dash, show, table},
    talk,
};
use crate::{
    engine::control::{Ask, DeliveryLine, Which},
    model::{delivery, time::Timestamp},
    store::Changed,
};

#[derive(Subcommand, Debug)]
pub enum OutboxCommand {
    /// List what is owed and what was given up, newest first
    List(ListArgs),
    /// Send again what was given up, or at once what waits
    #[command(
        override_usage = "redflag outbox retry [OPTIONS] <DELIVERY>...\n       redflag outbox retry [OPTIONS] --dead [--channel <NAME>]"
    )]
    Retry(RetryArgs),
    /// Give deliveries up for good: nobody is told by them
    #[command(
        override_usage = "redflag outbox drop --note <TEXT> <DELIVERY>...\n       redflag outbox drop --note <TEXT> --dead [--channel <NAME>]"
    )]
    Drop(DropArgs),
}

#[derive(Args, Debug)]
pub struct ListArgs {
    /// Of this channel
    #[arg(long, value_name = "NAME")]
    channel: Option<String>,
    /// In these states; otherwise whatever is not delivered or dropped
    #[arg(long, value_enum, value_name = "STATE", value_delimiter = ',')]
    state: Vec<State>,
    /// Of messages made since: 24h, 7d, 2026-01-31, 2026-01-31T08:00:00Z
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    since: Option<Timestamp>,
    /// At most so many
    #[arg(long, value_name = "NUMBER", default_value_t = 50)]
    limit: usize,
}

#[derive(Args, Debug)]
pub struct WhichArgs {
    /// Numbers or ids
    #[arg(value_name = "DELIVERY", required_unless_present = "dead", conflicts_with = "dead")]
    ids: Vec<String>,
    /// Every dead letter
    #[arg(long)]
    dead: bool,
    /// Dead letters of this channel only
    #[arg(long, value_name = "NAME", requires = "dead")]
    channel: Option<String>,
}

#[derive(Args, Debug)]
pub struct RetryArgs {
    #[command(flatten)]
    which: WhichArgs,
    #[command(flatten)]
    note: table::Note,
}

#[derive(Args, Debug)]
pub struct DropArgs {
    #[command(flatten)]
    which: WhichArgs,
    /// Why, for whoever reads the audit record
    #[arg(long, value_name = "TEXT")]
    note: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum State {
    /// To be sent, now or later
    Waiting,
    /// Being sent
    Leased,
    Delivered,
    /// Given up by redflag
    Dead,
    /// Given up by a person
    Dropped,
}

impl WhichArgs {
    fn which(self) -> Which {
        if self.dead { Which::Dead { channel: self.channel } } else { Which::Ids(self.ids) }
    }
}

/// # Errors
/// Nobody can be asked, or there is no such delivery.
pub fn run(command: OutboxCommand, global: &Global) -> anyhow::Result<Exit> {
    let owner = Owner::of(global)?;
    match command {
        OutboxCommand::List(args) => {
            let dropped = args.state.contains(&State::Dropped);
            let states = args.state.iter().map(|state| match state {
                State::Waiting => delivery::State::Waiting,
                State::Leased => delivery::State::Leased,
                State::Delivered => delivery::State::Delivered,
                State::Dead | State::Dropped => delivery::State::Dead,
            });
            let limit = args.limit;
            let outbox = Ask::Outbox { channel: args.channel, states: states.collect(), dropped, since: args.since, limit };
            let lines = owner.ask::<Vec<DeliveryLine>>("outbox list", outbox)?.answer;
            show(global, &lines, |lines| list(lines, owner.zone))?;
            if lines.len() == limit {
                talk(&format!("the newest {limit}; --limit shows more"));
            }
            Ok(Exit::Fine)
        }
        OutboxCommand::Retry(args) => {
            let retry = Ask::RetryDeliveries { which: args.which.which(), note: args.note.note };
            let answered = owner.ask::<Vec<Changed>>("outbox retry", retry)?;
            if !answered.live && !answered.answer.is_empty() {
                talk("redflag does not run: they go out when it starts");
            }
            changed(global, &answered)
        }
        OutboxCommand::Drop(args) => {
            let drop = Ask::DropDeliveries { which: args.which.which(), note: args.note };
            changed(global, &owner.ask::<Vec<Changed>>("outbox drop", drop)?)
        }
    }
}

fn list(lines: &[DeliveryLine], zone: Tz) -> String {
    if lines.is_empty() {
        return "no delivery\n".to_owned();
    }
    let rows = lines.iter().map(|line| {
        [
            line.number.to_string(),
            line.state.clone(),
            line.channel.to_string(),
            line.recipient.clone(),
            or_dash(line.about.clone()),
            line.attempts.to_string(),
            if line.state == "waiting" { local(line.due_at, zone) } else { "–".to_owned() },
            or_dash(line.detail.clone()),
        ]
    });
    table(["delivery", "state", "channel", "recipient", "about", "attempts", "due", "last answer"], rows)
}

#[cfg(test)]
mod tests;
