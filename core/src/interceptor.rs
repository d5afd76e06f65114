//! Interceptors: what stands around every execution.
//!
//! A plugin that has to do with jobs of all operations, for quotas, audit or placement, implements
//! [`Interceptor`] for its type and says so: `#[skep::plugin(name = "quota", interceptor)]`.
//!
//! ```
//! use std::sync::atomic::{AtomicU64, Ordering};
//!
//! use skep::job::{Caller, JobRequest};
//! use skep::prelude::*;
//! use skep::{Interceptor, OperationSpec};
//!
//! /// A limit on what clients may ask for.
//! #[derive(Default)]
//! pub struct Quota(AtomicU64);
//!
//! #[skep::plugin(name = "quota", interceptor)]
//! impl Quota {}
//!
//! #[skep::async_trait]
//! impl Interceptor for Quota {
//!     async fn accept(&self, request: &JobRequest, _: &OperationSpec) -> Result<()> {
//!         let is_clients = matches!(request.caller, Caller::Client(_));
//!         if is_clients && self.0.fetch_add(1, Ordering::Relaxed) >= 100 {
//!             return Err(OperationError::new("over-quota", "100 jobs a day").with_status(429));
//!         }
//!         Ok(())
//!     }
//! }
//! # fn main() {}
//! ```

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;

use crate::error::Result;
use crate::job::{FrameReader, JobContext, JobRecord, JobRequest};
use crate::operation::OperationSpec;
use crate::registry::Operation;
use crate::router::RouterError;

/// What stands around every execution of every operation.
///
/// There may be several: `accept` and `before` are asked in the order in which their plugins
/// started, `after` in the reverse order. They are asked for the jobs that clients make, and for
/// those that operations call and the server makes itself ([`JobRequest::caller`] tells which).
#[async_trait]
pub trait Interceptor: Send + Sync + 'static {
    /// Whether it has a say in jobs of `operation`; of others it's neither asked nor told. Asked for each
    /// of them, several times: what doesn't concern it costs next to nothing.
    fn concerns(&self, operation: &OperationSpec) -> bool {
        let _ = operation;
        true
    }

    /// A job is asked for, its input is right, and there is no job yet. An error refuses it: the
    /// client gets the error's problem, with its status.
    ///
    /// A request that is repeated with its idempotency key isn't asked for again, nor is one for which
    /// there's no place. It should answer within a moment: a job that not all have accepted after 10 s
    /// is refused.
    async fn accept(&self, request: &JobRequest, operation: &OperationSpec) -> Result<()> {
        let _ = (request, operation);
        Ok(())
    }

    /// An attempt is about to run, under its time limit, its cancellation and the containment of
    /// panics. It may change what runs; an error is the attempt's.
    async fn before(&self, execution: &mut Execution) -> Result<()> {
        let _ = execution;
        Ok(())
    }

    /// A job that has been begun ends now without another attempt: an earlier server has begun it and its
    /// client is gone, it was cancelled before its next attempt, or it may not run again. What has been
    /// kept of it is still there ([`JobContext::restored_of`]), for who has set something going elsewhere
    /// that is to end, too.
    ///
    /// [`after`](Self::after) comes next; the job waits for all interceptors, 10 s at most.
    async fn cut_off(&self, job: &JobContext) {
        let _ = job;
    }

    /// A job has ended: the store has that, and the job's readers haven't been told yet. Called once
    /// for each job that ends in this process, however it ended.
    ///
    /// The readers wait for it, and the job keeps its place, 10 s at most for all interceptors. If the
    /// server dies just then, it isn't called for that job: who must know of every job reads the
    /// store's list when it starts.
    async fn after(&self, job: &JobRecord) {
        let _ = job;
    }
}

/// An attempt of a job that is about to run.
pub struct Execution {
    pub(crate) job: JobContext,
    pub(crate) operation: Arc<Operation>,
    pub(crate) input: Value,
}

impl Execution {
    /// The job: its id, its caller, its attempt, its log.
    pub fn job(&self) -> &JobContext {
        &self.job
    }

    /// The operation that is to run: the job's, or where it was rerouted to.
    pub fn operation(&self) -> &OperationSpec {
        &self.operation.spec
    }

    /// The input that it's to run with.
    pub fn input(&self) -> &Value {
        &self.input
    }

    /// Has the handler of `operation` do the job, with `input`. It may be a hidden one, or the job's
    /// own with another input.
    ///
    /// The job stays what it is for everyone else: its record, its place in the queue and its limits
    /// are those of the operation that was asked for. What the other handler emits and returns is the
    /// job's. Whether an attempt that fails, or that a server's death cuts off, is followed by another
    /// one is said by the operation that does it (but for a time limit, which is that of the one that was
    /// asked for); then interceptors are asked anew.
    ///
    /// # Errors
    /// [`RouterError::UnknownOperation`], [`RouterError::InvalidInput`];
    /// [`RouterError::NotIdempotent`] if the job may be run again and the other operation may not.
    pub fn reroute(&mut self, operation: &str, input: Value) -> Result<(), RouterError> {
        let operation = self.job.router().find(operation)?;
        let asked_for = &self.job.job.operation;
        if asked_for.spec.hints.idempotent && !operation.spec.hints.idempotent {
            let (from, to) = (asked_for.name.clone(), operation.name.clone());
            return Err(RouterError::NotIdempotent { from, to });
        }
        operation.check(&input)?;
        (self.operation, self.input) = (operation, input);
        Ok(())
    }

    /// Gives the handler something of the type `T`, which it takes by
    /// [`JobContext::extension`].
    pub fn insert<T: Send + Sync + 'static>(&mut self, value: T) {
        // What it takes the place of is dropped behind the lock: that may be anyone's code.
        let _former = self.job.attempt.extensions().insert(value);
    }

    /// A reader of the job's log, from its first event to its end, in the bytes that every reader
    /// gets: what is in memory is shared with them. For a task of the plugin's own: the job doesn't
    /// wait for it.
    pub fn frames(&self) -> FrameReader {
        self.job.router().reader_of(&self.job.job)
    }
}

/// Values by their types.
#[derive(Default)]
pub(crate) struct Extensions(HashMap<TypeId, Arc<dyn Any + Send + Sync>>);

impl Extensions {
    /// Adds a value; returns the one that it takes the place of.
    pub(crate) fn insert<T: Send + Sync + 'static>(
        &mut self,
        value: T,
    ) -> Option<Arc<dyn Any + Send + Sync>> {
        self.0.insert(TypeId::of::<T>(), Arc::new(value))
    }

    pub(crate) fn find<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        self.0.get(&TypeId::of::<T>()).cloned().and_then(|value| value.downcast().ok())
    }
}
