//! Where the engine asks its interceptors.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use tokio::time::{Instant, timeout_at};
use tracing::error;

use crate::error::Result;
use crate::interceptor::{Execution, Interceptor};
use crate::job::{JobContext, JobId, JobRecord, JobRequest};
use crate::operation::OperationSpec;
use crate::problem::{Code, Problem};
use crate::registry::Operation;
use crate::router::{PLUGIN_PATIENCE, Router, RouterError};

impl Router {
    /// Asks every interceptor whether the job may be made, within 10 s in all. One that fails to answer
    /// refuses it: a quota that is broken must not let everything through.
    pub(super) async fn ask_interceptors(
        &self,
        request: &JobRequest,
        operation: &Operation,
    ) -> Result<(), RouterError> {
        let late = Instant::now() + PLUGIN_PATIENCE;
        for (plugin, interceptor) in self.interceptors(&operation.spec) {
            let asked = AssertUnwindSafe(interceptor.accept(request, &operation.spec));
            let problem = match timeout_at(late, asked.catch_unwind()).await {
                Ok(Ok(Ok(()))) => continue,
                Ok(Ok(Err(error))) => error.into_problem(),
                Ok(Err(_)) => broken(plugin, "panicked"),
                Err(_) => broken(plugin, "did not answer in time"),
            };
            return Err(RouterError::Refused(problem));
        }
        Ok(())
    }

    /// Tells every interceptor of a job that has been begun and that ends now without another attempt, within
    /// 10 s in all.
    pub(crate) async fn tell_of_cut_off(&self, job: &JobContext) {
        let late = Instant::now() + PLUGIN_PATIENCE;
        for (plugin, interceptor) in self.interceptors(&job.job.operation.spec).rev() {
            tell(plugin, job.id(), late, interceptor.cut_off(job)).await;
        }
    }

    /// Tells every interceptor that a job has ended, the last one first, within 10 s in all.
    pub(crate) async fn tell_interceptors(&self, operation: &Operation, job: &JobRecord) {
        let late = Instant::now() + PLUGIN_PATIENCE;
        for (plugin, interceptor) in self.interceptors(&operation.spec).rev() {
            tell(plugin, job.id, late, interceptor.after(job)).await;
        }
    }

    /// Whether anything stands around executions of the operation.
    pub(crate) fn is_intercepted(&self, operation: &Operation) -> bool {
        self.interceptors(&operation.spec).next().is_some()
    }

    /// Those that have a say in the operation's jobs, in the order of their plugins' start.
    fn interceptors<'a>(
        &'a self,
        operation: &'a OperationSpec,
    ) -> impl DoubleEndedIterator<Item = (&'static str, &'a Arc<dyn Interceptor>)> {
        let plugins = self.inner.plugins.iter();
        let all = plugins.filter_map(|plugin| Some((plugin.name, plugin.interceptor.as_ref()?)));
        all.filter(|(_, interceptor)| interceptor.concerns(operation))
    }
}

impl Execution {
    /// Has every interceptor prepare the attempt. Their errors, their panics and their time are the
    /// attempt's.
    pub(crate) async fn prepare(mut self) -> Result<Self> {
        let router = self.job.router().clone();
        let asked_for = self.job.job.operation.clone();
        for (_, interceptor) in router.interceptors(&asked_for.spec) {
            interceptor.before(&mut self).await?;
        }
        Ok(self)
    }
}

/// Tells an interceptor something of a job. Whatever it does, the job goes on.
async fn tell(plugin: &str, job: JobId, late: Instant, told: impl Future<Output = ()>) {
    match timeout_at(late, AssertUnwindSafe(told).catch_unwind()).await {
        Ok(Ok(())) => {}
        Ok(Err(_)) => error!(%job, "the interceptor of `{plugin}` panicked"),
        Err(_) => error!(%job, "the interceptor of `{plugin}` took too long"),
    }
}

/// The interceptor's own words are for the server's log.
fn broken(plugin: &str, how: &str) -> Problem {
    error!("the interceptor of plugin `{plugin}` {how}; the job is refused");
    Problem::new(Code::Internal, format!("the interceptor of plugin `{plugin}` {how}"))
}
