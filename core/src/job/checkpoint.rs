//! What a job keeps of its progress, for a later attempt.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::{RawValue, to_raw_value};

use crate::error::{OperationError, Result};
use crate::job::JobContext;
use crate::job::context::stopping;
use crate::store::StoreError;

/// The checkpoint's name; a step's begin with `step:`, an interceptor's with `plugin:`.
const CHECKPOINT: &str = "checkpoint";

impl JobContext {
    /// Keeps `state` over attempts, in place of what was kept before: when the job runs again, after
    /// an error (`retry`) or the server's death, [`restored`](Self::restored) gives it back.
    ///
    /// It's in the store when this returns, and so is all that was emitted before. That costs a
    /// commit or two: it's fit for some a second, not for one an event. What was emitted before is
    /// not undone; who reads the log sees the attempts one after the other. The checkpoint is
    /// forgotten at the job's end.
    ///
    /// A job that is to stop may still keep where it is, while `jobs.cancel_grace` lasts: it may go on
    /// in another process. If the future is dropped, `state` may or may not have been kept.
    ///
    /// ```
    /// use skep::prelude::*;
    ///
    /// /// Copy pages, and go on where an earlier attempt stopped.
    /// #[skep::operation(idempotent)]
    /// async fn pages_copy(pages: u32, job: &JobContext) -> Result<u32> {
    ///     let first: u32 = job.restored().await?.unwrap_or(0);
    ///     for page in first..pages {
    ///         job.progress(page.into(), u64::from(pages), "pages").await?;
    ///         job.checkpoint(&(page + 1)).await?;
    ///     }
    ///     Ok(pages)
    /// }
    /// # fn main() {}
    /// ```
    ///
    /// # Errors
    /// `cancelled` once the job is to stop (`state` is kept all the same, unless the attempt is over);
    /// `store-unavailable` if the store fails; `failed` if `state` doesn't serialise;
    /// `output-too-large` if all that the job keeps, its steps' results too, would take more than
    /// `jobs.max_log`.
    pub async fn checkpoint(&self, state: &(impl Serialize + Sync)) -> Result<()> {
        self.keep_state(CHECKPOINT, state).await
    }

    /// The last [`checkpoint`](Self::checkpoint) of an earlier attempt of this job, or of this one.
    ///
    /// # Errors
    /// `store-unavailable` if the store fails; `failed` if what was kept isn't a `T`.
    pub async fn restored<T: DeserializeOwned>(&self) -> Result<Option<T>> {
        self.kept(CHECKPOINT).await
    }

    /// As [`checkpoint`](Self::checkpoint), for the plugin of that name: beside what the job's handler
    /// keeps, which knows nothing of it. It's how an [`Interceptor`](crate::Interceptor) keeps
    /// something of a job.
    ///
    /// # Errors
    /// As [`checkpoint`](Self::checkpoint).
    pub async fn checkpoint_of(&self, plugin: &str, state: &(impl Serialize + Sync)) -> Result<()> {
        self.keep_state(&of(plugin), state).await
    }

    /// The last [`checkpoint_of`](Self::checkpoint_of) that plugin, of an earlier attempt of this job or
    /// of this one.
    ///
    /// # Errors
    /// As [`restored`](Self::restored).
    pub async fn restored_of<T: DeserializeOwned>(&self, plugin: &str) -> Result<Option<T>> {
        self.kept(&of(plugin)).await
    }

    /// Runs `work` once over all attempts of the job: its result is kept, and a later attempt gets
    /// that instead of running it again. An error is not kept.
    ///
    /// A step costs a commit or two of the store. `work` runs *at least* once: if the server dies after its
    /// effect and before its result is kept, the next attempt runs it again. So an effect that must
    /// not come twice needs a key of its own at its receiver; [`id`](Self::id) and the step's name
    /// make one that is the same over attempts.
    ///
    /// The name stands for the result: one that is used twice in a job would get the first one's. In
    /// a loop it has to have the loop's counter in it.
    ///
    /// ```
    /// use skep::prelude::*;
    ///
    /// /// Buy something, and pay for it once.
    /// #[skep::operation(idempotent, retry(attempts = 5))]
    /// async fn shop_buy(item: String, job: &JobContext) -> Result<u64> {
    ///     let order: u64 = job.step("order", async || Ok(item.len() as u64)).await?;
    ///     job.step("pay", async || Ok(())).await?;
    ///     Ok(order)
    /// }
    /// # fn main() {}
    /// ```
    ///
    /// # Errors
    /// What `work` returns; as [`checkpoint`](Self::checkpoint) and [`restored`](Self::restored) if the
    /// result can't be kept or had; `failed` if the name has been used in this attempt; `cancelled`,
    /// before `work` runs, once the job is to stop.
    pub async fn step<T: Serialize + DeserializeOwned>(
        &self,
        name: &str,
        work: impl AsyncFnOnce() -> Result<T>,
    ) -> Result<T> {
        let kept_as = format!("step:{name}");
        if !self.attempt.first_use(&kept_as) {
            let detail =
                format!("two steps of one job are called `{name}`: give each its own name");
            return Err(OperationError::message(detail));
        }
        if let Some(done) = self.kept(&kept_as).await? {
            return Ok(done);
        }
        if self.is_cancelled() {
            return Err(stopping());
        }
        let result = work().await?;
        self.keep(&kept_as, &to_raw_value(&result)?).await?;
        Ok(result)
    }

    async fn keep_state(&self, name: &str, state: &(impl Serialize + Sync)) -> Result<()> {
        self.keep(name, &to_raw_value(state)?).await?;
        if self.is_cancelled() { Err(stopping()) } else { Ok(()) }
    }

    /// Keeps a value, also while the job is being stopped: what was done needn't be done again.
    async fn keep(&self, name: &str, value: &RawValue) -> Result<()> {
        if !self.attempt.count(name, value, self.router.config().max_log.as_u64()) {
            return Err(self.job.output_too_large().into());
        }
        // An attempt that goes on from here doesn't emit again what was emitted before.
        let settled = self.job.log.settled(self.attempt()).await;
        settled.map_err(|refused| self.refused(refused))?;
        self.router.store().checkpoint(self.id(), name, value).await.map_err(failed)
    }

    async fn kept<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        let kept = self.router.store().checkpointed(self.id(), name).await.map_err(failed)?;
        let Some(kept) = kept else { return Ok(None) };
        // Its limit was another one, if it doesn't hold now.
        self.attempt.count(name, &kept, u64::MAX);
        serde_json::from_str(kept.get()).map(Some).map_err(|error| {
            let detail = format!("what an earlier attempt kept as `{name}` can't be read: {error}");
            OperationError::message(detail)
        })
    }
}

/// What a plugin keeps is called so.
fn of(plugin: &str) -> String {
    format!("plugin:{plugin}")
}

fn failed(error: StoreError) -> OperationError {
    crate::RouterError::from(error).into()
}
