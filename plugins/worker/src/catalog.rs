//! The workers that run, by their ids.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use skep::prelude::*;
use sysinfo::System;
use tokio_util::task::TaskTracker;
use tracing::info;
use uuid::Uuid;

use crate::crashes::Crashes;
use crate::driver::Driver;
use crate::log::Log;
use crate::process::Program;
use crate::protocol::Load;
use crate::running::{Running, Stop};
use crate::supervisor::{Limits, Means, supervise};
use crate::worker::{Kind, ModelFile};

/// After how long a worker may have ended its job.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// The workers that run.
pub(crate) struct Catalog {
    pub(crate) means: Means,
    workers: Mutex<HashMap<String, Arc<Running>>>,
    /// Held while room is made and a worker started in it.
    starting: tokio::sync::Mutex<()>,
    /// One task a worker, which ends when its process has.
    keepers: TaskTracker,
}

impl Catalog {
    /// No worker yet; they will be `program`, within `limits`.
    pub(crate) fn new(program: Program, limits: Limits) -> Self {
        Self {
            means: Means { program, limits, crashes: Crashes::default() },
            workers: Mutex::default(),
            starting: tokio::sync::Mutex::default(),
            keepers: TaskTracker::new(),
        }
    }

    /// Starts a worker, for which idle ones may have to end. It's in the catalog from now to its end.
    ///
    /// # Errors
    /// `worker-crash-loop`, `too-many-workers`, `out-of-memory`; `worker-not-started`.
    pub(crate) async fn start(
        self: &Arc<Self>,
        model: &ModelFile,
        kind: Kind,
        driver: &(dyn Driver + Sync),
        load: Load,
    ) -> Result<Arc<Running>> {
        let _alone = self.starting.lock().await;
        self.means.crashes.check(&model.id)?;
        self.make_room(model).await?;
        let recipe = driver.recipe(load)?;
        let log = Log::new();
        let process = self.means.program.start(&recipe, &log).map_err(|error| {
            let detail = format!("the worker's process can't be started: {error}");
            OperationError::new("worker-not-started", detail)
        })?;
        let running = {
            let mut workers = self.lock();
            let id = free_id(&workers);
            let session = process.session.clone();
            let running = Arc::new(Running::new(id.clone(), model, kind, log, session));
            workers.insert(id, running.clone());
            running
        };
        if let Some(long) = self.means.limits.idle {
            let idle = running.clone();
            self.keepers.spawn(async move {
                tokio::select! {
                    () = idle.queue.idle_for(long) => idle.stop(Stop::Idle),
                    () = idle.end.cancelled() => {}
                }
            });
        }
        let (catalog, kept) = (self.clone(), running.clone());
        self.keepers.spawn(async move {
            let ending = supervise(&catalog.means, &kept, &recipe, process).await;
            catalog.lock().remove(&kept.id);
            // Last, so that whoever fails by it finds the catalog without it.
            kept.has_gone(ending);
        });
        Ok(running)
    }

    /// Ends workers that have no job, the one that has had none for the longest first, until there's a
    /// place and memory for the model.
    ///
    /// # Errors
    /// `too-many-workers` (429) or `out-of-memory` (503), if all that are left have jobs.
    async fn make_room(&self, model: &ModelFile) -> Result<()> {
        loop {
            let workers = self.list();
            let Some(lack) = self.lack(&workers, model) else { return Ok(()) };
            let idle = workers.iter().filter_map(|one| Some((one.queue.idle_since()?, one)));
            let Some((_, idle)) = idle.min_by_key(|(since, _)| *since) else {
                return Err(lack.with_retry_after(RETRY_AFTER));
            };
            // One that has got a job by now stays.
            if idle.queue.close_if_idle() {
                info!(worker = %idle.id, model = %idle.model, "a worker ends for `{}`", model.id);
                idle.stop(Stop::Evicted);
                idle.gone().await;
            }
        }
    }

    /// What is lacking for one more worker, if anything is.
    fn lack(&self, workers: &[Arc<Running>], model: &ModelFile) -> Option<OperationError> {
        if workers.len() >= self.means.limits.workers {
            let detail = format!(
                "{} workers have jobs, as many as may run (`max_workers`): wait, or delete one",
                workers.len()
            );
            return Some(OperationError::new("too-many-workers", detail).with_status(429));
        }
        let free = if let Some(limit) = self.means.limits.memory {
            limit.saturating_sub(workers.iter().map(|worker| worker.bytes).sum())
        } else {
            // What is being loaded isn't taken yet.
            let loading = workers.iter().filter(|worker| worker.is_loading());
            free_memory().saturating_sub(loading.map(|worker| worker.bytes).sum())
        };
        if model.bytes <= free {
            return None;
        }
        let detail = format!(
            "the model `{}` takes {} bytes of memory, and {free} are free; the workers that run have \
             jobs",
            model.id, model.bytes
        );
        let error = OperationError::new("out-of-memory", detail).with_status(503);
        Some(error.with("needed", model.bytes).with("free", free))
    }

    /// The workers, the oldest first.
    pub(crate) fn list(&self) -> Vec<Arc<Running>> {
        let mut workers: Vec<_> = self.lock().values().cloned().collect();
        workers.sort_by(|a, b| (a.started_at, &a.id).cmp(&(b.started_at, &b.id)));
        workers
    }

    /// The worker `id`.
    pub(crate) fn find(&self, id: &str) -> Result<Arc<Running>> {
        let workers = self.lock();
        if let Some(worker) = workers.get(id) {
            return Ok(worker.clone());
        }
        let known = workers.keys().map(String::as_str);
        Err(OperationError::unknown("worker", id, known, "worker_list"))
    }

    /// Ends every worker.
    pub(crate) async fn shut_down(&self) {
        for worker in self.list() {
            worker.stop(Stop::Shutdown);
        }
        self.keepers.close();
        self.keepers.wait().await;
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Running>>> {
        // A thread that died under the lock has at most left a worker out.
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How much memory the machine can still give, bytes.
fn free_memory() -> u64 {
    let mut system = System::new();
    system.refresh_memory();
    system.available_memory()
}

/// A short id that no worker has.
fn free_id(workers: &HashMap<String, Arc<Running>>) -> String {
    loop {
        // The end of a v7 id is random.
        let uuid = Uuid::now_v7().simple().to_string();
        let id = format!("w-{}", &uuid[uuid.len() - 8..]);
        if !workers.contains_key(&id) {
            return id;
        }
    }
}
