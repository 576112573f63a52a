//! What a dispatcher sends with: the message rendered for the channel, masked unless the channel is cleared, handed to the channel.

use std::sync::Arc;

use arc_swap::ArcSwap;
use futures_util::future::BoxFuture;

use crate::{
    channels::Channel,
    model::delivery::{Leased, Outcome, Parcel},
    outbox::Sender,
    render::Templates,
};

/// One channel with the live templates.
pub struct ChannelSender {
    pub channel: Arc<dyn Channel>,
    pub templates: Arc<ArcSwap<Templates>>,
}

impl Sender for ChannelSender {
    fn send<'a>(&'a self, leased: &'a Leased) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            let templates = self.templates.load_full();
            let parcel = Parcel {
                delivery: leased.delivery.id,
                message: leased.message.id,
                recipient: leased.delivery.recipient.clone(),
                identity: leased.delivery.identity.clone(),
                attempt: leased.attempt,
                rendered: templates.render(&leased.message, self.channel.form(), self.channel.clearance()),
            };
            self.channel.send(&parcel).await
        })
    }
}
