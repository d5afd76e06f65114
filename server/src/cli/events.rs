//! A job's events, over as many connections as it takes.

use std::time::Duration;

use reqwest::StatusCode;
use skep::JobId;
use skep::job::Event;
use tokio::time::{Instant, sleep};

use crate::cli::client::Client;
use crate::cli::sse::Reader;
use crate::cli::{Error, with_causes};

/// How long an outage may take: a server that is restarted is back by then.
const PATIENCE: Duration = Duration::from_secs(30);

/// The pause before a connection is tried again: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// A connection that stood for so long has ended the outage, also if it brought no event.
const STEADY: Duration = Duration::from_secs(5);

/// A job's events, from [`Client::events`].
pub(super) struct Events<'a> {
    client: &'a Client,
    id: JobId,
    /// The last event that was told.
    last: u64,
    open: Option<Connection>,
    outage: Option<Outage>,
}

struct Connection {
    reader: Reader,
    since: Instant,
}

/// A time without a connection that brings anything.
struct Outage {
    since: Instant,
    pause: Duration,
    is_told: bool,
}

/// What [`Events::next`] has to tell.
pub(super) enum Update {
    /// The next event. None is told twice.
    Event(Event),
    /// The server can't be reached; it's tried again. Told once an outage.
    Lost,
    /// There are no more events.
    Ended,
}

impl<'a> Events<'a> {
    /// The events of job `id` from the first one on.
    pub(super) fn new(client: &'a Client, id: JobId) -> Self {
        Self { client, id, last: 0, open: None, outage: None }
    }

    /// What comes next. Fails when the server refuses, or an outage takes too long. Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<Update, Error> {
        loop {
            let Some(connection) = &mut self.open else {
                if let Some(update) = self.connect().await? {
                    return Ok(update);
                }
                continue;
            };
            if let Ok(Some(event)) = connection.reader.next().await {
                self.outage = None;
                if event.id > self.last {
                    self.last = event.id;
                    return Ok(Update::Event(event));
                }
            } else {
                // A server that goes down ends its streams without the jobs' ends.
                if connection.since.elapsed() >= STEADY {
                    self.outage = None;
                }
                self.open = None;
                self.bear("the stream breaks off again and again".into()).await?;
            }
        }
    }

    /// Opens the stream behind the last event. Returns what there is to tell, if it isn't open then.
    async fn connect(&mut self) -> Result<Option<Update>, Error> {
        let failure = match self.client.stream(self.id, self.last).await {
            Ok(response) if response.status() == StatusCode::NO_CONTENT => {
                return Ok(Some(Update::Ended));
            }
            Ok(response) if response.status().is_success() => {
                let reader = Reader::new(response);
                self.open = Some(Connection { reader, since: Instant::now() });
                return Ok(None);
            }
            Ok(response) => {
                // A server that goes down, or a proxy before one that isn't there.
                let passes = response.status().is_server_error();
                let refusal = self.client.refusal(response).await;
                if !passes {
                    return Err(refusal);
                }
                refusal
            }
            Err(error) => error,
        };
        if !std::mem::replace(&mut self.outage().is_told, true) {
            return Ok(Some(Update::Lost));
        }
        self.bear(failure).await?;
        Ok(None)
    }

    /// The outage that there is, or begins now.
    fn outage(&mut self) -> &mut Outage {
        self.outage.get_or_insert_with(|| Outage {
            since: Instant::now(),
            pause: PAUSES.0,
            is_told: false,
        })
    }

    /// Waits before the next try, longer each time; not for ever.
    async fn bear(&mut self, failure: Error) -> Result<(), Error> {
        let id = self.id;
        let outage = self.outage();
        if outage.since.elapsed() >= PATIENCE {
            let failure = with_causes(&*failure);
            let detail = format!("{failure}; the job may go on, see `skep jobs watch {id}`");
            return Err(detail.into());
        }
        let pause = outage.pause;
        outage.pause = (pause * 2).min(PAUSES.1);
        sleep(pause).await;
        Ok(())
    }
}
