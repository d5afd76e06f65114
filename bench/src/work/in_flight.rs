//! Jobs in flight, each with a reader: what an event costs while all of them together emit as many a second,
//! however many they are.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::Result;
use crate::client::{Connection, Events};
use crate::contender::{Contender, Job, Place};
use crate::rounds::Sample;

/// How many events a second come from all jobs together.
const RATE: u64 = 10_000;

/// How long is measured, from when all jobs are there.
const WINDOW: Duration = Duration::from_secs(5);

/// More than a job emits while it's measured.
const ENDLESS: u64 = 1_000_000;

/// `jobs` of them. With less than 10, events would come in bursts: timers tick in milliseconds.
pub(crate) async fn sample(contender: Contender, place: &Place, jobs: u64) -> Result<Sample> {
    let running = contender.start(place)?;
    let interval_us = 1_000_000 * jobs / RATE;
    let request = contender.job(&Job { events: ENDLESS, interval_us, readers: 1 });
    let came = Arc::new(AtomicU64::new(0));
    let mut readers = JoinSet::new();
    for _ in 0..jobs {
        let mut connection = running.connect().await?;
        let at = connection.create(&request).await?;
        let mut events = connection.stream(&at).await?;
        events.reach(1).await?;
        readers.spawn(count(connection, events, came.clone()));
    }
    let meter = running.server.meter()?;
    let before = came.load(Ordering::Relaxed);
    if let Ok(ended) = timeout(WINDOW, readers.join_next()).await {
        ended.ok_or("there are no jobs")???;
        return Err("a job ended while it was measured".into());
    }
    let (rate, cpu) = meter.read((came.load(Ordering::Relaxed) - before) as f64)?;
    Ok(vec![("events/s", rate), ("CPU us/event", cpu)])
}

/// Reads on, and counts what comes.
async fn count(connection: Connection, mut events: Events, came: Arc<AtomicU64>) -> Result<()> {
    let mut known = events.count();
    while events.next().await?.is_some() {
        came.fetch_add(events.count() - known, Ordering::Relaxed);
        known = events.count();
    }
    drop(connection);
    Ok(())
}
