//! What a handler holds of its job.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use futures_core::Stream;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use tokio::task::coop::consume_budget;
use tokio_util::sync::CancellationToken;

use crate::error::{OperationError, Result};
use crate::interceptor::Extensions;
use crate::job::event::Event;
use crate::job::{Caller, EventStream, Job, JobId, JobRequest, Parent, Priority};
use crate::problem::{Code, Problem};
use crate::router::{Owned, Router};
use crate::store::StoreError;

/// A handler's side of its job: it emits output, reports progress, learns of cancellation and calls
/// other operations.
///
/// Cloning is cheap; a clone may be moved into a task or a thread that works for the job.
#[derive(Clone)]
pub struct JobContext {
    pub(crate) job: Arc<Job>,
    pub(super) router: Router,
    pub(crate) attempt: Arc<Attempt>,
}

/// One run of a job's handler.
pub(crate) struct Attempt {
    /// From 1.
    number: u32,
    /// Fires when the handler is to stop.
    pub(crate) cancel: CancellationToken,
    is_over: AtomicBool,
    pub(crate) deadline: Option<Instant>,
    kept: Mutex<Kept>,
    extensions: Mutex<Extensions>,
}

/// What an attempt keeps for a later one, or was given by an earlier one.
#[derive(Default)]
struct Kept {
    /// Sizes by name, bytes.
    sizes: HashMap<String, u64>,
    total: u64,
}

impl Attempt {
    pub(crate) fn new(number: u32, cancel: CancellationToken, deadline: Option<Instant>) -> Self {
        Self {
            number,
            cancel,
            is_over: AtomicBool::new(false),
            deadline,
            kept: Mutex::default(),
            extensions: Mutex::default(),
        }
    }

    /// Has the handler stop.
    pub(super) fn stop(&self) {
        self.is_over.store(true, Ordering::Release);
        self.cancel.cancel();
    }

    /// Whether the handler of this attempt of `job` is to stop: what `cancel` says, without its lock.
    pub(crate) fn is_over(&self, job: &Job) -> bool {
        self.is_over.load(Ordering::Acquire) || job.is_stopping()
    }

    /// Whether nothing of this name has been counted yet; from now on something has.
    pub(super) fn first_use(&self, name: &str) -> bool {
        match self.kept().sizes.entry(name.to_owned()) {
            Entry::Vacant(vacant) => {
                vacant.insert(0);
                true
            }
            // What is counted stays so.
            Entry::Occupied(_) => false,
        }
    }

    /// Counts what is kept under a name, in place of what was. Returns whether that is, with all else,
    /// no more than `limit` bytes; if not, it's not counted.
    pub(super) fn count(&self, name: &str, value: &RawValue, limit: u64) -> bool {
        let mut kept = self.kept();
        // The name too: nothing may be kept without end.
        let size = (name.len() + value.get().len()) as u64;
        let total = kept.total - kept.sizes.get(name).copied().unwrap_or_default() + size;
        if total > limit {
            return false;
        }
        kept.sizes.insert(name.to_owned(), size);
        kept.total = total;
        true
    }

    /// What interceptors have given the handler.
    pub(crate) fn extensions(&self) -> MutexGuard<'_, Extensions> {
        // Only map operations run under the lock.
        self.extensions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Only map operations run under the lock.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl JobContext {
    pub(crate) fn new(job: Arc<Job>, router: Router, attempt: Arc<Attempt>) -> Self {
        Self { job, router, attempt }
    }

    /// The job's id.
    pub fn id(&self) -> JobId {
        self.job.id
    }

    /// Who asked for the job.
    pub fn caller(&self) -> &Caller {
        &self.job.caller
    }

    /// Which attempt this is, from 1: a job of an idempotent operation runs again after an error
    /// (`retry`) and after the server's death.
    pub fn attempt(&self) -> u32 {
        self.attempt.number
    }

    /// When the attempt will be stopped as `timeout`, if it has a limit.
    pub fn deadline(&self) -> Option<Instant> {
        self.attempt.deadline
    }

    /// Which jobs it goes before where jobs have to wait.
    pub fn priority(&self) -> Priority {
        self.job.look(|record| record.priority)
    }

    /// How many servers have handed the job on before this one ([`JobRequest::hops`]).
    pub fn hops(&self) -> u32 {
        self.job.look(|record| record.hops)
    }

    /// Whether another process goes on with the job once this one has stopped: it's told to stop
    /// because the server goes down, its store outlives the server, and it may be run again. What the
    /// job has begun elsewhere is then to be left as it is.
    pub fn is_handed_over(&self) -> bool {
        self.job.is_handed_over(&self.router)
    }

    /// The router that runs the job: what is served and how many jobs there are.
    pub fn router(&self) -> &Router {
        &self.router
    }

    /// What an interceptor has given this attempt of the type `T`
    /// ([`Execution::insert`](crate::Execution::insert)).
    pub fn extension<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        self.attempt.extensions().find()
    }

    /// Waits until the job is to stop: it was cancelled, ran out of time, or the server goes down.
    /// Cancel-safe.
    pub async fn cancelled(&self) {
        self.attempt.cancel.cancelled().await;
        // A loop that waits for nothing else once this is so must not keep its thread.
        consume_budget().await;
    }

    /// Whether the job is to stop.
    pub fn is_cancelled(&self) -> bool {
        self.attempt.is_over(&self.job)
    }

    /// Runs another operation and waits for its result.
    ///
    /// It's a job of its own, a child: it's cancelled with this one and when the future is dropped,
    /// and has no longer than this one has.
    ///
    /// # Errors
    /// The child's problem; that of a refused job (`unknown-operation`, `invalid-input`...);
    /// `call-cycle` if the operation is this one or one that called it, `call-depth` past 16.
    pub async fn call<T: DeserializeOwned>(
        &self,
        operation: &str,
        input: impl Serialize,
    ) -> Result<T> {
        let child = self.start_child(operation, &input).await?;
        let state = child.job().ended().await;
        Ok(serde_json::from_str(state.result()?.get())?)
    }

    /// Runs another operation and streams its events.
    ///
    /// The child is cancelled with this job, and when the stream is dropped before its end.
    ///
    /// # Errors
    /// As [`call`](Self::call), where the child is refused. How it ends is told by its last event.
    pub async fn stream(&self, operation: &str, input: impl Serialize) -> Result<ChildStream> {
        let child = self.start_child(operation, &input).await?;
        let events = EventStream::new(self.router.reader_of(child.job()));
        Ok(ChildStream { events, _child: child })
    }

    /// Runs `work` on a thread where it may block or compute for long.
    ///
    /// A panic in it goes on in the handler. The thread isn't stopped if the future is dropped:
    /// long work should ask [`is_cancelled`](Self::is_cancelled) of a clone of the context.
    pub async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        match tokio::task::spawn_blocking(work).await {
            Ok(done) => done,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is being torn down; the job's end is no longer told to anyone.
                Err(_) => std::future::pending().await,
            },
        }
    }

    async fn start_child(&self, operation: &str, input: &impl Serialize) -> Result<Owned> {
        let input = serde_json::to_value(input);
        // A loop around a call that is refused at once must not keep its thread.
        consume_budget().await;
        if self.is_cancelled() || self.job.stopped().is_some() {
            return Err(stopping());
        }
        let caller = Caller::Job(self.id());
        let hops = self.hops();
        let request = JobRequest { caller, hops, ..JobRequest::new(operation, input?) };
        let parent = Parent { job: self.job.clone(), attempt: self.attempt.clone() };
        Ok(self.router.start_owned(request, Some(parent)).await?)
    }
}

pub(super) fn stopping() -> OperationError {
    Problem::new(Code::Cancelled, "the job is to stop, or has ended").into()
}

/// The events of a child job, from [`JobContext::stream`].
pub struct ChildStream {
    events: EventStream,
    _child: Owned,
}

impl Stream for ChildStream {
    type Item = Result<Event, StoreError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.events).poll_next(cx)
    }
}
