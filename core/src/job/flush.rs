//! What all logs have in common that wait for the store: the clock by which their tails are flushed,
//! however little they have, and how much they may hold back together.
//!
//! One clock for all jobs: a timer of its own costs as much as all else that a short job does.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;

use crate::job::log::Log;

/// How long an event waits in memory at most before it's handed to the store.
pub(super) const FLUSH_AFTER: Duration = Duration::from_millis(100);

/// How much all logs together may hold back, bytes, before none may hold back more than its own share.
const MAX_SHARED: u64 = 64 << 20;

/// Whose tails are to be flushed, and how much waits for the store.
#[derive(Default)]
pub(crate) struct Flusher {
    /// Each of them once.
    noted: Mutex<Vec<Weak<Log>>>,
    /// There's a first one.
    first: Notify,
    /// What all logs hold back, bytes.
    held_back: AtomicU64,
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

    /// A log holds back `now` bytes, which were `before` until now.
    pub(super) fn count(&self, before: u64, now: u64) {
        // The same modulo 2^64 as to add what may be negative.
        self.held_back.fetch_add(now.wrapping_sub(before), Ordering::Relaxed);
    }

    /// Whether a log that holds back more than its own share may hold back more yet.
    pub(super) fn has_room(&self) -> bool {
        self.held_back() < MAX_SHARED
    }

    pub(super) fn held_back(&self) -> u64 {
        self.held_back.load(Ordering::Relaxed)
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
