//! One job and many readers.

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
    let mut ready = Connection::open_many(running.server.address, Protocol::Http1, readers).await?;
    ready[0].run(&contender.job(&Job::of(100))).await?;
    let job = Job { events, interval_us, readers };
    let meter = running.server.meter()?;
    let at = ready[0].create(&contender.job(&job)).await?;
    let mut streams = JoinSet::new();
    for mut connection in ready {
        let at = at.clone();
        streams.spawn(async move { connection.stream(&at).await?.rest().await });
    }
    while let Some(came) = streams.join_next().await {
        contender.check(&job, &came??)?;
    }
    let (rate, cpu) = meter.read(events as f64 * readers as f64)?;
    Ok(vec![("deliveries/s", rate), ("CPU us/delivery", cpu)])
}
