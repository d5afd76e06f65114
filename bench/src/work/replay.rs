//! What was stored before the server's restart, read from its store.

use serde_json::json;

use crate::Result;
use crate::client::log::Log;
use crate::contender::{Contender, Job, Place, TOKEN};
use crate::rounds::Sample;
use crate::server::Meter;

/// One reader of a job of `events` events, again and again; for those who keep nothing, of a job that is new.
pub(crate) async fn sample(
    contender: Contender,
    place: &Place,
    events: u64,
    readings: u64,
) -> Result<Sample> {
    let mut running = contender.start(place)?;
    let job = Job::of(events);
    let mut connection = running.connect().await?;
    let at = connection.create(&contender.job(&job)).await?;
    if contender.is_durable() {
        connection.stream(&at).await?.rest().await?;
        running = running.restart(place)?;
        connection = running.connect().await?;
    }
    let meter = running.server.meter()?;
    for _ in 0..readings {
        contender.check(&job, &connection.stream(&at).await?.rest().await?)?;
    }
    figures(&meter, events * readings)
}

/// How many messages a request appends: below the server's limit of a body.
const BATCH: u64 = 10_000;

/// The same of a stream that a client has appended to. What is in memory is read without a restart.
pub(crate) async fn sample_log(
    contender: Contender,
    place: &Place,
    events: u64,
    readings: u64,
) -> Result<Sample> {
    let name = "replay";
    let mut running = contender.start(place)?;
    let mut log = Log::create(running.connect().await?, name).await?;
    let mut written = 0;
    while written < events {
        let batch: Vec<_> = (written..events.min(written + BATCH)).map(|_| TOKEN).collect();
        log.append(&json!(batch).to_string().into()).await?;
        written += BATCH;
    }
    if contender.is_durable() {
        running = running.restart(place)?;
        log = Log::open(running.connect().await?, name)?;
    }
    let meter = running.server.meter()?;
    for _ in 0..readings {
        contender.check(&Job::of(events), &log.read().await?)?;
    }
    figures(&meter, events * readings)
}

fn figures(meter: &Meter<'_>, events: u64) -> Result<Sample> {
    let (rate, cpu) = meter.read(events as f64)?;
    Ok(vec![("events/s", rate), ("CPU us/event", cpu)])
}
