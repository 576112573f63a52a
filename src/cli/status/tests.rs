use chrono::TimeDelta;

use super::*;
use crate::{
    engine::control::{ChannelLine, FeedLine, GapLine, ImbalanceLine, LastAlert, Rules, Service, StoreLine},
    model::{
        books::Seam,
        hash::Digest,
        ids::Seq,
        names::{ChannelName, FeedName, RuleId, TopicName},
        severity::Severity,
        time::Timestamp,
    },
};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_timestamp(1_780_000_000, 0).unwrap() + TimeDelta::seconds(seconds)
}

fn well() -> Status {
    let channel = |name: &str, last: i64| ChannelLine {
        channel: ChannelName::new(name),
        configured: true,
        owed: 0,
        oldest: None,
        last_delivered: Some(at(last)),
        dead: 0,
    };
    Status {
        version: "0.1.0".to_owned(),
        at: at(0),
        service: Some(Service { pid: 4711, since: at(-90_000) }),
        feeds: vec![FeedLine { feed: FeedName::new("concedus"), connected: Some(true), waiting: 0, last_event: Some(at(-3)) }],
        books: Vec::new(),
        rules: Rules {
            generation: Some(Digest::of(b"rules")),
            loaded_at: Some(at(-3_600)),
            live: 12,
            stale: Vec::new(),
            parked: Vec::new(),
            held_back: None,
            errors: 0,
            undecided: 0,
            undecided_lately: 0,
        },
        channels: vec![channel("kyc-operations", -60), channel("compliance-chat", -61)],
        gaps: Vec::new(),
        gaps_ever: 0,
        gaps_open: 0,
        quarantined: 0,
        last_alert: Some(LastAlert { number: 42, at: at(-65), rule: RuleId::new("KYC-012"), severity: Severity::High }),
        store: StoreLine {
            folder: "/var/lib/redflag".to_owned(),
            bytes: 31 << 20,
            disk_free: Some(120 << 30),
            last: Seq(10_042),
            judged: Seq(10_042),
        },
        findings: Vec::new(),
    }
}

#[test]
fn a_day_on_which_all_is_well() {
    insta::assert_snapshot!(screen(&well(), chrono_tz::Europe::Berlin));
}

#[test]
fn a_day_on_which_nothing_is() {
    let mut status = well();
    status.feeds[0].connected = Some(false);
    status.feeds[0].waiting = 7;
    status.books = vec![ImbalanceLine {
        seam: Seam::Journal,
        feed: FeedName::new("concedus"),
        topic: Some(TopicName::new("identResult")),
        hour: at(-1_600),
        left: 118,
        right: 117,
    }];
    status.rules.stale = vec!["kyc/kyc_012.rhai".to_owned()];
    status.rules.parked = vec![RuleId::new("KYC-030")];
    status.rules.held_back = Some("3 of 12 rules are gone at once".to_owned());
    (status.rules.undecided, status.rules.undecided_lately) = (9, 2);
    (status.channels[0].owed, status.channels[0].oldest, status.channels[0].dead) = (3, Some(at(-7_300)), 1);
    status.channels[1].configured = false;
    status.gaps_ever = 4;
    status.gaps_open = 3;
    status.gaps = vec![GapLine {
        number: 4,
        feed: FeedName::new("concedus"),
        topics: Vec::new(),
        from: at(-9_000),
        until: at(-8_000),
        found_at: at(-8_000),
        reason: "the provider did not answer the request for past messages".to_owned(),
        closed_at: None,
        closed_by: None,
        looked_up: Some("0 looked up, 0 of them as known, 0 outcomes that the journal lacked; it stays open: what it may hold of other topics can't be looked up".to_owned()),
    }];
    status.quarantined = 1;
    status.findings = vec!["feed concedus is not connected".to_owned(), "the books don't balance".to_owned()];
    insta::assert_snapshot!(screen(&status, chrono_tz::Europe::Berlin));
}

#[test]
fn a_store_without_a_service() {
    let mut status = well();
    status.service = None;
    status.feeds[0].connected = None;
    status.last_alert = None;
    status.findings = vec!["redflag does not run: no event is received, no alert goes out".to_owned()];
    insta::assert_snapshot!(screen(&status, chrono_tz::UTC));
}
