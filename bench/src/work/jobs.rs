//! Whole jobs: asked for, run, and read to their ends, one after the other on each connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use tokio::task::JoinSet;

use crate::Result;
use crate::client::{Connection, Protocol};
use crate::contender::{Contender, Job, Place, Running};
use crate::rounds::Sample;

/// How many events a job emits.
pub(crate) const EVENTS: u64 = 3;

/// `count` jobs over so many connections.
pub(crate) async fn sample(
    contender: Contender,
    place: &Place,
    connections: usize,
    count: usize,
) -> Result<Sample> {
    let running = contender.start(place)?;
    let requests = requests(contender);
    run(&running, connections, count / 10, &requests).await?;
    run(&running, connections, count, &requests).await
}

/// The request for such a job: the same each time.
pub(crate) fn requests(contender: Contender) -> Arc<[Bytes]> {
    [contender.job(&Job::of(EVENTS))].into()
}

/// The same on a server that runs, each of `requests` by turns.
pub(crate) async fn run(
    running: &Running,
    connections: usize,
    count: usize,
    requests: &Arc<[Bytes]>,
) -> Result<Sample> {
    let contender = running.contender;
    let ready = Connection::open_many(running.server.address, Protocol::Http1, connections).await?;
    let begun_jobs = Arc::new(AtomicUsize::new(0));
    let meter = running.server.meter()?;
    let mut loops = JoinSet::new();
    for mut connection in ready {
        let (requests, begun_jobs) = (requests.clone(), begun_jobs.clone());
        loops.spawn(async move {
            loop {
                let number = begun_jobs.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return Ok::<_, crate::Error>(());
                }
                let came = connection.run(&requests[number % requests.len()]).await?;
                contender.check(&Job::of(EVENTS), &came)?;
            }
        });
    }
    while let Some(done) = loops.join_next().await {
        done??;
    }
    let (rate, cpu) = meter.read(count as f64)?;
    Ok(vec![("jobs/s", rate), ("CPU us/job", cpu)])
}
