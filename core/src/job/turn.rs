//! A job's turn: what it waits for before it runs.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{sleep, timeout};
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::admission::{Place, Ticket};
use crate::clock;
use crate::job::JobState;
use crate::job::live::{Job, Stop, until};
use crate::router::Router;

/// How often a job that waits for its time looks at the clock, which may be set meanwhile.
const CLOCK_LOOK: Duration = Duration::from_secs(30);

/// What a job is run with, beside what it is.
pub(crate) struct Run {
    /// The input, if it's read already.
    pub(crate) input: Option<Value>,
    pub(crate) wait: Wait,
    pub(crate) ticket: Ticket,
    /// Whether the store knows that the job's next attempt runs.
    pub(crate) is_begun: bool,
    pub(crate) queued: Queued,
    /// A shutdown waits until it's dropped. `None` while another task is to end the job.
    pub(crate) unfinished: Option<TaskTrackerToken>,
}

/// Whether the log is to say that the job is queued for its next attempt.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Queued {
    /// If it has to wait.
    IfItWaits,
    /// In any case: a process before this one may have said so under the same id.
    Always,
    /// It does already.
    Told,
}

/// What a job waits for before it wants a place.
#[derive(Clone, Copy)]
pub(crate) enum Wait {
    Nothing,
    FirstReader,
    Until(Timestamp),
    For(Duration),
}

/// What waiting comes to.
pub(super) enum Turn {
    Run(Seat),
    /// The job is to stop.
    Stopped,
    /// The server goes down; another process goes on with the job.
    Left,
}

/// What a job has when it's its turn.
pub(super) struct Seat {
    /// Held as long as the handler really runs, even if nobody waits for it.
    pub(super) place: Place,
    /// Held by the job, not by its handler: one that never returns must not keep others waiting.
    pub(super) alone: Option<OwnedSemaphorePermit>,
}

impl Job {
    /// Waits until the job may run.
    pub(super) async fn turn(&self, router: &Router, run: &mut Run) -> Turn {
        // A job that was cancelled in time never runs.
        if self.cancel.is_cancelled() {
            return Turn::Stopped;
        }
        let deadline = self.parent.as_ref().and_then(|parent| parent.attempt.deadline);
        tokio::select! {
            // In this order, so that most jobs, which wait for nothing, watch nothing either.
            biased;
            seat = self.seat(router, run) => match seat {
                Some(seat) if !self.cancel.is_cancelled() => Turn::Run(seat),
                _ => Turn::Stopped,
            },
            () = self.cancel.cancelled() => Turn::Stopped,
            () = router.left(), if router.is_durable() && self.parent.is_none() && !run.is_begun => {
                if self.outlives_owner() {
                    return Turn::Left;
                }
                self.stop(Stop::Shutdown);
                Turn::Stopped
            }
            () = until(deadline) => {
                self.stop(Stop::Deadline);
                Turn::Stopped
            }
        }
    }

    /// Waits for what the job waits for, and for its places. `None` if that doesn't come.
    async fn seat(&self, router: &Router, run: &mut Run) -> Option<Seat> {
        if let Err(reason) = self.due(router, run.wait).await {
            self.stop(reason);
            return None;
        }
        // Before it has a place: who waits here holds none that another job could use.
        let alone = if router.is_suspect(self) {
            self.tell_queued(run);
            router.alone().await
        } else {
            None
        };
        run.ticket.enqueue();
        if run.queued == Queued::Always || !run.ticket.is_held() {
            self.tell_queued(run);
        }
        Some(Seat { place: run.ticket.place().await, alone })
    }

    /// Waits for the job's time, or its first reader. Gives the reason to stop if that won't come.
    async fn due(&self, router: &Router, wait: Wait) -> Result<(), Stop> {
        let due = async {
            match wait {
                Wait::Nothing => {}
                Wait::Until(at) => sleep_until_clock(at).await,
                Wait::For(pause) => sleep(pause).await,
                Wait::FirstReader => {
                    let ttl = router.config().unclaimed_ttl;
                    let claimed = timeout(ttl, self.claimed.notified()).await;
                    return claimed.map_err(|_| Stop::Requested);
                }
            }
            Ok(())
        };
        tokio::select! {
            biased;
            due = due => due,
            // Its time won't come while this process lives, and with it goes the job.
            () = router.left(), if !router.is_durable() && !matches!(wait, Wait::For(_)) => {
                Err(Stop::Shutdown)
            }
        }
    }

    fn tell_queued(&self, run: &mut Run) {
        if run.queued != Queued::Told {
            run.queued = Queued::Told;
            self.enter(JobState::Queued);
        }
    }
}

/// Sleeps until the clock shows `at`, even if the clock is set meanwhile.
async fn sleep_until_clock(at: Timestamp) {
    while let Ok(left) = Duration::try_from(at.duration_since(clock::system()))
        && !left.is_zero()
    {
        sleep(left.min(CLOCK_LOOK)).await;
    }
}
