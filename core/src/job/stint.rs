//! Fairness: a handler that emits in a tight loop comes back to the runtime now and then.
//!
//! Tokio's own budget counts: after 128 emits, which take a few microseconds, a task makes way. Then its reader is sent
//! 128 events at once, and each of these turns costs a wake-up and a system call. By the clock it makes way
//! as soon as others notice, after a [`STINT`], and what has come by then is sent at once.

use std::cell::Cell;
use std::future::poll_fn;
use std::task::Poll;
use std::time::{Duration, Instant};

/// How long a handler that never waits keeps its thread.
const STINT: Duration = Duration::from_micros(50);

/// After how many events the clock is looked at, which isn't free beside an event.
const EVENTS_PER_LOOK: u32 = 16;

/// After how many events a task makes way that isn't a handler's own: as many as Tokio's budget has.
const EVENTS_OF_STRAYS: u32 = 128;

thread_local! {
    /// When the handler's poll that runs on this thread began; `None` outside of one.
    static BEGUN: Cell<Option<Instant>> = const { Cell::new(None) };

    /// How many events are left until the clock is looked at, or a stray makes way.
    static LEFT: Cell<u32> = const { Cell::new(EVENTS_OF_STRAYS) };
}

/// Runs one poll of a handler, which began at `begun`.
pub(super) fn run<T>(begun: Instant, poll: impl FnOnce() -> T) -> T {
    /// Also where the handler panics.
    struct Restore(Option<Instant>, u32);
    impl Drop for Restore {
        fn drop(&mut self) {
            BEGUN.set(self.0);
            LEFT.set(self.1);
        }
    }
    let _restore = Restore(BEGUN.replace(Some(begun)), LEFT.replace(EVENTS_PER_LOOK));
    poll()
}

/// Lets other tasks run if it's time for that. Called for every event. Cancel-safe.
pub(super) async fn make_way() {
    if is_due() {
        step_back().await;
    }
}

/// Lets other tasks run. Cancel-safe.
pub(super) async fn step_back() {
    // Woken at once, as by Tokio's budget: `yield_now` would also wait for the runtime's next look
    // at what has come in.
    let mut is_back = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut is_back, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Whether a task that emits should make way. Asked for every event.
pub(super) fn is_due() -> bool {
    let left = LEFT.with(|left| {
        left.set(left.get() - 1);
        left.get()
    });
    left == 0 && look()
}

/// Looks whether the time is over.
#[cold]
fn look() -> bool {
    let begun = BEGUN.get();
    LEFT.set(if begun.is_some() { EVENTS_PER_LOOK } else { EVENTS_OF_STRAYS });
    // A task that a handler has spawned: it isn't known when its poll began.
    begun.is_none_or(|begun| begun.elapsed() >= STINT)
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    /// How many events a poll that began at `begun` takes until it makes way, of `most`.
    fn events_until_way(begun: Instant, most: u32) -> u32 {
        run(begun, || {
            let mut cx = Context::from_waker(Waker::noop());
            let is_ready = |_: &u32| pin!(make_way()).poll(&mut cx).is_ready();
            (0..most).take_while(is_ready).count().try_into().unwrap()
        })
    }

    #[test]
    fn a_handler_whose_time_is_over_makes_way_at_the_next_look() {
        let long_ago = Instant::now().checked_sub(STINT).unwrap();
        assert_eq!(events_until_way(long_ago, 100), EVENTS_PER_LOOK - 1);
    }

    #[test]
    fn a_handler_makes_way_by_the_clock_and_not_by_the_count() {
        // A poll that begins in an hour has all the time that this test may take.
        let later = Instant::now() + Duration::from_hours(1);
        assert_eq!(events_until_way(later, 10_000), 10_000);
    }
}
