//! A job while it lives: from its acceptance, over its place and its handler's run, to its end.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::{Notify, watch};
use tokio::time::{self, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::gate::{Place, Ticket};
use crate::job::event::{Field, write_data};
use crate::job::handler::{Handled, Running};
use crate::job::log::Log;
use crate::job::{Caller, JobContext, JobId, JobRecord, JobState, Start};
use crate::problem::{Code, Problem};
use crate::registry::Operation;
use crate::router::Router;
use crate::store::StoreError;

/// How long an aborted handler may take to be dropped before it's taken to block its thread.
const ABORT_GRACE: Duration = Duration::from_millis(250);

/// How long the engine waits before it asks a failing store again, at first and at most.
const STORE_RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// A job that hasn't ended. One task runs it, and only that task ends it.
pub(crate) struct Job {
    pub(crate) id: JobId,
    pub(crate) operation: Arc<Operation>,
    pub(crate) caller: Caller,
    pub(crate) parent: Option<Arc<Job>>,
    pub(crate) log: Arc<Log>,
    /// Fires when the job is to stop; `stop` has the reason.
    pub(crate) cancel: CancellationToken,
    stop: OnceLock<Stop>,
    /// A first reader has come.
    claimed: Notify,
    record: watch::Sender<JobRecord>,
}

/// What decided how a job ends. The first reason counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Its handler returned.
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

/// What a job is run with, beside what it is.
pub(crate) struct Run {
    pub(crate) input: Value,
    pub(crate) start: Start,
    /// How long the handler may run.
    pub(crate) timeout: Option<Duration>,
    /// When the job that called this one runs out of time.
    pub(crate) deadline: Option<Instant>,
    pub(crate) ticket: Ticket,
}

impl Job {
    pub(crate) fn new(
        record: JobRecord,
        operation: Arc<Operation>,
        caller: Caller,
        parent: Option<Arc<Job>>,
        max_log: u64,
    ) -> Self {
        Self {
            id: record.id,
            operation,
            caller,
            log: Arc::new(Log::new(max_log)),
            cancel: parent.as_ref().map_or_else(CancellationToken::new, |p| p.cancel.child_token()),
            parent,
            stop: OnceLock::new(),
            claimed: Notify::new(),
            record: watch::Sender::new(record),
        }
    }

    /// The job as it stands.
    pub(crate) fn record(&self) -> JobRecord {
        let mut record = self.record.borrow().clone();
        record.last_event = record.last_event.max(self.log.last_event());
        record
    }

    /// Waits for the job's end, and returns its last state.
    pub(crate) async fn ended(&self) -> JobState {
        let mut record = self.record.subscribe();
        match record.wait_for(|record| record.state.is_end()).await {
            Ok(record) => record.state.clone(),
            Err(_) => unreachable!("the job holds the sender"),
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

    /// Whether the job is to stop, or has ended.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.get().is_some() || self.cancel.is_cancelled()
    }

    /// Why a job stops that has no reason of its own: it was called, and its caller's time is over.
    pub(crate) fn callers_reason(&self) -> Stop {
        let mut callers = std::iter::successors(self.parent.as_ref(), |job| job.parent.as_ref());
        match callers.find_map(|job| job.stop.get()) {
            Some(reason @ (Stop::Deadline | Stop::Shutdown)) => *reason,
            _ => Stop::Requested,
        }
    }

    pub(crate) fn output_too_large(&self) -> Problem {
        Problem::new(
            Code::OutputTooLarge,
            format!("`{}` put out more than a job may, see `jobs.max_log`", self.operation.name),
        )
    }

    /// Runs the job to its end.
    pub(crate) async fn run(self: Arc<Self>, router: Router, run: Run) {
        let (state, ()) = tokio::join!(self.live(&router, run), self.store_segments(&router));
        self.end(&router, state).await;
    }

    /// The job's life up to its end, which closes the log.
    async fn live(self: &Arc<Self>, router: &Router, run: Run) -> JobState {
        if run.start == Start::OnStream {
            tokio::select! {
                () = self.claimed.notified() => {}
                () = self.cancel.cancelled() => return self.outcome(None),
                () = sleep(router.config().unclaimed_ttl) => {
                    self.stop(Stop::Requested);
                    return self.outcome(None);
                }
            }
        }
        let mut ticket = run.ticket;
        if !ticket.is_ready() {
            self.enter(JobState::Queued);
        }
        let place = tokio::select! {
            // In this order, so that a job that was cancelled in time never runs.
            biased;
            () = self.cancel.cancelled() => return self.outcome(None),
            () = until(run.deadline) => {
                self.stop(Stop::Deadline);
                return self.outcome(None);
            }
            place = ticket.place() => place,
        };
        self.enter(JobState::Running);
        // A time limit beyond what the clock can tell is none.
        let own = run.timeout.and_then(|timeout| now().checked_add(timeout));
        let deadline = [own, run.deadline].into_iter().flatten().min();
        let handled = self.handle(router, run.input, place, deadline).await;
        self.outcome(handled)
    }

    /// Lets the handler run, until it returns or has to be left behind (`None`).
    async fn handle(
        self: &Arc<Self>,
        router: &Router,
        input: Value,
        place: Place,
        deadline: Option<Instant>,
    ) -> Option<Handled> {
        let context = JobContext::new(self.clone(), router.clone(), deadline);
        let handler = self.operation.handler.clone();
        let work = async move {
            // The place is taken as long as the handler really runs, even if nobody waits for it.
            let _place = place;
            handler.handle(input, &context).await
        };
        let span = tracing::info_span!("job", id = %self.id, operation = %self.operation.name);
        let mut running = Running::start(&self.operation, span, work);
        tokio::select! {
            done = running.done() => return Some(done),
            () = self.cancel.cancelled() => {}
            () = until(deadline) => {
                self.stop(Stop::Deadline);
            }
        }
        if let Ok(done) = timeout(router.config().cancel_grace, running.done()).await {
            return Some(done);
        }
        running.abort();
        if let Ok(done) = timeout(ABORT_GRACE, running.done()).await {
            return Some(done);
        }
        self.operation.mark_blocking();
        warn!(
            operation = %self.operation.name, job = %self.id,
            "the operation blocks its thread and ignores cancellation; its job ends without it, \
             its thread is lost until it returns (long work belongs into `JobContext::blocking`)"
        );
        None
    }

    /// How the job ends: as the first reason to stop says, else as the handler did.
    fn outcome(&self, handled: Option<Handled>) -> JobState {
        self.log.close();
        let handled = handled.map(|handled| self.unwrap(handled));
        let reason = if handled.is_none() || self.cancel.is_cancelled() {
            self.stop(self.callers_reason())
        } else {
            self.stop(Stop::Finished)
        };
        let name = &self.operation.name;
        let problem = match reason {
            Stop::Finished => match handled {
                Some(Ok(state)) => return state,
                Some(Err(problem)) => problem,
                None => unreachable!("a job whose handler was left behind has a reason to stop"),
            },
            Stop::Requested => return JobState::Cancelled,
            Stop::Deadline => {
                Problem::new(Code::Timeout, format!("`{name}` took longer than it may"))
            }
            Stop::OutputTooLarge => self.output_too_large(),
            Stop::Shutdown => {
                let detail = format!("the server went down while `{name}` ran; start it again");
                Problem::new(Code::Interrupted, detail)
            }
        };
        JobState::Failed(problem)
    }

    /// What the handler's task gave, as a state.
    fn unwrap(&self, handled: Handled) -> Result<JobState, Problem> {
        let name = &self.operation.name;
        match handled {
            Handled::Returned(Ok(result)) => match to_raw_value(&result) {
                Ok(result) => Ok(JobState::Succeeded(result.into())),
                Err(error) => Err(Problem::new(Code::Failed, error.to_string())),
            },
            Handled::Returned(Err(error)) => {
                if let Some(source) = error.source() {
                    tracing::debug!(job = %self.id, error = source, "operation `{name}` failed");
                }
                Err(error.into_problem())
            }
            Handled::Aborted => Err(Problem::new(Code::Cancelled, "the handler was aborted")),
            Handled::Panicked(message) => {
                error!(operation = %name, job = %self.id, message, "an operation panicked");
                let detail = format!("`{name}` panicked; the server's log has the message");
                Err(Problem::new(Code::Panic, detail))
            }
            Handled::Lost => {
                let detail = format!("`{name}` could not be run; the server's log says why");
                Err(Problem::new(Code::Internal, detail))
            }
        }
    }

    /// Changes the state, and tells the readers.
    fn enter(&self, state: JobState) {
        #[derive(Serialize)]
        struct Change<'a> {
            state: &'a str,
            attempt: u32,
        }
        let mut data = Vec::new();
        let change = Change { state: state.as_str(), attempt: 1 };
        // Neither can fail: a struct of a text and a number, and a log that is still empty.
        if write_data(&mut data, &change).is_ok() {
            let _ = self.log.push(Field::State, &data);
        }
        self.record.send_modify(|record| {
            if matches!(state, JobState::Running) {
                record.started_at = Some(Timestamp::now());
            }
            record.state = state;
        });
    }

    /// Hands frozen segments to the store until the log is closed. The call that is under way then
    /// is not cut off: the store gets one call after the other.
    async fn store_segments(&self, router: &Router) {
        while let Some(segment) = self.log.unstored().await {
            let append = || router.store().append(self.id, segment.clone());
            match self.persist(append).await {
                Ok(()) => self.log.mark_stored(),
                Err(full) => {
                    warn!(job = %self.id, operation = %self.operation.name, "{full}");
                    self.stop(Stop::OutputTooLarge);
                    self.log.close();
                }
            }
        }
    }

    /// Stores the end, then tells it: a reader never sees an end that the store doesn't hold.
    async fn end(&self, router: &Router, mut state: JobState) {
        let mut data = end_data(&state);
        // A result, or an error, counts for the log's limit like all output.
        if data.len() as u64 > router.config().max_log.as_u64() {
            state = JobState::Failed(self.output_too_large());
            data = end_data(&state);
        }
        let last = self.log.last_segment(&data);
        let mut record = self.record();
        record.state = state;
        record.ended_at = Some(Timestamp::now());
        record.last_event = last.last;
        let mut rest = self.log.all_unstored();
        rest.push(last.clone());
        while let Err(full) = self.persist(|| router.store().end(&record, rest.clone())).await {
            error!(job = %self.id, "the store refused a job's end: {full}; asking again");
            sleep(STORE_RETRY.1).await;
        }
        // Who has read the end finds the job ended.
        self.record.send_replace(record);
        self.log.finish(last);
        router.forget(self.id);
    }

    /// Asks the store until it answers. Only a full store's error comes back.
    async fn persist<F>(&self, mut ask: impl FnMut() -> F) -> Result<(), StoreError>
    where
        F: Future<Output = Result<(), StoreError>>,
    {
        let (mut pause, longest) = STORE_RETRY;
        loop {
            match ask().await {
                Ok(()) => return Ok(()),
                Err(full @ StoreError::Full(_)) => return Err(full),
                Err(error) => error!(job = %self.id, "{error}; asking again in {pause:?}"),
            }
            sleep(pause).await;
            pause = (pause * 2).min(longest);
        }
    }
}

/// The data of the end event.
fn end_data(state: &JobState) -> Vec<u8> {
    #[derive(Serialize)]
    struct End<'a> {
        state: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        result: Option<&'a RawValue>,
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<&'a Problem>,
    }
    let (result, error) = match state {
        JobState::Succeeded(result) => (Some(&**result), None),
        JobState::Failed(problem) => (None, Some(problem)),
        _ => (None, None),
    };
    let mut data = Vec::new();
    if let Err(error) = write_data(&mut data, &End { state: state.as_str(), result, error }) {
        unreachable!("texts, numbers and JSON values serialise: {error}");
    }
    data
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

/// By the clock of the runtime, which tests can pause.
fn now() -> Instant {
    time::Instant::now().into_std()
}
