//! The router: the one state that everything holds.
//!
//! A request's way: [`Router::create_job`] finds the operation, checks the input and hands the job
//! to a task of its own (`job/run.rs`), which calls the handler; [`Router::execute_job`] reads what
//! it does.

mod error;
mod start;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::to_raw_value;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

pub use self::error::{RouterError, StartError};
use crate::config::JobsConfig;
use crate::gate::{Gate, Ticket};
use crate::job::{
    Caller, EventStream, FrameReader, Job, JobId, JobRecord, JobRequest, JobState, Run, Start, Stop,
};
use crate::operation::OperationSpec;
use crate::plugin::{Health, Plugin};
use crate::problem::Problem;
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
    /// Every job that hasn't ended.
    jobs: Mutex<HashMap<JobId, Arc<Job>>>,
    /// One task a job.
    tasks: TaskTracker,
    closed: AtomicBool,
}

/// How many jobs there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct JobCounts {
    /// Jobs that haven't ended.
    pub live: usize,
    /// Of these, how many wait for a place.
    pub queued: usize,
}

impl Router {
    /// Accepts a job. It runs at once, or when its first reader comes
    /// ([`Start::OnStream`]); it goes on whether anyone reads it or not.
    ///
    /// If the future is dropped, the job may or may not have been accepted.
    ///
    /// # Errors
    /// [`RouterError`]; then there is no job.
    pub async fn create_job(&self, request: JobRequest) -> Result<JobRecord, RouterError> {
        let job = self.route_operation(request, None).await?;
        Ok(job.record())
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
            return Ok(EventStream::new(self.reader(id, Some(&job), position)));
        }
        self.stored(id).await?;
        Ok(EventStream::new(self.reader(id, None, position)))
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
        match job.stop(Stop::Requested) {
            Stop::Requested => Ok(job.record()),
            _ => Err(RouterError::JobEnded(id)),
        }
    }

    /// Runs an operation and waits for its result. The job is cancelled if the future is dropped.
    ///
    /// # Errors
    /// The job's problem, or why there was no job.
    pub async fn call(&self, operation: &str, input: Value) -> Result<Value, Problem> {
        let request = JobRequest::new(operation, input);
        let job = self.route_operation(request, None).await.map_err(|error| error.problem())?;
        let _cancel = self.cancel_on_drop(job.id);
        let state = job.ended().await;
        let result = state.result()?;
        Ok(serde_json::from_str(result.get()).unwrap_or(Value::Null))
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
            let mut live: Vec<_> = self.lock().values().map(|job| job.record()).collect();
            live.sort_by_key(|job| std::cmp::Reverse(job.id));
            let older = |job: &JobRecord| query.before.is_none_or(|before| job.id < before);
            live.retain(|job| older(job) && query.matches(job));
            live.truncate(query.limit);
            return Ok(live);
        }
        let mut jobs = self.inner.store.list(query).await?;
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
        CancelOnDrop(self.live(id))
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
        JobCounts { live: self.lock().len(), queued: self.inner.gate.queued() }
    }

    /// Asks every plugin whether it can do its work, by the plugins' names. One that doesn't answer
    /// within 10 s is unhealthy.
    pub async fn health(&self) -> Vec<(&'static str, Health)> {
        let asked = self.inner.plugins.iter().map(|(name, plugin)| async move {
            let silent = || Health::Unhealthy(format!("no answer within {PLUGIN_PATIENCE:?}"));
            let health = timeout(PLUGIN_PATIENCE, plugin.health()).await;
            (*name, health.unwrap_or_else(|_| silent()))
        });
        futures_util::future::join_all(asked).await
    }

    /// Whether [`shutdown`](Self::shutdown) has begun: new jobs are refused.
    pub fn is_shutting_down(&self) -> bool {
        self.inner.closed.load(Ordering::Acquire)
    }

    /// Ends everything: refuses new jobs, lets those that run finish for `drain`, ends the others as
    /// `interrupted`, and shuts the plugins down in the reverse order of their starts.
    pub async fn shutdown(&self, drain: Duration) {
        self.inner.closed.store(true, Ordering::Release);
        self.inner.tasks.close();
        if timeout(drain, self.inner.tasks.wait()).await.is_err() {
            let jobs: Vec<_> = self.lock().values().cloned().collect();
            info!("interrupting {} jobs that did not finish within {drain:?}", jobs.len());
            for job in jobs {
                job.stop(Stop::Shutdown);
            }
            // Bounded: a stopped job ends after its grace, whatever its handler does.
            self.inner.tasks.wait().await;
        }
        for (name, plugin) in self.inner.plugins.iter().rev() {
            if timeout(PLUGIN_PATIENCE, plugin.shutdown()).await.is_err() {
                warn!("plugin `{name}` did not shut down within {PLUGIN_PATIENCE:?}");
            }
        }
    }

    /// From a request to a job that runs: finds the operation, checks the input, takes a place or a
    /// place in the queue, and has the store accept the job.
    async fn route_operation(
        &self,
        request: JobRequest,
        parent: Option<(&Arc<Job>, Option<Instant>)>,
    ) -> Result<Arc<Job>, RouterError> {
        let inner = &self.inner;
        if parent.is_none() && self.is_shutting_down() {
            return Err(RouterError::ShuttingDown);
        }
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
        let server_gate = parent.is_none().then(|| inner.gate.clone());
        let ticket = Ticket::take(operation.gate.iter().cloned().chain(server_gate))
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
    ) -> Result<Arc<Job>, RouterError> {
        let (tell, accepted) = oneshot::channel();
        let router = self.clone();
        self.inner.tasks.spawn(async move {
            if let Err(error) = router.inner.store.accept(&record).await {
                // A caller who has gone needs no answer.
                let _ = tell.send(Err(error.into()));
                return;
            }
            router.lock().insert(job.id, job.clone());
            let _ = tell.send(Ok(job.clone()));
            job.run(router, run).await;
        });
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
    ) -> Result<Arc<Job>, RouterError> {
        self.route_operation(request, Some((parent, deadline))).await
    }

    /// A reader of a live job, from its first event.
    pub(crate) fn reader_of(&self, job: &Job) -> FrameReader {
        self.reader(job.id, Some(job), Position::START)
    }

    fn reader(&self, id: JobId, job: Option<&Job>, position: Position) -> FrameReader {
        let log = job.map(|job| job.log.clone());
        FrameReader::new(id, log, self.inner.store.clone(), position)
    }

    pub(crate) fn store(&self) -> &dyn Store {
        &*self.inner.store
    }

    pub(crate) fn config(&self) -> &JobsConfig {
        &self.inner.config
    }

    /// The job has ended: from now on it's the store's.
    pub(crate) fn forget(&self, id: JobId) {
        self.lock().remove(&id);
    }

    fn live(&self, id: JobId) -> Option<Arc<Job>> {
        self.lock().get(&id).cloned()
    }

    async fn stored(&self, id: JobId) -> Result<JobRecord, RouterError> {
        self.inner.store.job(id).await?.ok_or(RouterError::UnknownJob(id))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<JobId, Arc<Job>>> {
        // Only map operations run under the lock.
        self.inner.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
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

/// Cancels a job when dropped, from [`Router::cancel_on_drop`].
#[must_use = "the job is cancelled when this is dropped"]
pub struct CancelOnDrop(Option<Arc<Job>>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        if let Some(job) = &self.0 {
            job.stop(Stop::Requested);
        }
    }
}
