//! Where the engine asks its interceptors.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use tokio::time::{Instant, timeout_at};
use tracing::error;

use crate::error::Result;
use crate::interceptor::{Execution, Interceptor};
use crate::job::{JobRecord, JobRequest};
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
        for (plugin, interceptor) in self.interceptors() {
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

    /// Tells every interceptor that a job has ended, the last one first, within 10 s in all.
    pub(crate) async fn tell_interceptors(&self, job: &JobRecord) {
        let late = Instant::now() + PLUGIN_PATIENCE;
        for (plugin, interceptor) in self.interceptors().rev() {
            let told = AssertUnwindSafe(interceptor.after(job)).catch_unwind();
            match timeout_at(late, told).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => error!(job = %job.id, "the interceptor of `{plugin}` panicked"),
                Err(_) => error!(job = %job.id, "the interceptor of `{plugin}` took too long"),
            }
        }
    }

    /// Whether anything stands around executions.
    pub(crate) fn is_intercepted(&self) -> bool {
        self.interceptors().next().is_some()
    }

    fn interceptors(
        &self,
    ) -> impl DoubleEndedIterator<Item = (&'static str, &Arc<dyn Interceptor>)> {
        let plugins = self.inner.plugins.iter();
        plugins.filter_map(|plugin| Some((plugin.name, plugin.interceptor.as_ref()?)))
    }
}

impl Execution {
    /// Has every interceptor prepare the attempt. Their errors, their panics and their time are the
    /// attempt's.
    pub(crate) async fn prepare(mut self) -> Result<Self> {
        let router = self.job.router().clone();
        for (_, interceptor) in router.interceptors() {
            interceptor.before(&mut self).await?;
        }
        Ok(self)
    }
}

/// The interceptor's own words are for the server's log.
fn broken(plugin: &str, how: &str) -> Problem {
    error!("the interceptor of plugin `{plugin}` {how}; the job is refused");
    Problem::new(Code::Internal, format!("the interceptor of plugin `{plugin}` {how}"))
}
