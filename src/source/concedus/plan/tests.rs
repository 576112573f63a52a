//! Which topics are asked for, since when, and what stays owed.

use super::*;
use crate::model::{names::TopicName, signal::PastMessages};

fn at(minute: i64) -> Timestamp {
    chrono::DateTime::from_timestamp(1_700_000_000 + minute * 60, 0).unwrap()
}

fn heard(topics: &[(&str, i64)]) -> Latest {
    topics.iter().map(|(topic, minute)| (TopicName::new(topic), at(*minute))).collect()
}

fn plan(start_from: StartFrom, enabled: &[&str]) -> Plan {
    let mut plan = Plan::new(BackfillConfig { start_from, ..BackfillConfig::default() });
    plan.topics(&enabled.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
    plan.noted = plan.owed.clone();
    plan
}

fn past(plan: &mut Plan) -> Option<PastMessages> {
    loop {
        match plan.next(at(1_000))? {
            Ask::PastMessages(request) => return Some(request),
            Ask::AvailableTopics | Ask::EnabledTopics | Ask::Probe(_) => {}
        }
    }
}

/// Answers everything; says what was asked.
fn answer_all(plan: &mut Plan) -> Vec<(String, Timestamp)> {
    let mut asked = Vec::new();
    while let Some(request) = past(plan) {
        asked.push((request.topics.join(" "), request.since));
        plan.answered(&Answer::Wrapped { messages: 1 }, Ground::Met, at(1_000));
    }
    asked
}

#[test]
fn each_topic_is_asked_for_since_an_overlap_before_it_was_last_heard() {
    let mut plan = plan(StartFrom::Now, &["identResult", "identRequestCreated", "mismatches"]);
    plan.connecting(heard(&[("identResult", 60), ("identRequestsCreated", -500)]), at(90));
    let mut asked = answer_all(&mut plan);
    asked.sort();
    let expected = [("identRequestCreated", at(-510)), ("identResult", at(50)), ("mismatches", at(50))];
    assert_eq!(asked, expected.map(|(topic, since)| (topic.to_owned(), since)));
}

#[test]
fn a_topic_that_the_provider_does_not_name_is_asked_for_when_it_was_heard_lately() {
    let mut plan = plan(StartFrom::Now, &["identResult"]);
    plan.connecting(heard(&[("identResult", 60), ("vendorSpecific", 30), ("longGone", -5_000)]), at(90));
    let asked: Vec<String> = answer_all(&mut plan).into_iter().map(|(topic, _)| topic).collect();
    assert!(asked.contains(&"vendorSpecific".to_owned()) && !asked.contains(&"longGone".to_owned()), "{asked:?}");
}

#[test]
fn without_a_list_of_topics_all_are_asked_for_at_once() {
    let mut plan = plan(StartFrom::Now, &[]);
    plan.connecting(heard(&[("identResult", 60), ("mismatches", 20)]), at(90));
    assert_eq!(answer_all(&mut plan), [(String::new(), at(50))]);
}

#[test]
fn an_empty_journal_begins_now_and_owes_what_happens_after_the_first_try() {
    let mut plan = plan(StartFrom::Now, &[]);
    plan.connecting(heard(&[]), at(0));
    assert!(plan.begins_now());
    assert_eq!(past(&mut plan), None);
    plan.connecting(heard(&[]), at(5));
    assert_eq!(answer_all(&mut plan), [(String::new(), at(0))]);
    plan.connecting(heard(&[("identResult", 6)]), at(7));
    assert_eq!(past(&mut plan).unwrap().since, at(0), "the overlap does not reach back before the beginning");
}

#[test]
fn a_start_from_stamp_is_taken_as_it_is_on_an_empty_journal_only() {
    let mut plan = plan(StartFrom::At(at(-100)), &[]);
    plan.connecting(heard(&[]), at(0));
    assert_eq!(answer_all(&mut plan), [(String::new(), at(-100))]);
    plan.connecting(heard(&[("identResult", 20)]), at(30));
    assert_eq!(past(&mut plan).unwrap().since, at(10));
}

#[test]
fn a_broken_request_stays_owed_though_live_events_moved_on_and_answered_topics_do_not() {
    let mut plan = plan(StartFrom::Now, &["identResult", "mismatches"]);
    plan.connecting(heard(&[("identResult", 60), ("mismatches", 60)]), at(90));
    let first = past(&mut plan).unwrap();
    plan.answered(&Answer::Wrapped { messages: 1 }, Ground::Met, at(90));
    let broken = past(&mut plan).unwrap();
    plan.unanswered(&Answer::Broken, at(91));
    plan.connecting(heard(&[("identResult", 95), ("mismatches", 95)]), at(96));
    let asked: BTreeMap<String, Timestamp> = answer_all(&mut plan).into_iter().collect();
    assert_eq!(asked[&broken.topics[0]], at(50));
    assert_eq!(asked[&first.topics[0]], at(85));
    plan.connecting(heard(&[("identResult", 95), ("mismatches", 95)]), at(97));
    assert!(answer_all(&mut plan).iter().all(|(_, since)| *since == at(85)));
}

#[test]
fn what_is_owed_outlives_the_process_until_it_was_answered() {
    let mut plan = plan(StartFrom::Now, &["identResult"]);
    assert_eq!(plan.position(), None);
    plan.connecting(heard(&[("identResult", 60)]), at(90));
    let position = plan.position().unwrap();
    assert_eq!(position, r#"{"since":"2023-11-14T23:03:20Z","known":"2023-11-14T23:13:20Z","enabled":["identResult"]}"#);
    assert_eq!(plan.position(), None, "once is enough");
    // Killed before the answer, but after live events.
    let mut plan = self::plan(StartFrom::Now, &["identResult"]);
    plan.resume(Some(&position));
    plan.connecting(heard(&[("identResult", 91)]), at(92));
    assert_eq!(plan.position(), None, "the journal has it");
    assert_eq!(answer_all(&mut plan), [("identResult".to_owned(), at(50))]);
    assert_eq!(plan.position().as_deref(), Some(r#"{"wraps":true,"enabled":["identResult"]}"#));
}

#[test]
fn gaps_are_told_once_when_every_topic_was_asked_for_and_not_asked_for_again() {
    let mut plan = plan(StartFrom::Now, &["identResult", "mismatches"]);
    plan.connecting(heard(&[("identResult", 60), ("mismatches", 60)]), at(90));
    while past(&mut plan).is_some() {
        assert_eq!(plan.unproven(), [], "not before the last answer");
        plan.unanswered(&Answer::None, at(100));
    }
    let mut told = plan.unproven();
    told[0].topics.sort();
    let reason = "the provider did not answer the request for past messages".to_owned();
    let topics = vec!["identResult".to_owned(), "mismatches".to_owned()];
    assert_eq!(told, [Unproven { topics, since: at(50), until: at(100), reason }]);
    assert_eq!(plan.unproven(), [], "once");
    plan.connecting(heard(&[("identResult", 101), ("mismatches", 101)]), at(102));
    assert!(answer_all(&mut plan).iter().all(|(_, since)| *since == at(100)), "the gap is not asked for again");
}

#[test]
fn a_topic_at_whose_requests_each_connection_ends_is_a_gap_and_holds_up_no_other() {
    let mut plan = plan(StartFrom::Now, &["identResult", "mismatches"]);
    let mut other = 0;
    let (told, connections) = (1..)
        .find_map(|connection| {
            assert!(connection < 20, "it is never told");
            plan.connecting(heard(&[("identResult", 60), ("mismatches", 60)]), at(90 + connection));
            while let Some(request) = past(&mut plan) {
                if request.topics == ["mismatches"] {
                    plan.unanswered(&Answer::Broken, at(90 + connection));
                    break;
                }
                // Whatever is known of the others by then is told with it.
                other += 1;
                plan.answered(&Answer::Wrapped { messages: 0 }, Ground::Missed, at(80));
            }
            let told = plan.unproven();
            (!told.is_empty()).then_some((told, connection))
        })
        .unwrap();
    assert!(other > 0);
    let reason = "the connection ended each time that its past messages were asked for".to_owned();
    let until = at(90 + connections);
    let gap = |topic: &str| told.iter().find(|told| told.topics == [topic]).unwrap();
    assert_eq!(told.len(), 2);
    assert_eq!(gap("mismatches"), &Unproven { topics: vec!["mismatches".to_owned()], since: at(50), until, reason });
    assert_eq!((gap("identResult").since, gap("identResult").until), (at(50), at(80)));
    plan.connecting(heard(&[("identResult", 60), ("mismatches", 60)]), at(200));
    let asked: BTreeMap<String, Timestamp> = answer_all(&mut plan).into_iter().collect();
    assert_eq!(asked["mismatches"], until, "what was told is not asked for again");
}

#[test]
fn a_message_at_which_the_connection_ends_is_isolated_and_the_rest_is_had() {
    let mut plan = plan(StartFrom::Now, &["identResult", "mismatches"]);
    let poison = at(75);
    let told = (1..)
        .find_map(|connection| {
            assert!(connection < 40, "it is never told");
            let now = at(90) + TimeDelta::seconds(connection);
            plan.connecting(heard(&[("identResult", 60), ("mismatches", 60)]), now);
            while let Some(request) = past(&mut plan) {
                if request.topics == ["mismatches"] && request.since <= poison {
                    plan.unanswered(&Answer::Broken, now);
                    break;
                }
                let messages = if request.topics == ["mismatches"] { 2 } else { 3 };
                plan.answered(&Answer::Wrapped { messages }, Ground::Met, now);
            }
            Some(plan.unproven()).filter(|told| !told.is_empty())
        })
        .unwrap();
    assert_eq!(told.len(), 1);
    assert!(told[0].since == at(50) && (poison..=poison + TimeDelta::seconds(2)).contains(&told[0].until), "{told:?}");
}

#[test]
fn only_an_array_that_holds_what_the_journal_has_says_that_the_provider_answers_by_arrays() {
    let mut plan = plan(StartFrom::Now, &["identResult", "mismatches"]);
    plan.connecting(heard(&[("identResult", 60), ("mismatches", 60)]), at(90));
    past(&mut plan).unwrap();
    plan.answered(&Answer::Wrapped { messages: 1 }, Ground::Missed, at(90));
    assert!(!plan.wraps(), "it may be a live event");
    plan.answered(&Answer::Wrapped { messages: 1 }, Ground::Met, at(90));
    assert!(plan.wraps());
}

#[test]
fn an_over_long_message_is_searched_for_over_connections_and_other_topics_come_first() {
    let mut plan = plan(StartFrom::Now, &["identResult", "identResultKYC"]);
    let long = at(75);
    let mut connections = 0;
    let told = loop {
        connections += 1;
        assert!(connections < 30, "a reconnect loop");
        plan.connecting(heard(&[("identResult", 60), ("identResultKYC", 60)]), at(90) + TimeDelta::seconds(connections));
        let mut broke = false;
        while let Some(request) = past(&mut plan) {
            if request.topics == ["identResultKYC"] && request.since <= long {
                plan.too_long(at(90) + TimeDelta::seconds(connections));
                plan.unanswered(&Answer::Broken, at(91));
                broke = true;
                break;
            }
            plan.answered(&Answer::Wrapped { messages: 3 }, Ground::Met, at(90) + TimeDelta::seconds(connections));
        }
        if !broke {
            break plan.unproven();
        }
    };
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].topics, ["identResultKYC"]);
    assert!(told[0].since == at(50) && (long..=long + TimeDelta::seconds(2)).contains(&told[0].until), "{told:?}");
    plan.connecting(heard(&[("identResult", 91), ("identResultKYC", 60)]), at(95));
    let asked: BTreeMap<String, Timestamp> = answer_all(&mut plan).into_iter().collect();
    assert!(asked["identResultKYC"] > long, "no loop: what was told is not asked for again");
}
