//! A job's events from another's.

use futures_util::StreamExt;
use serde_json::Value;
use skep::job::{End, EventKind};
use skep::prelude::*;

/// What becomes of the output of the operation that is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// The job emits it.
    Relayed,
    /// Nobody sees it.
    Dropped,
}

/// Calls `operation` and makes its progress, its log and its `output` the job's own. Returns its
/// result.
pub(crate) async fn relay(
    job: &JobContext,
    operation: &str,
    input: Value,
    output: Output,
) -> Result<Value> {
    let mut events = job.stream(operation, input).await?;
    while let Some(event) = events.next().await {
        match event?.kind {
            EventKind::Output(value) if output == Output::Relayed => job.emit(&value).await?,
            EventKind::Progress(progress) => {
                job.progress(progress.done, progress.total, &progress.unit).await?;
            }
            EventKind::Log(line) => job.log(line.level, line.message).await?,
            EventKind::End(End::Succeeded { result }) => return Ok(result),
            EventKind::End(End::Failed { error }) => return Err(error.into()),
            _ => {}
        }
    }
    // Nobody but this job cancels the other one.
    Err(OperationError::message(format!("`{operation}` was cancelled")))
}
