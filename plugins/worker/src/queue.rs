//! The jobs that a worker has: as many as it has slots are worked on, the others wait in the order they
//! came.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// The jobs that a worker has.
pub(crate) struct Queue(watch::Sender<State>);

struct State {
    /// The jobs' numbers, those that are worked on first.
    jobs: VecDeque<u64>,
    /// How many of them are worked on.
    slots: usize,
    last: u64,
    /// No job is taken any more.
    is_closed: bool,
    /// Since when there has been none.
    idle_since: Instant,
}

/// The queue takes no jobs any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Closed;

impl Queue {
    pub(crate) fn new() -> Arc<Self> {
        let (jobs, idle_since) = (VecDeque::new(), Instant::now());
        let state = State { jobs, slots: 1, last: 0, is_closed: false, idle_since };
        Arc::new(Self(watch::Sender::new(state)))
    }

    /// From now on so many jobs are worked on at once.
    pub(crate) fn set_slots(&self, slots: usize) {
        self.0.send_modify(|state| state.slots = slots.max(1));
    }

    /// How many jobs there are.
    pub(crate) fn len(&self) -> usize {
        self.0.borrow().jobs.len()
    }

    /// Since when there has been no job; `None` while there is one.
    pub(crate) fn idle_since(&self) -> Option<Instant> {
        let state = self.0.borrow();
        state.jobs.is_empty().then_some(state.idle_since)
    }

    /// Enters the queue, at its end.
    pub(crate) fn enter(self: &Arc<Self>) -> Result<Place, Closed> {
        let mut entered = Err(Closed);
        self.0.send_if_modified(|state| {
            if state.is_closed {
                return false;
            }
            state.last += 1;
            state.jobs.push_back(state.last);
            entered = Ok(state.last);
            // Nobody's place changes.
            false
        });
        let number = entered?;
        Ok(Place { queue: self.clone(), number })
    }

    /// Takes the first place, before the jobs that are there; from now on one is worked on at once.
    pub(crate) fn enter_first(self: &Arc<Self>) -> Place {
        let mut number = 0;
        self.0.send_modify(|state| {
            state.last += 1;
            number = state.last;
            state.jobs.push_front(number);
            state.slots = 1;
        });
        Place { queue: self.clone(), number }
    }

    /// Takes no jobs any more. Those that wait learn of it.
    pub(crate) fn close(&self) {
        self.0.send_modify(|state| state.is_closed = true);
    }

    /// The same, if there is no job. Returns whether there is none.
    pub(crate) fn close_if_idle(&self) -> bool {
        let mut is_idle = false;
        self.0.send_if_modified(|state| {
            is_idle = state.jobs.is_empty();
            state.is_closed |= is_idle;
            is_idle
        });
        is_idle
    }

    /// Waits until there has been no job for so long, and takes none any more. Cancel-safe.
    pub(crate) async fn idle_for(&self, long: Duration) {
        let mut state = self.0.subscribe();
        loop {
            // A job that comes is noticed when the time is over.
            let since = state.borrow_and_update().idle_since;
            sleep_until(since + long).await;
            match self.idle_since() {
                Some(since) if since.elapsed() >= long => {
                    if self.close_if_idle() {
                        return;
                    }
                }
                Some(_) => {}
                None => {
                    // The queue has the sender.
                    let _ = state.wait_for(|state| state.jobs.is_empty()).await;
                }
            }
        }
    }
}

/// A job's place in the queue; it's left when this is dropped.
pub(crate) struct Place {
    queue: Arc<Queue>,
    number: u64,
}

impl Place {
    /// How many jobs have to leave before it's this one's turn; 0 if it is. Waits until that is another number than
    /// was `told`. Cancel-safe.
    pub(crate) async fn before(&self, told: Option<usize>) -> Result<usize, Closed> {
        let mut state = self.queue.0.subscribe();
        loop {
            let before = {
                let state = state.borrow_and_update();
                if state.is_closed {
                    return Err(Closed);
                }
                let place = state.jobs.iter().position(|number| *number == self.number);
                (place.unwrap_or_default() + 1).saturating_sub(state.slots)
            };
            if told != Some(before) {
                return Ok(before);
            }
            // The queue has the sender.
            let _ = state.changed().await;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.queue.0.send_modify(|state| {
            state.jobs.retain(|number| *number != self.number);
            if state.jobs.is_empty() {
                state.idle_since = Instant::now();
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::time::advance;

    use super::*;

    /// What a job in the queue is told, until it's its turn.
    async fn told(place: &Place) -> Result<Vec<usize>, Closed> {
        let mut told = Vec::new();
        while told.last() != Some(&0) {
            told.push(place.before(told.last().copied()).await?);
        }
        Ok(told)
    }

    #[tokio::test]
    async fn jobs_have_their_turn_in_the_order_they_came_and_know_their_places() {
        let queue = Queue::new();
        let [first, second, third, last] = std::array::from_fn(|_| queue.enter().unwrap());
        assert_eq!(told(&first).await.unwrap(), [0]);
        let mut waits = Box::pin(told(&last));
        assert!((&mut waits).now_or_never().is_none());
        drop(second);
        assert!((&mut waits).now_or_never().is_none());
        drop(first);
        drop(third);
        assert_eq!(waits.await.unwrap(), [3, 2, 0]);
        assert_eq!(queue.len(), 1);
    }

    #[tokio::test]
    async fn with_more_slots_more_have_their_turn() {
        let queue = Queue::new();
        let [first, second, third, last] = std::array::from_fn(|_| queue.enter().unwrap());
        let mut waits = Box::pin(told(&last));
        assert!((&mut waits).now_or_never().is_none());
        queue.set_slots(2);
        assert_eq!((told(&first).await.unwrap(), told(&second).await.unwrap()), (vec![0], vec![0]));
        assert!((&mut waits).now_or_never().is_none());
        drop(first);
        assert_eq!(told(&third).await.unwrap(), [0]);
        assert!((&mut waits).now_or_never().is_none());
        drop(third);
        assert_eq!(waits.await.unwrap(), [3, 2, 1, 0]);
    }

    #[tokio::test]
    async fn who_enters_first_is_before_all_that_wait() {
        let queue = Queue::new();
        queue.set_slots(2);
        let [worked_on, waits] = std::array::from_fn(|_| queue.enter().unwrap());
        let first = queue.enter_first();
        drop(worked_on);
        assert_eq!(told(&first).await.unwrap(), [0]);
        let mut waits = Box::pin(told(&waits));
        assert!((&mut waits).now_or_never().is_none());
        drop(first);
        assert_eq!(waits.await.unwrap(), [1, 0]);
    }

    #[tokio::test]
    async fn who_waits_learns_that_the_queue_is_closed_and_nobody_enters_it() {
        let queue = Queue::new();
        let (_first, second) = (queue.enter().unwrap(), queue.enter().unwrap());
        assert!(!queue.close_if_idle());
        let mut waits = Box::pin(told(&second));
        assert!((&mut waits).now_or_never().is_none());
        queue.close();
        assert_eq!(waits.await, Err(Closed));
        assert!(queue.enter().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_idle_when_there_has_been_no_job_for_long_enough() {
        let queue = Queue::new();
        let idle = tokio::spawn({
            let queue = queue.clone();
            async move { queue.idle_for(Duration::from_mins(10)).await }
        });
        advance(Duration::from_mins(9)).await;
        let place = queue.enter().unwrap();
        advance(Duration::from_mins(30)).await;
        assert!(!idle.is_finished() && queue.idle_since().is_none());
        drop(place);
        advance(Duration::from_mins(9)).await;
        tokio::task::yield_now().await;
        assert!(!idle.is_finished());
        drop(queue.enter().unwrap());
        advance(Duration::from_mins(9)).await;
        tokio::task::yield_now().await;
        assert!(!idle.is_finished());
        advance(Duration::from_mins(2)).await;
        idle.await.unwrap();
        assert!(queue.enter().is_err());
    }
}
