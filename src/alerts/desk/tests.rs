use std::{cell::RefCell, collections::BTreeMap};

use super::*;
use crate::{
    alerts::Way,
    model::{
        card::Quiet,
        event::{Element, Origin},
        ids::Seq,
        names::ChannelName,
        severity::Severity,
        time::Span,
        value::Map,
        verdict::{Undecided, UndecidedKind},
    },
};

/// A desk with its surroundings, and a store that only keeps messages.
struct Bench {
    desk: Desk,
    routes: Routes,
    ids: Ids,
    seq: u64,
    kept: RefCell<Vec<Message>>,
}

impl Bench {
    fn new() -> Self {
        let way = |recipients: &[&str]| Way {
            recipients: recipients.iter().map(ToString::to_string).collect(),
            identity: Arc::new(|id| format!("<{id}@redflag.example>")),
            give_up: Span::from_secs(60),
        };
        let ways = BTreeMap::from([
            (ChannelName::new("mail"), way(&["a@example.com", "b@example.com"])),
            (ChannelName::new("chat"), way(&["chat"])),
        ]);
        let groups = BTreeMap::from([("team".to_owned(), vec![ChannelName::new("mail"), ChannelName::new("chat")])]);
        Self {
            desk: Desk::new("test", Vec::new()),
            routes: Routes::new(ways, groups, vec!["chat".to_owned()]),
            ids: Ids::seeded(1),
            seq: 0,
            kept: RefCell::default(),
        }
    }

    /// A match `hours` after the start, with this severity and key.
    fn matches(&mut self, hours: i64, severity: Severity, key: Option<&str>) -> Effects {
        self.judge(hours, Stage::Live, finding(severity, key, &["team"]))
    }

    fn judge(&mut self, hours: i64, stage: Stage, finding: Finding) -> Effects {
        self.seq += 1;
        let event = Event { seq: Seq(self.seq), element: element(at(hours)) };
        let judgement = Judgement { card: Arc::new(card(stage)), verdict: Verdict::Match(Box::new(finding)) };
        let mut effects = Effects::default();
        let first = |id| self.kept.borrow().iter().find(|message: &&Message| message.id == id).cloned();
        let judged = Judged { event: &event, generation: Digest::default(), now: event.received_at, late: false };
        self.desk.take(&judgement, judged, &self.routes, &mut self.ids, &first, &mut effects);
        self.kept.borrow_mut().extend(effects.messages.iter().cloned());
        effects
    }

    fn end_due(&mut self, hours: i64) -> Effects {
        let mut effects = Effects::default();
        let first = |id| self.kept.borrow().iter().find(|message: &&Message| message.id == id).cloned();
        self.desk.end_due(at(hours), &self.routes, &mut self.ids, &first, &mut effects);
        effects
    }
}

fn at(hours: i64) -> Timestamp {
    Timestamp::from_timestamp(1_700_000_000 + hours * 3_600, 0).unwrap()
}

fn card(stage: Stage) -> Card {
    Card {
        quiet: Some(Quiet { same: vec!["personKey".to_owned()], within: "24h".parse().unwrap() }),
        stage,
        file: "identity/rule.rhai".to_owned(),
        hash: Digest::default(),
        ..Card::sample("KYC-001")
    }
}

fn finding(severity: Severity, key: Option<&str>, send_to: &[&str]) -> Finding {
    Finding {
        severity,
        subject: "Somebody failed".to_owned(),
        masked_subject: "A title".to_owned(),
        details: None,
        send_to: send_to.iter().map(ToString::to_string).collect(),
        quiet_key: key.map(|key| vec![key.to_owned()]),
        fallbacks: Vec::new(),
        unknown_words: Vec::new(),
    }
}

fn element(received_at: Timestamp) -> Element {
    Element {
        feed: "concedus".into(),
        topic: "identResult".into(),
        spelled: None,
        origin: Origin::Live,
        received_at,
        own_time: None,
        zone_assumed: false,
        late: false,
        maybe_repeat: false,
        batch: None,
        body: Map::new(),
        raw: String::new(),
        hash: Digest::default(),
        warnings: Vec::new(),
    }
}

fn roles(effects: &Effects) -> Vec<Role> {
    effects.alerts.iter().map(|alert| alert.role).collect()
}

#[test]
fn the_first_match_starts_a_message_to_every_recipient_of_every_channel() {
    let mut bench = Bench::new();
    let effects = bench.matches(0, Severity::High, Some("P1"));
    assert_eq!(roles(&effects), [Role::First]);
    let owed: Vec<_> = effects.deliveries.iter().map(|owed| (owed.channel.as_str(), owed.recipient.as_str())).collect();
    assert_eq!(owed, [("mail", "a@example.com"), ("mail", "b@example.com"), ("chat", "chat")]);
    let mail = &effects.deliveries[0];
    assert_eq!(mail.identity, format!("<{}@redflag.example>", mail.id));
    assert_eq!(effects.quiet.len(), 1);
}

#[test]
fn a_repeat_within_the_period_is_recorded_and_sends_nothing() {
    let mut bench = Bench::new();
    let first = bench.matches(0, Severity::High, Some("P1"));
    let repeat = bench.matches(5, Severity::High, Some("P1"));
    assert_eq!(roles(&repeat), [Role::Repeat]);
    assert_eq!(repeat.alerts[0].message, Some(first.messages[0].id));
    assert!(repeat.messages.is_empty() && repeat.deliveries.is_empty());
    assert_eq!(repeat.quiet[0].repeats, 1);
}

#[test]
fn another_key_and_a_blank_key_are_never_grouped() {
    let mut bench = Bench::new();
    bench.matches(0, Severity::High, Some("P1"));
    assert_eq!(roles(&bench.matches(1, Severity::High, Some("P2"))), [Role::First]);
    assert_eq!(roles(&bench.matches(1, Severity::High, None)), [Role::First]);
    assert_eq!(roles(&bench.matches(1, Severity::High, None)), [Role::First]);
}

#[test]
fn after_the_period_the_next_match_starts_a_message_again() {
    let mut bench = Bench::new();
    bench.matches(0, Severity::High, Some("P1"));
    assert_eq!(roles(&bench.matches(23, Severity::High, Some("P1"))), [Role::Repeat]);
    let again = bench.matches(24, Severity::High, Some("P1"));
    assert_eq!(roles(&again), [Role::First]);
    assert_eq!(again.messages.len(), 2, "the follow-up of the ended period and the new message");
    assert_eq!(again.messages[0].purpose, Purpose::FollowUp);
    assert!(again.quiet_ended.is_empty(), "the key's row is replaced, not deleted: {:?}", again.quiet_ended);
}

#[test]
fn repeats_are_told_in_one_follow_up_at_the_period_s_end() {
    let mut bench = Bench::new();
    bench.matches(0, Severity::High, Some("P1"));
    bench.matches(1, Severity::High, Some("P1"));
    bench.matches(2, Severity::High, Some("P1"));
    assert!(bench.end_due(23).is_empty());
    let end = bench.end_due(24);
    assert_eq!(end.messages.len(), 1);
    insta::assert_snapshot!(format!("{}\n{}", end.messages[0].subject, end.messages[0].notes.join("\n")), @r"
    2 more times: Somebody failed
    Between 2023-11-14 22:13:20 and 2023-11-15 22:13:20 (UTC) the same rule matched 2 more times for the same key. The event shown is the first one's.
    ");
    assert_eq!(end.deliveries.len(), 3, "the follow-up goes the first message's ways");
    assert_eq!(end.quiet_ended.len(), 1);
    assert!(bench.end_due(25).is_empty());
}

#[test]
fn a_period_without_repeats_ends_without_a_word() {
    let mut bench = Bench::new();
    bench.matches(0, Severity::High, Some("P1"));
    let end = bench.end_due(24);
    assert!(end.messages.is_empty());
    assert_eq!(end.quiet_ended.len(), 1);
}

#[test]
fn repeats_whose_first_message_cannot_be_read_are_handed_over_to_be_told_otherwise() {
    let mut bench = Bench::new();
    let first = bench.matches(0, Severity::High, Some("P1")).messages.remove(0);
    bench.matches(1, Severity::High, Some("P1"));
    bench.kept.borrow_mut().clear();
    let end = bench.end_due(24);
    assert!(end.messages.is_empty());
    let untold = bench.desk.untold();
    assert_eq!(untold.iter().map(|period| (period.message, period.repeats)).collect::<Vec<_>>(), [(first.id, 1)]);
    assert!(bench.desk.untold().is_empty(), "once");
}

#[test]
fn a_higher_severity_breaks_through() {
    let mut bench = Bench::new();
    bench.matches(0, Severity::High, Some("P1"));
    bench.matches(1, Severity::High, Some("P1"));
    let through = bench.matches(2, Severity::Critical, Some("P1"));
    assert_eq!(roles(&through), [Role::First]);
    assert_eq!(through.quiet[0].repeats, 1, "the repeat before it is not forgotten");
    assert_eq!(roles(&bench.matches(3, Severity::High, Some("P1"))), [Role::Repeat]);
}

#[test]
fn a_restart_goes_on_with_the_running_periods() {
    let mut bench = Bench::new();
    let first = bench.matches(0, Severity::High, Some("P1"));
    bench.desk = Desk::new("test", first.quiet);
    assert_eq!(roles(&bench.matches(1, Severity::High, Some("P1"))), [Role::Repeat]);
    assert_eq!(bench.end_due(24).messages.len(), 1);
}

#[test]
fn a_rule_in_shadow_is_recorded_and_sends_nothing() {
    let mut bench = Bench::new();
    let effects = bench.judge(0, Stage::Shadow, finding(Severity::High, Some("P1"), &["team"]));
    assert_eq!(roles(&effects), [Role::Shadow]);
    assert!(effects.messages.is_empty() && effects.deliveries.is_empty() && effects.quiet.is_empty());
}

#[test]
fn a_recipient_that_nobody_knows_is_told_in_the_message() {
    let mut bench = Bench::new();
    let effects = bench.judge(0, Stage::Live, finding(Severity::High, None, &["chat", "nobody"]));
    assert_eq!(effects.deliveries.len(), 1);
    assert_eq!(
        effects.messages[0].notes,
        ["`nobody` is neither a channel nor a group; the configuration has no such name, so nothing went there."]
    );
}

#[test]
fn an_undecided_verdict_is_a_row_and_never_a_silence() {
    let mut bench = Bench::new();
    let event = Event { seq: Seq(7), element: element(at(0)) };
    let why = Undecided { kind: UndecidedKind::Error, line: Some(3), detail: "a function failed".to_owned() };
    let judgement = Judgement { card: Arc::new(card(Stage::Live)), verdict: Verdict::Undecided(why.clone()) };
    let mut effects = Effects::default();
    let judged = Judged { event: &event, generation: Digest::default(), now: event.received_at, late: false };
    bench.desk.take(&judgement, judged, &bench.routes, &mut bench.ids, &|_| None, &mut effects);
    assert_eq!(effects.undecided.len(), 1);
    assert_eq!((effects.undecided[0].seq, &effects.undecided[0].why), (Seq(7), &why));
}

#[test]
fn a_message_that_would_go_nowhere_goes_by_the_fallback_and_says_so() {
    let mut bench = Bench::new();
    let effects = bench.judge(0, Stage::Live, finding(Severity::High, None, &["nobody"]));
    assert_eq!(effects.deliveries.iter().map(|owed| owed.channel.as_str()).collect::<Vec<_>>(), ["chat"]);
    assert_eq!(effects.messages[0].notes[1], "None of the rule's recipients exists, so this came by the fallback.");
}

#[test]
fn a_follow_up_whose_recipients_are_gone_from_the_configuration_goes_by_the_fallback() {
    let mut bench = Bench::new();
    let finding = || finding(Severity::High, Some("P1"), &["mail"]);
    bench.judge(0, Stage::Live, finding());
    bench.judge(1, Stage::Live, finding());
    let way = Way { recipients: vec!["chat".to_owned()], identity: Arc::new(|id| id.to_string()), give_up: Span::from_secs(60) };
    bench.routes = Routes::new(BTreeMap::from([(ChannelName::new("chat"), way)]), BTreeMap::new(), vec!["chat".to_owned()]);
    let effects = bench.end_due(24);
    assert_eq!(effects.messages[0].purpose, Purpose::FollowUp);
    assert_eq!(effects.deliveries.iter().map(|owed| owed.channel.as_str()).collect::<Vec<_>>(), ["chat"]);
}
