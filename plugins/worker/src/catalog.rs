//! The workers that run, by their ids.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use skep::prelude::*;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};
use uuid::Uuid;

use crate::process::{self, Program};
use crate::running::{REQUESTS, Running, Stop};

/// The longest part of an unknown id that is quoted back, characters.
const MAX_QUOTED: usize = 100;

/// How many of its last lines are told of a worker that crashed.
const LAST_LINES: usize = 5;

/// The workers that run.
pub(crate) struct Catalog {
    program: Program,
    max_workers: usize,
    workers: Mutex<HashMap<String, Arc<Running>>>,
    /// One task a worker, which ends when its process has.
    keepers: TaskTracker,
}

impl Catalog {
    /// No worker yet; they will be `program`, `max_workers` of them at most.
    pub(crate) fn new(program: Program, max_workers: usize) -> Self {
        Self { program, max_workers, workers: Mutex::default(), keepers: TaskTracker::new() }
    }

    /// What is started as a worker.
    pub(crate) fn program(&self) -> &Program {
        &self.program
    }

    /// Starts a worker's process. It's in the catalog from now to its end.
    pub(crate) fn start(self: &Arc<Self>, model: &str, architecture: &str) -> Result<Arc<Running>> {
        let (requests, to_process) = mpsc::channel(REQUESTS);
        let (running, process) = {
            let mut workers = self.lock();
            if workers.len() >= self.max_workers {
                let detail = format!(
                    "{} workers run already, as many as may (`max_workers`): delete one",
                    workers.len()
                );
                return Err(OperationError::new("too-many-workers", detail).with_status(429));
            }
            let process = self.program.start().map_err(|error| {
                let detail = format!("the worker's process can't be started: {error}");
                OperationError::new("worker-not-started", detail)
            })?;
            let pid = process.id().unwrap_or_default();
            let id = free_id(&workers);
            let running =
                Running::new(id.clone(), model.to_owned(), architecture.to_owned(), pid, requests);
            let running = Arc::new(running);
            workers.insert(id, running.clone());
            (running, process)
        };
        let (catalog, kept) = (self.clone(), running.clone());
        self.keepers.spawn(async move {
            let exit = process::keep(&kept, process, to_process).await;
            catalog.lock().remove(&kept.id);
            report(&kept, &exit);
            // Last, so that whoever fails by it finds the catalog without it.
            kept.has_gone(exit);
        });
        Ok(running)
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
        let id: String = id.chars().take(MAX_QUOTED).collect();
        let near = skep::nearest(&id, workers.keys().map(String::as_str));
        let hint = match near {
            Some(near) => format!(", did you mean `{near}`?"),
            None => "; `worker_list` has those that run".to_owned(),
        };
        let detail = format!("no worker `{id}` runs{hint}");
        let error = OperationError::new("unknown-worker", detail).with_status(404);
        Err(match near {
            Some(near) => error.with("did_you_mean", near),
            None => error,
        })
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

/// The worker's last lines, for whoever looks for the cause of its end.
pub(crate) fn last_lines(running: &Running) -> Vec<String> {
    let (lines, _) = running.log.read(running.log.before_last(LAST_LINES));
    lines.into_iter().map(|line| line.message).collect()
}

fn report(running: &Running, exit: &str) {
    let Running { id, model, .. } = running;
    if matches!(running.stop_reason(), None | Some(Stop::Nonsense)) {
        let log = last_lines(running).join("\n");
        warn!(worker = %id, model = %model, log, "a worker ended by itself: {exit}");
    } else {
        info!(worker = %id, model = %model, "a worker was ended: {exit}");
    }
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
