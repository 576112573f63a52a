//! A few trials of `make reliability`, as tests: crashes at system calls, power losses, a mail server that fails at every step in every
//! way. The rows themselves are in tests/reliability/rows.

use std::time::Instant;

use crate::{
    harness::Bench,
    rows::{r02, r03, r09},
};

const SEED: u64 = 0x5eed;
/// Points of a crash are taken at random for so long, after one of each kind.
const CRASHING: std::time::Duration = std::time::Duration::from_secs(20);

fn bench() -> (Bench, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (Bench::new(folder.path().to_owned(), SEED), folder)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_at_a_system_call_that_makes_something_durable_loses_nothing() {
    let (bench, _folder) = bench();
    let mut world = crate::harness::world::World::new(&bench.place("world").unwrap(), r02::plan()).await.unwrap();
    let counts = r02::counted(&mut world, &bench.place("counted").unwrap()).await.unwrap();
    let mut random = fastrand::Rng::with_seed(bench.seed);
    let kinds: Vec<_> = r02::CALLS.into_iter().filter_map(|call| Some((call, *counts.get(call)?))).collect();
    assert!(kinds.len() >= 4, "{counts:?}");
    let mut points: Vec<_> = kinds.iter().flat_map(|(call, count)| (1..=*count).map(|n| (*call, n))).collect();
    random.shuffle(&mut points);
    // One of each kind comes first, from the sure part of the run: its end differs from run to run.
    let first = kinds.iter().map(|(call, count)| (*call, random.usize(1..=count.div_ceil(2))));
    let begun = Instant::now();
    let mut crashed = 0;
    for (number, point) in first.chain(points).enumerate() {
        if number >= kinds.len() && begun.elapsed() > CRASHING {
            break;
        }
        let folder = bench.place(&number.to_string()).unwrap();
        let came = r02::trial(&mut world, &folder, point).await.unwrap_or_else(|error| panic!("{point:?}: {error:#}"));
        crashed += usize::from(came == r02::Came::Crashed);
    }
    println!("{crashed} crashes; an undisturbed run has {counts:?}");
    assert!(crashed >= kinds.len(), "only {crashed} of the points were reached");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_the_loss_of_power() {
    let (bench, _folder) = bench();
    println!("{}", r03::cut(&bench, 5).await.unwrap_or_else(|error| panic!("{error:#}")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mail_server_that_fails_at_any_step_in_any_way_makes_a_retry_or_a_dead_letter_and_never_both() {
    let (bench, _folder) = bench();
    let matrix = r09::matrix(bench.folder()).await.unwrap_or_else(|error| panic!("{error:#}"));
    assert!(matrix.wrong.is_empty(), "{matrix}");
}
