//! Workers that nobody here has started, and that tell of themselves: `POST /v1/heartbeat`.
//!
//! The first heartbeat has the plugin of the workers attach the worker's server; silence has it deleted.
//! That plugin is known by its operations' names, `worker_attach` and `worker_delete`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use skep::plugin::{RouterHandle, ShutdownSignal};
use skep::prelude::*;
use skep::problem::{Code, Problem};
use tokio::time::{Instant, interval};
use tracing::{info, warn};

/// What a worker tells of itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Report {
    /// Where its server is, which speaks OpenAI's protocol.
    url: String,
    /// What `infer` is to call the model.
    model: String,
    /// What the server calls it, if that is another name.
    #[serde(default)]
    remote_model: Option<String>,
}

/// What it's answered.
#[derive(Serialize)]
pub(crate) struct Welcome {
    /// Its id here.
    worker_id: String,
    /// How soon it's to tell again, seconds.
    again_after: f64,
}

/// The workers that tell of themselves.
pub(crate) struct Reported {
    router: RouterHandle,
    /// How often they are to tell, and after how long of silence they are gone.
    heartbeat: Duration,
    offline: Duration,
    workers: Mutex<HashMap<Report, Known>>,
    /// Held while one is attached, so that it isn't attached twice.
    attaching: tokio::sync::Mutex<()>,
}

struct Known {
    worker_id: String,
    heard: Instant,
}

impl Reported {
    pub(crate) fn new(router: RouterHandle, heartbeat: Duration, offline: Duration) -> Self {
        let (workers, attaching) = (Mutex::default(), tokio::sync::Mutex::default());
        Self { router, heartbeat, offline, workers, attaching }
    }

    /// A worker tells that it's alive.
    ///
    /// # Errors
    /// What `worker_attach` says, if it's the first time.
    pub(crate) async fn hear(&self, report: Report) -> Result<Welcome> {
        let worker_id = match self.known(&report).await {
            Some(worker_id) => {
                self.note(&report, &worker_id);
                worker_id
            }
            None => self.attach_once(&report).await?,
        };
        Ok(Welcome { worker_id, again_after: self.heartbeat.as_secs_f64() })
    }

    /// Forgets those that are silent, until the server goes down.
    pub(crate) async fn watch(self: Arc<Self>, shutdown: ShutdownSignal) {
        let mut ticks = interval(self.heartbeat);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = shutdown.requested() => return,
            }
            for id in self.silent() {
                warn!(worker = %id, "a worker that told of itself is silent: it's deleted");
                self.delete(&id).await;
            }
        }
    }

    /// Takes out those that have been silent for too long.
    fn silent(&self) -> Vec<String> {
        let mut workers = self.lock();
        let silent = workers.extract_if(|_, known| known.heard.elapsed() >= self.offline);
        silent.map(|(_, known)| known.worker_id).collect()
    }

    /// The worker that has been attached for the report, if it's still there.
    async fn known(&self, report: &Report) -> Option<String> {
        let id = self.lock().get(report)?.worker_id.clone();
        let there = self.router.router()?.peek("worker_get", json!({ "id": id })).await;
        there.is_ok().then_some(id)
    }

    /// Attaches it, unless that's done by the time that it's its turn. Those that are known don't wait for
    /// it: it takes seconds if it can't be reached.
    async fn attach_once(&self, report: &Report) -> Result<String> {
        let _alone = self.attaching.lock().await;
        let worker_id = match self.known(report).await {
            Some(worker_id) => worker_id,
            None => self.attach(report).await?,
        };
        self.note(report, &worker_id);
        Ok(worker_id)
    }

    /// The worker has told that it's alive.
    fn note(&self, report: &Report, worker_id: &str) {
        let known = Known { worker_id: worker_id.to_owned(), heard: Instant::now() };
        self.lock().insert(report.clone(), known);
    }

    async fn attach(&self, report: &Report) -> Result<String> {
        let gone = || Problem::new(Code::ShuttingDown, "the server goes down");
        let router = self.router.router().ok_or_else(gone)?;
        let Report { url, model, remote_model } = report;
        let input = json!({ "url": url, "model": model, "remote_model": remote_model });
        let worker = router.call("worker_attach", input).await.map_err(|problem| {
            OperationError::from(problem).or_missing_plugin("worker", "skep-worker")
        })?;
        let id = worker["id"].as_str().unwrap_or_default().to_owned();
        info!(worker = %id, %url, %model, "a worker tells of itself");
        Ok(id)
    }

    async fn delete(&self, id: &str) {
        let Some(router) = self.router.router() else { return };
        let deleted: Result<Value, _> = router.call("worker_delete", json!({ "id": id })).await;
        if let Err(problem) = deleted
            && problem.code != "unknown-worker"
        {
            warn!(worker = %id, "it can't be deleted: {problem}");
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Report, Known>> {
        // Only map operations run under the lock.
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
