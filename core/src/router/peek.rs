//! A look at what an operation tells, without a job.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::error::OperationError;
use crate::job::{Attempt, Job, JobContext, JobRecord, Log};
use crate::problem::{Code, Problem};
use crate::router::{PLUGIN_PATIENCE, Router};

impl Router {
    /// Runs a `read_only` operation and returns its result, without a job: nothing of it is kept or
    /// listed, no limit and no interceptor has a say, and what it emits is lost. For a plugin that
    /// looks at what others have again and again.
    ///
    /// It has 10 s, and is dropped with the future; an operation that blocks, blocks the caller.
    ///
    /// # Errors
    /// The operation's problem; `unknown-operation`, `invalid-input`; `forbidden` if it isn't
    /// `read_only`; `timeout`.
    pub async fn peek(&self, operation: &str, input: Value) -> Result<Value, Problem> {
        let operation = self.find(operation).map_err(|error| error.problem())?;
        let name = &operation.name;
        if !operation.spec.hints.read_only {
            let detail = format!("`{name}` changes something: it needs a job");
            return Err(Problem::new(Code::Forbidden, detail));
        }
        operation.check(&input).map_err(|error| error.problem())?;
        let record = JobRecord::new(name.clone(), RawValue::NULL.to_owned().into());
        let log = Log::new(self.config().max_log.as_u64(), None);
        log.open(1);
        let job = Arc::new(Job::new(record, operation.clone(), None, log));
        let deadline = clock::instant().checked_add(PLUGIN_PATIENCE);
        let cancel = CancellationToken::new();
        let attempt = Arc::new(Attempt::new(1, cancel.clone(), deadline));
        // What it has left behind when it's done learns that it's over.
        let _over = cancel.drop_guard();
        let context = JobContext::new(job, self.clone(), attempt);
        let result = AssertUnwindSafe(operation.handler.handle(input, &context)).catch_unwind();
        match timeout(PLUGIN_PATIENCE, result).await {
            Ok(Ok(result)) => result.map_err(OperationError::into_problem),
            Ok(Err(_)) => Err(Problem::new(Code::Panic, format!("`{name}` panicked"))),
            Err(_) => Err(Problem::new(Code::Timeout, format!("`{name}` took longer than it may"))),
        }
    }
}
