//! A job that hasn't ended, as the router, its task and its handler share it.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use serde::Serialize;
use tokio::sync::{Notify, SetOnce};
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::job::event::{Field, LogLevel, LogLine, write_body};
use crate::job::first_poll::FirstPoll;
use crate::job::log::Log;
use crate::job::{Attempt, Caller, JobId, JobRecord, JobState, JobSummary};
use crate::problem::{Code, Problem};
use crate::registry::Operation;

/// A job that hasn't ended. One task runs it, and only that task ends it.
pub(crate) struct Job {
    pub(crate) id: JobId,
    pub(crate) operation: Arc<Operation>,
    pub(crate) caller: Caller,
    pub(crate) parent: Option<Parent>,
    pub(crate) log: Arc<Log>,
    /// Fires when the job is to stop; `stop` has the reason.
    pub(crate) cancel: CancellationToken,
    stop: OnceLock<Stop>,
    /// Whose handler does it, where that isn't `operation`'s.
    rerouted: Mutex<Option<Arc<Operation>>>,
    pub(super) first_poll: FirstPoll,
    /// A first reader has come.
    pub(super) claimed: Notify,
    record: Mutex<JobRecord>,
    /// The job has ended, or is left to another process.
    over: SetOnce<()>,
}

/// The attempt of a job that called another one.
#[derive(Clone)]
pub(crate) struct Parent {
    pub(crate) job: Arc<Job>,
    pub(crate) attempt: Arc<Attempt>,
}

/// What decided how a job ends. The first reason counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Nothing: it ends by itself, as its handler did or as its server's death left it.
    Finished,
    /// Its owner, or its parent, cancelled it.
    Requested,
    /// It ran out of time.
    Deadline,
    /// Its log is over its limit.
    OutputTooLarge,
    /// The server goes down.
    Shutdown,
}

impl Job {
    pub(crate) fn new(
        record: JobRecord,
        operation: Arc<Operation>,
        parent: Option<Parent>,
        log: Log,
    ) -> Self {
        let cancel = parent.as_ref().map(|parent| parent.attempt.cancel.child_token());
        Self {
            id: record.id,
            operation,
            caller: record.caller.clone(),
            parent,
            log: Arc::new(log),
            cancel: cancel.unwrap_or_default(),
            stop: OnceLock::new(),
            rerouted: Mutex::default(),
            first_poll: FirstPoll::default(),
            claimed: Notify::new(),
            record: Mutex::new(record),
            over: SetOnce::new(),
        }
    }

    /// The job as it stands.
    pub(crate) fn record(&self) -> JobRecord {
        let mut record = self.lock().clone();
        record.last_event = record.last_event.max(self.log.last_event());
        record
    }

    /// The same without what may be large.
    pub(crate) fn summary(&self) -> JobSummary {
        let mut summary = self.look(JobRecord::summary);
        summary.last_event = summary.last_event.max(self.log.last_event());
        summary
    }

    /// Reads something of the record without a copy of it.
    pub(crate) fn look<T>(&self, read: impl FnOnce(&JobRecord) -> T) -> T {
        read(&self.lock())
    }

    /// Changes the record. Only the job's task does.
    pub(super) fn change(&self, change: impl FnOnce(&mut JobRecord)) {
        change(&mut self.lock());
    }

    /// Only code of this crate, which takes no other lock, runs under the lock.
    fn lock(&self) -> MutexGuard<'_, JobRecord> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The operation that does the job: its own, or the one that it's rerouted to.
    pub(super) fn done_by(&self) -> Arc<Operation> {
        let rerouted = self.rerouted.lock().unwrap_or_else(PoisonError::into_inner);
        rerouted.as_ref().unwrap_or(&self.operation).clone()
    }

    /// Notes which operation does the job from now on. Returns whether that changes its record.
    pub(super) fn reroute(&self, to: &Arc<Operation>) -> bool {
        let to = (to.name != self.operation.name).then(|| to.clone());
        let name = to.as_ref().map(|operation| operation.name.clone());
        *self.rerouted.lock().unwrap_or_else(PoisonError::into_inner) = to;
        let mut record = self.lock();
        let changes = record.rerouted_to != name;
        record.rerouted_to = name;
        changes
    }

    /// Waits for the job's end, or until it's left to another process, and returns its state.
    pub(crate) async fn ended(&self) -> JobState {
        self.over.wait().await;
        self.look(|record| record.state.clone())
    }

    /// A reader has come: a job that waits for its first one starts.
    pub(crate) fn claim(&self) {
        self.claimed.notify_one();
    }

    /// Stops the job for `reason`. Returns the reason that counts: an earlier one, if there is one.
    pub(crate) fn stop(&self, reason: Stop) -> Stop {
        let reason = *self.stop.get_or_init(|| reason);
        if reason != Stop::Finished {
            self.cancel.cancel();
            self.first_poll.watch();
        }
        reason
    }

    /// Why the job stops, if that is decided.
    pub(crate) fn stopped(&self) -> Option<Stop> {
        self.stop.get().copied()
    }

    /// Whether the job is to stop, or the attempt that called it is: what its `cancel` says, for who
    /// asks often.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopped().is_some_and(|reason| reason != Stop::Finished)
            || self.parent.as_ref().is_some_and(|parent| parent.attempt.is_over(&parent.job))
    }

    /// Why a job stops that has no reason of its own: it was called, and its caller's time is over.
    pub(crate) fn callers_reason(&self) -> Stop {
        let mut callers = std::iter::successors(self.parent.as_ref(), |at| at.job.parent.as_ref());
        let is_late =
            |parent: &Parent| parent.attempt.deadline.is_some_and(|at| at <= clock::instant());
        match callers.find_map(|caller| caller.job.stopped()) {
            Some(reason @ (Stop::Deadline | Stop::Shutdown)) => reason,
            // An attempt may run out of time, and its job go on with another one.
            None if self.parent.as_ref().is_some_and(is_late) => Stop::Deadline,
            _ => Stop::Requested,
        }
    }

    /// Changes the state to one that isn't the last, and tells the readers.
    pub(super) fn enter(&self, state: JobState) {
        #[derive(Serialize)]
        struct Change<'a> {
            state: &'a str,
            attempt: u32,
        }
        let attempt = self.look(|record| record.attempt);
        self.announce(Field::State, &Change { state: state.as_str(), attempt });
        self.change(|record| record.state = state);
    }

    /// Adds a line of the engine's own to the log.
    pub(super) fn note(&self, message: String) {
        self.announce(Field::Log, &LogLine { level: LogLevel::Warn, message });
    }

    fn announce(&self, field: Field, value: &impl Serialize) {
        self.log.announce(&body(field, value));
    }

    /// The job's record says how it has ended: tells who waits for that.
    pub(super) fn tell_end(&self) {
        // Only its task ends it, once.
        let _ = self.over.set(());
    }

    /// Ends the readers' streams without an end: another process goes on with the job.
    pub(super) fn leave(&self) {
        self.log.leave();
        self.tell_end();
    }

    pub(crate) fn output_too_large(&self) -> Problem {
        Problem::new(
            Code::OutputTooLarge,
            format!("`{}` put out more than a job may, see `jobs.max_log`", self.operation.name),
        )
    }
}

/// The body of an event that always serialises: one of the engine's own, or a line of a handler's log.
pub(super) fn body(field: Field, value: &impl Serialize) -> Vec<u8> {
    let mut body = Vec::with_capacity(128);
    match write_body(&mut body, field, value) {
        Ok(()) => body,
        Err(error) => unreachable!("texts, numbers and JSON values serialise: {error}"),
    }
}

/// Waits for a time that may not be set.
pub(super) async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
