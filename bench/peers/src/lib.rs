//! What the peers share: the work that is asked for, a map of jobs such as one writes without Skep, and a listener.
//!
//! Each peer is a binary of its own, in `src/bin`, which says what it stands for.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::serve::{ListenerExt, TapIo};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::consume_budget;
use tokio::time::Interval;

/// The work: emit `value`, `count` times, each as one event with an id from 1.
#[derive(Deserialize, JsonSchema)]
pub struct Echo {
    pub value: Value,
    pub count: u64,
    /// Microseconds from event to event.
    #[serde(default)]
    pub interval_us: u64,
    /// How many streams of the job will be read: each needs a channel before the first event.
    #[serde(default = "one")]
    pub readers: usize,
}

fn one() -> usize {
    1
}

/// The answer to a new job.
#[derive(Serialize, JsonSchema)]
pub struct Created {
    pub job_id: String,
    pub sse_url: String,
}

/// Jobs whose streams nobody reads yet. `E` is an event as the framework wants to have it.
///
/// It has no states, no limits, no replay, no resumption and no end of what nobody comes to read.
pub struct Jobs<E> {
    created: AtomicU64,
    unread: Mutex<HashMap<u64, Vec<UnboundedReceiver<E>>>>,
}

impl<E> Default for Jobs<E> {
    fn default() -> Self {
        Self { created: AtomicU64::new(0), unread: Mutex::default() }
    }
}

impl<E: Clone + Send + 'static> Jobs<E> {
    /// Makes a job, which runs at once; `event` makes an event of its id and its value.
    pub fn create(&self, echo: Echo, event: fn(u64, &Value) -> E) -> Created {
        let (senders, receivers) = (0..echo.readers).map(|_| unbounded_channel()).unzip();
        let id = self.created.fetch_add(1, Ordering::Relaxed);
        self.unread.lock().unwrap_or_else(PoisonError::into_inner).insert(id, receivers);
        tokio::spawn(run(echo, senders, event));
        Created { job_id: id.to_string(), sse_url: format!("/v1/jobs/{id}/stream") }
    }

    /// One stream of a job. The job is forgotten with its last one.
    pub fn read(&self, id: u64) -> Option<UnboundedReceiver<E>> {
        let mut unread = self.unread.lock().unwrap_or_else(PoisonError::into_inner);
        let receivers = unread.get_mut(&id)?;
        let receiver = receivers.pop();
        if receivers.is_empty() {
            unread.remove(&id);
        }
        receiver
    }
}

/// Emits to each reader.
async fn run<E: Clone>(
    echo: Echo,
    mut senders: Vec<UnboundedSender<E>>,
    event: fn(u64, &Value) -> E,
) {
    let mut interval = interval(echo.interval_us);
    for id in 1..=echo.count {
        match &mut interval {
            Some(interval) => _ = interval.tick().await,
            // An unbounded channel never makes its sender wait. Without this, the task would keep its thread
            // until all events are in memory, while the readers that share the thread get none.
            None => consume_budget().await,
        }
        // A reader that leaves meanwhile misses nothing.
        senders.retain(|sender| !sender.is_closed());
        let Some((last, others)) = senders.split_last() else { return };
        let event = event(id, &echo.value);
        for sender in others {
            let _ = sender.send(event.clone());
        }
        let _ = last.send(event);
    }
}

/// Ticks every `microseconds`, first at once; none without a pause.
#[must_use]
pub fn interval(microseconds: u64) -> Option<Interval> {
    (microseconds > 0).then(|| tokio::time::interval(Duration::from_micros(microseconds)))
}

/// A listener for axum, which has told where it listens.
///
/// # Errors
///
/// If there is no port left, or nobody reads what is told.
pub async fn listen() -> io::Result<TapIo<TcpListener, fn(&mut TcpStream)>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    listening(listener.local_addr()?)?;
    // It fails for a connection that is gone already, which its first read tells.
    Ok(listener.tap_io(|stream| _ = stream.set_nodelay(true)))
}

/// Tells where a server listens.
///
/// # Errors
///
/// If nobody reads it.
pub fn listening(address: SocketAddr) -> io::Result<()> {
    use io::Write as _;
    writeln!(io::stdout(), "listening on http://{address}")
}
