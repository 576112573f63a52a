//! redflag's own JSON, posted and signed.
//!
//! The receiver checks `Redflag-Signature: v1=hex(HMAC-SHA256(secret, timestamp + "." + body))` against the bytes it read, refuses a
//! `Redflag-Timestamp` (Unix seconds) that is old, and remembers `Idempotency-Key`: every attempt of a delivery carries the same.

use std::{fmt::Write, sync::Arc};

use futures_util::future::BoxFuture;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

use super::{Channel, ChannelError, http::Target};
use crate::{
    config::WebhookConfig,
    model::{
        delivery::{Outcome, Parcel},
        ids::DeliveryId,
        names::ChannelName,
        rendered::{Clearance, Form, Rendered},
        time::Clock,
    },
};

/// The webhook channel.
pub struct Webhook {
    name: ChannelName,
    target: Target,
    secret: SecretString,
    clearance: Clearance,
    recipients: [String; 1],
}

impl Webhook {
    /// # Errors
    /// When a secret can't be read or the address may not be used.
    pub fn new(name: &ChannelName, config: &WebhookConfig, clock: Arc<dyn Clock>) -> Result<Self, ChannelError> {
        let unreadable = |what| move |source| ChannelError::Secret { channel: name.clone(), what, source };
        let url = config.url.read().map_err(unreadable("url"))?;
        let secret = config.secret.read().map_err(unreadable("secret"))?;
        let target = Target::new(name, &url, config.retry.timeout.get(), clock)?;
        Ok(Self { name: name.clone(), target, secret, clearance: config.clearance, recipients: [name.to_string()] })
    }

    fn headers(&self, identity: &str, body: &[u8]) -> Option<HeaderMap> {
        let timestamp = self.target.now().timestamp().to_string();
        let signature = signature(&self.secret, &timestamp, body)?;
        let mut headers = HeaderMap::new();
        for (name, value) in [("idempotency-key", identity), ("redflag-timestamp", &timestamp), ("redflag-signature", &signature)]
        {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_str(value).ok()?);
        }
        Some(headers)
    }
}

/// `v1=` and the hexadecimal HMAC. None never happens: HMAC takes keys of any length.
fn signature(secret: &SecretString, timestamp: &str, body: &[u8]) -> Option<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes()).ok()?;
    mac.update(timestamp.as_bytes());
    mac.update(b".");
    mac.update(body);
    let mut text = String::from("v1=");
    for byte in mac.finalize().into_bytes() {
        let _ = write!(text, "{byte:02x}");
    }
    Some(text)
}

impl Channel for Webhook {
    fn name(&self) -> &ChannelName {
        &self.name
    }

    fn kind(&self) -> &'static str {
        "webhook"
    }

    fn form(&self) -> Form {
        Form::Json
    }

    fn clearance(&self) -> Clearance {
        self.clearance
    }

    fn recipients(&self) -> &[String] {
        &self.recipients
    }

    fn identity(&self, delivery: DeliveryId) -> String {
        delivery.to_string()
    }

    fn host(&self) -> &str {
        self.target.host()
    }

    fn send<'a>(&'a self, parcel: &'a Parcel) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            let Rendered::Json(json) = &parcel.rendered else {
                return Outcome::Reject { detail: "a mail was handed to a webhook".to_owned() };
            };
            let body = json.to_string().into_bytes();
            let Some(headers) = self.headers(&parcel.identity, &body) else {
                return Outcome::Reject { detail: "the identity is no header value".to_owned() };
            };
            match self.target.post(body, headers).await {
                Ok(answer) => answer.outcome(),
                Err(outcome) => outcome,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The figure was computed with another implementation: `printf '1790000000.{}' | openssl dgst -sha256 -hmac key`.
    #[test]
    fn the_signature_is_what_openssl_computes() {
        let signature = signature(&SecretString::from("key"), "1790000000", b"{}").unwrap();
        insta::assert_snapshot!(signature, @"v1=099d33989336226b12c85da813adf6100e1bbab1e91bede9a41ddeb7882d66b8");
    }
}
