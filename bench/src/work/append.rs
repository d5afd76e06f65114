//! Messages that clients append to streams, each in a request, one after the other on each connection.

use bytes::Bytes;
use serde_json::json;
use tokio::task::JoinSet;

use crate::Result;
use crate::client::log::Log;
use crate::client::{Connection, Protocol};
use crate::contender::{Contender, Job, Place, TOKEN};
use crate::rounds::Sample;

/// So many messages over each of the connections, to a stream of its own.
pub(crate) async fn sample(
    contender: Contender,
    place: &Place,
    connections: usize,
    messages: u64,
) -> Result<Sample> {
    let running = contender.start(place)?;
    let message = Bytes::from(json!(TOKEN).to_string());
    let ready = Connection::open_many(running.server.address, Protocol::Http1, connections).await?;
    let mut logs = Vec::with_capacity(connections);
    for (at, connection) in ready.into_iter().enumerate() {
        let mut log = Log::create(connection, &at.to_string()).await?;
        // Whatever a server does once only is done.
        log.append(&message).await?;
        logs.push(log);
    }
    let meter = running.server.meter()?;
    let mut loops = JoinSet::new();
    for mut log in logs {
        let message = message.clone();
        loops.spawn(async move {
            for _ in 0..messages {
                log.append(&message).await?;
            }
            Ok::<_, crate::Error>(log)
        });
    }
    let mut written = Vec::with_capacity(connections);
    while let Some(log) = loops.join_next().await {
        written.push(log??);
    }
    let (rate, cpu) = meter.read(messages as f64 * connections as f64)?;
    for log in &mut written {
        contender.check(&Job::of(messages + 1), &log.read().await?)?;
    }
    Ok(vec![("events/s", rate), ("CPU us/event", cpu)])
}
