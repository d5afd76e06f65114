//! The jobs of a hive that nobody waits for any more, until they are cancelled there.

use std::collections::BTreeMap;

use futures_util::{StreamExt, stream};
use skep_relay::{Abandoned, Server};
use tokio::sync::watch;
use tracing::{debug, warn};

/// How many are cancelled at once.
const AT_ONCE: usize = 16;

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

    /// Cancels all that there are. Returns whether that was possible; what wasn't is left for the next time,
    /// and so is what is being cancelled when this is dropped.
    pub(crate) async fn cancel(&self, hive: &str, server: &Server) -> bool {
        let jobs = self.0.borrow().waiting.clone();
        let cancel = async |(number, job): (u64, Abandoned)| {
            match job.cancel(server).await {
                Err(failure) if failure.is_passing() => {
                    debug!(%hive, "a job can't be cancelled yet: {failure}");
                    return false;
                }
                Err(failure) => warn!(%hive, "a job that nobody waits for goes on: {failure}"),
                Ok(()) => {}
            }
            self.0.send_modify(|jobs| drop(jobs.waiting.remove(&number)));
            true
        };
        // One that can't be cancelled holds up no other.
        let cancelled = stream::iter(jobs).map(cancel).buffer_unordered(AT_ONCE);
        cancelled.fold(true, async |all, one| all && one).await
    }
}
