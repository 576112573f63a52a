//! `outbox`: what is owed, what was given up, and what people make of it.

use serde::{Deserialize, Serialize};

use super::{Office, Refusal, Which, proposal};
use crate::{
    model::{
        actor::Actor,
        alert::{Message, Purpose},
        delivery::State,
        ids::{DeliveryId, MessageId},
        names::ChannelName,
        time::Timestamp,
    },
    store::{Change, Changed, DeliveryFilter, DeliveryRow, Numbered},
};

/// One delivery.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeliveryLine {
    pub number: i64,
    pub id: DeliveryId,
    pub message: MessageId,
    /// The rule whose alert it brings; else what it is.
    pub about: Option<String>,
    pub channel: ChannelName,
    pub recipient: String,
    /// `waiting`, `leased`, `delivered`, `dead`, `dropped`.
    pub state: String,
    pub attempts: u32,
    pub due_at: Timestamp,
    pub expires_at: Timestamp,
    /// What the last attempt was told.
    pub detail: Option<String>,
}

impl Office {
    pub(super) fn outbox(
        &self,
        channel: Option<String>,
        states: Vec<State>,
        dropped: bool,
        since: Option<Timestamp>,
        limit: usize,
    ) -> Result<Vec<DeliveryLine>, Refusal> {
        if let Some(channel) = &channel {
            self.known_channel(channel)?;
        }
        let states = if states.is_empty() { vec![State::Waiting, State::Leased, State::Dead] } else { states };
        let reader = self.store.reader();
        let rows = reader.find_deliveries(&DeliveryFilter { channel, states, dropped, since, limit })?;
        rows.into_iter().map(|row| Ok(line_about(reader.message(row.message)?.as_ref(), row))).collect()
    }

    pub(super) fn retry_deliveries(&self, which: &Which, note: String, actor: &Actor) -> Result<Vec<Changed>, Refusal> {
        let now = self.clock.now();
        let rows = self.which(which)?;
        let mut deliveries = Vec::with_capacity(rows.len());
        for row in &rows {
            let Some(channel) = self.config.channels.get(&row.channel) else {
                let text =
                    format!("delivery {} is for the channel {}, which the configuration no longer has", row.n, row.channel);
                return Err(Refusal::unknown(format!("{text}; put it back, or `redflag outbox drop {}`", row.n)));
            };
            // As long as a new one would be tried.
            deliveries.push((row.n, now + channel.retry().give_up.delta()));
        }
        let changed = self.act(actor, "outbox retry", note, Change::Retry { deliveries })?;
        if let Some(live) = &self.live {
            rows.iter().filter_map(|row| live.wake.get(&row.channel)).for_each(|wake| wake.notify_one());
        }
        Ok(changed)
    }

    pub(super) fn drop_deliveries(&self, which: &Which, note: String, actor: &Actor) -> Result<Vec<Changed>, Refusal> {
        let deliveries = self.which(which)?.iter().map(|row| row.n).collect();
        self.act(actor, "outbox drop", note, Change::Drop { deliveries })
    }

    fn which(&self, which: &Which) -> Result<Vec<DeliveryRow>, Refusal> {
        match which {
            Which::Ids(ids) => ids.iter().map(|id| self.find_delivery(id)).collect(),
            Which::Dead { channel } => {
                if let Some(channel) = channel {
                    self.known_channel(channel)?;
                }
                let states = vec![State::Dead];
                let filter = DeliveryFilter { channel: channel.clone(), states, limit: usize::MAX, ..DeliveryFilter::default() };
                Ok(self.store.reader().find_deliveries(&filter)?)
            }
        }
    }

    fn find_delivery(&self, id: &str) -> Result<DeliveryRow, Refusal> {
        let reader = self.store.reader();
        let list = "`redflag outbox list` shows them";
        if let Ok(n) = id.trim_start_matches('#').parse::<i64>() {
            let highest = reader.highest(Numbered::Deliveries)?;
            return reader.delivery(n)?.ok_or_else(|| {
                Refusal::unknown(match highest {
                    0 => "there is no delivery yet".to_owned(),
                    highest => format!("there is no delivery {n}; the last one is {highest}, {list}"),
                })
            });
        }
        let Ok(uuid) = id.parse::<DeliveryId>() else {
            return Err(Refusal::unknown(format!("`{id}` names no delivery: it is a number as in {list}, or an id")));
        };
        reader.delivery_of_id(uuid)?.ok_or_else(|| Refusal::unknown(format!("there is no delivery {id}; {list}")))
    }

    /// Configured, or with something left from before.
    fn known_channel(&self, channel: &str) -> Result<(), Refusal> {
        let configured: Vec<ChannelName> = self.config.channels.keys().cloned().collect();
        let states = self.store.reader().channel_states(&configured)?;
        let known: Vec<&str> = states.iter().map(|state| state.channel.as_str()).collect();
        if known.contains(&channel) {
            return Ok(());
        }
        Err(Refusal::unknown(format!("no channel is called `{channel}`; {}", proposal(channel, &known))))
    }
}

fn line_about(message: Option<&Message>, row: DeliveryRow) -> DeliveryLine {
    let about = message.map(|message| match (&message.card, message.purpose) {
        (Some(card), Purpose::FollowUp) => format!("{} (follow-up)", card.id),
        (Some(card), _) => card.id.to_string(),
        // redflag's own words hold no personal data.
        (None, _) => message.masked_subject.clone(),
    });
    line(row, about)
}

/// As a list shows it.
pub(super) fn line(row: DeliveryRow, about: Option<String>) -> DeliveryLine {
    let state = if row.dropped_at.is_some() { "dropped" } else { row.state.as_str() };
    DeliveryLine {
        number: row.n,
        id: row.id,
        message: row.message,
        about,
        channel: row.channel,
        recipient: row.recipient,
        state: state.to_owned(),
        attempts: row.attempts,
        due_at: row.due_at,
        expires_at: row.expires_at,
        detail: row.detail,
    }
}
