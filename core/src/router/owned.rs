//! Jobs that live no longer than their owners want.

use std::sync::Arc;

use crate::job::Job;

/// A job that lives no longer than its owner wants: it's cancelled when this is dropped, unless it
/// has ended.
pub(crate) struct Owned {
    job: Arc<Job>,
    kept: bool,
}

impl Owned {
    pub(crate) fn new(job: Arc<Job>) -> Self {
        Self { job, kept: false }
    }

    /// The job of a request that is being answered. One with an idempotency key stays: whoever asks
    /// again is to find it running, not cancelled.
    pub(crate) fn by_request(job: Arc<Job>) -> Self {
        let kept = job.look(|record| record.idempotency_key.is_some());
        Self { job, kept }
    }

    pub(crate) fn job(&self) -> &Job {
        &self.job
    }

    /// Lets the job go on without its owner.
    pub(crate) fn keep(mut self) -> Arc<Job> {
        self.kept = true;
        self.job.clone()
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        if !self.kept {
            // A caller that was stopped drops the jobs that it called: they stop as it did.
            self.job.stop(self.job.callers_reason());
        }
    }
}

/// Cancels a job when dropped, from [`Router::cancel_on_drop`](crate::Router::cancel_on_drop).
#[must_use = "the job is cancelled when this is dropped"]
pub struct CancelOnDrop {
    _job: Option<Owned>,
}

impl CancelOnDrop {
    pub(crate) fn new(job: Option<Arc<Job>>) -> Self {
        Self { _job: job.map(Owned::new) }
    }
}
