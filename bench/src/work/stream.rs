//! A long stream: events a second, and what one costs the server.

use tokio::task::JoinSet;

use crate::Result;
use crate::client::subscription::Subscriber;
use crate::client::{Connection, Protocol};
use crate::contender::{Contender, Job, Place, Running};
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
    let mut ready = Vec::with_capacity(connections);
    for _ in 0..connections {
        let mut client = Client::open(&running, protocol).await?;
        // Whatever a server does once only is done.
        client.run(contender, &Job::of(100)).await?;
        ready.push(client);
    }
    let job = Job::of(events);
    let meter = running.server.meter()?;
    let mut streams = JoinSet::new();
    for mut client in ready {
        streams.spawn(async move {
            for _ in 0..jobs {
                client.run(contender, &job).await?;
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

/// A connection, and how its server is asked for a stream.
enum Client {
    Jobs(Connection),
    Tool(Connection),
    Subscription(Box<Subscriber>),
}

impl Client {
    async fn open(running: &Running, protocol: Protocol) -> Result<Self> {
        let address = running.server.address;
        Ok(match running.contender {
            Contender::Jsonrpsee => Self::Subscription(Subscriber::open(address).await?.into()),
            Contender::Rmcp => Self::Tool(Connection::open(address, protocol).await?),
            _ => Self::Jobs(Connection::open(address, protocol).await?),
        })
    }

    /// Asks for a stream and reads it to its end.
    async fn run(&mut self, contender: Contender, job: &Job) -> Result<()> {
        let request = contender.job(job);
        let came = match self {
            Self::Jobs(connection) => connection.run(&request).await?,
            Self::Tool(connection) => connection.call("/mcp", &request).await?.rest().await?,
            Self::Subscription(subscriber) => subscriber.run(&request, job.events).await?,
        };
        contender.check(job, &came)
    }
}
