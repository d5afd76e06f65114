//! A long stream: events a second, and what one costs the server.

use std::time::Instant;

use tokio::task::JoinSet;

use crate::Result;
use crate::client::{Connection, Protocol};
use crate::contender::{Contender, Job, Place};
use crate::rounds::Sample;

/// Jobs that emit as fast as they can, one on each connection.
pub(crate) async fn sample(
    contender: Contender,
    place: &Place,
    protocol: Protocol,
    connections: usize,
    events: u64,
) -> Result<Sample> {
    let running = contender.start(place)?;
    let mut ready = Vec::new();
    for _ in 0..connections {
        let mut connection = Connection::open(running.server.address, protocol).await?;
        // Whatever a server does once only is done.
        connection.run(&contender.job(&Job::of(100))).await?;
        ready.push(connection);
    }
    let job = Job::of(events);
    let (cpu, begun) = (running.server.cpu()?, Instant::now());
    let mut streams = JoinSet::new();
    for mut connection in ready {
        streams.spawn(async move { connection.run(&contender.job(&job)).await });
    }
    while let Some(came) = streams.join_next().await {
        contender.check(&job, &came??)?;
    }
    let took = begun.elapsed().as_secs_f64();
    let cpu = running.server.cpu_since(cpu)?;
    let total = events as f64 * connections as f64;
    Ok(vec![("events/s", total / took), ("CPU us/event", cpu * 1e6 / total)])
}
