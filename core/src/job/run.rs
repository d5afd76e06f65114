//! A job's task: from its acceptance, over its turn and its attempts, to its end.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use jiff::Timestamp;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tracing::{error, warn};

use crate::admission::Place;
use crate::clock;
use crate::interceptor::Execution;
use crate::job::first_poll::{Polled, Rescued};
use crate::job::handler::{ABORT_GRACE, Handled, Running, Work, message};
use crate::job::live::{Job, Stop, until};
use crate::job::outcome::end_body;
use crate::job::turn::{Queued, Run, Seat, Turn, Wait};
use crate::job::{Attempt, JobContext, JobState};
use crate::problem::{Code, Problem};
use crate::registry::Operation;
use crate::router::Router;
use crate::store::StoreError;

/// How long the engine waits before it asks a failing store again, at first and at most.
const STORE_RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// How much of an author's error is told between two attempts, bytes: the log's limit doesn't count it.
const MAX_TOLD: usize = 1024;

/// What an attempt comes to.
enum Verdict {
    /// It was the last one.
    Over(Exit),
    /// There's another one.
    Again,
    /// Its handler kept its thread, and the job was ended by another task.
    Rescued,
}

/// How a job leaves this process.
pub(super) enum Exit {
    End(JobState),
    /// The server goes down; another process goes on with the job.
    Left,
}

impl Job {
    /// Runs the job to its end, or until it's left to another process.
    pub(crate) async fn run(self: Arc<Self>, router: Router, mut run: Run) {
        loop {
            // What comes after its turn is boxed: jobs that wait for it may be many.
            // Alone until its end is stored: before that, it may still be given up beside the next one.
            // Its place too where interceptors are told of the end: how many they make wait is bounded.
            let (verdict, _alone, _place) = match self.turn(&router, &mut run).await {
                Turn::Run(Seat { place, alone }) => {
                    let place = Arc::new(place);
                    let kept = router.is_intercepted(&self.operation).then(|| place.clone());
                    (Box::pin(self.attempt(&router, &mut run, place)).await, alone, kept)
                }
                Turn::Stopped => {
                    if run.queued == Queued::Always {
                        // In this place a process before this one may have told that it's queued.
                        self.log.leave_out();
                    }
                    let exit = Box::pin(self.stopped_early(&router, run.is_begun)).await;
                    (Verdict::Over(exit), None, None)
                }
                Turn::Left => (Verdict::Over(Exit::Left), None, None),
            };
            match verdict {
                Verdict::Over(exit) => break Box::pin(self.exit(&router, exit)).await,
                Verdict::Again => {}
                Verdict::Rescued => break,
            }
        }
    }

    /// Takes the job out of this process.
    pub(super) async fn exit(&self, router: &Router, exit: Exit) {
        match exit {
            Exit::End(state) => self.end(router, state).await,
            Exit::Left => self.leave(),
        }
        router.forget(self.id);
    }

    /// The job's last attempt, after which it ends without another one.
    pub(crate) fn cut_off(self: &Arc<Self>, router: &Router) -> JobContext {
        let (cancel, number) = (CancellationToken::new(), self.look(|record| record.attempt));
        let attempt = Attempt::new(number, cancel, None);
        attempt.stop();
        JobContext::new(self.clone(), router.clone(), Arc::new(attempt))
    }

    /// Ends a job that isn't to run, unless it's cancelled before that.
    pub(crate) async fn end_at_once(self: Arc<Self>, router: Router, state: JobState) {
        let state = self.decide(state);
        // As in `run`, where a job is stopped that hasn't told that it's queued.
        self.log.leave_out();
        self.exit(&router, Exit::End(state)).await;
    }

    /// How the job ends: so, unless something has stopped it already. From now on nothing does.
    fn decide(&self, state: JobState) -> JobState {
        match self.stop(Stop::Finished) {
            Stop::Finished => state,
            reason => self.stopped_state(reason),
        }
    }

    /// What follows for a job that is stopped before its handler runs. The store may have it that
    /// it runs.
    async fn stopped_early(self: &Arc<Self>, router: &Router, may_be_begun: bool) -> Exit {
        match self.stop(self.callers_reason()) {
            Stop::Shutdown if router.is_durable() && self.outlives_owner() => {
                if may_be_begun {
                    // Without a word: the next process tells that it's queued, as this one may have.
                    self.postpone(router, None).await;
                }
                Exit::Left
            }
            reason => {
                if self.look(|record| record.attempt) > 1 {
                    router.tell_of_cut_off(&self.cut_off(router)).await;
                }
                Exit::End(self.stopped_state(reason))
            }
        }
    }

    /// Runs the handler once, and says what follows.
    async fn attempt(
        self: &Arc<Self>,
        router: &Router,
        run: &mut Run,
        place: Arc<Place>,
    ) -> Verdict {
        let (begun, input) = (std::mem::take(&mut run.is_begun), run.input.take());
        if !begun && !self.begin(router).await {
            return Verdict::Over(self.stopped_early(router, true).await);
        }
        let input = match input {
            Some(input) => input,
            None => match self.look(|record| serde_json::from_str(record.input.get())) {
                Ok(input) => input,
                Err(error) => {
                    let detail = format!("the input that was kept can't be read: {error}");
                    let failed = JobState::Failed(Problem::internal(detail));
                    return Verdict::Over(Exit::End(self.decide(failed)));
                }
            },
        };
        let (number, timeout) = self.look(|record| (record.attempt, record.timeout));
        let limits = timeout.into_iter().chain(self.operation.spec.limits.timeout);
        // A time limit beyond what the clock can tell is none.
        let own = limits.min().and_then(|limit| clock::instant().checked_add(limit));
        let callers = self.parent.as_ref().and_then(|parent| parent.attempt.deadline);
        let deadline = [own, callers].into_iter().flatten().min();
        let attempt = Arc::new(Attempt::new(number, self.cancel.child_token(), deadline));
        self.log.open(number);
        self.enter(JobState::Running);
        let (handled, ()) = tokio::join!(
            self.handle(router, input, place, &attempt, &mut run.unfinished),
            self.store_segments(router)
        );
        match handled {
            Ok(result) => self.follow(router, run, result).await,
            Err(Rescued) => Verdict::Rescued,
        }
    }

    /// Has the store know that an attempt runs, before it does: one that was cut off is found by
    /// that. Returns whether it's to run.
    async fn begin(&self, router: &Router) -> bool {
        self.change(|record| {
            record.started_at.get_or_insert_with(clock::now);
            record.run_at = None;
        });
        let mut record = self.record();
        record.state = JobState::Running;
        let stored = self.persist(|| router.store().update(&record));
        tokio::select! {
            // In this order, as in a turn.
            biased;
            () = self.cancel.cancelled() => false,
            stored = stored => match stored {
                Ok(()) => true,
                Err(full) => {
                    self.stop_full(&full);
                    false
                }
            },
        }
    }

    /// Lets the handler run, until it returns or has to be left behind (`None`).
    async fn handle(
        self: &Arc<Self>,
        router: &Router,
        input: Value,
        place: Arc<Place>,
        attempt: &Arc<Attempt>,
        unfinished: &mut Option<TaskTrackerToken>,
    ) -> Result<Option<Result<Box<RawValue>, Problem>>, Rescued> {
        let job = JobContext::new(self.clone(), router.clone(), attempt.clone());
        let execution = Execution { job, operation: self.operation.clone(), input };
        let Execution { job, operation, input } = match self.prepare(execution, attempt).await {
            Ok(execution) => execution,
            Err(ended) => {
                self.log.close();
                attempt.stop();
                return Ok(ended);
            }
        };
        let handler = operation.handler.clone();
        let work = async move {
            let _place = place;
            job.stand().await;
            handler.handle(input, &job).await
        };
        let span = tracing::info_span!("job", id = %self.id, operation = %self.operation.name);
        let work = Work::new(&operation, span, work);
        let work = match self.poll_first(router, attempt, work, unfinished)? {
            Polled::Done(done) => return Ok(Some(self.returned(attempt, done))),
            Polled::Pending(work) => work,
        };
        let mut running = work.start();
        let timed_out = tokio::select! {
            done = running.done() => return Ok(Some(self.returned(attempt, done))),
            () = self.cancel.cancelled() => false,
            () = until(attempt.deadline) => true,
        };
        attempt.stop();
        let done = self.wind_up(router, &operation, &mut running).await;
        self.log.close();
        Ok(if timed_out { Some(Err(self.timed_out())) } else { done.map(|done| self.settle(done)) })
    }

    /// The handler has returned by itself.
    fn returned(&self, attempt: &Attempt, done: Handled) -> Result<Box<RawValue>, Problem> {
        self.log.close();
        // What it left behind does nothing more in the job's name.
        attempt.stop();
        self.settle(done)
    }

    /// Has the interceptors prepare the attempt, under its cancellation and its deadline. If they end it
    /// instead: what the handler would have come to.
    async fn prepare(
        &self,
        execution: Execution,
        attempt: &Attempt,
    ) -> Result<Execution, Option<Result<Box<RawValue>, Problem>>> {
        if !execution.job().router().is_intercepted(&self.operation) {
            return Ok(execution);
        }
        let router = execution.job().router().clone();
        let prepared = async {
            let execution = execution.prepare().await?;
            self.note_reroute(&router, &execution.operation).await;
            Ok(execution)
        };
        tokio::select! {
            prepared = AssertUnwindSafe(prepared).catch_unwind() => match prepared {
                Ok(Ok(execution)) => Ok(execution),
                Ok(Err(error)) => Err(Some(self.settle(Handled::Returned(Err(error))))),
                Err(panic) => Err(Some(self.settle(Handled::Panicked(message(panic))))),
            },
            () = self.cancel.cancelled() => Err(None),
            () = until(attempt.deadline) => Err(Some(Err(self.timed_out()))),
        }
    }

    /// Has the store know which operation does the job, where an interceptor has changed that: after a
    /// crash it's that one's hints which count.
    async fn note_reroute(&self, router: &Router, to: &Arc<Operation>) {
        if self.reroute(to) {
            let mut record = self.record();
            record.state = JobState::Running;
            if let Err(full) = self.persist(|| router.store().update(&record)).await {
                self.stop_full(&full);
            }
        }
    }

    /// Gives a handler that's to stop its time for that. `None` if it blocks its thread.
    async fn wind_up(
        &self,
        router: &Router,
        operation: &Operation,
        running: &mut Running,
    ) -> Option<Handled> {
        if let Ok(done) = timeout(router.config().cancel_grace, running.done()).await {
            return Some(done);
        }
        running.abort();
        if let Ok(done) = timeout(ABORT_GRACE, running.done()).await {
            return Some(done);
        }
        self.lose_handler(operation);
        None
    }

    /// The handler, a run of `operation`, has ignored that it's to stop.
    pub(super) fn lose_handler(&self, operation: &Operation) {
        operation.mark_blocking();
        warn!(
            operation = %operation.name, job = %self.id,
            "the operation blocks its thread and ignores cancellation; its job goes on without it, \
             its thread is lost until it returns (long work belongs into `JobContext::blocking`)"
        );
    }

    /// What follows an attempt: as the first reason to stop says, else as the handler did.
    async fn follow(
        &self,
        router: &Router,
        run: &mut Run,
        result: Option<Result<Box<RawValue>, Problem>>,
    ) -> Verdict {
        if let (false, Some(Err(problem))) = (self.cancel.is_cancelled(), &result)
            && let Some(pause) = self.pause_after(problem)
        {
            self.try_again(router, problem, pause).await;
            run.wait = Wait::For(pause);
            run.queued = Queued::Told;
            run.ticket = router.readmit(self);
            return Verdict::Again;
        }
        Verdict::Over(self.conclude(router, result).await)
    }

    /// How the job ends, or is left, after its last attempt.
    pub(super) async fn conclude(
        &self,
        router: &Router,
        result: Option<Result<Box<RawValue>, Problem>>,
    ) -> Exit {
        let is_cancelled = self.cancel.is_cancelled();
        let reason = match &result {
            Some(_) if !is_cancelled => self.stop(Stop::Finished),
            _ => self.stop(self.callers_reason()),
        };
        if reason == Stop::Shutdown && router.is_durable() && self.outlives_server() {
            self.hand_over(router).await;
            return Exit::Left;
        }
        Exit::End(match (reason, result) {
            (Stop::Finished, Some(Ok(result))) => JobState::Succeeded(result.into()),
            (Stop::Finished, Some(Err(problem))) => JobState::Failed(problem),
            (reason, _) => self.stopped_state(reason),
        })
    }

    /// How long the job waits before it's tried again, if it is.
    fn pause_after(&self, problem: &Problem) -> Option<Duration> {
        // A time limit is that of the operation that was asked for.
        let is_late = problem.is(Code::Timeout);
        let operation = if is_late { self.operation.clone() } else { self.done_by() };
        let retry = operation.spec.limits.retry?;
        let attempt = self.look(|record| record.attempt);
        (problem.is_transient() && attempt < retry.attempts)
            .then(|| retry.pause(attempt, problem.retry_after()))
    }

    /// Tells that the job is tried again, and has the store know.
    async fn try_again(&self, router: &Router, problem: &Problem, pause: Duration) {
        let attempt = self.look(|record| record.attempt);
        self.note(format!(
            "attempt {attempt} failed: {} ({}); the next one in {:.3} s",
            shortened(&problem.detail),
            shortened(&problem.code),
            pause.as_secs_f64()
        ));
        self.change(|record| record.attempt += 1);
        self.enter(JobState::Queued);
        self.postpone(router, clock::now().checked_add(pause).ok().map(clock::kept)).await;
    }

    /// Tells that the job goes on in another process, and has the store know.
    async fn hand_over(&self, router: &Router) {
        self.note("the server goes down; the job goes on when it's back".to_owned());
        self.change(|record| record.attempt += 1);
        self.enter(JobState::Queued);
        self.postpone(router, None).await;
    }

    /// Puts the job back into the queue, in the store too. What the log has is stored.
    async fn postpone(&self, router: &Router, run_at: Option<Timestamp>) {
        self.change(|record| {
            record.state = JobState::Queued;
            record.run_at = run_at;
        });
        let segments = self.log.rest();
        let record = self.record();
        let stored = async {
            self.persist(|| router.store().append(self.id, segments.clone())).await?;
            self.log.mark_stored(segments.len());
            self.persist(|| router.store().update(&record)).await
        };
        // A job that goes on in another process is what this is for.
        let ends = async {
            self.cancel.cancelled().await;
            if self.stopped() == Some(Stop::Shutdown) {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            stored = stored => if let Err(full) = stored {
                self.stop_full(&full);
            },
            () = ends => {}
        }
    }

    /// Whether nobody's leaving cancels the job: another process may go on with it.
    pub(super) fn outlives_owner(&self) -> bool {
        self.parent.is_none() && !self.look(|record| record.attached)
    }

    /// Whether another process may run the job again though it has run here.
    fn outlives_server(&self) -> bool {
        self.outlives_owner() && self.done_by().spec.hints.idempotent
    }

    /// Whether the job stops because the server goes down, and another process goes on with it.
    pub(super) fn is_handed_over(&self, router: &Router) -> bool {
        self.stopped() == Some(Stop::Shutdown) && router.is_durable() && self.outlives_server()
    }

    /// Whether the job goes on in another process, if the store outlives this one, now that the
    /// server goes down.
    pub(crate) fn is_left(&self) -> bool {
        let runs = self.look(|record| matches!(record.state, JobState::Running));
        self.outlives_server() || (self.outlives_owner() && !runs)
    }

    /// Hands what comes to the store until the log is closed. The call that is under way then is
    /// not cut off: the store gets one call after the other.
    async fn store_segments(&self, router: &Router) {
        while let Some(segments) = self.log.unstored().await {
            match self.persist(|| router.store().append(self.id, segments.clone())).await {
                Ok(()) => self.log.mark_stored(segments.len()),
                Err(full) => {
                    self.stop_full(&full);
                    self.log.close();
                }
            }
        }
    }

    /// The store has no room for what the job puts out, and gets none while the job runs.
    fn stop_full(&self, full: &StoreError) {
        warn!(job = %self.id, operation = %self.operation.name, "{full}");
        self.stop(Stop::OutputTooLarge);
    }

    /// Stores the end, then tells it: a reader never sees an end that the store doesn't hold.
    async fn end(&self, router: &Router, mut state: JobState) {
        self.log.close();
        let mut body = end_body(&state);
        // A result, or an error, may be as large as a log.
        if body.len() as u64 > router.config().max_log.as_u64() {
            state = JobState::Failed(self.output_too_large());
            body = end_body(&state);
        }
        let (rest, last) = self.log.rest_with_end(&body);
        let mut record = self.record();
        record.state = state;
        record.run_at = None;
        record.ended_at = Some(clock::now());
        record.last_event = last.last;
        while let Err(full) = self.persist(|| router.store().end(&record, rest.clone())).await {
            error!(job = %self.id, "the store refused a job's end: {full}; asking again");
            sleep(STORE_RETRY.1).await;
        }
        self.operation.metrics().ended(&record);
        router.tell_interceptors(&self.operation, &record).await;
        // Who has read the end finds the job ended.
        self.change(|kept| *kept = record);
        self.tell_end();
        self.log.finish(last);
    }

    /// Asks the store until it answers. Only a full store's error comes back.
    async fn persist<F>(&self, mut ask: impl FnMut() -> F) -> Result<(), StoreError>
    where
        F: Future<Output = Result<(), StoreError>>,
    {
        let (mut pause, longest) = STORE_RETRY;
        loop {
            match ask().await {
                // Forgotten: it has ended, which seemed to fail, before it was asked again.
                Ok(()) | Err(StoreError::Forgotten(_)) => return Ok(()),
                Err(full @ StoreError::Full(_)) => return Err(full),
                Err(error) => error!(job = %self.id, "{error}; asking again in {pause:?}"),
            }
            sleep(pause).await;
            pause = (pause * 2).min(longest);
        }
    }
}

/// A text that is told in passing.
fn shortened(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_TOLD)]
}
