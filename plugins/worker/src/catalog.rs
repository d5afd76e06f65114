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
use crate::worker::{Kind, Memory, ModelFile};

/// After how long a worker may have ended its job.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// The workers that run.
pub(crate) struct Catalog {
    pub(crate) means: Means,
    workers: Mutex<HashMap<String, Arc<Running>>>,
    /// Held while room is made and a worker started in it.
    starting: tokio::sync::Mutex<()>,
    /// Two tasks a worker: one keeps it, one waits until it has been idle for long. They end with it.
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
    /// Returns what it's to load: with fewer slots if there isn't memory for all.
    ///
    /// # Errors
    /// `worker-crash-loop`, `too-many-workers`, `out-of-memory`; `worker-not-started`.
    pub(crate) async fn start(
        self: &Arc<Self>,
        model: &ModelFile,
        kind: Kind,
        driver: &(dyn Driver + Sync),
        load: Load,
    ) -> Result<(Arc<Running>, Load)> {
        let _alone = self.starting.lock().await;
        self.means.crashes.check(&model.id)?;
        let (memory, log) = (driver.memory(model, load.context), Log::new());
        let slots = self.make_room(model, &memory, load.slots).await?;
        if slots < load.slots {
            let message = format!("there's memory for {slots} of {} slots", load.slots);
            log.push(LogLevel::Warn, message);
        }
        let load = Load { slots, ..load };
        let recipe = driver.recipe(load.clone())?;
        let process = self.means.program.start(&recipe, &log).map_err(|error| {
            let detail = format!("the worker's process can't be started: {error}");
            OperationError::new("worker-not-started", detail)
        })?;
        let running = {
            let mut workers = self.lock();
            let id = free_id(&workers);
            let session = process.session.clone();
            let running = Running::new(id.clone(), model, kind, memory.with(slots), log, session);
            let running = Arc::new(running);
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
        Ok((running, load))
    }

    /// Ends workers that have no job, the one that has had none for the longest first, until there's a
    /// place and memory for the model. Returns for how many slots there is, at most so many.
    ///
    /// # Errors
    /// `too-many-workers` (429) or `out-of-memory` (503), if all that are left have jobs.
    async fn make_room(&self, model: &ModelFile, memory: &Memory, most: usize) -> Result<usize> {
        loop {
            let workers = self.list();
            let lack = match self.room(&workers, model, memory) {
                Ok(room) => return Ok(slots(memory, room).clamp(1, most.max(1))),
                Err(lack) => lack,
            };
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

    /// How much memory there is for one more worker, bytes, if there's a place for it and enough for one
    /// slot.
    fn room(&self, workers: &[Arc<Running>], model: &ModelFile, memory: &Memory) -> Result<u64> {
        if workers.len() >= self.means.limits.workers {
            let detail = format!(
                "{} workers have jobs, as many as may run (`max_workers`): wait, or delete one",
                workers.len()
            );
            return Err(OperationError::new("too-many-workers", detail).with_status(429));
        }
        let free = if let Some(limit) = self.means.limits.memory {
            limit.saturating_sub(workers.iter().map(|worker| worker.memory).sum())
        } else {
            let to_come = workers.iter().map(|worker| worker.memory_to_come()).sum();
            free_memory().saturating_sub(to_come)
        };
        let needed = memory.with(1);
        if needed <= free {
            return Ok(free);
        }
        let detail = format!(
            "the model `{}` takes {needed} bytes of memory with one context, and {free} are free{}",
            model.id,
            if workers.is_empty() { "" } else { "; the workers that run have jobs" },
        );
        let error = OperationError::new("out-of-memory", detail).with_status(503);
        Err(error.with("needed", needed).with("free", free))
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

/// For how many slots there's room beside the weights.
fn slots(memory: &Memory, room: u64) -> usize {
    let slots = room.saturating_sub(memory.weights).checked_div(memory.slot);
    slots.map_or(usize::MAX, |slots| usize::try_from(slots).unwrap_or(usize::MAX))
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
