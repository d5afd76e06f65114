//! Where a test has a job stand still.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

/// Makes a handler stand once its job's log has an event.
pub(crate) struct Hold {
    /// The event's id; `u64::MAX` if it's not to stand.
    at: AtomicU64,
    released: Notify,
}

impl Hold {
    pub(crate) fn new() -> Self {
        Self { at: AtomicU64::new(u64::MAX), released: Notify::new() }
    }

    pub(crate) fn set(&self, event: Option<u64>) {
        self.at.store(event.unwrap_or(u64::MAX), Ordering::Relaxed);
        self.released.notify_waiters();
    }

    /// Whether it's to stand anywhere.
    pub(crate) fn is_set(&self) -> bool {
        self.at.load(Ordering::Relaxed) != u64::MAX
    }

    /// Waits while a log whose last event is `last` is to stand. Cancel-safe.
    pub(crate) async fn passed(&self, last: u64) {
        loop {
            let released = self.released.notified();
            if last < self.at.load(Ordering::Relaxed) {
                return;
            }
            released.await;
        }
    }
}
