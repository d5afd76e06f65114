//! A router's shutdown: no new jobs, an end for those that run, then the plugins.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::timeout;
use tracing::{info, warn};

use crate::job::Stop;
use crate::router::{PLUGIN_PATIENCE, Phase, Router, Running};

/// How long the store may take to keep the ends of the jobs that are interrupted.
const STORE_PATIENCE: Duration = Duration::from_secs(10);

impl Router {
    /// Whether [`shutdown`](Self::shutdown) has begun: new jobs are refused.
    pub fn is_shutting_down(&self) -> bool {
        self.lock().phase != Phase::Open
    }

    /// Ends everything: refuses new jobs, lets those that run finish for `drain`, interrupts the
    /// others, and shuts the plugins down in the reverse order of their starts.
    ///
    /// If the store outlives this process, jobs that wait stay there, and so do those that are
    /// interrupted and whose operations are idempotent: they go on in the next process, and their
    /// readers' streams break off. All others end as `interrupted`; those that wait for their time or
    /// their first reader, if they can't be left, at once.
    ///
    /// It's done at the latest `drain`, `jobs.cancel_grace` and 10 s for the store and for each
    /// plugin and its background tasks from now. A second call may cut the drain short; it doesn't shut a plugin down twice.
    pub async fn shutdown(&self, drain: Duration) {
        {
            let mut live = self.lock();
            if live.phase == Phase::Open {
                live.phase = Phase::Draining;
            }
        }
        info!("stopping: jobs that run may finish for {drain:?}");
        if self.is_durable() {
            // Those that wait do so in the store.
            self.inner.admission.close();
        }
        self.inner.left.cancel();
        self.inner.unfinished.close();
        if timeout(drain, self.inner.unfinished.wait()).await.is_err() {
            self.interrupt(drain).await;
        }
        let plugins = {
            let mut live = self.lock();
            live.phase = Phase::Interrupting;
            !std::mem::replace(&mut live.plugins_are_down, true)
        };
        if plugins {
            shut_down(&self.inner.plugins).await;
        }
    }

    async fn interrupt(&self, drain: Duration) {
        let jobs: Vec<_> = {
            let mut live = self.lock();
            // A job that is just being accepted finds this and stops itself.
            live.phase = Phase::Interrupting;
            live.jobs.values().cloned().collect()
        };
        info!("interrupting {} jobs that did not finish within {drain:?}", jobs.len());
        for job in jobs {
            job.stop(Stop::Shutdown);
        }
        // A stopped job ends after its grace, whatever its handler does; but its store may fail.
        let patience = self.config().cancel_grace.saturating_add(STORE_PATIENCE);
        if timeout(patience, self.inner.unfinished.wait()).await.is_err() {
            warn!("{} jobs could not be ended: the store did not take it", self.job_counts().live);
        }
    }
}

/// Shuts `plugins` down, the last one first.
pub(super) async fn shut_down(plugins: &[Running]) {
    for Running { name, plugin, tasks, .. } in plugins.iter().rev() {
        tasks.0.stop(PLUGIN_PATIENCE).await;
        let shutdown = AssertUnwindSafe(plugin.shutdown()).catch_unwind();
        match timeout(PLUGIN_PATIENCE, shutdown).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => warn!("plugin `{name}` panicked while it shut down"),
            Err(_) => warn!("plugin `{name}` did not shut down within {PLUGIN_PATIENCE:?}"),
        }
    }
}
