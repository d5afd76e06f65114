//! Which worker a job asks.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

use serde::Deserialize;
use serde_json::json;
use skep::job::Output;
use skep::prelude::*;
use tokio::sync;

use crate::input::{Device, InferInput};

/// A worker, as far as the choice goes.
#[derive(Deserialize)]
struct Worker {
    id: String,
    model: String,
    state: State,
    jobs: u64,
    /// How many jobs it works on at once; absent while it loads.
    #[serde(default)]
    slots: Option<u64>,
}

impl Worker {
    /// How many jobs one more would have to wait for, and how many there are.
    fn load(&self) -> (u64, u64) {
        ((self.jobs + 1).saturating_sub(self.slots.unwrap_or(1)), self.jobs)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Loading,
    Idle,
    Busy,
    Restarting,
    Stopped,
}

/// The worker that was chosen.
pub(crate) struct Chosen {
    pub(crate) id: String,
    /// How long the job waited for the model to be loaded, milliseconds.
    pub(crate) load_ms: u64,
}

/// Sees to it that jobs which find no worker of a model start one, not one each.
#[derive(Default)]
pub(crate) struct Choice {
    /// Whoever looks for a worker or starts one holds its model's lock.
    models: Mutex<HashMap<String, Weak<sync::Mutex<()>>>>,
}

impl Choice {
    /// The worker that the input names, or the one of its model that has the least to do, or a new one.
    pub(crate) async fn worker(&self, input: &InferInput, job: &JobContext) -> Result<Chosen> {
        let model = &input.model;
        if let Some(id) = &input.worker_id {
            let id = named(id, model, job).await?;
            return Ok(Chosen { id, load_ms: 0 });
        }
        if let Some(id) = find(model, &[State::Idle, State::Busy], job).await? {
            return Ok(Chosen { id, load_ms: 0 });
        }
        let started = Instant::now();
        let lock = self.lock_of(model);
        let _alone = tokio::select! {
            alone = lock.lock() => alone,
            () = job.cancelled() => return Err(OperationError::message("the job was cancelled")),
        };
        // The job that had the lock before may have started one. One that loads by now is someone
        // else's, and takes requests when it's done; as one does that starts again.
        let states = [State::Loading, State::Restarting, State::Idle, State::Busy];
        let id = match find(model, &states, job).await? {
            Some(id) => id,
            None => spawn(model, input.device, job).await?,
        };
        let load_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(Chosen { id, load_ms })
    }

    fn lock_of(&self, model: &str) -> Arc<sync::Mutex<()>> {
        // Only map operations run under the lock.
        let mut models = self.models.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lock) = models.get(model).and_then(Weak::upgrade) {
            return lock;
        }
        models.retain(|_, lock| lock.strong_count() > 0);
        let lock = Arc::default();
        models.insert(model.to_owned(), Arc::downgrade(&lock));
        lock
    }
}

/// The worker `id`, if it has the model.
async fn named(id: &str, model: &str, job: &JobContext) -> Result<String> {
    let worker: Worker = job.call("worker_get", json!({ "id": id })).await?;
    if worker.model == model {
        return Ok(worker.id);
    }
    let detail = format!("worker `{id}` has the model `{}`, not `{model}`", worker.model);
    Err(OperationError::new("wrong-model", detail).with_status(409))
}

/// The worker of the model that has the least to do, of those in one of `states`.
async fn find(model: &str, states: &[State], job: &JobContext) -> Result<Option<String>> {
    let workers: Vec<Worker> = job.call("worker_list", json!({})).await?;
    let fit = |worker: &Worker| worker.model == model && states.contains(&worker.state);
    Ok(workers.into_iter().filter(fit).min_by_key(Worker::load).map(|worker| worker.id))
}

/// Starts a worker; its load is the job's progress.
async fn spawn(model: &str, device: Device, job: &JobContext) -> Result<String> {
    let input = json!({ "model": model, "worker": device });
    let worker: Worker = job.relay("worker_spawn", input, Output::Dropped).await?;
    Ok(worker.id)
}
