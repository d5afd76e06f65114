//! Times as they are kept.

use std::time::Instant;

use jiff::Timestamp;

/// The time by the system's clock, as it's kept.
pub(crate) fn now() -> Timestamp {
    kept(system())
}

/// The time by the system's clock; in a test whose time is paused, by the test's.
pub(crate) fn system() -> Timestamp {
    #[cfg(feature = "testing")]
    if let Some(now) = paused::now() {
        return now;
    }
    Timestamp::now()
}

/// What deadlines are measured by: the clock of the runtime, which tests can pause.
pub(crate) fn instant() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// A time to the microsecond: stores keep no more, and a job's times are the same from its first
/// answer on.
pub(crate) fn kept(time: Timestamp) -> Timestamp {
    // The calendar's last second can't be had in microseconds.
    Timestamp::from_microsecond(time.as_microsecond())
        .or_else(|_| Timestamp::from_second(time.as_second()))
        .unwrap_or(time)
}

/// The system's clock of a test whose time is paused: it goes as the runtime's does.
#[cfg(feature = "testing")]
pub(crate) mod paused {
    use std::cell::Cell;
    use std::time::Duration;

    use jiff::Timestamp;
    use tokio::time::Instant;

    thread_local! {
        /// A time, and when it was.
        static BASE: Cell<Option<(Timestamp, Instant)>> = const { Cell::new(None) };
    }

    /// Lets `run` happen on this thread while the clock stood at `time` when the runtime's began.
    pub(crate) fn with<T>(base: Option<(Timestamp, Instant)>, run: impl FnOnce() -> T) -> T {
        let _restore = Restore(BASE.replace(base));
        run()
    }

    pub(super) fn now() -> Option<Timestamp> {
        let (time, at) = BASE.get()?;
        let elapsed: Duration = Instant::now().saturating_duration_since(at);
        time.checked_add(elapsed).ok()
    }

    /// A test that fails within must not leave its clock to the next one on its thread.
    struct Restore(Option<(Timestamp, Instant)>);

    impl Drop for Restore {
        fn drop(&mut self) {
            BASE.set(self.0);
        }
    }
}
