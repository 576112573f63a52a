use chrono::TimeDelta;

use super::*;
use crate::source::concedus::lookup::Standing;

fn at(days: i64) -> Timestamp {
    Timestamp::from_timestamp(1_780_000_000, 0).unwrap() + TimeDelta::days(days)
}

fn gap(topics: &[&str]) -> Gap {
    Gap {
        feed: FeedName::new("concedus"),
        topics: topics.iter().map(ToString::to_string).collect(),
        from: at(40),
        until: at(41),
        found_at: at(42),
        reason: "the answer was cut".to_owned(),
    }
}

/// Identifications are known from long before, and lately.
fn known() -> Ground {
    let announced = Announced { first: Some(at(0)), last: Some(at(39)), set_aside: 0 };
    Ground { announced, other_gap: false, kept_since: None }
}

fn reasons(gap: &Gap, ground: &Ground, tally: &Tally, failure: Option<&str>) -> Vec<String> {
    let reach = Span::from_secs(30 * 86_400);
    open(gap, gap.from - reach.delta(), reach, ground, tally, failure)
}

fn about(ident: Option<&str>, said: &[&str]) -> Identification {
    Identification {
        ident_id: ident.map(str::to_owned),
        person_key: Some("P".to_owned()),
        kyc: None,
        said: said.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn a_gap_of_outcomes_is_closed_when_everybody_is_known_and_has_answered() {
    let tally = Tally { asked: 3, as_known: 2, ..Tally::default() };
    assert_eq!(reasons(&gap(&["identResult"]), &known(), &tally, None), [""; 0]);
}

#[test]
fn every_doubt_keeps_a_gap_open_and_is_named() {
    let results = gap(&["identResult"]);
    let no_tally = Tally::default();
    let with = |change: &dyn Fn(&mut Ground)| {
        let mut ground = known();
        change(&mut ground);
        reasons(&results, &ground, &no_tally, None)
    };
    let tallied = |tally| reasons(&results, &known(), &tally, None);
    let all = [
        reasons(&gap(&[]), &known(), &no_tally, None),
        reasons(&gap(&["identResult", "mismatches", "identRequestCreated"]), &known(), &no_tally, None),
        reasons(&gap(&["identResultKYC"]), &known(), &no_tally, None),
        with(&|ground| ground.announced.first = Some(at(11))),
        with(&|ground| ground.announced = Announced::default()),
        with(&|ground| ground.announced.last = Some(at(9))),
        with(&|ground| ground.kept_since = Some(at(20))),
        with(&|ground| ground.other_gap = true),
        with(&|ground| ground.announced.set_aside = 2),
        tallied(Tally { unheard: 1, ..no_tally }),
        tallied(Tally { unknown: 1, ..no_tally }),
        tallied(Tally { strange: 1, ..no_tally }),
        tallied(Tally { left_out: 1, ..no_tally }),
        reasons(&results, &known(), &no_tally, Some("the provider answered the look-up with status 500")),
    ];
    assert!(all.iter().all(|reasons| reasons.len() == 1), "{all:#?}");
    insta::assert_snapshot!(all.concat().join("\n"));
}

#[test]
fn what_the_journal_lacks_is_found_and_what_it_has_is_not() {
    let stands = |code| Answer::Stands(Standing(code));
    let mut tally = Tally::default();
    let found: Vec<Option<String>> = [
        (about(Some("1"), &[]), stands(100)),
        (about(Some("2"), &[]), stands(0)),
        (about(Some("3"), &["rejected"]), stands(100)),
        (about(Some("4"), &[]), stands(777)),
        (about(Some("5"), &[]), stands(101)),
        (about(Some("6"), &["rejected"]), stands(0)),
        (about(Some("7"), &["777"]), stands(777)),
        (about(Some("8"), &[]), Answer::Unknown),
        (about(Some("9"), &[]), Answer::Unreadable),
    ]
    .into_iter()
    .map(|(about, answer)| tally.take(about, answer).map(|found| found.status))
    .collect();
    let word = |text: &str| Some(text.to_owned());
    let expected = [word("success"), word("failed"), word("success"), word("777"), None, None, None, None, None];
    assert_eq!(found, expected);
    assert_eq!(tally, Tally { asked: 9, as_known: 3, unknown: 1, strange: 3, unheard: 0, left_out: 0 });
}

#[test]
fn a_person_whose_known_identifications_failed_and_who_stands_otherwise_has_another_one() {
    let mut tally = Tally::default();
    assert!(tally.take(about(None, &["failed"]), Answer::Stands(Standing(101))).is_none(), "under way: no outcome");
    assert_eq!(tally.take(about(None, &["failed"]), Answer::Stands(Standing(100))).unwrap().status, "success");
    assert!(tally.take(about(None, &["failed"]), Answer::Stands(Standing(0))).is_none());
    assert!(tally.take(about(None, &[]), Answer::Stands(Standing(101))).is_none(), "announced without a number");
    assert_eq!(tally, Tally { asked: 4, as_known: 2, unheard: 2, ..Tally::default() });
}

#[test]
fn only_an_open_gap_of_this_feed_and_time_hides_announcements() {
    let row = |gap| GapRow { id: 1, gap, closed_at: None, closed_by: None, looked_up: None };
    let feed = FeedName::new("concedus");
    let hides = |row: &GapRow| hides_requests(row, &feed, (at(10), at(41)));
    assert!(hides(&row(gap(&[]))) && hides(&row(gap(&["identRequestCreated"]))));
    assert!(!hides(&row(gap(&["identResult"]))));
    assert!(!hides(&GapRow { closed_at: Some(at(43)), ..row(gap(&[])) }));
    assert!(!hides(&row(Gap { from: at(1), until: at(2), ..gap(&[]) })));
    assert!(!hides(&row(Gap { feed: FeedName::new("other"), ..gap(&[]) })));
}
