//! One job and many readers.

use std::time::Instant;

use tokio::task::JoinSet;

use crate::Result;
use crate::client::{Connection, Protocol};
use crate::contender::{Contender, Job, Place};
use crate::rounds::Sample;

/// `readers` streams of one job, each of which gets every event.
pub(crate) async fn sample(
    contender: Contender,
    place: &Place,
    readers: usize,
    events: u64,
    interval_us: u64,
) -> Result<Sample> {
    let running = contender.start(place)?;
    let mut ready = Vec::with_capacity(readers);
    for _ in 0..readers {
        ready.push(Connection::open(running.server.address, Protocol::Http1).await?);
    }
    ready[0].run(&contender.job(&Job::of(100))).await?;
    let job = Job { events, interval_us, readers };
    let (cpu, begun) = (running.server.cpu()?, Instant::now());
    let at = ready[0].create(&contender.job(&job)).await?;
    let mut streams = JoinSet::new();
    for mut connection in ready {
        let at = at.clone();
        streams.spawn(async move { connection.stream(&at).await?.rest().await });
    }
    while let Some(came) = streams.join_next().await {
        contender.check(&job, &came??)?;
    }
    let took = begun.elapsed().as_secs_f64();
    let cpu = running.server.cpu_since(cpu)?;
    let total = events as f64 * readers as f64;
    Ok(vec![("deliveries/s", total / took), ("CPU us/delivery", cpu * 1e6 / total)])
}
