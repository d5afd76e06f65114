//! Cancelling a job: whoever is told that it's cancelled finds it so, whatever happens to the server.

use std::time::Duration;

use tokio::time::timeout;

use crate::job::{JobId, JobRecord, Stop};
use crate::router::{Router, RouterError, store_failed};
use crate::store::StoreError;

/// How long a job's end may take to be stored, once its handler is gone, before who wants to cancel the
/// job is put off.
const END_PATIENCE: Duration = Duration::from_secs(2);

impl Router {
    /// Stops a job: it ends as `cancelled`, at the latest `jobs.cancel_grace` from now, or when the
    /// server is back if it dies before that. Cancelling it again changes nothing. Where the job is
    /// about to end in another way, that is waited for: `jobs.cancel_grace` and 2 s at most.
    ///
    /// # Errors
    /// [`RouterError::UnknownJob`], [`RouterError::JobEnded`] if it has ended in another way, and
    /// [`RouterError::Store`] if it's about to and the store doesn't take that.
    pub async fn cancel_job(&self, id: JobId) -> Result<JobRecord, RouterError> {
        let Some(job) = self.live(id) else {
            let record = self.stored(id).await?;
            if record.state.is_end() {
                return Err(RouterError::JobEnded(id));
            }
            // Its operation isn't served here: a server that has it will find it cancelled.
            self.inner.store.cancel(id).await.map_err(store_failed)?;
            return Ok(record);
        };
        let is_cancelled = match job.stop(Stop::Requested) {
            Stop::Requested => true,
            // The next process finds it cancelled.
            Stop::Shutdown => self.is_durable() && job.is_left(),
            _ => false,
        };
        let record = job.record();
        if !is_cancelled || record.state.is_end() {
            // It ends in another way, which only counts once the store has it: before that, a crash
            // may have it run again.
            let patience = self.config().cancel_grace.saturating_add(END_PATIENCE);
            let ended = timeout(patience, job.ended()).await;
            if ended.is_ok_and(|state| state.is_end()) {
                return Err(RouterError::JobEnded(id));
            }
            let why = format!("it hasn't taken the end of job {id} yet");
            return Err(store_failed(StoreError::Unavailable(why)));
        }
        // Who is told that it's cancelled doesn't find it running again after a crash.
        self.inner.store.cancel(id).await.map_err(store_failed)?;
        Ok(record)
    }
}
