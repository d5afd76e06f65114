//! The wake-ups of futures that one task polls together.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;

/// How often futures that wake each other are polled before other tasks have their turn.
const POLLS: u32 = 16;

/// The waker of futures that are polled together, and wake each other.
///
/// Woken by the task that polls it, a future is polled again at once. By the task's own waker the task would
/// be queued, and the thread, which has another one to go on with, would wake a thread for it: of all
/// that a small event takes, that is the most.
pub(crate) struct InnerWaker {
    state: Arc<State>,
    waker: Waker,
}

#[derive(Default)]
struct State {
    /// [`IDLE`], [`POLLED`] or [`WOKEN`].
    phase: AtomicU8,
    task: AtomicWaker,
}

/// Nobody polls: who wakes has to wake the task.
const IDLE: u8 = 0;

/// They are polled, and nobody has woken them since.
const POLLED: u8 = 1;

/// They are to be polled again.
const WOKEN: u8 = 2;

impl InnerWaker {
    pub(crate) fn new() -> Self {
        let state = Arc::new(State::default());
        Self { waker: state.clone().into(), state }
    }

    /// Polls, and again for as long as it's woken by that.
    pub(crate) fn poll<T>(
        &self,
        cx: &mut Context<'_>,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        let Self { state, waker } = self;
        state.task.register(cx.waker());
        let mut inner = Context::from_waker(waker);
        for _ in 0..POLLS {
            // What another thread has woken it for has to be seen by this poll.
            state.phase.swap(POLLED, Ordering::AcqRel);
            let polled = poll(&mut inner);
            // What it was woken for is seen by the next poll, which comes: it isn't through.
            let was_woken = state.phase.swap(IDLE, Ordering::AcqRel) == WOKEN;
            if polled.is_ready() || !was_woken {
                return polled;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Wake for State {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.phase.swap(WOKEN, Ordering::AcqRel) == IDLE {
            self.task.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use super::*;

    /// Counts how often a task is woken.
    #[derive(Default)]
    struct Count(AtomicU32);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn woken_while_it_is_polled_it_is_polled_again_and_its_task_is_not_woken() {
        let (inner, count) = (InnerWaker::new(), Arc::new(Count::default()));
        let waker = Waker::from(count.clone());
        let mut polls = 0;
        let polled = inner.poll(&mut Context::from_waker(&waker), |cx| {
            polls += 1;
            if polls < 3 {
                cx.waker().wake_by_ref();
            }
            Poll::<()>::Pending
        });
        assert!(polled.is_pending());
        assert_eq!((polls, count.0.load(Ordering::Relaxed)), (3, 0));
    }

    #[test]
    fn woken_between_two_polls_it_wakes_its_task_once() {
        let (inner, count) = (InnerWaker::new(), Arc::new(Count::default()));
        let waker = Waker::from(count.clone());
        let mut kept = None;
        for polls in 1..=2 {
            let polled = inner.poll(&mut Context::from_waker(&waker), |cx| {
                kept = Some(cx.waker().clone());
                Poll::<()>::Pending
            });
            assert!(polled.is_pending());
            kept.as_ref().unwrap().wake_by_ref();
            kept.as_ref().unwrap().wake_by_ref();
            assert_eq!(count.0.load(Ordering::Relaxed), polls);
        }
    }

    #[test]
    fn what_wakes_itself_for_ever_lets_others_have_their_turn() {
        let (inner, count) = (InnerWaker::new(), Arc::new(Count::default()));
        let waker = Waker::from(count.clone());
        let polled = inner.poll(&mut Context::from_waker(&waker), |cx| {
            cx.waker().wake_by_ref();
            Poll::<()>::Pending
        });
        assert!(polled.is_pending());
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
    }
}
