//! An operation that another one does for a job, in the job's own name.

use futures_util::StreamExt;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{OperationError, Result};
use crate::job::{End, EventKind, JobContext};

/// What becomes of the output of an operation that a job [relays](JobContext::relay).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// The job emits it.
    Relayed,
    /// Nobody sees it.
    Dropped,
}

impl JobContext {
    /// Runs another operation, makes its progress, its log and its `output` the job's own as they come,
    /// and returns its result. It's a child job, as by [`call`](Self::call).
    ///
    /// # Errors
    /// As [`call`](Self::call); those of [`emit`](Self::emit).
    pub async fn relay<T: DeserializeOwned>(
        &self,
        operation: &str,
        input: impl Serialize,
        output: Output,
    ) -> Result<T> {
        let mut events = self.stream(operation, input).await?;
        while let Some(event) = events.next().await {
            match event?.kind {
                EventKind::Output(value) if output == Output::Relayed => self.emit(&value).await?,
                EventKind::Progress(progress) => {
                    self.progress(progress.done, progress.total, &progress.unit).await?;
                }
                EventKind::Log(line) => self.log(line.level, line.message).await?,
                EventKind::End(End::Succeeded { result }) => {
                    return Ok(serde_json::from_value(result)?);
                }
                EventKind::End(End::Failed { error }) => return Err(error.into()),
                _ => {}
            }
        }
        // Nobody but this job cancels the other one.
        Err(OperationError::message(format!("`{operation}` was cancelled")))
    }
}
