//! This machine's own heartbeat.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::json;
use skep::Router;
use skep::plugin::{RouterHandle, ShutdownSignal};
use skep::problem::Code;
use sysinfo::System;
use tokio::sync::{Notify, watch};
use tokio::time::{MissedTickBehavior, interval};
use tracing::debug;

use crate::gpu::gpus;
use crate::heartbeat::{Capacity, Gpu, Heartbeat, Jobs};

/// How often graphics processors are looked at: that starts a program each time.
const GPU_INTERVAL: Duration = Duration::from_secs(10);

/// How soon after one heartbeat the next may come when something has changed.
const SOONEST: Duration = Duration::from_millis(50);

/// What tells how this machine is.
pub(crate) struct Pulse {
    router: RouterHandle,
    interval: Duration,
    started_at: Timestamp,
    /// Something has changed: the next heartbeat comes at once.
    changed: Notify,
    gpus: Mutex<Vec<Gpu>>,
    latest: watch::Sender<Arc<Heartbeat>>,
}

impl Pulse {
    /// A heartbeat each `interval`, of what the router's operations tell.
    pub(crate) fn new(router: RouterHandle, interval: Duration) -> Self {
        let started_at = Timestamp::now();
        let first = Heartbeat { started_at, ..Heartbeat::default() };
        Self {
            router,
            interval,
            started_at,
            changed: Notify::new(),
            gpus: Mutex::default(),
            latest: watch::Sender::new(Arc::new(first)),
        }
    }

    /// Has the next heartbeat come at once.
    pub(crate) fn change(&self) {
        self.changed.notify_one();
    }

    /// The heartbeats as they come.
    pub(crate) fn watch(&self) -> watch::Receiver<Arc<Heartbeat>> {
        self.latest.subscribe()
    }

    /// Beats until the server goes down.
    pub(crate) async fn run(self: Arc<Self>, shutdown: ShutdownSignal) {
        if self.router.started().await.is_none() {
            return;
        }
        tokio::select! {
            () = self.beat() => {}
            () = self.look_at_gpus() => {}
            () = shutdown.requested() => {}
        }
    }

    /// Apart from the heartbeats, which don't wait until a processor has woken.
    async fn look_at_gpus(&self) {
        let mut ticks = interval(GPU_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let found = gpus().await;
            let is_other = {
                let mut known = self.gpus.lock().unwrap_or_else(PoisonError::into_inner);
                std::mem::replace(&mut *known, found).len() != known.len()
            };
            if is_other {
                self.change();
            }
        }
    }

    async fn beat(&self) {
        let mut ticks = interval(self.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.changed.notified() => tokio::time::sleep(SOONEST).await,
            }
            // Not held while it waits: a task must not keep the router alive.
            let Some(router) = self.router.router() else { return };
            self.latest.send_replace(Arc::new(self.look(&router).await));
        }
    }

    /// How this machine is now.
    pub(crate) async fn look(&self, router: &Router) -> Heartbeat {
        let counts = router.job_counts();
        let gpus = self.gpus.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut system = System::new();
        system.refresh_memory();
        Heartbeat {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            started_at: self.started_at,
            capacity: Capacity {
                cores: std::thread::available_parallelism().map_or(1, usize::from),
                memory_total: system.total_memory(),
                memory_free: system.available_memory(),
                gpus,
            },
            jobs: Jobs { live: counts.live, queued: counts.queued },
            models: list(router, "model_list").await,
            workers: list(router, "worker_list").await,
        }
    }
}

/// What another plugin's operation lists. One that fails is missing in the heartbeat, which is worth
/// more than none at all.
async fn list<T: DeserializeOwned>(router: &Router, operation: &str) -> Option<Vec<T>> {
    match router.peek(operation, json!({})).await {
        Ok(list) => serde_json::from_value(list).ok(),
        Err(problem) if problem.is(Code::UnknownOperation) => None,
        Err(problem) => {
            debug!("`{operation}` is missing in the heartbeat: {problem}");
            None
        }
    }
}
