//! Admission: how many jobs run at once, how many may wait, and no more.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A limit of jobs: the server's, or one operation's.
pub(crate) struct Gate {
    places: Arc<Semaphore>,
    queued: AtomicUsize,
    max_queued: usize,
}

/// The queue is full.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct QueueFull;

impl Gate {
    pub(crate) fn new(places: usize, max_queued: usize) -> Arc<Self> {
        Arc::new(Self {
            places: Arc::new(Semaphore::new(places.min(Semaphore::MAX_PERMITS))),
            queued: AtomicUsize::new(0),
            max_queued,
        })
    }

    /// How many jobs wait here.
    pub(crate) fn queued(&self) -> usize {
        self.queued.load(Ordering::Relaxed)
    }

    fn try_place(&self) -> Option<OwnedSemaphorePermit> {
        self.places.clone().try_acquire_owned().ok()
    }

    fn enqueue(self: &Arc<Self>) -> Result<Queued, QueueFull> {
        let room = |queued| (queued < self.max_queued).then_some(queued + 1);
        match self.queued.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room) {
            Ok(_) => Ok(Queued(self.clone())),
            Err(_) => Err(QueueFull),
        }
    }
}

/// One job in a gate's queue.
struct Queued(Arc<Gate>);

impl Drop for Queued {
    fn drop(&mut self) {
        self.0.queued.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A job's claim to a place at each of its gates: held already, or queued for.
pub(crate) struct Ticket(Vec<(Arc<Gate>, Claim)>);

enum Claim {
    Held(OwnedSemaphorePermit),
    Queued(Queued),
}

/// A place to run, at every gate; given back when dropped.
pub(crate) struct Place {
    _permits: Vec<OwnedSemaphorePermit>,
}

impl Ticket {
    /// Claims a place at each of `gates`, or a place in its queue.
    ///
    /// A job that waits at one gate doesn't hold a place at the next ones: it would keep them from
    /// jobs that could run.
    pub(crate) fn take(gates: impl IntoIterator<Item = Arc<Gate>>) -> Result<Self, QueueFull> {
        let mut ticket = Self(Vec::new());
        let mut waits = false;
        for gate in gates {
            let permit = if waits { None } else { gate.try_place() };
            waits = permit.is_none();
            let claim = match permit {
                Some(permit) => Claim::Held(permit),
                None => Claim::Queued(gate.enqueue()?),
            };
            ticket.0.push((gate, claim));
        }
        Ok(ticket)
    }

    /// Claims a place in each queue of `gates`, for a job that can't run yet.
    pub(crate) fn queue(gates: impl IntoIterator<Item = Arc<Gate>>) -> Result<Self, QueueFull> {
        let claim = |gate: Arc<Gate>| Ok((gate.clone(), Claim::Queued(gate.enqueue()?)));
        gates.into_iter().map(claim).collect::<Result<_, _>>().map(Self)
    }

    /// Whether [`place`](Self::place) doesn't have to wait.
    pub(crate) fn is_ready(&mut self) -> bool {
        self.0.iter_mut().all(|(gate, claim)| {
            if let Claim::Queued(_) = claim
                && let Some(permit) = gate.try_place()
            {
                *claim = Claim::Held(permit);
            }
            matches!(claim, Claim::Held(_))
        })
    }

    /// Waits for a place at every gate, in the order of the queues.
    pub(crate) async fn place(self) -> Place {
        let mut permits = Vec::with_capacity(self.0.len());
        for (gate, claim) in self.0 {
            let permit = match claim {
                Claim::Held(permit) => permit,
                Claim::Queued(_queued) => match gate.places.clone().acquire_owned().await {
                    Ok(permit) => permit,
                    Err(_) => unreachable!("a gate's semaphore is never closed"),
                },
            };
            permits.push(permit);
        }
        Place { _permits: permits }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn past_the_places_and_the_queue_a_job_is_refused() {
        let gate = Gate::new(1, 1);
        let mut first = Ticket::take([gate.clone()]).unwrap();
        let mut second = Ticket::take([gate.clone()]).unwrap();
        assert!(first.is_ready() && !second.is_ready());
        assert_eq!(Ticket::take([gate.clone()]).err(), Some(QueueFull));

        drop(first.place().await);
        let _place = second.place().await;
        assert_eq!(gate.queued(), 0);
        assert!(!Ticket::take([gate.clone()]).unwrap().is_ready());
    }

    #[test]
    fn a_job_that_waits_at_one_gate_holds_no_place_at_the_next() {
        let (narrow, wide) = (Gate::new(1, 1), Gate::new(1, 2));
        let _running = Ticket::take([narrow.clone()]).unwrap();
        let _waiting = Ticket::take([narrow, wide.clone()]).unwrap();
        assert!(Ticket::take([wide]).unwrap().is_ready());
    }

    #[test]
    fn a_job_that_can_not_run_yet_takes_a_place_when_it_can() {
        let gate = Gate::new(1, 1);
        let mut later = Ticket::queue([gate.clone()]).unwrap();
        assert_eq!(gate.queued(), 1);
        assert!(later.is_ready());
        assert_eq!(gate.queued(), 0);
    }

    #[test]
    fn a_refused_job_gives_back_what_it_had_claimed() {
        let (open, shut) = (Gate::new(1, 0), Gate::new(0, 0));
        assert!(Ticket::take([open.clone(), shut]).is_err());
        assert!(Ticket::take([open]).unwrap().is_ready());
    }
}
