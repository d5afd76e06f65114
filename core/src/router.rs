//! The router: the one state that everything holds.
//!
//! A request's way: [`Router::create_job`] finds the operation, checks the input and hands the job
//! to a task of its own (`job/run.rs`), which calls the handler; [`Router::execute_job`] reads what
//! it does.

mod error;
mod owned;
mod shutdown;
mod start;

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::to_raw_value;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use tracing::error;

pub use self::error::{RouterError, StartError};
pub use self::owned::CancelOnDrop;
pub(crate) use self::owned::Owned;
use crate::config::JobsConfig;
use crate::gate::{Gate, Ticket};
use crate::job::{
    Caller, EventStream, FrameReader, Job, JobId, JobRecord, JobRequest, JobState, Run, Source,
    Start, Stop,
};
use crate::operation::OperationSpec;
use crate::plugin::{Health, Plugin};
use crate::problem::{Code, Problem};
use crate::registry::{Operation, Registry};
use crate::store::{JobQuery, Position, Store, StoreError};

/// How deeply calls may be nested.
const MAX_DEPTH: usize = 16;

/// How long a plugin may take to answer for its health, or to shut down.
const PLUGIN_PATIENCE: Duration = Duration::from_secs(10);

/// Finds operations by name and runs jobs: the one state of a server, behind every protocol.
///
/// It's a handle: clones are the same router. [`Router::start`] makes one.
#[derive(Clone)]
pub struct Router {
    inner: Arc<Inner>,
}

struct Inner {
    registry: Registry,
    plugins: Vec<(&'static str, Arc<dyn Plugin>)>,
    store: Arc<dyn Store>,
    config: JobsConfig,
    /// The places of all jobs that no other job called.
    gate: Arc<Gate>,
    /// The places of all jobs that another job called: many, but not without limit.
    calls: Arc<Gate>,
    live: Mutex<Live>,
    /// One task a job.
    tasks: TaskTracker,
}

/// What changes while the router lives.
#[derive(Default)]
struct Live {
    /// Every job that hasn't ended.
    jobs: HashMap<JobId, Arc<Job>>,
    phase: Phase,
    plugins_are_down: bool,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Phase {
    /// Jobs are accepted.
    #[default]
    Open,
    /// The jobs that there are may finish; they may call others.
    Draining,
    /// All jobs end now.
    Interrupting,
}

/// How many jobs there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct JobCounts {
    /// Jobs that haven't ended.
    pub live: usize,
    /// Of these, how many wait for a place, or for their first reader.
    pub queued: usize,
}

impl Router {
    /// Accepts a job. It runs at once, or when its first reader comes
    /// ([`Start::OnStream`]); it goes on whether anyone reads it or not.
    ///
    /// If the future is dropped before it's done, there is no job, or it's cancelled: nobody would
    /// know its id.
    ///
    /// # Errors
    /// [`RouterError`]; then there is no job.
    pub async fn create_job(&self, request: JobRequest) -> Result<JobRecord, RouterError> {
        let job = self.route_operation(request, None).await?;
        Ok(job.keep().record())
    }

    /// The events of a job after event `after` (0: from the first), as they come, to its end. A job
    /// that waits for its first reader starts.
    ///
    /// # Errors
    /// [`RouterError::UnknownJob`], or what the store says.
    pub async fn execute_job(&self, id: JobId, after: u64) -> Result<EventStream, RouterError> {
        let position = Position::after(after);
        if let Some(job) = self.live(id) {
            job.claim();
            return Ok(EventStream::new(self.reader(id, Source::Live(job.log.clone()), position)));
        }
        let job = self.stored(id).await?;
        Ok(EventStream::new(self.reader(id, Source::Ended(job.last_event), position)))
    }

    /// Stops a job: it ends as `cancelled`, at the latest `jobs.cancel_grace` from now. Cancelling
    /// it again changes nothing.
    ///
    /// # Errors
    /// [`RouterError::UnknownJob`], and [`RouterError::JobEnded`] if it has ended or is about to.
    pub async fn cancel_job(&self, id: JobId) -> Result<JobRecord, RouterError> {
        let Some(job) = self.live(id) else {
            self.stored(id).await?;
            return Err(RouterError::JobEnded(id));
        };
        let reason = job.stop(Stop::Requested);
        let record = job.record();
        if reason != Stop::Requested || record.state.is_end() {
            return Err(RouterError::JobEnded(id));
        }
        Ok(record)
    }

    /// Runs an operation and waits for its result. The job is cancelled if the future is dropped.
    ///
    /// # Errors
    /// The job's problem, or why there was no job.
    pub async fn call(&self, operation: &str, input: Value) -> Result<Value, Problem> {
        let request = JobRequest::new(operation, input);
        let job = self.route_operation(request, None).await.map_err(|error| error.problem())?;
        let state = job.job().ended().await;
        serde_json::from_str(state.result()?.get()).map_err(|error| {
            Problem::new(
                Code::Failed,
                format!("the result of `{operation}` can't be read: {error}"),
            )
        })
    }

    /// A job as it stands.
    ///
    /// # Errors
    /// [`RouterError::UnknownJob`], or what the store says.
    pub async fn job(&self, id: JobId) -> Result<JobRecord, RouterError> {
        match self.live(id) {
            Some(job) => Ok(job.record()),
            None => self.stored(id).await,
        }
    }

    /// A job as it stands when it has ended, or after `patience`, whichever comes first.
    ///
    /// # Errors
    /// As [`job`](Self::job).
    pub async fn wait(&self, id: JobId, patience: Duration) -> Result<JobRecord, RouterError> {
        if let Some(job) = self.live(id) {
            // Past its patience the caller gets what there is.
            let _ = timeout(patience, job.ended()).await;
            return Ok(job.record());
        }
        self.stored(id).await
    }

    /// The jobs that `query` asks for, newest first.
    ///
    /// # Errors
    /// What the store says.
    pub async fn jobs(&self, query: &JobQuery) -> Result<Vec<JobRecord>, RouterError> {
        if matches!(query.state.as_deref(), Some("scheduled" | "queued" | "running")) {
            // The store knows only how a job began and ended.
            let mut live: Vec<_> = self.lock().jobs.values().map(|job| job.record()).collect();
            live.sort_by_key(|job| std::cmp::Reverse(job.id));
            let older = |job: &JobRecord| query.before.is_none_or(|before| job.id < before);
            live.retain(|job| older(job) && query.matches(job));
            live.truncate(query.limit);
            return Ok(live);
        }
        let mut jobs = self.inner.store.list(query).await.map_err(store_failed)?;
        for job in &mut jobs {
            if let Some(live) = self.live(job.id) {
                *job = live.record();
            }
        }
        Ok(jobs)
    }

    /// Cancels job `id` when the guard is dropped, if it hasn't ended by then: for a caller that is
    /// the job's only owner.
    pub fn cancel_on_drop(&self, id: JobId) -> CancelOnDrop {
        CancelOnDrop::new(self.live(id))
    }

    /// The operations that are served, by name, without the hidden ones.
    pub fn operations(&self) -> impl Iterator<Item = &OperationSpec> {
        self.inner.registry.specs()
    }

    /// One operation that is served.
    ///
    /// # Errors
    /// [`RouterError::UnknownOperation`], also for a hidden one.
    pub fn operation(&self, name: &str) -> Result<&OperationSpec, RouterError> {
        self.inner.registry.find(name, true).map(|operation| &operation.spec)
    }

    /// How many jobs there are.
    pub fn job_counts(&self) -> JobCounts {
        JobCounts { live: self.lock().jobs.len(), queued: self.inner.gate.queued() }
    }

    /// Asks every plugin whether it can do its work, by the plugins' names. One that doesn't answer
    /// within 10 s is unhealthy.
    pub async fn health(&self) -> Vec<(&'static str, Health)> {
        let asked = self.inner.plugins.iter().map(|(name, plugin)| async move {
            let health = AssertUnwindSafe(plugin.health()).catch_unwind();
            let health = match timeout(PLUGIN_PATIENCE, health).await {
                Ok(Ok(health)) => health,
                Ok(Err(_)) => Health::Unhealthy("it panicked when it was asked".to_owned()),
                Err(_) => Health::Unhealthy(format!("no answer within {PLUGIN_PATIENCE:?}")),
            };
            (*name, health)
        });
        futures_util::future::join_all(asked).await
    }

    /// From a request to a job that runs: finds the operation, checks the input, takes a place or a
    /// place in the queue, and has the store accept the job.
    async fn route_operation(
        &self,
        request: JobRequest,
        parent: Option<(&Arc<Job>, Option<Instant>)>,
    ) -> Result<Owned, RouterError> {
        let inner = &self.inner;
        let JobRequest { operation, input, timeout, start, caller } = request;
        let operation = inner.registry.find(&operation, caller == Caller::Client)?;
        operation.input.check(&input).map_err(|errors| RouterError::InvalidInput {
            operation: operation.name.clone(),
            errors,
        })?;
        if let Some((parent, _)) = parent {
            check_calls(operation, parent)?;
        }
        // A job that another one called runs in its caller's place: if it had to wait for one, jobs
        // that call could fill all places and wait for each other for ever.
        let gate = operation.gate.clone();
        let ticket = match (parent, start) {
            (Some(_), _) => Ticket::take([inner.calls.clone()].into_iter().chain(gate)),
            (None, Start::Now) => Ticket::take(gate.into_iter().chain([inner.gate.clone()])),
            (None, Start::OnStream) => Ticket::queue(gate.into_iter().chain([inner.gate.clone()])),
        }
        .map_err(|_| RouterError::TooManyJobs { operation: operation.name.clone() })?;
        let raw = to_raw_value(&input).map_err(|error| {
            RouterError::Store(StoreError::Unavailable(format!("the input: {error}")))
        })?;
        let record = JobRecord {
            id: JobId::new(),
            operation: operation.name.clone(),
            input: raw.into(),
            state: if start == Start::OnStream { JobState::Scheduled } else { JobState::Queued },
            attempt: 1,
            parent: parent.map(|(parent, _)| parent.id),
            created_at: Timestamp::now(),
            started_at: None,
            ended_at: None,
            last_event: 0,
        };
        let run = Run {
            input,
            start,
            timeout: timeout.into_iter().chain(operation.spec.limits.timeout).min(),
            deadline: parent.and_then(|(_, deadline)| deadline),
            ticket,
        };
        let max_log = inner.config.max_log.as_u64();
        let parent = parent.map(|(parent, _)| parent.clone());
        let job = Job::new(record.clone(), operation.clone(), caller, parent, max_log);
        self.spawn(Arc::new(job), record, run).await
    }

    /// Has the store accept the job, and runs it. Both in the job's own task, so that a caller who
    /// goes away in between leaves no job behind that is accepted and never runs.
    async fn spawn(
        &self,
        job: Arc<Job>,
        record: JobRecord,
        run: Run,
    ) -> Result<Owned, RouterError> {
        let is_called = job.parent.is_some();
        let (tell, accepted) = oneshot::channel();
        let router = self.clone();
        let work = async move {
            if let Err(error) = router.inner.store.accept(&record).await {
                // A caller who has gone needs no answer.
                let _ = tell.send(Err(store_failed(error)));
                return;
            }
            let phase = {
                let mut live = router.lock();
                live.jobs.insert(job.id, job.clone());
                live.phase
            };
            if phase == Phase::Interrupting {
                job.stop(Stop::Shutdown);
            }
            // If the caller has gone, this drops what it would own, and so cancels the job.
            let _ = tell.send(Ok(Owned::new(job.clone())));
            job.run(router, run).await;
        };
        {
            let live = self.lock();
            // Under the lock, so that a shutdown waits for the job or refuses it.
            if live.phase == Phase::Interrupting || (live.phase == Phase::Draining && !is_called) {
                return Err(RouterError::ShuttingDown);
            }
            self.inner.tasks.spawn(work);
        }
        accepted.await.unwrap_or_else(|_| {
            error!("a job's task ended before its job was accepted");
            Err(RouterError::ShuttingDown)
        })
    }

    /// Starts a job that `parent` called, which has until `deadline`.
    pub(crate) async fn start_child(
        &self,
        request: JobRequest,
        parent: &Arc<Job>,
        deadline: Option<Instant>,
    ) -> Result<Owned, RouterError> {
        self.route_operation(request, Some((parent, deadline))).await
    }

    /// A reader of a live job, from its first event.
    pub(crate) fn reader_of(&self, job: &Job) -> FrameReader {
        self.reader(job.id, Source::Live(job.log.clone()), Position::START)
    }

    fn reader(&self, id: JobId, source: Source, position: Position) -> FrameReader {
        FrameReader::new(id, source, self.inner.store.clone(), position)
    }

    pub(crate) fn store(&self) -> &dyn Store {
        &*self.inner.store
    }

    pub(crate) fn config(&self) -> &JobsConfig {
        &self.inner.config
    }

    /// The job has ended: from now on it's the store's.
    pub(crate) fn forget(&self, id: JobId) {
        self.lock().jobs.remove(&id);
    }

    fn live(&self, id: JobId) -> Option<Arc<Job>> {
        self.lock().jobs.get(&id).cloned()
    }

    async fn stored(&self, id: JobId) -> Result<JobRecord, RouterError> {
        self.inner.store.job(id).await.map_err(store_failed)?.ok_or(RouterError::UnknownJob(id))
    }

    fn lock(&self) -> MutexGuard<'_, Live> {
        // Only map operations and a task's spawning run under the lock.
        self.inner.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The store's own words are for the server's log: they may name files.
fn store_failed(error: StoreError) -> RouterError {
    error!("{error}");
    error.into()
}

/// Refuses a call that goes in a circle or too deep.
fn check_calls(operation: &Operation, parent: &Arc<Job>) -> Result<(), RouterError> {
    let callers: Vec<&Arc<Job>> =
        std::iter::successors(Some(parent), |job| job.parent.as_ref()).collect();
    let path = || {
        let names = callers.iter().rev().map(|job| &*job.operation.name);
        names.chain([&*operation.name]).collect::<Vec<_>>().join(" -> ")
    };
    if callers.iter().any(|job| job.operation.name == operation.name) {
        return Err(RouterError::CallCycle(path()));
    }
    if callers.len() >= MAX_DEPTH {
        return Err(RouterError::CallDepth(path()));
    }
    Ok(())
}
