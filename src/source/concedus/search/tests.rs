//! The search against a model of the provider: whatever its cap, what is called whole is whole, and a gap holds all that is missing.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const START: i64 = 1_700_000_000;
const OVERLAP: i64 = 600;

fn at(second: i64) -> Timestamp {
    DateTime::from_timestamp(START + second, 0).unwrap()
}

/// One topic at the provider, and what our journal has of it.
#[derive(Clone, Debug)]
struct World {
    /// Seconds at which messages were sent; the connection was lost at 0.
    sent: Vec<i64>,
    /// The most that one answer holds.
    cap: usize,
    /// Messages in this interval are too long to be read.
    long: Option<(i64, i64)>,
    now: i64,
    wraps: bool,
}

#[derive(Debug)]
struct Outcome {
    next: Next,
    /// What the journal has in the end.
    had: BTreeSet<i64>,
    requests: usize,
}

impl World {
    fn of(sent: impl IntoIterator<Item = i64>, cap: usize, now: i64) -> Self {
        Self { sent: sent.into_iter().collect(), cap, long: None, now, wraps: true }
    }

    fn answer(&self, request: &PastMessages) -> Vec<i64> {
        let since = request.since.timestamp_millis() - START * 1_000;
        let mut messages: Vec<i64> = self.sent.iter().copied().filter(|second| second * 1_000 >= since).collect();
        messages.sort_unstable();
        let count = self.cap.min(request.count as usize);
        messages.split_off(messages.len().saturating_sub(count))
    }

    fn run(&self, count: u32, mut provider: Provider) -> Outcome {
        let known = self.sent.iter().copied().filter(|second| *second <= 0).max();
        let since = at(known.unwrap_or(0) - OVERLAP);
        let window = Window { since, known: known.map(at), from: at(-OVERLAP) };
        provider.wraps = self.wraps;
        let mut search = Search::new(Some("identResult".to_owned()), window, count, TimeDelta::seconds(OVERLAP / 10));
        let journaled: BTreeSet<i64> = self.sent.iter().copied().filter(|second| *second <= 0).collect();
        let mut had = journaled.clone();
        let mut next = Next::Ask;
        let mut requests = 0;
        while next == Next::Ask {
            requests += 1;
            assert!(requests < 60, "it does not end: {self:?}");
            let ask = search.request();
            let answer = self.answer(ask.past().unwrap());
            if self.long.is_some_and(|(from, to)| answer.iter().any(|second| (from..=to).contains(second))) {
                search.too_long(at(self.now));
                search.resumed(at(self.now));
                continue;
            }
            let ground = match &ask {
                Ask::PastMessages(request) => {
                    had.extend(&answer);
                    let known = request.known.map(|known| known.timestamp() - START);
                    let since = request.since.timestamp() - START;
                    let ground = |second: &i64| known.is_some_and(|known| *second <= known && *second >= since);
                    match (journaled.iter().any(ground), answer.iter().any(|second| ground(second) && journaled.contains(second)))
                    {
                        (_, true) => Ground::Met,
                        (true, false) => Ground::Missed,
                        (false, false) => Ground::None,
                    }
                }
                _ => Ground::None,
            };
            next = search.answered(answer.len(), ground, provider, at(self.now));
            provider.largest = provider.largest.max(answer.len());
        }
        Outcome { next, had, requests }
    }

    fn missing(&self, outcome: &Outcome) -> Vec<i64> {
        self.sent.iter().copied().filter(|second| !outcome.had.contains(second)).collect()
    }
}

#[test]
fn a_short_answer_that_reaches_back_to_known_ground_is_whole() {
    let outcome = World::of([-100, -5, 10, 20, 3_000], 1_000, 3_600).run(500, Provider::default());
    assert_eq!((outcome.next, outcome.requests), (Next::Whole, 1));
}

#[test]
fn a_full_answer_is_asked_for_again_with_a_larger_count() {
    let world = World::of((-20..=0).chain(1..=1_700), 100_000, 3_600);
    let outcome = world.run(500, Provider::default());
    assert!(world.missing(&outcome).is_empty());
    assert_eq!((outcome.next, outcome.requests), (Next::Whole, 2));
}

#[test]
fn what_a_cap_hides_is_a_gap_that_ends_at_the_oldest_message_that_came() {
    // Below the first count, above it, and exactly it.
    for cap in [100, 500, 700, 1_999] {
        let world = World::of((-20..=0).chain(1..=3_600), cap, 3_600);
        let outcome = world.run(500, Provider::default());
        let Next::Gap { until, reason } = &outcome.next else { panic!("cap {cap}: {outcome:?}") };
        let oldest = 3_601 - i64::try_from(cap).unwrap();
        assert!((at(oldest)..=at(oldest + 2)).contains(until), "cap {cap}: {until} is not near {}", at(oldest));
        assert_eq!(reason, &format!("the provider gives no more than {cap} past messages at once"));
        assert!(world.missing(&outcome).iter().all(|second| at(*second) < *until));
    }
}

#[test]
fn a_cap_that_reaches_back_behind_the_loss_hides_nothing() {
    // Ten minutes of overlap hold far more than the cap, the outage less.
    let world = World::of(-2_000..=30, 300, 30);
    let outcome = world.run(300, Provider::default());
    assert!(world.missing(&outcome).is_empty());
    assert_eq!(outcome.next, Next::Whole);
}

#[test]
fn a_topic_without_known_ground_is_measured_by_older_messages_or_told() {
    let young = World::of(1..=50, 1_000, 60);
    assert!(matches!(young.run(500, Provider::default()).next, Next::Gap { .. }), "fifty may be all that it gives");
    let larger = Provider { largest: 51, ..Provider::default() };
    assert_eq!(young.run(500, larger).next, Next::Whole, "it gave more before");
    assert_eq!(World::of(1..=2, 1_000, 60).run(500, Provider::default()).next, Next::Whole, "nobody has a cap of two");
    assert_eq!(
        World::of([], 1_000, 60).run(500, Provider::default()).next,
        Next::Whole,
        "nothing was sent, as far as anybody knows"
    );
}

#[test]
fn an_answer_without_what_the_journal_has_is_never_whole_however_short_it_is() {
    // Forgotten after a weekend, a provider that was started anew, a stray empty array.
    let forgotten = World::of([-100, -5, 10, 20, 3_000], 0, 3_600).run(500, Provider { largest: 50, ..Provider::default() });
    let Next::Gap { until, reason } = &forgotten.next else { panic!("{forgotten:?}") };
    assert_eq!((*until, forgotten.requests), (at(3_600), 2));
    assert_eq!(reason, "the provider gave none of its past messages, not even those that are journaled");
    for cap in 1..10 {
        let world = World::of((-200..=0).step_by(10).chain((10..=3_600).step_by(10)), cap, 3_600);
        let outcome = world.run(500, Provider { largest: 50, ..Provider::default() });
        let Next::Gap { until, .. } = &outcome.next else { panic!("cap {cap}: {outcome:?}") };
        assert!(world.missing(&outcome).iter().all(|second| at(*second) < *until), "cap {cap}: {until}");
    }
}

#[test]
fn a_live_array_that_comes_first_is_not_the_answer() {
    let window = Window { since: at(-OVERLAP), known: Some(at(0)), from: at(-OVERLAP) };
    let provider = Provider { wraps: true, largest: 50, ..Provider::default() };
    let search = || Search::new(Some("identResult".to_owned()), window, 500, TimeDelta::seconds(OVERLAP / 10));
    let mut met = search();
    let asked = met.request();
    assert_eq!(met.answered(1, Ground::Missed, provider, at(3_600)), Next::Ask);
    assert_eq!(met.request(), asked, "the same once more");
    assert_eq!(met.answered(30, Ground::Met, provider, at(3_600)), Next::Whole);

    // While it bisects: it would prove that everything is there from later on than it is.
    let mut cut = search();
    for _ in 0..2 {
        assert_eq!(cut.answered(50, Ground::Missed, provider, at(3_600)), Next::Ask);
    }
    let Step::Bisect { mid, .. } = cut.step else { panic!("{cut:?}") };
    assert_eq!(cut.answered(1, Ground::None, provider, at(3_600)), Next::Ask);
    assert_eq!(cut.answered(50, Ground::None, provider, at(3_600)), Next::Ask);
    assert!(matches!(cut.step, Step::Bisect { low, .. } if low == mid), "{cut:?}");
}

#[test]
fn what_was_told_once_of_a_quiet_topic_is_not_told_again() {
    // The window begins behind the gap that was told, so the journal has nothing in it.
    let window = Window { since: at(3_600), known: Some(at(-5)), from: at(3_600) };
    let mut search = Search::new(Some("identResult".to_owned()), window, 500, TimeDelta::seconds(OVERLAP / 10));
    assert_eq!(search.answered(0, Ground::None, Provider::default(), at(7_200)), Next::Whole);
}

#[test]
fn a_message_that_is_too_long_is_isolated() {
    let mut world = World::of((-20..=0).chain((1..400).map(|n| n * 9)), 100_000, 3_600);
    world.long = Some((900, 900));
    let outcome = world.run(500, Provider::default());
    let Next::Gap { until, .. } = &outcome.next else { panic!("{outcome:?}") };
    assert!((at(900)..=at(902)).contains(until), "{until}");
    assert!(world.missing(&outcome).iter().all(|second| *second <= 900), "what came after it is there");
    assert!(outcome.requests < 45, "what was read twice included: {}", outcome.requests);
}

#[test]
fn a_gap_says_whose_limit_it_was() {
    let window = Window { since: at(0), known: None, from: at(0) };
    let full = |search: &mut Search, number| {
        let mut next = search.answered(number, Ground::None, Provider::default(), at(3_600));
        while next == Next::Ask {
            next = search.answered(0, Ground::None, Provider::default(), at(3_600));
        }
        next
    };
    let reason = |next| if let Next::Gap { reason, .. } = next { reason } else { panic!("{next:?}") };

    let mut ours = Search::new(None, window, LARGEST_COUNT, TimeDelta::zero());
    let reason_of_ours = reason(full(&mut ours, LARGEST_COUNT as usize));
    assert_eq!(reason_of_ours, "no more than 1000000 past messages of a topic are asked for at once");

    let mut weight = Search::new(None, window, 500, TimeDelta::zero());
    assert_eq!(weight.answered(500, Ground::None, Provider::default(), at(3_600)), Next::Ask);
    assert_eq!(weight.too_long(at(3_600)), Next::Ask);
    let reason_of_weight = reason(full(&mut weight, 0));
    assert_eq!(
        reason_of_weight,
        "more than 500 past messages at once are longer than max_message, or hold more values than are read at once"
    );
}

#[test]
fn no_answer_is_a_gap_unless_an_empty_answer_can_t_be_seen() {
    let window = Window { since: at(0), known: None, from: at(0) };
    let mut search = Search::new(None, window, 500, TimeDelta::zero());
    assert!(matches!(search.unanswered(Provider::default(), at(9)), Next::Gap { until, .. } if until == at(9)));
    assert_eq!(search.unanswered(Provider { frames: true, ..Provider::default() }, at(9)), Next::Whole);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_called_whole_that_is_not_and_every_missing_message_lies_in_the_gap(
        before in prop::collection::btree_set(-3_000..=0_i64, 0..200),
        missed in prop::collection::btree_set(1..3_600_i64, 0..400),
        cap in prop_oneof![0..12_usize, 0..600_usize],
        count in prop_oneof![1..12_u32, 1..600_u32],
        wraps in any::<bool>(),
    ) {
        let mut world = World::of(before.iter().chain(&missed).copied(), cap, 3_600);
        world.wraps = wraps;
        let outcome = world.run(count, Provider::default());
        let missing = world.missing(&outcome);
        match &outcome.next {
            // Who never sent anything and always answers with next to nothing can't be told from who has no more.
            Next::Whole if cap < FEW && before.is_empty() => {}
            Next::Whole => prop_assert!(missing.is_empty(), "a false all-clear: {} are missing", missing.len()),
            Next::Gap { until, .. } => {
                prop_assert!(missing.iter().all(|second| at(*second) < *until), "outside of the gap until {until}: {missing:?}");
            }
            Next::Ask => prop_assert!(false),
        }
    }
}
