//! A plugin's background tasks, and the signal that ends them.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, warn};

/// How long tasks may take to be dropped.
const DROP_PATIENCE: Duration = Duration::from_millis(250);

/// Says when a plugin is to stop what it does beside its operations.
#[derive(Clone)]
pub struct ShutdownSignal(CancellationToken);

impl ShutdownSignal {
    /// Waits until it's time to stop: no job runs any more. Cancel-safe.
    pub async fn requested(&self) {
        self.0.cancelled().await;
    }

    /// Whether it's time to stop.
    pub fn is_requested(&self) -> bool {
        self.0.is_cancelled()
    }
}

/// The background tasks of one plugin.
#[derive(Clone)]
pub(crate) struct Tasks {
    plugin: &'static str,
    running: TaskTracker,
    /// They are to stop.
    stop: CancellationToken,
    /// They have had the time for it.
    abort: CancellationToken,
    has_panicked: Arc<AtomicBool>,
}

impl Tasks {
    pub(crate) fn new(plugin: &'static str) -> Self {
        Self {
            plugin,
            running: TaskTracker::new(),
            stop: CancellationToken::new(),
            abort: CancellationToken::new(),
            has_panicked: Arc::default(),
        }
    }

    pub(crate) fn signal(&self) -> ShutdownSignal {
        ShutdownSignal(self.stop.clone())
    }

    /// Runs `task` until it ends, or until it has not stopped when it had to.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let Self { plugin, abort, has_panicked, .. } = self.clone();
        self.running.spawn(async move {
            tokio::select! {
                // In this order, so that a task which is told both may still stop by itself.
                biased;
                done = AssertUnwindSafe(task).catch_unwind() => if done.is_err() {
                    has_panicked.store(true, Ordering::Relaxed);
                    error!("a background task of plugin `{plugin}` panicked");
                },
                () = abort.cancelled() => {}
            }
        });
    }

    /// Whether one of them has ended by a panic.
    pub(crate) fn has_panicked(&self) -> bool {
        self.has_panicked.load(Ordering::Relaxed)
    }

    /// Tells them to stop, and drops those that have not after `patience`.
    pub(crate) async fn stop(&self, patience: Duration) {
        self.stop.cancel();
        self.running.close();
        if timeout(patience, self.running.wait()).await.is_err() {
            let (count, plugin) = (self.running.len(), self.plugin);
            warn!("dropping {count} background tasks of plugin `{plugin}` after {patience:?}");
            self.abort.cancel();
            // One that blocks its thread isn't dropped, ever.
            let _ = timeout(DROP_PATIENCE, self.running.wait()).await;
        }
    }
}

/// The tasks of a plugin, which end with it: also if nobody shuts it down.
pub(crate) struct OwnedTasks(pub(crate) Tasks);

impl Drop for OwnedTasks {
    fn drop(&mut self) {
        self.0.stop.cancel();
        self.0.abort.cancel();
    }
}
