//! The mail channel against a real Postfix, read back by a parser that is not the one that wrote.

use std::{fs, path::Path, sync::Arc};

use mail_parser::MessageParser;
use redflag::{
    channels::{self, Channel},
    config::{
        ChannelConfig, EmailConfig, Secret,
        channels::{MailTls, RetryConfig},
    },
    model::{
        delivery::{Outcome, Parcel},
        ids::Ids,
        names::ChannelName,
        rendered::{Clearance, Mail, Rendered},
        time::{SystemClock, Timestamp},
    },
};
use tempfile::TempDir;

use crate::support::mta::{GREY, MAILBOX, Mta, PASSWORD, USERNAME};

const TEXT: &str = "Größe, Straße und Łódź weichen ab.\n\n.\n.. zwei Punkte\nFrom hier an: 日本語\n";
const HTML: &str = "<p>Größe &lt;b&gt; weicht ab: <b>日本語</b></p>\n";

/// A channel to `server`; its folder holds the password.
fn channel(server: String, authority: Option<&Path>, password: &str) -> (Arc<dyn Channel>, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    fs::write(&file, password).unwrap();
    let config = EmailConfig {
        server,
        tls: MailTls::Required,
        ca_file: authority.map(Path::to_owned),
        username: Some(USERNAME.to_owned()),
        password: Some(Secret::File(file)),
        from: "redflag · Prüfung <redflag@redflag.test>".to_owned(),
        to: vec![format!("KYC Operations <{MAILBOX}>")],
        clearance: Clearance::Personal,
        connections: 2,
        retry: RetryConfig::default(),
    };
    let built = channels::build(&ChannelName::new("kyc-operations"), &ChannelConfig::Email(config), Arc::new(SystemClock));
    (built.unwrap(), folder)
}

fn parcel(channel: &dyn Channel, seed: u64) -> Parcel {
    let at: Timestamp = chrono::DateTime::from_timestamp(1_790_000_000, 0).unwrap();
    let mut ids = Ids::seeded(seed);
    let delivery = ids.delivery(at);
    Parcel {
        delivery,
        message: ids.message(at),
        recipient: channel.recipients()[0].clone(),
        identity: channel.identity(delivery),
        attempt: 1,
        rendered: Rendered::Mail(Mail {
            subject: format!(
                "[high] Größe weicht ab · Fall {seed} mit einem Betreff, der länger ist als eine einzige Zeile sein darf"
            ),
            text: TEXT.to_owned(),
            html: Some(HTML.to_owned()),
        }),
    }
}

fn detail(outcome: Outcome) -> String {
    match outcome {
        Outcome::Delivered { detail } => format!("delivered: {detail}"),
        Outcome::Retry { detail, .. } => format!("retry: {detail}"),
        Outcome::Reject { detail } => format!("reject: {detail}"),
    }
}

#[tokio::test]
async fn a_mail_reaches_the_mailbox_with_everything_intact() {
    let mta = Mta::start().await;
    for (seed, server) in [(1, mta.submission()), (2, mta.implicit())] {
        let (channel, _folder) = channel(server, Some(&mta.authority()), PASSWORD);
        let parcel = parcel(&*channel, seed);
        let outcome = detail(channel.send(&parcel).await);
        assert!(outcome.starts_with("delivered: accepted: 2.0.0 Ok: queued as "), "{outcome}\n{}", mta.log());
        let mails = mta.mails(usize::try_from(seed).unwrap()).await;
        let parsed: Vec<_> = mails.iter().map(|mail| MessageParser::default().parse(mail).unwrap()).collect();
        let mail = parsed.iter().find(|mail| mail.message_id().is_some_and(|id| format!("<{id}>") == parcel.identity)).unwrap();
        let Rendered::Mail(sent) = &parcel.rendered else { unreachable!() };
        assert_eq!(mail.subject(), Some(sent.subject.as_str()));
        assert_eq!(mail.from().unwrap().first().unwrap().name(), Some("redflag · Prüfung"));
        assert_eq!(mail.from().unwrap().first().unwrap().address(), Some("redflag@redflag.test"));
        assert_eq!(mail.to().unwrap().first().unwrap().name(), Some("KYC Operations"));
        assert_eq!(mail.to().unwrap().first().unwrap().address(), Some(MAILBOX));
        assert_eq!(mail.body_text(0).unwrap().replace("\r\n", "\n").trim_end(), TEXT.trim_end());
        assert_eq!(mail.body_html(0).unwrap().replace("\r\n", "\n").trim_end(), HTML.trim_end());
        assert_eq!(mail.header("X-Redflag-Delivery").unwrap().as_text(), Some(parcel.delivery.to_string().as_str()));
        assert_eq!(mail.header("Auto-Submitted").unwrap().as_text(), Some("auto-generated"));
        assert_eq!(mail.date().unwrap().to_timestamp(), 1_790_000_000);
    }
}

#[tokio::test]
async fn a_second_attempt_is_the_same_mail_by_its_message_id() {
    let mta = Mta::start().await;
    let (channel, _folder) = channel(mta.submission(), Some(&mta.authority()), PASSWORD);
    let parcel = parcel(&*channel, 7);
    for _ in 0..2 {
        assert!(matches!(channel.send(&parcel).await, Outcome::Delivered { .. }), "{}", mta.log());
    }
    let mails = mta.mails(2).await;
    let ids: Vec<_> =
        mails.iter().map(|mail| MessageParser::default().parse(mail).unwrap().message_id().map(str::to_owned)).collect();
    assert_eq!(ids[0], ids[1]);
    assert_eq!(
        mta.log().matches(" connect from ").count(),
        2,
        "one connection of the start, one kept for both mails\n{}",
        mta.log()
    );
}

#[tokio::test]
async fn a_body_that_looks_like_smtp_stays_one_mail() {
    let mta = Mta::start().await;
    let (channel, _folder) = channel(mta.submission(), Some(&mta.authority()), PASSWORD);
    for (seed, end) in [(1, "\r\n.\r\n"), (2, "\n.\n"), (3, "\n.\r\n"), (4, "\r.\r"), (5, "\r\n.\r")] {
        let mut parcel = parcel(&*channel, seed);
        let verbs =
            format!("first{end}MAIL FROM:<evil@redflag.test>\r\nRCPT TO:<{MAILBOX}>\r\nDATA\r\nSubject: evil\r\n\r\nx{end}");
        parcel.rendered = Rendered::Mail(Mail { subject: format!("s{seed}"), text: verbs, html: None });
        assert!(matches!(channel.send(&parcel).await, Outcome::Delivered { .. }), "{}", mta.log());
    }
    let mails = mta.mails(5).await;
    let subjects: Vec<_> =
        mails.iter().map(|mail| MessageParser::default().parse(mail).unwrap().subject().unwrap().to_owned()).collect();
    assert_eq!(mails.len(), 5, "{subjects:?}");
    assert!(subjects.iter().all(|subject| subject.starts_with('s')), "{subjects:?}");
}

#[tokio::test]
async fn a_wrong_password_waits_for_the_operator_and_says_auth() {
    let mta = Mta::start().await;
    let (channel, _folder) = channel(mta.submission(), Some(&mta.authority()), "another");
    let outcome = detail(channel.send(&parcel(&*channel, 1)).await);
    assert!(outcome.starts_with("retry: AUTH: 535 5.7.8 "), "{outcome}\n{}", mta.log());
    assert!(!outcome.contains("another") && mta.mailbox().is_empty());
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_or_names_another_is_refused() {
    let mta = Mta::start().await;
    let stranger = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let place = tempfile::tempdir().unwrap();
    let other = place.path().join("other.pem");
    fs::write(&other, stranger.cert.pem()).unwrap();
    for (server, authority) in [(mta.submission(), other.clone()), (mta.implicit(), other), (mta.misnamed(), mta.authority())] {
        let (channel, _folder) = channel(server, Some(&authority), PASSWORD);
        let outcome = detail(channel.send(&parcel(&*channel, 1)).await);
        assert!(outcome.starts_with("retry: the TLS handshake: invalid peer certificate"), "{outcome}");
    }
    assert!(mta.mailbox().is_empty() && !mta.log().contains("sasl_username"), "{}", mta.log());
}

#[tokio::test]
async fn a_recipient_unknown_is_final_and_one_in_a_grey_list_is_not() {
    let mta = Mta::start().await;
    let (channel, _folder) = channel(mta.submission(), Some(&mta.authority()), PASSWORD);
    let mut parcel = parcel(&*channel, 1);
    "nobody@redflag.test".clone_into(&mut parcel.recipient);
    let unknown = detail(channel.send(&parcel).await);
    assert!(unknown.starts_with("reject: RCPT TO: 550 5.1.1 "), "{unknown}\n{}", mta.log());
    GREY.clone_into(&mut parcel.recipient);
    let grey = detail(channel.send(&parcel).await);
    assert!(grey.starts_with("retry: RCPT TO: 450 4.7.1 ") && grey.ends_with("come back later"), "{grey}\n{}", mta.log());
}
