//! A mail in the form of RFC 5322, for the mail channel and the file channel alike.
//!
//! Two attempts of one delivery are the same bytes: Date, Message-ID and boundary all come from identities fixed earlier. Whatever the
//! rendered text holds, no header can be added, no line is longer than 998 bytes, and no bare CR or LF remains.

use std::time::{Duration, SystemTime};

use lettre::{
    Address, Message,
    address::Envelope,
    message::{
        Mailbox, MultiPart, SinglePart,
        header::{HeaderName, HeaderValue},
    },
};
use uuid::Uuid;

use super::is_unsafe;
use crate::model::{delivery::Parcel, rendered::Mail};

/// Longer subjects are cut: they are read in a list, and 1 MB of subject is somebody's attack.
const SUBJECT_CHARS: usize = 250;

/// No mail can be made of a parcel.
#[derive(Debug, thiserror::Error)]
pub enum EmlError {
    #[error("the identity is no Message-ID")]
    Identity,
    #[error("the mail can't be put together")]
    Build(#[source] lettre::error::Error),
}

/// The mail's bytes, with CRLF line ends and one at the end.
///
/// # Errors
/// When the identity can't be a Message-ID.
pub fn bytes(parcel: &Parcel, mail: &Mail, from: &Mailbox, to: &[Mailbox]) -> Result<Vec<u8>, EmlError> {
    // The envelope is the caller's business; lettre wants one in any case.
    let envelope = Envelope::new(Some(from.email.clone()), vec![from.email.clone()]).map_err(EmlError::Build)?;
    let mut builder = Message::builder()
        .envelope(envelope)
        .from(from.clone())
        .date(made_at(parcel.message.0))
        .message_id(Some(message_id(&parcel.identity)?))
        .subject(subject(&mail.subject))
        .raw_header(header("Auto-Submitted", "auto-generated"))
        .raw_header(header("X-Redflag-Message", &parcel.message.to_string()))
        .raw_header(header("X-Redflag-Delivery", &parcel.delivery.to_string()));
    for mailbox in to {
        builder = builder.to(mailbox.clone());
    }
    let text = SinglePart::plain(body(&mail.text));
    let message = match &mail.html {
        None => builder.singlepart(text),
        Some(html) => {
            let parts = MultiPart::alternative().boundary(format!("redflag-{}", parcel.delivery.0.simple()));
            builder.multipart(parts.singlepart(text).singlepart(SinglePart::html(body(html))))
        }
    };
    Ok(message.map_err(EmlError::Build)?.formatted())
}

/// `<uuid.channel@host>`, with whatever a Message-ID can't hold in a channel's name made a `-`.
#[must_use]
pub fn identity(delivery: Uuid, channel: &str, host: &str) -> String {
    let channel: String = channel.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' }).collect();
    format!("<{delivery}.{channel}@{host}>")
}

/// When the thing with this identity was made: version 7 carries it.
#[must_use]
pub fn made_at(id: Uuid) -> SystemTime {
    let (seconds, nanos) = id.get_timestamp().map_or((0, 0), |stamp| stamp.to_unix());
    SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos)
}

/// A mailbox as it is written in the configuration: `a@b` or `Name <a@b>`, without anything that could end a header.
pub fn mailbox(text: &str) -> Result<Mailbox, String> {
    if text.chars().any(is_unsafe) {
        return Err("holds control characters".to_owned());
    }
    text.parse().map_err(|_| format!("is no mail address: `{text}`"))
}

/// A bare address, checked in the same way.
pub fn address(text: &str) -> Result<Address, String> {
    Ok(mailbox(text)?.email)
}

fn message_id(identity: &str) -> Result<String, EmlError> {
    let inner = identity.strip_prefix('<').unwrap_or(identity);
    let inner = inner.strip_suffix('>').unwrap_or(inner);
    let fits = inner.len() <= 500 && inner.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'<' | b'>'));
    if fits && inner.contains('@') { Ok(format!("<{inner}>")) } else { Err(EmlError::Identity) }
}

fn subject(text: &str) -> String {
    let mut subject: String = text.chars().map(|c| if is_unsafe(c) { ' ' } else { c }).take(SUBJECT_CHARS + 1).collect();
    if subject.chars().count() > SUBJECT_CHARS {
        subject.pop();
        subject.push('…');
    }
    subject.trim().to_owned()
}

/// Line ends made one kind (lettre writes them as CRLF, and one at the end), other control characters taken out.
fn body(text: &str) -> String {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    text.trim_end_matches('\n').chars().filter(|c| matches!(c, '\n' | '\t') || !c.is_control()).collect()
}

fn header(name: &'static str, value: &str) -> HeaderValue {
    HeaderValue::new(HeaderName::new_from_ascii_str(name), value.to_owned())
}

#[cfg(test)]
mod tests {
    use mail_parser::MessageParser;
    use proptest::prelude::*;

    use super::*;
    use crate::model::{
        ids::{DeliveryId, Ids, MessageId},
        rendered::Rendered,
    };

    fn parcel(mail: &Mail) -> Parcel {
        let at = chrono::DateTime::from_timestamp(1_790_000_000, 0).unwrap();
        let mut ids = Ids::seeded(1);
        let (message, delivery): (MessageId, DeliveryId) = (ids.message(at), ids.delivery(at));
        Parcel {
            delivery,
            message,
            recipient: "kyc@example.com".to_owned(),
            identity: identity(delivery.0, "kyc operations", "example.com"),
            attempt: 1,
            rendered: Rendered::Mail(mail.clone()),
        }
    }

    fn written(mail: &Mail) -> Vec<u8> {
        let from = mailbox("redflag <redflag@example.com>").unwrap();
        bytes(&parcel(mail), mail, &from, &[mailbox("Käthe Groß <kyc@example.com>").unwrap()]).unwrap()
    }

    fn mail(subject: &str, text: &str, html: Option<&str>) -> Mail {
        Mail { subject: subject.to_owned(), text: text.to_owned(), html: html.map(str::to_owned) }
    }

    #[test]
    fn a_mail_reads_well_and_is_the_same_bytes_on_each_attempt() {
        let mail = mail("critical · name differs", "Name differs.\nSee event 7.\n", Some("<p>Name differs.</p>"));
        let bytes = written(&mail);
        assert_eq!(bytes, written(&mail));
        insta::assert_snapshot!(String::from_utf8(bytes).unwrap().replace("\r\n", "\n"));
    }

    #[test]
    fn a_subject_adds_no_header() {
        let bytes = written(&mail("alert\r\nBcc: evil@example.net\r\n\r\nbody\u{2028}x", "text", None));
        let parsed = MessageParser::default().parse(&bytes).unwrap();
        assert!(parsed.bcc().is_none());
        assert_eq!(parsed.subject(), Some("alert  Bcc: evil@example.net    body x"));
        assert_eq!(parsed.body_text(0).unwrap().trim(), "text");
    }

    #[test]
    fn an_identity_that_is_no_message_id_is_refused() {
        for identity in ["", "<a b@c>", "<a@b>\r\nBcc: x@y", "no-host", "<a@b><c@d>"] {
            assert!(matches!(message_id(identity), Err(EmlError::Identity)), "{identity}");
        }
        assert_eq!(message_id("<a@b>").unwrap(), "<a@b>");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_text_comes_back_and_no_line_is_too_long(
            subject in "[^\\p{C}\\s]{1,40}",
            text in "([a-zäöüß.€]{0,300}\r?\n?\\.?\r?){0,40}",
            long in 900_usize..2500,
        ) {
            let text = format!("{text}\n.\n{}", "x".repeat(long));
            let bytes = written(&mail(&subject, &text, Some(&format!("<p>{text}</p>"))));
            for line in bytes.split(|b| *b == b'\n') {
                prop_assert!(line.len() <= 999, "a line of {} bytes", line.len());
            }
            let bare_lf = bytes.windows(2).any(|pair| pair[1] == b'\n' && pair[0] != b'\r');
            let bare_cr = bytes.windows(2).any(|pair| pair[0] == b'\r' && pair[1] != b'\n');
            prop_assert!(!bare_lf && !bare_cr && bytes.is_ascii());
            let parsed = MessageParser::default().parse(&bytes).unwrap();
            prop_assert_eq!(parsed.subject(), Some(subject.as_str()));
            let back = parsed.body_text(0).unwrap().replace("\r\n", "\n");
            let sent = body(&text);
            prop_assert_eq!(back.trim_end_matches('\n'), sent.trim_end_matches('\n'));
        }
    }
}
