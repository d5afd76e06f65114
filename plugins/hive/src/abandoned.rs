//! The jobs of a hive that nobody waits for any more, until they are cancelled there.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use skep_relay::{Abandoned, Server};
use tokio::sync::Notify;
use tracing::warn;

/// The jobs of a hive that are to be cancelled.
#[derive(Default)]
pub(crate) struct AbandonedJobs {
    jobs: Mutex<Jobs>,
    added: Notify,
}

/// By their numbers, in the order in which they came.
#[derive(Default)]
struct Jobs {
    last: u64,
    waiting: BTreeMap<u64, Abandoned>,
}

impl AbandonedJobs {
    /// Has a job cancelled when the hive can be reached.
    pub(crate) fn add(&self, job: Abandoned) {
        let mut jobs = self.lock();
        jobs.last += 1;
        let number = jobs.last;
        jobs.waiting.insert(number, job);
        self.added.notify_one();
    }

    /// Waits until one is added. Cancel-safe.
    pub(crate) async fn added(&self) {
        self.added.notified().await;
    }

    /// Cancels all, one after the other. Returns whether that was possible. One that is being cancelled
    /// when this is dropped is cancelled again the next time.
    pub(crate) async fn cancel(&self, hive: &str, server: &Server) -> bool {
        while let Some((number, job)) = self.first() {
            if let Err(failure) = job.cancel(server).await {
                warn!(%hive, "a job that nobody waits for goes on: {failure}");
                if failure.is_passing() {
                    return false;
                }
            }
            self.lock().waiting.remove(&number);
        }
        true
    }

    fn first(&self) -> Option<(u64, Abandoned)> {
        self.lock().waiting.first_key_value().map(|(number, job)| (*number, job.clone()))
    }

    fn lock(&self) -> MutexGuard<'_, Jobs> {
        // Only map operations run under the lock.
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
