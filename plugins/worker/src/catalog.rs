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
use crate::queue::Place;
use crate::running::{Running, Stop};
use crate::supervisor::{Limits, Means, supervise};
use crate::worker::{Kind, Memory, ModelFile};

/// After how long a worker may have ended its job.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// How many servers may be attached: each takes a small process.
const MAX_ATTACHED: usize = 64;

/// The workers that run.
pub(crate) struct Catalog {
    pub(crate) means: Means,
    workers: Mutex<HashMap<String, Arc<Running>>>,
    /// Held while room is made and a worker started in it.
    starting: tokio::sync::Mutex<()>,
    /// Two tasks a worker: one keeps it, one waits until it has been idle for long. They end with it.
    keepers: TaskTracker,
}

/// Which worker of a model is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// One more.
    New,
    /// Whichever there is; a new one if there's none.
    Any,
}

/// The worker that was wanted.
pub(crate) enum Started {
    /// A new one. It's to load this, and that has its first place: no job comes before it.
    New(Arc<Running>, Load, Place),
    /// One that was there, which may still be loading.
    Found(Arc<Running>),
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

    /// Starts a worker, for which idle ones may have to end, unless one is there that is wanted. It's in the
    /// catalog from now to its end. What it's to load has fewer slots if there isn't memory for all.
    ///
    /// # Errors
    /// `worker-crash-loop`, `too-many-workers`, `out-of-memory`; `worker-not-started`.
    pub(crate) async fn start(
        self: &Arc<Self>,
        model: &ModelFile,
        kind: Kind,
        driver: &(dyn Driver + Sync),
        load: Load,
        wanted: Wanted,
    ) -> Result<Started> {
        let _alone = self.starting.lock().await;
        if wanted == Wanted::Any
            && let Some(running) = self.of_model(&model.id)
        {
            return Ok(Started::Found(running));
        }
        self.means.crashes.check(&model.id)?;
        let (memory, log, most) = (driver.memory(model, load.context), Log::new(), load.slots);
        // Before room is made: nobody ends for a program that is missing.
        let mut recipe = driver.recipe(load)?;
        if kind.is_attached() {
            self.check_attached()?;
        } else {
            let slots = self.make_room(model, &memory, most).await?;
            if slots < most {
                log.push(LogLevel::Warn, format!("there's memory for {slots} of {most} slots"));
            }
            recipe.load.slots = slots;
        }
        let load = recipe.load.clone();
        let process = self.means.program.start(&recipe, &log).map_err(|error| {
            let detail = format!("the worker's process can't be started: {error}");
            OperationError::new("worker-not-started", detail)
        })?;
        let (running, place) = {
            let mut workers = self.lock();
            let id = free_id(&workers);
            let session = process.session.clone();
            let running =
                Running::new(id.clone(), model, kind, memory.with(load.slots), log, session);
            let running = Arc::new(running);
            let place = running.queue.enter_first();
            workers.insert(id, running.clone());
            (running, place)
        };
        if let Some(long) = self.means.limits.idle.filter(|_| !running.kind.is_attached()) {
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
        Ok(Started::New(running, load, place))
    }

    /// Whether one more server may be attached.
    ///
    /// # Errors
    /// `too-many-workers` (429).
    fn check_attached(&self) -> Result<()> {
        let attached = self.list().iter().filter(|worker| worker.kind.is_attached()).count();
        if attached < MAX_ATTACHED {
            return Ok(());
        }
        let detail = format!("{attached} servers are attached, as many as may be: delete one");
        Err(OperationError::new("too-many-workers", detail).with_status(429))
    }

    /// Ends workers that have no job, the one that has had none for the longest first, until there's a
    /// place and memory for the model. Returns for how many slots there is, at most so many.
    ///
    /// # Errors
    /// `too-many-workers` (429) or `out-of-memory` (503), if it weren't enough that they all ended: then
    /// none does.
    async fn make_room(&self, model: &ModelFile, memory: &Memory, most: usize) -> Result<usize> {
        loop {
            // Others hold no memory of this machine.
            let ours = self.list().into_iter().filter(|worker| !worker.kind.is_attached());
            let ours: Vec<_> = ours.collect();
            if let Ok(room) = self.room(model, memory, &ours, &[]) {
                return Ok(slots(memory, room).clamp(1, most.max(1)));
            }
            let is_idle = |worker: &Arc<Running>| worker.queue.idle_since().is_some();
            let (idle, busy): (Vec<_>, Vec<_>) = ours.into_iter().partition(is_idle);
            self.room(model, memory, &busy, &idle)?;
            let Some(next) = idle.iter().min_by_key(|worker| worker.queue.idle_since()) else {
                // Memory has just become free.
                continue;
            };
            // One that has got a job by now stays.
            if next.queue.close_if_idle() {
                info!(worker = %next.id, model = %next.model, "a worker ends for `{}`", model.id);
                next.stop(Stop::Evicted);
                next.gone().await;
            }
        }
    }

    /// How much memory there is for one more worker, bytes, beside those that stay and without those that
    /// leave, if there's a place for it and enough for one slot.
    fn room(
        &self,
        model: &ModelFile,
        memory: &Memory,
        stay: &[Arc<Running>],
        leave: &[Arc<Running>],
    ) -> Result<u64> {
        if stay.len() >= self.means.limits.workers {
            let detail = format!(
                "{} workers have jobs, as many as may run (`max_workers`): wait, or delete one",
                stay.len()
            );
            let error = OperationError::new("too-many-workers", detail).with_status(429);
            return Err(error.with_retry_after(RETRY_AFTER));
        }
        let (total, free) = self.memory(stay, leave);
        let needed = memory.with(1);
        if needed <= free {
            return Ok(free);
        }
        let takes =
            format!("the model `{}` takes {needed} bytes of memory with one context", model.id);
        let error = |detail| {
            let error = OperationError::new("out-of-memory", detail).with_status(503);
            error.with("needed", needed).with("free", free)
        };
        if needed > total {
            return Err(error(format!("{takes}, and workers may take {total} in all")));
        }
        let busy = if stay.is_empty() { "" } else { "; the workers that run have jobs" };
        let detail = format!("{takes}, and {free} are free{busy}");
        Err(error(detail).with_retry_after(RETRY_AFTER))
    }

    /// How much memory workers may take in all, bytes, and how much of it is free beside those that stay
    /// and without those that leave.
    fn memory(&self, stay: &[Arc<Running>], leave: &[Arc<Running>]) -> (u64, u64) {
        if let Some(limit) = self.means.limits.memory {
            let taken = stay.iter().map(|worker| worker.memory).sum();
            return (limit, limit.saturating_sub(taken));
        }
        let mut system = System::new();
        system.refresh_memory();
        let to_come: u64 = stay.iter().map(|worker| worker.memory_to_come()).sum();
        let given_back: u64 =
            leave.iter().map(|worker| worker.memory.saturating_sub(worker.memory_to_come())).sum();
        let free = system.available_memory().saturating_add(given_back).saturating_sub(to_come);
        (system.total_memory(), free)
    }

    /// The worker of the model that has the least to do, rather one that has loaded it.
    pub(crate) fn of_model(&self, model: &str) -> Option<Arc<Running>> {
        let fit = |worker: &Arc<Running>| worker.model == model && worker.stop_reason().is_none();
        let fits = self.list().into_iter().filter(fit);
        fits.min_by_key(|worker| (!worker.has_loaded(), worker.queue.len()))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::Cpu;
    use crate::worker::Backend;

    #[tokio::test]
    async fn a_worker_has_its_load_before_anyone_can_find_it() {
        let command = ["sh", "-c", "cat > /dev/null"].map(str::to_owned).to_vec();
        let limits = Limits {
            workers: 1,
            memory: Some(1),
            idle: None,
            start: Duration::MAX,
            unresponsive: Duration::MAX,
        };
        let catalog = Arc::new(Catalog::new(Program::new(Some(command), None).unwrap(), limits));
        let model = ModelFile {
            id: "m".to_owned(),
            architecture: "llama".to_owned(),
            bytes: 1,
            quantisation: None,
            context_length: None,
            kv_size: None,
        };
        let kind = Kind { backend: Backend::Cpu, device: 0, url: None };
        let load = Load { path: String::new(), context: 1, slots: 1 };
        let started = catalog.start(&model, kind, &Cpu, load, Wanted::New).await.unwrap();
        let Started::New(running, _, _place) = started else { panic!("there was no worker") };
        let job = running.enter().await.unwrap();
        assert_eq!(running.before(&job, None).await.unwrap(), 1);
        catalog.shut_down().await;
    }
}
