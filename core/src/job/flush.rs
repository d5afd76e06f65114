//! Flushing: what has waited in the logs' tails goes to the store, however little it is.
//!
//! One clock for all jobs: a timer of its own costs as much as all else that a short job does.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;

use crate::job::log::Log;

/// How long an event waits in memory at most before it's handed to the store.
pub(super) const FLUSH_AFTER: Duration = Duration::from_millis(100);

/// Whose tails are to be flushed.
#[derive(Default)]
pub(crate) struct Flusher {
    /// Each of them once.
    noted: Mutex<Vec<Weak<Log>>>,
    /// There's a first one.
    first: Notify,
}

impl Flusher {
    /// Has `log` flushed within [`FLUSH_AFTER`].
    pub(super) fn note(&self, log: &Arc<Log>) {
        let is_first = {
            let mut noted = self.lock();
            noted.push(Arc::downgrade(log));
            noted.len() == 1
        };
        if is_first {
            self.first.notify_one();
        }
    }

    /// Nothing that may panic is done under the lock.
    fn lock(&self) -> MutexGuard<'_, Vec<Weak<Log>>> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Flushes for as long as it's polled.
    pub(crate) async fn run(self: Arc<Self>) {
        loop {
            self.first.notified().await;
            sleep(FLUSH_AFTER).await;
            let noted = std::mem::take(&mut *self.lock());
            for log in noted.iter().filter_map(Weak::upgrade) {
                log.flush();
            }
        }
    }
}
