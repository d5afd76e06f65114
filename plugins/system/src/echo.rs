//! `echo`.

use std::time::Duration;

use serde_json::Value;
use skep::prelude::*;
use tokio::time::{Interval, interval};

/// What `echo` did.
#[skep::data]
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Echoed {
    /// How many times the value was emitted.
    pub(crate) count: u64,
}

/// Emit a value, as often as asked for.
///
/// There is no limit to `count` but that of a job's log (`jobs.max_log`).
#[skep::operation(read_only, idempotent, placed)]
async fn echo(
    /// What to emit: any JSON.
    value: Value,
    /// How many times.
    #[default(1)]
    count: u64,
    /// The time from one event to the next, microseconds; 0 is no pause. The timer ticks in
    /// milliseconds: with less, as many events as are due come at once.
    #[default(0)]
    interval_us: u64,
    job: &JobContext,
) -> Result<Echoed> {
    let mut pace = pace(interval_us);
    for _ in 0..count {
        if let Some(pace) = &mut pace {
            tokio::select! {
                _ = pace.tick() => {}
                () = job.cancelled() => {}
            }
        }
        job.emit(&value).await?;
    }
    Ok(Echoed { count })
}

/// The first tick comes at once; those that were missed are made up for.
fn pace(interval_us: u64) -> Option<Interval> {
    (interval_us > 0).then(|| interval(Duration::from_micros(interval_us)))
}
