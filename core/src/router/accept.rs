//! From a request to a job that runs.

use std::sync::Arc;
use std::task::Poll;

use futures_util::poll;
use serde_json::Value;
use serde_json::value::to_raw_value;
use tokio::sync::oneshot;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tracing::error;

use crate::admission::When;
use crate::clock;
use crate::job::{
    Job, JobId, JobRecord, JobRequest, JobState, Log, Parent, Queued, Run, Start, Wait,
};
use crate::registry::Operation;
use crate::router::{MAX_DEPTH, Owned, Phase, Router, RouterError, store_failed};
use crate::store::{Accepted, StoreError};

/// What a request comes to.
pub(super) enum Routed {
    /// A job was made.
    New(Owned),
    /// A job had been made for an earlier request with the same idempotency key.
    Existing(Box<JobRecord>),
}

impl Router {
    /// From a request to a job that runs: finds the operation, checks the input, takes a place or a
    /// place in the queue, and has the store accept the job.
    pub(super) async fn route_operation(
        &self,
        mut request: JobRequest,
        parent: Option<Parent>,
    ) -> Result<Routed, RouterError> {
        let operation = self.inner.registry.find(&request.operation, request.is_clients())?;
        operation.check(&request.input)?;
        if let Some(parent) = &parent {
            check_calls(&operation, &parent.job)?;
        }
        let key = request.scoped_key();
        if let Some(key) = &key
            && let Some(id) = self.inner.store.keyed(key).await.map_err(store_failed)?
        {
            return self.existing(id, &request).await;
        }
        let raw = to_raw_value(&request.input).map_err(|error| {
            StoreError::NotJson(format!("the input of `{}`", operation.name), error)
        })?;
        let mut record = JobRecord {
            caller: request.caller.clone(),
            hops: request.hops,
            attached: request.attached,
            priority: request.priority,
            timeout: request.timeout,
            idempotency_key: key,
            ..JobRecord::new(operation.name.clone(), raw.into())
        };
        let (wait, when) = match request.start {
            Start::Now => (Wait::Nothing, When::Now),
            Start::OnStream => (Wait::FirstReader, When::Later),
            Start::At(at) => (Wait::Until(at), When::Later),
        };
        if let Start::At(at) = request.start {
            record.run_at = Some(clock::kept(at));
        }
        let ticket = self.admit(&operation, &record, when)?;
        // With a place in hand, which is given back if they refuse: how many wait here is bounded.
        self.ask_interceptors(&request, &operation).await?;
        // One that runs at once needs no word of that later.
        let is_begun = ticket.is_held();
        record.state = match when {
            When::Now if is_begun => JobState::Running,
            When::Now => JobState::Queued,
            _ => JobState::Scheduled,
        };
        record.started_at = is_begun.then_some(record.created_at);
        let log = Log::new(self.inner.config.max_log.as_u64(), self.flusher());
        #[cfg(feature = "testing")]
        log.hold.set(request.hold_at);
        let job = Arc::new(Job::new(record, operation, parent, log));
        let unfinished = self.register(&job)?;
        // Where another job may have the key, what was asked for is held against that one's.
        let is_keyed = request.idempotency_key.is_some();
        let input = is_begun.then(|| {
            if is_keyed { request.input.clone() } else { std::mem::take(&mut request.input) }
        });
        let queued = Queued::IfItWaits;
        let run = Run { input, wait, ticket, is_begun, queued, unfinished: Some(unfinished) };
        match self.accept(job, run).await? {
            Ok(job) => Ok(Routed::New(job)),
            Err(existing) => self.existing(existing, &request).await,
        }
    }

    /// Has the job known from now on: before the store has it, as who finds it there by its key is to
    /// find it here too. A shutdown waits for it.
    fn register(&self, job: &Arc<Job>) -> Result<TaskTrackerToken, RouterError> {
        let mut live = self.lock();
        let refuses = if job.parent.is_some() { Phase::Interrupting } else { Phase::Draining };
        if live.phase >= refuses {
            return Err(RouterError::ShuttingDown);
        }
        live.jobs.insert(job.id, job.clone());
        Ok(self.inner.unfinished.token())
    }

    /// Has the store accept the job, and runs it in a task of its own. The error within is the job that
    /// has its idempotency key already.
    async fn accept(&self, job: Arc<Job>, run: Run) -> Result<Result<Owned, JobId>, RouterError> {
        let (router, new) = (self.clone(), job.clone());
        let mut accepting = Box::pin(async move { router.inner.store.accept(&new.record()).await });
        if let Poll::Ready(accepted) = poll!(&mut accepting) {
            let accepted = self.accepted(&job, accepted);
            if let Ok(Ok(_)) = accepted {
                self.spawn(job.run(self.clone(), run));
            }
            return accepted;
        }
        // A store that takes its time is waited for in the job's task: a caller who goes away
        // meanwhile leaves no job behind that is accepted and never runs.
        let (tell, told) = oneshot::channel();
        let router = self.clone();
        self.spawn(async move {
            let accepted = router.accepted(&job, accepting.await);
            let is_new = matches!(accepted, Ok(Ok(_)));
            // If the caller has gone, this drops what he would own, and so cancels the job.
            let _ = tell.send(accepted);
            if is_new {
                job.run(router, run).await;
            }
        });
        told.await.unwrap_or_else(|_| {
            error!("a job's task ended before its job was accepted");
            Err(RouterError::ShuttingDown)
        })
    }

    /// What the store's answer to a new job comes to.
    fn accepted(
        &self,
        job: &Arc<Job>,
        accepted: Result<Accepted, StoreError>,
    ) -> Result<Result<Owned, JobId>, RouterError> {
        match accepted {
            Ok(Accepted::New) => {
                job.operation.metrics().accepted();
                Ok(Ok(Owned::by_request(job.clone())))
            }
            Ok(Accepted::Existing(id)) => {
                self.forget(job.id);
                Ok(Err(id))
            }
            Err(error) => {
                self.forget(job.id);
                Err(store_failed(error))
            }
        }
    }

    /// The job that was accepted with the request's idempotency key, if it's what is asked for.
    async fn existing(&self, id: JobId, request: &JobRequest) -> Result<Routed, RouterError> {
        let job = self.job(id).await.map_err(|error| match error {
            RouterError::UnknownJob(id) => RouterError::KeyTaken(format!(
                "the idempotency key belongs to job {id}, which has ended and is no longer kept: to \
                 run it again, use another key"
            )),
            error => error,
        })?;
        let same_input = serde_json::from_str::<Value>(job.input.get())
            .is_ok_and(|input| input == request.input);
        if *job.operation != *request.operation || !same_input {
            return Err(RouterError::KeyTaken(format!(
                "the idempotency key belongs to job {id}, which has another operation or input: use \
                 a key for each job"
            )));
        }
        Ok(Routed::Existing(Box::new(job)))
    }
}

/// Refuses a call that goes in a circle or too deep.
fn check_calls(operation: &Operation, parent: &Arc<Job>) -> Result<(), RouterError> {
    let callers: Vec<&Arc<Job>> =
        std::iter::successors(Some(parent), |job| job.parent.as_ref().map(|parent| &parent.job))
            .collect();
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
