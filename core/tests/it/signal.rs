//! How a test and the operations it runs wait for each other.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, LazyLock, Mutex};

use tokio::sync::watch;

/// Something that happens, once or more often.
pub(crate) struct Signal {
    count: Mutex<u64>,
    changed: Condvar,
    watch: watch::Sender<u64>,
}

/// The signal of a name that test and operation share. Each test has names of its own.
pub(crate) fn signal(name: &str) -> Arc<Signal> {
    static SIGNALS: LazyLock<Mutex<HashMap<String, Arc<Signal>>>> = LazyLock::new(Mutex::default);
    let mut signals = SIGNALS.lock().unwrap();
    let make =
        || Signal { count: Mutex::new(0), changed: Condvar::new(), watch: watch::Sender::new(0) };
    signals.entry(name.to_owned()).or_insert_with(|| Arc::new(make())).clone()
}

impl Signal {
    /// It happens.
    pub(crate) fn fire(&self) {
        let mut count = self.count.lock().unwrap();
        *count += 1;
        self.watch.send_replace(*count);
        self.changed.notify_all();
    }

    /// How often it has happened.
    pub(crate) fn count(&self) -> u64 {
        *self.count.lock().unwrap()
    }

    /// Waits until it has happened `times` times.
    pub(crate) async fn reached(&self, times: u64) {
        self.watch.subscribe().wait_for(|count| *count >= times).await.unwrap();
    }

    /// The same, once, with the thread blocked.
    pub(crate) fn block_until_fired(&self) {
        let count = self.count.lock().unwrap();
        drop(self.changed.wait_while(count, |count| *count == 0).unwrap());
    }
}

/// Fires a signal when it's dropped: whatever happens to the test, or to the handler.
pub(crate) struct FireOnDrop(pub(crate) Arc<Signal>);

impl Drop for FireOnDrop {
    fn drop(&mut self) {
        self.0.fire();
    }
}
