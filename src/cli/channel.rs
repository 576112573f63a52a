//! `redflag channel test`: one message through one channel, as an alert would go.

use std::sync::Arc;

use anyhow::anyhow;
use clap::Subcommand;
use serde_json::json;

use super::{Exit, Global, print, talk};
use crate::{
    channels,
    config::shape::nearest,
    model::{
        alert::{Message, Purpose},
        causes,
        delivery::{Outcome, Parcel},
        ids::Ids,
        severity::Severity,
        time::{Clock, SystemClock},
    },
    render::{Options, Templates},
};

#[derive(Subcommand, Debug)]
pub enum ChannelCommand {
    /// Send a test message through a channel, once, to each of its recipients
    Test {
        /// As in [channels.NAME]
        name: String,
    },
}

/// # Errors
/// The configuration can't be used, or it has no such channel.
pub async fn run(command: ChannelCommand, global: &Global) -> anyhow::Result<Exit> {
    let ChannelCommand::Test { name } = command;
    let config = global.load()?.config;
    let Some((name, channel)) = config.channels.get_key_value(name.as_str()) else {
        let names: Vec<&str> = config.channels.keys().map(|name| &**name).collect();
        let help = match nearest(&name, names.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("there are: {}", names.join(", ")),
        };
        talk(&format!("redflag: no channel is called `{name}`; {help}"));
        return Ok(Exit::Usage);
    };
    // A second call finds the provider installed: that is as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let options = Options { directory: config.templates.directory.clone(), language: config.language, zone: config.time_zone.0 };
    let templates = Templates::load(&options).map_err(|errors| {
        anyhow!("the templates can't be loaded: {}", errors.iter().map(|e| causes::chain(e)).collect::<Vec<_>>().join("; "))
    })?;
    let channel = channels::build(name, channel, Arc::new(SystemClock))?;
    let message = message(&mut Ids::random(), config.environment.as_str(), name);
    let rendered = templates.render(&message, channel.form(), channel.clearance());
    let mut exit = Exit::Fine;
    let mut told = Vec::new();
    for recipient in channel.recipients() {
        let delivery = Ids::random().delivery(message.created_at);
        let parcel = Parcel {
            delivery,
            message: message.id,
            recipient: recipient.clone(),
            identity: channel.identity(delivery),
            attempt: 1,
            rendered: rendered.clone(),
        };
        let (outcome, detail) = match channel.send(&parcel).await {
            Outcome::Delivered { detail } => ("delivered", detail),
            Outcome::Retry { detail, .. } => {
                exit = if exit == Exit::Findings { exit } else { Exit::Unreachable };
                ("would be tried again", detail)
            }
            Outcome::Reject { detail } => {
                exit = Exit::Findings;
                ("rejected", detail)
            }
        };
        told.push((recipient, outcome, detail));
    }
    if global.is_json() {
        let told: Vec<_> = told
            .iter()
            .map(|(recipient, outcome, detail)| json!({ "channel": name, "recipient": recipient, "outcome": outcome, "detail": detail }))
            .collect();
        print(&format!("{}\n", serde_json::to_string(&told)?))?;
    } else {
        for (recipient, outcome, detail) in told {
            print(&format!("{outcome}: {recipient}: {detail}\n"))?;
        }
    }
    Ok(exit)
}

fn message(ids: &mut Ids, environment: &str, channel: &str) -> Message {
    let now = SystemClock.now();
    let subject = format!("Test of channel {channel}");
    Message {
        id: ids.message(now),
        created_at: now,
        purpose: Purpose::Test,
        severity: Severity::Info,
        send_to: vec![channel.to_owned()],
        subject: subject.clone(),
        masked_subject: subject,
        environment: environment.to_owned(),
        card: None,
        event: None,
        details: None,
        repeats: 0,
        notes: vec!["Somebody ran `redflag channel test`: alerts reach you by this way. There is nothing to do.".to_owned()],
        generation: None,
    }
}
