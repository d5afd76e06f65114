//! Which worker a job asks.

use std::time::Instant;

use serde::Deserialize;
use serde_json::json;
use skep::job::Output;
use skep::prelude::*;

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
    Idle,
    Busy,
    /// It has no model yet, or none any more.
    #[serde(other)]
    Unready,
}

/// The worker that was chosen.
pub(crate) struct Chosen {
    pub(crate) id: String,
    /// How long the job waited for the model to be loaded, milliseconds.
    pub(crate) load_ms: u64,
}

/// The worker that the input names, or the one of its model that has the least to do, or a new one.
pub(crate) async fn choose(input: &InferInput, job: &JobContext) -> Result<Chosen> {
    let model = &input.model;
    if let Some(id) = &input.worker_id {
        let id = named(id, model, job).await?;
        return Ok(Chosen { id, load_ms: 0 });
    }
    if let Some(id) = find(model, job).await? {
        return Ok(Chosen { id, load_ms: 0 });
    }
    let started = Instant::now();
    let id = ensure(model, input.device, job).await?;
    let load_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(Chosen { id, load_ms })
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

/// The worker of the model that has the least to do, of those that have loaded it.
async fn find(model: &str, job: &JobContext) -> Result<Option<String>> {
    let workers: Vec<Worker> = job.call("worker_list", json!({})).await?;
    let fit = |worker: &Worker| worker.model == model && worker.state != State::Unready;
    Ok(workers.into_iter().filter(fit).min_by_key(Worker::load).map(|worker| worker.id))
}

/// One that loads by now, for whomever, and takes requests when it's done, as one does that starts again; or
/// a new one, whose load is the job's progress.
async fn ensure(model: &str, device: Device, job: &JobContext) -> Result<String> {
    let input = json!({ "model": model, "worker": device });
    let worker: Worker = job.relay("worker_ensure", input, Output::Dropped).await?;
    Ok(worker.id)
}
