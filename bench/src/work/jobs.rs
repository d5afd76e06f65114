//! Whole jobs: asked for, run, and read to their ends, one after the other on each connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::task::JoinSet;

use crate::Result;
use crate::client::{Connection, Protocol};
use crate::contender::{Contender, Job, Place, Running};
use crate::rounds::Sample;

/// How many events a job emits.
const EVENTS: u64 = 3;

/// `count` jobs over so many connections.
pub(crate) async fn sample(
    contender: Contender,
    place: &Place,
    connections: usize,
    count: usize,
) -> Result<Sample> {
    let running = contender.start(place)?;
    run(&running, connections, count / 10).await?;
    run(&running, connections, count).await
}

/// The same on a server that runs.
pub(crate) async fn run(running: &Running, connections: usize, count: usize) -> Result<Sample> {
    let contender = running.contender;
    let job = Job::of(EVENTS);
    let ready = Connection::open_many(running.server.address, Protocol::Http1, connections).await?;
    let begun_jobs = Arc::new(AtomicUsize::new(0));
    let meter = running.server.meter()?;
    let mut loops = JoinSet::new();
    for mut connection in ready {
        let (request, begun_jobs) = (contender.job(&job), begun_jobs.clone());
        loops.spawn(async move {
            while begun_jobs.fetch_add(1, Ordering::Relaxed) < count {
                contender.check(&job, &connection.run(&request).await?)?;
            }
            Ok::<_, crate::Error>(())
        });
    }
    while let Some(done) = loops.join_next().await {
        done??;
    }
    let (rate, cpu) = meter.read(count as f64)?;
    Ok(vec![("jobs/s", rate), ("CPU us/job", cpu)])
}
