//! An operation that a test puts in another one's place.

use async_trait::async_trait;
use futures_core::future::BoxFuture;
use serde_json::Value;

use crate::error::Result;
use crate::job::JobContext;
use crate::operation::{OperationHandler, OperationSpec};

/// What a fake does.
pub(super) type Does =
    Box<dyn Fn(Value, JobContext) -> BoxFuture<'static, Result<Value>> + Send + Sync>;

/// An operation that is a closure.
pub(super) struct Fake {
    pub(super) spec: OperationSpec,
    pub(super) does: Does,
}

#[async_trait]
impl OperationHandler for Fake {
    fn spec(&self) -> &OperationSpec {
        &self.spec
    }

    async fn handle(&self, input: Value, job: &JobContext) -> Result<Value> {
        (self.does)(input, job.clone()).await
    }
}
