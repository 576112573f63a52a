//! The dispatcher against an outbox that keeps its rows in memory: the real one is tested in `store`.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use tokio::sync::oneshot;

use super::*;
use crate::{
    model::{
        alert::{Message, Purpose},
        delivery::{NewDelivery, State},
        ids::DeliveryId,
        severity::Severity,
        time::{ManualClock, Span},
    },
    store::Pending,
    telemetry::Progress,
};

struct Row {
    leased: Leased,
    state: State,
    due_at: Timestamp,
}

#[derive(Default)]
struct Rows(Mutex<BTreeMap<DeliveryId, Row>>);

impl Rows {
    fn states(&self) -> Vec<(State, u32)> {
        let rows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        rows.values().map(|row| (row.state, row.leased.attempt)).collect()
    }
}

fn answered<T>(answer: T) -> Pending<T> {
    let (send, receive) = oneshot::channel();
    let _ = send.send(Ok(answer));
    Pending::new(receive)
}

impl Outbox for Rows {
    fn lease(&self, _: &ChannelName, now: Timestamp, until: Timestamp, limit: usize) -> Pending<Vec<Leased>> {
        let mut rows = self.0.lock().unwrap();
        let due = rows.values_mut().filter(|row| matches!(row.state, State::Waiting | State::Leased) && row.due_at <= now);
        let leased = due.take(limit).map(|row| {
            row.state = State::Leased;
            row.due_at = until;
            row.leased.attempt += 1;
            row.leased.clone()
        });
        answered(leased.collect())
    }

    fn report(&self, reports: Vec<AttemptReport>) -> Pending<()> {
        let mut rows = self.0.lock().unwrap();
        for report in reports {
            let row = rows.get_mut(&report.delivery).unwrap();
            match report.next {
                Next::Delivered => row.state = State::Delivered,
                Next::Dead => row.state = State::Dead,
                Next::Retry { due_at } => {
                    row.state = State::Waiting;
                    row.due_at = due_at;
                }
            }
        }
        answered(())
    }

    fn next_due(&self, _: &ChannelName) -> Result<Option<Timestamp>, StoreError> {
        let rows = self.0.lock().unwrap();
        Ok(rows.values().filter(|row| matches!(row.state, State::Waiting | State::Leased)).map(|row| row.due_at).min())
    }
}

/// Answers each attempt by its number.
struct Script(fn(u32) -> Outcome);

impl Sender for Script {
    fn send<'a>(&'a self, leased: &'a Leased) -> BoxFuture<'a, Outcome> {
        Box::pin(async move { (self.0)(leased.attempt) })
    }
}

/// Never answers.
struct Hung;

impl Sender for Hung {
    fn send<'a>(&'a self, _: &'a Leased) -> BoxFuture<'a, Outcome> {
        Box::pin(std::future::pending())
    }
}

/// Panics.
struct Broken;

impl Sender for Broken {
    fn send<'a>(&'a self, _: &'a Leased) -> BoxFuture<'a, Outcome> {
        Box::pin(async move { panic!("a bug") })
    }
}

fn start() -> Timestamp {
    Timestamp::from_timestamp(1_700_000_000, 0).unwrap()
}

fn message(ids: &mut Ids) -> Message {
    Message {
        id: ids.message(start()),
        created_at: start(),
        purpose: Purpose::Test,
        severity: Severity::Info,
        send_to: Vec::new(),
        subject: String::new(),
        masked_subject: String::new(),
        environment: "test".to_owned(),
        card: None,
        event: None,
        details: None,
        repeats: 0,
        notes: Vec::new(),
        generation: None,
    }
}

fn rows(count: usize) -> Arc<Rows> {
    let mut ids = Ids::seeded(1);
    let rows = Rows::default();
    for _ in 0..count {
        let message = Arc::new(message(&mut ids));
        let id = ids.delivery(start());
        let delivery = NewDelivery {
            id,
            message: message.id,
            channel: "mail".into(),
            recipient: "a@example.com".to_owned(),
            identity: id.to_string(),
            due_at: start(),
            expires_at: start() + Span::from_secs(60).delta(),
            severity: Severity::Info,
            purpose: Purpose::Test,
            late_at: None,
        };
        let row = Row { leased: Leased { delivery, attempt: 0, message }, state: State::Waiting, due_at: start() };
        rows.0.lock().unwrap().insert(id, row);
    }
    Arc::new(rows)
}

/// Runs a dispatcher until `enough` notices came, moving the clock by five seconds whenever nothing happens.
async fn run_until(rows: &Arc<Rows>, sender: Arc<dyn Sender>, enough: usize) -> Vec<Notice> {
    let clock = ManualClock::at(start());
    let (notices, mut told) = mpsc::channel(64);
    let stop = CancellationToken::new();
    let retry = RetryConfig { timeout: Span::from_secs(1), ..RetryConfig::default() };
    let options = Options { channel: "mail".into(), retry, parallel: 2 };
    let work = Work {
        outbox: Arc::clone(rows) as Arc<dyn Outbox>,
        sender,
        clock: Arc::new(clock.clone()),
        ids: Ids::seeded(2),
        wake: Arc::new(Notify::new()),
        notices,
        progress: Progress::default().hand("test"),
    };
    let dispatcher = tokio::spawn(run(options, work, stop.clone()));
    let mut seen = Vec::new();
    while seen.len() < enough {
        tokio::select! {
            Some(notice) = told.recv() => seen.push(notice),
            () = tokio::time::sleep(Duration::from_secs(2)) => clock.advance(Duration::from_secs(5)),
        }
    }
    stop.cancel();
    dispatcher.await.unwrap().unwrap();
    seen
}

fn delivered() -> Outcome {
    Outcome::Delivered { detail: "250 ok".to_owned() }
}

fn later() -> Outcome {
    Outcome::Retry { detail: "451 later".to_owned(), after: None }
}

#[tokio::test(start_paused = true)]
async fn what_is_due_is_sent_and_acknowledged() {
    let rows = rows(5);
    let notices = run_until(&rows, Arc::new(Script(|_| delivered())), 5).await;
    assert!(notices.iter().all(|notice| notice.next == Next::Delivered));
    assert_eq!(rows.states(), [(State::Delivered, 1); 5]);
}

#[tokio::test(start_paused = true)]
async fn a_temporary_failure_is_tried_again_until_it_goes_through() {
    let rows = rows(1);
    let notices = run_until(&rows, Arc::new(Script(|attempt| if attempt < 3 { later() } else { delivered() })), 3).await;
    assert_eq!(notices.iter().map(|notice| notice.attempt).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(rows.states(), [(State::Delivered, 3)]);
}

#[tokio::test(start_paused = true)]
async fn a_rejection_is_a_dead_letter_after_one_attempt() {
    let rows = rows(1);
    let reject = |_| Outcome::Reject { detail: "550 no such user".to_owned() };
    let notices = run_until(&rows, Arc::new(Script(reject)), 1).await;
    assert_eq!((notices[0].next.clone(), notices[0].detail.as_str()), (Next::Dead, "550 no such user"));
    assert_eq!(rows.states(), [(State::Dead, 1)]);
}

#[tokio::test(start_paused = true)]
async fn retries_end_at_the_horizon() {
    let rows = rows(1);
    let dead = |notices: &[Notice]| notices.iter().filter(|notice| notice.next == Next::Dead).count();
    let notices = run_until(&rows, Arc::new(Script(|_| later())), 5).await;
    assert_eq!(dead(&notices), 1, "5, 10, 20 s apart and once more at 60 s: {notices:?}");
    assert_eq!(rows.states(), [(State::Dead, 5)]);
}

#[tokio::test(start_paused = true)]
async fn a_channel_that_never_answers_is_cut_off_and_tried_again() {
    let rows = rows(1);
    let notices = run_until(&rows, Arc::new(Hung), 2).await;
    assert_eq!(notices[0].detail, "no answer within 6 s");
    assert_eq!(notices[1].attempt, 2);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_panics_counts_and_ends_like_any_other() {
    let rows = rows(1);
    let notices = run_until(&rows, Arc::new(Broken), 5).await;
    assert_eq!(notices[0].detail, "the attempt broke inside redflag");
    assert_eq!(notices[4].next, Next::Dead);
    assert_eq!(rows.states(), [(State::Dead, 5)]);
}
