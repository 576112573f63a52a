use std::sync::Arc;

use super::*;
use crate::{
    config::Language,
    model::{
        alert::{EventFacts, Message, Purpose},
        card::{Card, Header, Stage},
        event::Origin,
        hash::Digest,
        ids::{Ids, Seq},
        names::RuleId,
        rendered::{Clearance, Form, Mail, Rendered},
        severity::Severity,
        time::Timestamp,
        value::{Map, Value},
    },
};

fn options() -> Options {
    Options { directory: None, language: Language::En, zone: chrono_tz::Europe::Berlin }
}

fn shipped() -> Templates {
    Templates::load(&options()).unwrap()
}

fn mismatch() -> Value {
    Value::Map(Map::from_iter([
        ("fieldName", Value::from("Nationality")),
        ("value", Value::from("DE")),
        ("kycValue", Value::from("lb")),
    ]))
}

fn message() -> Message {
    let at = Timestamp::from_timestamp(1_767_261_600, 0).unwrap();
    Message {
        id: Ids::seeded(1).message(at),
        created_at: at,
        purpose: Purpose::Alert,
        severity: Severity::High,
        send_to: vec!["kyc-operations".to_owned()],
        subject: "Nationality: customer said DE, document says LB".to_owned(),
        masked_subject: "Nationality differs for PERS_1".to_owned(),
        environment: "demo".to_owned(),
        card: Some(Arc::new(Card {
            id: RuleId::new("KYC-012"),
            title: "Nationality differs from the ID document".to_owned(),
            on: vec!["mismatches".into()],
            severity: Severity::High,
            send_to: vec!["kyc-operations".to_owned()],
            quiet: None,
            stage: Stage::Live,
            template: "alert".to_owned(),
            personal: None,
            owner: Some("KYC operations".to_owned()),
            review_by: None,
            basis: Some("GwG § 10".to_owned()),
            header: Header {
                what: "Nationality on the ID document differs from what the customer told us.".to_owned(),
                why: Some("A different nationality changes the screening of the person.".to_owned()),
                act: Some("Open the case, compare both documents.".to_owned()),
                noise: Some("Double nationality.".to_owned()),
            },
            file: "identity/nationality_differs.rhai".to_owned(),
            hash: Digest::of(b"rule"),
        })),
        event: Some(EventFacts {
            seq: Seq(42),
            feed: "concedus".into(),
            topic: "mismatches".into(),
            received_at: at,
            at: Timestamp::from_timestamp(1_767_261_540, 0).unwrap(),
            origin: Origin::Live,
            late: false,
            maybe_repeat: false,
            body: Map::from_iter([
                ("identId", Value::from("166956507")),
                ("personKey", Value::from("PERS_1")),
                ("created", Value::from("2026-01-01T09:59:00Z")),
                ("mismatches", Value::List(vec![mismatch()])),
                ("somethingNew", Value::from("Jane Roe")),
            ]),
        }),
        details: Some(Value::Map(Map::from_iter([("pair", Value::from("DE/LB"))]))),
        repeats: 0,
        notes: vec!["The event is late.".to_owned()],
        generation: Some(Digest::of(b"set")),
    }
}

fn mail(templates: &Templates, message: &Message, clearance: Clearance) -> Mail {
    match templates.render(message, Form::Mail, clearance) {
        Rendered::Mail(mail) => mail,
        Rendered::Json(_) => panic!("a mail was asked for"),
    }
}

fn json(message: &Message, form: Form, clearance: Clearance) -> serde_json::Value {
    match shipped().render(message, form, clearance) {
        Rendered::Json(json) => json,
        Rendered::Mail(_) => panic!("JSON was asked for"),
    }
}

#[test]
fn a_mail_for_cleared_readers_says_what_why_and_what_to_do() {
    let mail = mail(&shipped(), &message(), Clearance::Personal);
    insta::assert_snapshot!("mail_cleared", format!("Subject: {}\n\n{}", mail.subject, mail.text));
}

#[test]
fn a_mail_without_clearance_withholds_personal_and_unknown_fields() {
    let mail = mail(&shipped(), &message(), Clearance::Masked);
    let html = mail.html.as_deref().unwrap_or_default();
    for secret in ["lb", "Jane Roe", "customer said DE", "DE/LB"] {
        assert!(!mail.text.contains(secret) && !mail.subject.contains(secret), "{secret} is in the text:\n{}", mail.text);
        assert!(!html.contains(&format!(">{secret}<")), "{secret} is in the HTML");
    }
    insta::assert_snapshot!("mail_masked", format!("Subject: {}\n\n{}", mail.subject, mail.text));
}

#[test]
fn the_html_part_has_its_styles_inlined_and_escapes_data() {
    let mut message = message();
    message.subject = "<script>alert(1)</script>\" onmouseover=".to_owned();
    let html = mail(&shipped(), &message, Clearance::Personal).html.unwrap();
    assert!(!html.contains("<script>"));
    assert!(!html.contains("<style"), "styles are in the elements");
    assert!(html.contains("<h1 style="), "{html}");
    insta::assert_snapshot!("mail_html", html);
}

#[test]
fn a_german_mail_is_german() {
    let templates = Templates::load(&Options { language: Language::De, ..options() }).unwrap();
    let mail = mail(&templates, &message(), Clearance::Masked);
    insta::assert_snapshot!("mail_german", format!("Subject: {}\n\n{}", mail.subject, mail.text));
}

#[test]
fn a_chat_post_can_not_mention_or_link() {
    let mut message = message();
    message.subject = "<!channel> <https://evil.example|bank.example>".to_owned();
    let post = json(&message, Form::Slack, Clearance::Personal);
    assert!(!post.to_string().contains("<!channel>") && !post.to_string().contains("<https"));
    insta::assert_json_snapshot!("chat", post);
}

#[test]
fn the_webhook_s_body_names_what_it_withholds() {
    insta::assert_json_snapshot!("webhook_masked", json(&message(), Form::Json, Clearance::Masked));
}

#[test]
fn an_alarm_of_redflag_itself_needs_no_rule_and_no_event() {
    let alarm = Message {
        purpose: Purpose::Alarm,
        card: None,
        event: None,
        details: None,
        subject: "Rule file identity/x.rhai was refused".to_owned(),
        ..message()
    };
    insta::assert_snapshot!("alarm", mail(&shipped(), &alarm, Clearance::Personal).text);
}

#[test]
fn data_is_never_executed_as_a_template() {
    let mut message = message();
    message.subject = "{{ 7*7 }} {% include \"x\" %}".to_owned();
    assert!(mail(&shipped(), &message, Clearance::Personal).text.contains("{{ 7*7 }} {% include \"x\" %}"));
}

#[test]
fn a_header_can_not_come_out_of_a_subject() {
    let mut message = message();
    message.subject = "hello\r\nBcc: evil@example.com".to_owned();
    assert_eq!(mail(&shipped(), &message, Clearance::Personal).subject, "[demo] High: hello  Bcc: evil@example.com");
}

#[test]
fn the_verification_link_is_withheld_even_from_cleared_readers() {
    let mut message = message();
    let event = message.event.as_mut().unwrap();
    event.topic = "identRequestsCreated".into();
    event.body = Map::from_iter([("url", Value::from("https://verify.example/1")), ("key", Value::from("PERS_1"))]);
    for form in [Form::Mail, Form::Slack, Form::Json] {
        let shown = format!("{:?}", shipped().render(&message, form, Clearance::Personal));
        assert!(!shown.contains("verify.example"), "{shown}");
    }
}

/// A folder with one set of the given files.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("alert")).unwrap();
    for (file, text) in files {
        std::fs::write(folder.path().join("alert").join(file), text).unwrap();
    }
    folder
}

fn refused(files: &[(&str, &str)]) -> String {
    let folder = folder(files);
    let errors = Templates::load(&Options { directory: Some(folder.path().to_owned()), ..options() }).unwrap_err();
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_folder_s_template_replaces_the_shipped_one() {
    let folder = folder(&[("mail.txt", "only {{ subject }}")]);
    let templates = Templates::load(&Options { directory: Some(folder.path().to_owned()), ..options() }).unwrap();
    assert_eq!(mail(&templates, &message(), Clearance::Personal).text, format!("only {}", message().subject));
}

#[test]
fn a_broken_template_is_refused_with_its_place() {
    insta::assert_snapshot!(refused(&[("mail.txt", "ok\n{{ subjekt }}")]), @"the template alert/mail.txt, line 2: `subjekt` is undefined");
    insta::assert_snapshot!(refused(&[("mail.txt", "{% if %}")]), @"the template alert/mail.txt, line 1: unexpected end of block");
    insta::assert_snapshot!(refused(&[("chat.txt", "  ")]), @"the template alert/chat.txt, line 1: it renders nothing");
    insta::assert_snapshot!(refused(&[("mail.txt", "{% for i in range(10000) %}{% for j in range(10000) %}x{% endfor %}{% endfor %}")]), @"the template alert/mail.txt, line 1: engine ran out of fuel");
}

#[test]
fn a_template_that_fails_at_send_time_is_replaced_by_plain_text() {
    // It passes the canary, whose topic is `mismatches`, and fails on a real event.
    let trap = "{% if event and event.seq == 42 %}{{ event.nothing }}{% endif %}x";
    let folder = folder(&[("mail.html", trap), ("mail.txt", trap), ("chat.txt", trap)]);
    let templates = Templates::load(&Options { directory: Some(folder.path().to_owned()), ..options() }).unwrap();
    let mail = mail(&templates, &message(), Clearance::Masked);
    assert_eq!(mail.html, None);
    insta::assert_snapshot!("fallback", mail.text);
}

#[test]
fn a_chat_post_that_is_too_long_keeps_its_last_line() {
    let facts = (0..9).map(|number| format!("fact {number}")).collect::<Vec<_>>().join("\n");
    assert_eq!(text::within(100, facts.clone()), facts);
    assert_eq!(text::within(40, format!("subject\n{facts}\nrule KYC-001")), "subject\nfact 0\nfact 1\n…\nrule KYC-001");
    assert_eq!(text::within(4, "one line".to_owned()), "one …");
}
