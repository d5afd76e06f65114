//! A handler's first poll, in the task of its job.
//!
//! Most handlers are done when they're first polled, or as good as. A task of their own, a channel
//! and a wake-up on another thread would cost more than they do. But while the job's task is within
//! its handler, it doesn't see that the job is to stop. So who stops a job then leaves a *rescuer*
//! behind: if the poll outlasts the job's grace, the rescuer ends the job in its task's place.

use std::mem::{replace, take};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::timeout;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::job::Attempt;
use crate::job::handler::{ABORT_GRACE, Handled, Work};
use crate::job::live::Job;
use crate::registry::Operation;
use crate::router::Router;

/// Whether a job's task is within the first poll of its handler.
#[derive(Default)]
pub(super) struct FirstPoll(Mutex<State>);

#[derive(Default)]
enum State {
    #[default]
    Elsewhere,
    /// It is.
    Within {
        job: Arc<Job>,
        operation: Arc<Operation>,
        router: Router,
        unfinished: TaskTrackerToken,
    },
    /// It is, and a rescuer waits whether it comes back.
    Watched(TaskTrackerToken),
    /// It was for too long: the job is the rescuer's.
    Rescued,
}

/// What a first poll comes to.
pub(super) enum Polled {
    Done(Handled),
    /// There's more to it, or it's not to be polled here.
    Pending(Work),
}

/// The job isn't its task's any more.
pub(super) struct Rescued;

impl FirstPoll {
    /// Nothing that may panic is done under the lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The job is to stop: has it rescued if its task doesn't see that.
    pub(super) fn watch(&self) {
        let mut state = self.lock();
        match take(&mut *state) {
            State::Within { job, operation, router, unfinished } => {
                *state = State::Watched(unfinished);
                drop(state);
                router.clone().spawn(job.rescue(operation, router));
            }
            other => *state = other,
        }
    }

    /// The task has been within the poll for too long. `None` if it's back.
    fn rescue(&self) -> Option<TaskTrackerToken> {
        let mut state = self.lock();
        match replace(&mut *state, State::Rescued) {
            State::Watched(unfinished) => Some(unfinished),
            other => {
                *state = other;
                None
            }
        }
    }
}

impl Job {
    /// Polls the job's handler for the first time, if that is short most likely. Until it returns,
    /// `unfinished` is with who is to end the job.
    pub(super) fn poll_first(
        self: &Arc<Self>,
        router: &Router,
        attempt: &Attempt,
        work: Work,
        unfinished: &mut Option<TaskTrackerToken>,
    ) -> Result<Polled, Rescued> {
        {
            let mut state = self.first_poll.lock();
            // The last is looked at under the lock: who stops the job later finds it within the poll.
            if !self.may_poll_first(attempt, &work) || self.is_stopping() {
                return Ok(Polled::Pending(work));
            }
            let Some(unfinished) = unfinished.take() else { return Ok(Polled::Pending(work)) };
            let (job, operation, router) = (self.clone(), work.operation().clone(), router.clone());
            *state = State::Within { job, operation, router, unfinished };
        }
        let polled = work.poll_once();
        let mut state = self.first_poll.lock();
        match take(&mut *state) {
            State::Within { unfinished: held, .. } | State::Watched(held) => {
                *unfinished = Some(held);
            }
            rescued => {
                *state = rescued;
                return Err(Rescued);
            }
        }
        Ok(match polled {
            Ok(handled) => Polled::Done(handled),
            Err(work) => Polled::Pending(work),
        })
    }

    /// Whether nobody but who [stops](Self::stop) the job ends a poll of its handler, and it's likely
    /// to be short. A suspect, if it's lost, must not keep those that wait to be alone.
    fn may_poll_first(&self, attempt: &Attempt, work: &Work) -> bool {
        work.operation().is_prompt()
            && attempt.deadline.is_none()
            && self.parent.is_none()
            && self.look(|record| record.crashes == 0)
    }

    /// Ends a job whose handler is still within its first poll when the grace is over.
    async fn rescue(self: Arc<Self>, operation: Arc<Operation>, router: Router) {
        let grace = router.config().cancel_grace.saturating_add(ABORT_GRACE);
        if timeout(grace, self.ended()).await.is_ok() {
            return;
        }
        let Some(_unfinished) = self.first_poll.rescue() else { return };
        self.lose_handler(&operation);
        self.log.close();
        let exit = self.conclude(&router, None).await;
        self.exit(&router, exit).await;
    }
}
