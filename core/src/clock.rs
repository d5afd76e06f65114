//! Times as they are kept.

use std::time::Instant;

use jiff::Timestamp;

/// The time by the system's clock.
pub(crate) fn now() -> Timestamp {
    kept(Timestamp::now())
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
