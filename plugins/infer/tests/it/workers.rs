//! Workers without processes and models, and a router that serves them.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use skep::plugin::Linked;
use skep::prelude::*;
use skep::store::MemoryStore;
use skep::{Config, Router};
use skep_infer as _;

/// Plays the workers: what it started is in its list, and the text of each answer is the request.
#[derive(Default)]
struct Workers {
    list: Mutex<Vec<Value>>,
}

/// Workers for the tests.
#[skep::plugin(name = "played-workers")]
impl Workers {
    /// List the workers.
    #[operation]
    async fn worker_list(&self) -> Result<Vec<Value>> {
        Ok(self.list.lock().unwrap().clone())
    }

    /// Show a worker.
    #[operation]
    async fn worker_get(
        &self,
        /// Its id.
        id: String,
    ) -> Result<Value> {
        let list = self.list.lock().unwrap();
        let found = list.iter().find(|worker| worker["id"] == id).cloned();
        found.ok_or_else(|| OperationError::new("unknown-worker", id).with_status(404))
    }

    /// Start a worker. The model `slow` never loads.
    #[operation]
    async fn worker_spawn(
        &self,
        /// Its model.
        model: String,
        /// What it computes with.
        worker: String,
        job: &JobContext,
    ) -> Result<Value> {
        self.start_worker(model, worker, job).await
    }

    /// The worker of a model, started if there's none.
    #[operation(hidden)]
    async fn worker_ensure(
        &self,
        /// Its model.
        model: String,
        /// What it computes with.
        worker: String,
        job: &JobContext,
    ) -> Result<Value> {
        let found = {
            let list = self.list.lock().unwrap();
            list.iter().find(|one| one["model"] == model).cloned()
        };
        match found {
            Some(worker) => Ok(worker),
            None => self.start_worker(model, worker, job).await,
        }
    }

    /// Make the worker `id` busy.
    #[operation]
    async fn occupy(
        &self,
        /// Its id.
        id: String,
    ) -> Result<()> {
        for worker in self.list.lock().unwrap().iter_mut().filter(|worker| worker["id"] == id) {
            worker["state"] = "busy".into();
            worker["jobs"] = 3.into();
        }
        Ok(())
    }

    /// Generate a text.
    #[operation(hidden)]
    async fn worker_infer(
        &self,
        /// The worker.
        worker_id: String,
        /// What to generate.
        request: Value,
        job: &JobContext,
    ) -> Result<Value> {
        job.progress(9, 9, "tokens").await?;
        for text in ["one", " two"] {
            job.emit(&json!({ "text": text })).await?;
        }
        job.log(LogLevel::Info, worker_id).await?;
        Ok(json!({
            "text": request.to_string(),
            "finish_reason": "length",
            "usage": { "prompt_tokens": 9, "completion_tokens": 2, "cached_tokens": 0 },
            "timings": { "prompt_ms": 5, "generation_ms": 50, "tokens_per_second": 40.0 },
        }))
    }
}

impl Workers {
    async fn start_worker(&self, model: String, worker: String, job: &JobContext) -> Result<Value> {
        if model == "missing" {
            return Err(OperationError::new("unknown-model", model).with_status(404));
        }
        for done in 0..=100 {
            job.progress(done, 100, "bytes").await?;
            tokio::task::yield_now().await;
        }
        if model == "slow" {
            job.cancelled().await;
        }
        let mut list = self.list.lock().unwrap();
        let id = format!("w-{}", list.len());
        list.push(
            json!({ "id": id, "model": model, "state": "idle", "jobs": 0, "worker": worker }),
        );
        Ok(list[list.len() - 1].clone())
    }
}

/// A router with `infer` and the workers.
pub(crate) async fn router() -> Router {
    router_of(Linked::all()).await
}

/// A router with what is in `linked`.
pub(crate) async fn router_of(linked: Linked) -> Router {
    let store = MemoryStore::new(1 << 24);
    Router::start(Config::default(), linked, Arc::new(store)).await.unwrap()
}
