//! Loading a model: the workers are another plugin's, of which only the names of operations are known,
//! `worker_list`, `worker_get`, `worker_ensure`, `worker_ready` and `worker_delete`.

use serde::Deserialize;
use serde_json::{Value, json};
use skep::job::Output;
use skep::prelude::*;
use tokio::sync::Mutex;

/// How often another worker is started when one has ended before it had the model.
const TRIES: u32 = 3;

/// A worker, as far as it matters here.
#[derive(Deserialize)]
struct Worker {
    id: String,
    model: String,
    state: String,
}

/// Loads models one after the other: at once they would but share the disk.
#[derive(Default)]
pub(crate) struct Loads(Mutex<()>);

impl Loads {
    /// The worker that holds the model, started if there's none.
    pub(crate) async fn load(&self, model: &str, device: u32, job: &JobContext) -> Result<Value> {
        let ready = |worker: &&Worker| matches!(&*worker.state, "idle" | "busy");
        if let Some(worker) = workers(model, job).await?.iter().find(ready) {
            return job.call("worker_get", json!({ "id": worker.id })).await;
        }
        let _alone = tokio::select! {
            alone = self.0.lock() => alone,
            () = job.cancelled() => return Err(OperationError::message("the job was cancelled")),
        };
        let input = json!({ "model": model, "device": device });
        let mut tries = 0;
        loop {
            let worker: Worker = job.relay("worker_ensure", input.clone(), Output::Dropped).await?;
            match job.call("worker_ready", json!({ "id": worker.id })).await {
                Err(error) if tries < TRIES && is_unloaded(&error) => tries += 1,
                ready => return ready,
            }
        }
    }
}

/// Whether the worker, which someone else may have started, has ended meanwhile.
fn is_unloaded(error: &OperationError) -> bool {
    matches!(&*error.problem().code, "worker-unloaded" | "worker-not-loaded" | "unknown-worker")
}

/// Ends the workers that hold the model. Returns their ids.
pub(crate) async fn unload(model: &str, job: &JobContext) -> Result<Vec<String>> {
    let mut ended = Vec::new();
    for Worker { id, .. } in workers(model, job).await? {
        match job.call::<Value>("worker_delete", json!({ "id": id })).await {
            Ok(_) => ended.push(id),
            // It has ended by itself meanwhile.
            Err(error) if error.problem().code == "unknown-worker" => {}
            Err(error) => return Err(error),
        }
    }
    Ok(ended)
}

/// The workers of the model.
async fn workers(model: &str, job: &JobContext) -> Result<Vec<Worker>> {
    let listed = job.call::<Vec<Worker>>("worker_list", json!({})).await;
    let mut workers = listed.map_err(|error| error.or_missing_plugin("worker", "skep-worker"))?;
    workers.retain(|worker| worker.model == model);
    Ok(workers)
}
