//! A job that hasn't ended, as the router, its task and its handler share it.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use serde::Serialize;
use tokio::sync::{Notify, watch};
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::job::event::{Field, LogLevel, LogLine, write_data};
use crate::job::log::Log;
use crate::job::{Caller, JobId, JobRecord, JobState, JobSummary};
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
    /// A first reader has come.
    pub(super) claimed: Notify,
    record: watch::Sender<JobRecord>,
    /// The job is left to another process.
    left: CancellationToken,
}

/// The attempt of a job that called another one.
#[derive(Clone)]
pub(crate) struct Parent {
    pub(crate) job: Arc<Job>,
    /// Fires when the attempt is to stop.
    pub(crate) cancel: CancellationToken,
    /// When it runs out of time.
    pub(crate) deadline: Option<Instant>,
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
        let cancel = parent.as_ref().map(|parent| parent.cancel.child_token());
        Self {
            id: record.id,
            operation,
            caller: record.caller.clone(),
            parent,
            log: Arc::new(log),
            cancel: cancel.unwrap_or_default(),
            stop: OnceLock::new(),
            claimed: Notify::new(),
            record: watch::Sender::new(record),
            left: CancellationToken::new(),
        }
    }

    /// The job as it stands.
    pub(crate) fn record(&self) -> JobRecord {
        let mut record = self.record.borrow().clone();
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
        read(&self.record.borrow())
    }

    /// Changes the record. Only the job's task does.
    pub(super) fn change(&self, change: impl FnOnce(&mut JobRecord)) {
        self.record.send_modify(change);
    }

    /// Waits for the job's end, or until it's left to another process, and returns its state.
    pub(crate) async fn ended(&self) -> JobState {
        let mut record = self.record.subscribe();
        tokio::select! {
            ended = record.wait_for(|record| record.state.is_end()) => match ended {
                Ok(record) => record.state.clone(),
                Err(_) => unreachable!("the job holds the sender"),
            },
            () = self.left.cancelled() => self.look(|record| record.state.clone()),
        }
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
        }
        reason
    }

    /// Why the job stops, if that is decided.
    pub(crate) fn stopped(&self) -> Option<Stop> {
        self.stop.get().copied()
    }

    /// Why a job stops that has no reason of its own: it was called, and its caller's time is over.
    pub(crate) fn callers_reason(&self) -> Stop {
        let mut callers = std::iter::successors(self.parent.as_ref(), |at| at.job.parent.as_ref());
        let is_late = |parent: &Parent| parent.deadline.is_some_and(|at| at <= clock::instant());
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
        let mut data = Vec::new();
        match write_data(&mut data, value) {
            Ok(()) => self.log.announce(field, &data),
            Err(error) => unreachable!("texts and numbers serialise: {error}"),
        }
    }

    /// Ends the readers' streams without an end: another process goes on with the job.
    pub(super) fn leave(&self) {
        self.log.leave();
        self.left.cancel();
    }

    pub(crate) fn output_too_large(&self) -> Problem {
        Problem::new(
            Code::OutputTooLarge,
            format!("`{}` put out more than a job may, see `jobs.max_log`", self.operation.name),
        )
    }
}

/// Waits for a time that may not be set.
pub(super) async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
