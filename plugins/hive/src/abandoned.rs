//! The jobs of a hive that nobody waits for any more, until they are cancelled there.

use std::collections::BTreeMap;

use skep_relay::{Abandoned, Server};
use tokio::sync::watch;
use tracing::{debug, warn};

/// The jobs of a hive that are to be cancelled.
#[derive(Default)]
pub(crate) struct AbandonedJobs(watch::Sender<Jobs>);

/// By their numbers, in the order in which they came.
#[derive(Default)]
struct Jobs {
    last: u64,
    waiting: BTreeMap<u64, Abandoned>,
}

impl AbandonedJobs {
    /// Has a job cancelled when the hive can be reached.
    pub(crate) fn add(&self, job: Abandoned) {
        self.0.send_modify(|jobs| {
            jobs.last += 1;
            jobs.waiting.insert(jobs.last, job);
        });
    }

    /// Waits until there are some.
    pub(crate) async fn some(&self) {
        // The sender is here: they come, or the wait goes on.
        let _ = self.0.subscribe().wait_for(|jobs| !jobs.waiting.is_empty()).await;
    }

    /// Cancels all, one after the other. Returns whether that was possible. One that is being cancelled
    /// when this is dropped is cancelled again the next time.
    pub(crate) async fn cancel(&self, hive: &str, server: &Server) -> bool {
        while let Some((number, job)) = self.first() {
            match job.cancel(server).await {
                Err(failure) if failure.is_passing() => {
                    debug!(%hive, "a job can't be cancelled yet: {failure}");
                    return false;
                }
                Err(failure) => warn!(%hive, "a job that nobody waits for goes on: {failure}"),
                Ok(()) => {}
            }
            self.0.send_modify(|jobs| drop(jobs.waiting.remove(&number)));
        }
        true
    }

    fn first(&self) -> Option<(u64, Abandoned)> {
        let jobs = self.0.borrow();
        jobs.waiting.first_key_value().map(|(number, job)| (*number, job.clone()))
    }
}
