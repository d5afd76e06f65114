//! What a stream takes in memory while nothing happens.

use crate::Result;
use crate::contender::{Contender, Job, Place};
use crate::rounds::Sample;

/// Longer than any measurement.
const HOUR_US: u64 = 3_600_000_000;

/// Many streams, all of one job or each of one of its own. Each has had its first event.
pub(crate) async fn sample(
    contender: Contender,
    place: &Place,
    streams: usize,
    jobs: Jobs,
) -> Result<Sample> {
    let running = contender.start(place)?;
    let readers = if jobs == Jobs::One { streams } else { 1 };
    let request = contender.job(&Job { events: 2, interval_us: HOUR_US, readers });
    let mut connection = running.connect().await?;
    let first = connection.create(&request).await?;
    let before = running.server.memory()?;
    let mut open = Vec::with_capacity(streams);
    for _ in 0..streams {
        let mut connection = running.connect().await?;
        let at = match jobs {
            Jobs::One => first.clone(),
            Jobs::Each => connection.create(&request).await?,
        };
        let mut events = connection.stream(&at).await?;
        events.reach(1 + contender.own_events().min(1)).await?;
        open.push((connection, events));
    }
    let grown = running.server.memory()?.saturating_sub(before);
    Ok(vec![("KiB/stream", grown as f64 / 1024.0 / streams as f64)])
}

/// Whose streams they are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Jobs {
    /// All of one job.
    One,
    /// Each of a job of its own.
    Each,
}
