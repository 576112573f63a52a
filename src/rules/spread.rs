//! Work that many rules are waiting for, spread over the processors.

use std::{
    panic,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use super::evaluate;

/// More threads than these would only take the processors from the engine.
const MOST: usize = 4;

/// What one thread should have to do at least: to make it costs as much as a few rules.
const WORTH: usize = 16;

/// What `work` makes of each item, in their order. Each thread, the caller's among them, owns a state from `make`; all have the stack that
/// evaluating needs, if the caller's has.
pub fn spread<T: Sync, S, R: Send>(items: &[T], make: impl Fn() -> S + Sync, work: impl Fn(&mut S, &T) -> R + Sync) -> Vec<R> {
    let processors = thread::available_parallelism().map_or(1, usize::from).min(MOST);
    let helpers = processors.min(items.len() / WORTH).saturating_sub(1);
    let next = AtomicUsize::new(0);
    let share = || {
        let mut state = None;
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(at) else { return done };
            done.push((at, work(state.get_or_insert_with(&make), item)));
        }
    };
    let mut done = thread::scope(|scope| {
        // A thread that can't be started is no loss: the others do its share.
        let helpers: Vec<_> = (0..helpers).filter_map(|_| evaluate::thread().spawn_scoped(scope, share).ok()).collect();
        let mut done = share();
        for helper in helpers {
            done.extend(helper.join().unwrap_or_else(|panicked| panic::resume_unwind(panicked)));
        }
        done
    });
    done.sort_unstable_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, made)| made).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_is_worked_on_once_and_the_answers_stand_in_its_order() {
        for count in [0, 1, WORTH, 1_000] {
            let items: Vec<usize> = (0..count).collect();
            let made = spread(
                &items,
                || 0,
                |seen, item| {
                    *seen += 1;
                    (*item, *seen)
                },
            );
            assert_eq!(made.iter().map(|(item, _)| *item).collect::<Vec<_>>(), items);
            assert!(made.iter().all(|(_, seen)| (1..=count).contains(seen)), "a state is kept from item to item");
        }
    }

    #[test]
    fn a_panic_of_any_thread_is_the_callers() {
        let items: Vec<usize> = (0..1_000).collect();
        let ended = panic::catch_unwind(|| spread(&items, || (), |(), item| assert_ne!(*item, 700)));
        assert!(ended.is_err());
    }
}
