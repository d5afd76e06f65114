//! A long stream: events a second, and what one costs the server.

use tokio::task::JoinSet;

use crate::Result;
use crate::client::{Connection, Protocol};
use crate::contender::{Contender, Job, Place};
use crate::rounds::Sample;

/// Jobs that emit as fast as they can: on each connection `jobs` of them, one after the other.
pub(crate) async fn sample(
    contender: Contender,
    place: &Place,
    protocol: Protocol,
    connections: usize,
    jobs: u64,
    events: u64,
) -> Result<Sample> {
    let running = contender.start(place)?;
    let mut ready = Connection::open_many(running.server.address, protocol, connections).await?;
    for connection in &mut ready {
        // Whatever a server does once only is done.
        connection.run(&contender.job(&Job::of(100))).await?;
    }
    let job = Job::of(events);
    let meter = running.server.meter()?;
    let mut streams = JoinSet::new();
    for mut connection in ready {
        streams.spawn(async move {
            let request = contender.job(&job);
            for _ in 0..jobs {
                contender.check(&job, &connection.run(&request).await?)?;
            }
            Ok::<_, crate::Error>(())
        });
    }
    while let Some(done) = streams.join_next().await {
        done??;
    }
    let (rate, cpu) = meter.read((events * jobs) as f64 * connections as f64)?;
    Ok(vec![("events/s", rate), ("CPU us/event", cpu)])
}
