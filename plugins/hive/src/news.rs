//! What is heard of all hives, told on: `GET /v1/heartbeats`, `GET /v1/heartbeats/stream`.

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use skep::http::{self, Body, Response};
use skep::placement::LOCALHOST;
use skep::plugin::ShutdownSignal;
use tokio::sync::broadcast::{self, error::RecvError};

use crate::heartbeat::Heartbeat;
use crate::hive::State;
use crate::known::Known;

/// Where a server tells how it is, and how its hives are.
pub(crate) const PATH: &str = "/v1/heartbeats";

/// The same, as it changes.
pub(crate) const STREAM_PATH: &str = "/v1/heartbeats/stream";

/// How many pieces of news a reader may be behind before it misses some. Each tells all of its hive,
/// so that who misses some is right again with the next.
const KEPT: usize = 256;

/// What is told of a hive.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Told {
    /// The hive; `localhost` is who tells.
    pub(crate) hive_id: String,
    pub(crate) state: State,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) heard_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) failure: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) heartbeat: Option<Heartbeat>,
}

impl Told {
    /// What is known of hive `id`.
    pub(crate) fn of(id: &str, known: &Known) -> Self {
        Self {
            hive_id: id.to_owned(),
            state: known.state,
            heard_at: known.heard_at,
            failure: known.silence(),
            heartbeat: known.heartbeat.as_deref().cloned(),
        }
    }

    /// What this server tells of itself.
    pub(crate) fn here(heartbeat: Heartbeat) -> Self {
        Self {
            hive_id: LOCALHOST.to_owned(),
            state: State::Online,
            heard_at: Some(Timestamp::now()),
            failure: None,
            heartbeat: Some(heartbeat),
        }
    }

    /// What the teller says of itself: what it knows of its own hives is of no use to others.
    pub(crate) fn of_its_teller(self) -> Option<Heartbeat> {
        self.heartbeat.filter(|_| self.hive_id == LOCALHOST)
    }

    /// The same as an event. It has no id: nothing of it is kept.
    fn frame(&self) -> Bytes {
        match serde_json::to_string(self) {
            Ok(json) => format!("event: heartbeat\ndata: {json}\n\n").into(),
            Err(error) => unreachable!("texts, numbers and lists serialise: {error}"),
        }
    }
}

/// Tells news to whoever listens. Clones tell the same.
#[derive(Clone)]
pub(crate) struct News {
    sender: broadcast::Sender<Bytes>,
    shutdown: ShutdownSignal,
}

impl News {
    /// News until `shutdown`: whoever listens is let go then.
    pub(crate) fn new(shutdown: ShutdownSignal) -> Self {
        Self { sender: broadcast::Sender::new(KEPT), shutdown }
    }

    /// Tells something, if anyone listens.
    pub(crate) fn publish(&self, told: impl FnOnce() -> Told) {
        if self.sender.receiver_count() > 0 {
            // They may have gone since.
            let _ = self.sender.send(told().frame());
        }
    }

    /// An answer that tells `first`, then the news as they come.
    pub(crate) fn stream(&self, first: impl FnOnce() -> Vec<Told>) -> Response {
        // Before what there is is looked at, so that nothing is missed in between.
        let receiver = self.sender.subscribe();
        let first: Vec<_> = first().iter().map(Told::frame).map(Ok).collect();
        let rest = stream::unfold(receiver, async |mut receiver| {
            loop {
                match receiver.recv().await {
                    Ok(frame) => return Some((Ok(frame), receiver)),
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return None,
                }
            }
        });
        let shutdown = self.shutdown.clone();
        let over = async move { shutdown.requested().await };
        let body = Body::Stream(stream::iter(first).chain(rest).take_until(over).boxed());
        http::with_type("text/event-stream", body)
    }
}
