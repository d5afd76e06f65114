//! The router: the one state that everything holds.
//!
//! A request's way: [`Router::create_job`] finds the operation, checks the input and hands the job
//! to a task of its own (`job/run.rs`), which calls the handler; [`Router::execute_job`] reads what
//! it does.

mod accept;
mod cancel;
mod error;
mod handle;
mod intercept;
mod listing;
mod owned;
mod peek;
mod recovery;
mod retention;
mod shutdown;
mod start;

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use serde::Serialize;
use serde_json::Value;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use tracing::error;

use self::accept::Routed;
pub use self::error::{RouterError, StartError};
pub use self::handle::RouterHandle;
pub use self::owned::CancelOnDrop;
pub(crate) use self::owned::Owned;
use crate::admission::{Admission, Demand, Kind, Ticket, When};
use crate::config::JobsConfig;
use crate::http::Route;
use crate::interceptor::Interceptor;
use crate::job::{
    Caller, EventStream, Flusher, FrameReader, Job, JobId, JobRecord, JobRequest, Parent, Source,
};
use crate::operation::OperationSpec;
use crate::plugin::{Health, OwnedTasks, Plugin};
use crate::problem::{Code, Problem};
use crate::registry::{Operation, Registry};
use crate::store::{Position, Store, StoreError};

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
    registry: Arc<Registry>,
    /// In the order of their starts.
    plugins: Vec<Running>,
    store: Arc<dyn Store>,
    config: JobsConfig,
    admission: Arc<Admission>,
    /// For a job that has to run without others of its kind beside it: see [`Router::alone`].
    alone: Arc<Semaphore>,
    live: Mutex<Live>,
    /// A token for each job that isn't over here.
    unfinished: TaskTracker,
    runtime: Handle,
    /// The server goes down: jobs that may be left to another process are left.
    left: CancellationToken,
    /// Has what waits in the jobs' logs stored.
    flusher: Arc<Flusher>,
    _flushing: AbortOnDropHandle<()>,
}

/// A plugin that has started.
struct Running {
    name: &'static str,
    plugin: Arc<dyn Plugin>,
    interceptor: Option<Arc<dyn Interceptor>>,
    routes: Vec<Route>,
    tasks: OwnedTasks,
}

/// What changes while the router lives.
#[derive(Default)]
struct Live {
    /// Every job that hasn't ended.
    jobs: BTreeMap<JobId, Arc<Job>>,
    phase: Phase,
    plugins_are_down: bool,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
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
    /// Of these, how many wait: for a place, for their time, or for their first reader.
    pub queued: usize,
}

impl Router {
    /// Accepts a job. It runs at once, or when its first reader comes
    /// ([`Start::OnStream`](crate::job::Start::OnStream)); it goes on whether anyone reads it or not.
    ///
    /// A request with an idempotency key that was accepted before is answered with that request's
    /// job, as it stands.
    ///
    /// If the future is dropped before it's done, there is no job, or it's cancelled: nobody would
    /// know its id. A job with an idempotency key goes on, for whoever asks again.
    ///
    /// # Errors
    /// [`RouterError`]; then there is no job.
    pub async fn create_job(&self, request: JobRequest) -> Result<JobRecord, RouterError> {
        match self.route_operation(request, None).await? {
            Routed::New(job) => Ok(job.keep().record()),
            Routed::Existing(record) => Ok(*record),
        }
    }

    /// The events of a job after event `after` (0: from the first), as they come, to its end. A job
    /// that waits for its first reader starts.
    ///
    /// # Errors
    /// [`RouterError::UnknownJob`], or what the store says.
    pub async fn execute_job(&self, id: JobId, after: u64) -> Result<EventStream, RouterError> {
        if let Some(job) = self.live(id) {
            job.claim();
            let source = Source::Live(job.log.clone());
            return Ok(EventStream::new(self.reader(id, source, Position::after(after))));
        }
        let job = self.stored(id).await?;
        Ok(self.replay(&job, after))
    }

    /// The same for who has the job's record: of a job that has ended by then, it isn't looked up again.
    ///
    /// # Errors
    /// As [`execute_job`](Self::execute_job).
    pub async fn execute(&self, job: &JobRecord, after: u64) -> Result<EventStream, RouterError> {
        if job.state.is_end() {
            return Ok(self.replay(job, after));
        }
        self.execute_job(job.id, after).await
    }

    /// What the store has of a job that doesn't run here.
    fn replay(&self, job: &JobRecord, after: u64) -> EventStream {
        let source =
            if job.state.is_end() { Source::Ended(job.last_event) } else { Source::Elsewhere };
        EventStream::new(self.reader(job.id, source, Position::after(after)))
    }

    /// Runs an operation and waits for its result. The job is cancelled if the future is dropped.
    ///
    /// # Errors
    /// The job's problem, or why there was no job.
    pub async fn call(&self, operation: &str, input: Value) -> Result<Value, Problem> {
        let request = JobRequest { attached: true, ..JobRequest::new(operation, input) };
        let job = self.start_owned(request, None).await.map_err(|error| error.problem())?;
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

    /// Cancels job `id` when the guard is dropped, if it hasn't ended by then: for a caller that is
    /// the job's only owner.
    pub fn cancel_on_drop(&self, id: JobId) -> CancelOnDrop {
        CancelOnDrop::new(self.live(id))
    }

    /// The operations that are served, by name, without the hidden ones.
    pub fn operations(&self) -> Vec<Arc<OperationSpec>> {
        self.inner.registry.specs()
    }

    /// One operation that is served.
    ///
    /// # Errors
    /// [`RouterError::UnknownOperation`], also for a hidden one.
    pub fn operation(&self, name: &str) -> Result<Arc<OperationSpec>, RouterError> {
        self.inner.registry.find(name, true).map(|operation| operation.spec.clone())
    }

    /// What plugins serve over HTTP beside operations, each with its plugin's name.
    pub fn routes(&self) -> impl Iterator<Item = (&'static str, &Route)> {
        let plugins = self.inner.plugins.iter();
        plugins.flat_map(|plugin| plugin.routes.iter().map(|route| (plugin.name, route)))
    }

    /// How many jobs there are.
    pub fn job_counts(&self) -> JobCounts {
        JobCounts { live: self.lock().jobs.len(), queued: self.inner.admission.waiting() }
    }

    /// Asks every plugin whether it can do its work, by the plugins' names. One that doesn't answer
    /// within 10 s is unhealthy, and so is one whose background task has panicked.
    pub async fn health(&self) -> Vec<(&'static str, Health)> {
        let asked =
            self.inner.plugins.iter().map(|Running { name, plugin, tasks, .. }| async move {
                let health = AssertUnwindSafe(plugin.health()).catch_unwind();
                let health = match timeout(PLUGIN_PATIENCE, health).await {
                    Ok(Ok(Health::Healthy)) if tasks.0.has_panicked() => {
                        Health::Unhealthy("one of its background tasks panicked".to_owned())
                    }
                    Ok(Ok(health)) => health,
                    Ok(Err(_)) => Health::Unhealthy("it panicked when it was asked".to_owned()),
                    Err(_) => Health::Unhealthy(format!("no answer within {PLUGIN_PATIENCE:?}")),
                };
                (*name, health)
            });
        futures_util::future::join_all(asked).await
    }

    /// Claims the places that a job needs.
    fn admit(
        &self,
        operation: &Operation,
        record: &JobRecord,
        when: When,
    ) -> Result<Ticket, RouterError> {
        let kind = match record.caller {
            Caller::Job(_) => Kind::Called,
            _ => Kind::Own(record.priority),
        };
        let input = record.input.get().len() as u64;
        let demand = Demand { operation: operation.limit, kind, input };
        self.inner.admission.admit(demand, when).map_err(|full| RouterError::TooManyJobs {
            operation: operation.name.clone(),
            retry_after: full.retry_after,
        })
    }

    /// Claims the places for a job's next attempt.
    pub(crate) fn readmit(&self, job: &Job) -> Ticket {
        match job.look(|record| self.admit(&job.operation, record, When::Again)) {
            Ok(ticket) => ticket,
            Err(error) => unreachable!("a job that was accepted isn't refused: {error}"),
        }
    }

    /// Whether a job that has crashed the server, or stood beside one that did, has its last attempt:
    /// then it's to be [`alone`](Self::alone).
    pub(crate) fn is_suspect(&self, job: &Job) -> bool {
        let crashes = job.look(|record| record.crashes);
        crashes > 0 && crashes + 1 >= self.inner.config.max_attempts
    }

    /// Waits until no other suspect runs: so it's known which of them it is that crashes the server,
    /// and only that one is given up.
    pub(crate) async fn alone(&self) -> Option<OwnedSemaphorePermit> {
        self.inner.alone.clone().acquire_owned().await.ok()
    }

    /// Starts a job, called by `parent` if there's one, whose request has no idempotency key.
    pub(crate) async fn start_owned(
        &self,
        request: JobRequest,
        parent: Option<Parent>,
    ) -> Result<Owned, RouterError> {
        match self.route_operation(request, parent).await? {
            Routed::New(job) => Ok(job),
            Routed::Existing(_) => unreachable!("only by its key is a request another job's"),
        }
    }

    /// Waits until the server goes down: jobs that may be left to another process are.
    pub(crate) async fn left(&self) {
        self.inner.left.cancelled().await;
    }

    /// Whether jobs outlive this process.
    pub(crate) fn is_durable(&self) -> bool {
        self.inner.store.is_durable()
    }

    /// What has the jobs' logs stored in time, if the store outlives the process: else nothing is won by
    /// that.
    fn flusher(&self) -> Option<Arc<Flusher>> {
        self.is_durable().then(|| self.inner.flusher.clone())
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

    /// Lets a job go on that a test has stand.
    #[cfg(feature = "testing")]
    pub(crate) fn release(&self, id: JobId) {
        if let Some(job) = self.live(id) {
            job.log.hold.set(None);
        }
    }

    /// Spawns a task, also where there's no runtime.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.inner.runtime.spawn(task);
    }

    /// The operation called `name`, also if it's hidden.
    pub(crate) fn find(&self, name: &str) -> Result<Arc<Operation>, RouterError> {
        self.inner.registry.find(name, false)
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
