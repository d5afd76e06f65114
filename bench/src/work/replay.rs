//! A job that ended before the server's restart, read from its store.

use crate::Result;
use crate::client::{Connection, Protocol};
use crate::contender::{Contender, Job, Place};
use crate::rounds::Sample;

/// One reader of a job of `events` events; for those who keep nothing, of a job that is new.
pub(crate) async fn sample(contender: Contender, place: &Place, events: u64) -> Result<Sample> {
    let mut running = contender.start(place)?;
    let job = Job::of(events);
    let mut connection = Connection::open(running.server.address, Protocol::Http1).await?;
    let at = connection.create(&contender.job(&job)).await?;
    if contender == Contender::Sqlite {
        connection.stream(&at).await?.rest().await?;
        running = running.restart(place)?;
        connection = Connection::open(running.server.address, Protocol::Http1).await?;
    }
    let meter = running.server.meter()?;
    contender.check(&job, &connection.stream(&at).await?.rest().await?)?;
    let (rate, cpu) = meter.read(events as f64)?;
    Ok(vec![("events/s", rate), ("CPU us/event", cpu)])
}
