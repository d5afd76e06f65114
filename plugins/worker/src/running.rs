//! One worker: its queue, what it's asked and says, its end.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use jiff::Timestamp;
use skep::placement::LOCALHOST;
use skep::prelude::*;
use skep::problem::{Code, Problem};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::log::Log;
use crate::protocol::{Ask, Loaded, Reply, Request, Say};
use crate::queue::{Closed, Place, Queue};

/// The most requests that a worker works on at once.
const MAX_SLOTS: usize = 64;

/// How many requests may wait to be written: of each that is worked on its line, and its cancellation and
/// that of the one before it.
pub(crate) const REQUESTS: usize = 3 * MAX_SLOTS + 1;

/// How many replies may wait for the job that they are for; then the worker waits.
const REPLIES: usize = 64;

/// A model, as far as its worker goes.
#[derive(Clone, Debug, serde::Deserialize)]
pub(crate) struct ModelFile {
    pub(crate) id: String,
    pub(crate) architecture: String,
    /// The file's size.
    pub(crate) bytes: u64,
}

/// What a worker computes with, and where.
#[derive(Clone, Debug)]
pub(crate) struct Kind {
    pub(crate) backend: Backend,
    pub(crate) device: u32,
    /// Of one that was attached.
    pub(crate) url: Option<String>,
}

/// A process that holds one model.
#[skep::data]
#[derive(Clone, Debug)]
#[allow(clippy::struct_field_names, reason = "`worker` is the name in the input, too")]
pub(crate) struct Worker {
    /// Its id.
    pub(crate) id: String,
    /// The hive that it runs on.
    pub(crate) hive_id: String,
    /// The id of its model.
    pub(crate) model: String,
    /// The kind of network that the model is: `llama`, `gemma3`.
    pub(crate) architecture: String,
    /// What it's doing.
    pub(crate) state: State,
    /// How many jobs it has, the waiting ones included.
    pub(crate) jobs: usize,
    /// What it computes with.
    pub(crate) worker: Backend,
    /// Which of these devices it computes on.
    pub(crate) device: u32,
    /// The process's id.
    pub(crate) pid: u32,
    /// When it was started.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub(crate) started_at: Timestamp,
    /// The most tokens that it keeps, prompt and answer together; known when it's loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) context: Option<usize>,
    /// The threads that it computes with; known when it's loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) threads: Option<usize>,
    /// How long it took to load the model, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) load_ms: Option<u64>,
    /// How many jobs it works on at once; known when it's loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) slots: Option<usize>,
    /// Where the server is that it asks, of one that was attached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) url: Option<String>,
}

/// What a worker is doing.
#[skep::data]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// It loads its model.
    Loading,
    /// It waits for a job.
    Idle,
    /// It works for a job.
    Busy,
    /// It has ended.
    Stopped,
}

/// What a worker computes with.
#[skep::data]
#[derive(Clone, Copy, Debug)]
#[schemars(inline)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Backend {
    // Doc comments here would make a `oneOf` of the schema, whose errors say nothing. The built-in engine.
    Cpu,
    // llama.cpp's server.
    LlamaServer,
    // A server that was attached.
    Url,
}

/// A worker's end, as wished for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// `worker_delete`.
    Deleted,
    /// Its model was not loaded, or its load was cancelled.
    NotLoaded,
    /// It doesn't speak the protocol.
    Nonsense,
    /// It had nothing to do for too long.
    Idle,
    /// Another model needs its memory, or its place.
    Evicted,
    /// The server goes down.
    Shutdown,
}

#[derive(Clone, Debug)]
enum Life {
    Loading,
    Ready(Loaded),
    /// The process is gone: how it ended, and whose wish that was.
    Gone {
        exit: String,
        stop: Option<Stop>,
    },
}

/// The server's side of a worker.
pub(crate) struct Running {
    pub(crate) id: String,
    pub(crate) model: String,
    architecture: String,
    /// The size of the model's file: about the memory that it takes.
    pub(crate) bytes: u64,
    kind: Kind,
    pid: u32,
    pub(crate) started_at: Timestamp,
    pub(crate) log: Log,
    /// Fires when the process is to end, or is seen to have ended.
    pub(crate) end: CancellationToken,
    stop: OnceLock<Stop>,
    life: watch::Sender<Life>,
    requests: mpsc::Sender<Request>,
    last_request: AtomicU64,
    /// Its jobs, in the order they came.
    pub(crate) queue: Arc<Queue>,
    /// The requests that are worked on, by their ids.
    current: Mutex<HashMap<u64, Current>>,
}

/// A request that is worked on.
struct Current {
    replies: mpsc::Sender<Say>,
    /// Left with the last reply, even if nobody waits for it any more.
    _place: Place,
}

impl Running {
    /// A worker of process `pid` that reads `requests`, for a model.
    pub(crate) fn new(
        id: String,
        model: &ModelFile,
        kind: Kind,
        pid: u32,
        requests: mpsc::Sender<Request>,
    ) -> Self {
        let ModelFile { id: model, architecture, bytes } = model.clone();
        Self {
            id,
            model,
            architecture,
            bytes,
            kind,
            pid,
            started_at: Timestamp::now(),
            log: Log::new(),
            end: CancellationToken::new(),
            stop: OnceLock::new(),
            life: watch::Sender::new(Life::Loading),
            requests,
            last_request: AtomicU64::new(0),
            queue: Queue::new(),
            current: Mutex::default(),
        }
    }

    /// The worker as it stands.
    pub(crate) fn view(&self) -> Worker {
        let life = self.life.borrow().clone();
        let jobs = self.queue.len();
        let state = match &life {
            Life::Loading => State::Loading,
            Life::Ready(_) if jobs == 0 => State::Idle,
            Life::Ready(_) => State::Busy,
            Life::Gone { .. } => State::Stopped,
        };
        let loaded = if let Life::Ready(loaded) = life { Some(loaded) } else { None };
        Worker {
            id: self.id.clone(),
            hive_id: LOCALHOST.to_owned(),
            model: self.model.clone(),
            architecture: self.architecture.clone(),
            state,
            jobs,
            worker: self.kind.backend,
            device: self.kind.device,
            pid: self.pid,
            started_at: self.started_at,
            context: loaded.as_ref().map(|loaded| loaded.context),
            threads: loaded.as_ref().map(|loaded| loaded.threads).filter(|threads| *threads > 0),
            load_ms: loaded.as_ref().map(|loaded| loaded.load_ms),
            slots: loaded.as_ref().map(|loaded| loaded.slots),
            url: self.kind.url.clone(),
        }
    }

    /// Whether it loads its model.
    pub(crate) fn is_loading(&self) -> bool {
        matches!(*self.life.borrow(), Life::Loading)
    }

    /// Enters the queue.
    pub(crate) async fn enter(&self) -> Result<Place> {
        match self.queue.enter() {
            Ok(place) => Ok(place),
            Err(Closed) => Err(self.gone().await),
        }
    }

    /// How many are before `place`, when that is another number than was `told`. Cancel-safe.
    pub(crate) async fn before(&self, place: &Place, told: Option<usize>) -> Result<usize> {
        match place.before(told).await {
            Ok(before) => Ok(before),
            Err(Closed) => Err(self.gone().await),
        }
    }

    /// Asks the worker for something; it's the turn of `place`. Cancel-safe: a dropped future has asked
    /// for nothing.
    pub(crate) async fn ask(self: &Arc<Self>, ask: Ask, place: Place) -> Result<Replies> {
        let Ok(permit) = self.requests.reserve().await else {
            return Err(self.gone().await);
        };
        let id = self.last_request.fetch_add(1, Ordering::Relaxed) + 1;
        let (sender, receiver) = mpsc::channel(REPLIES);
        self.current().insert(id, Current { replies: sender, _place: place });
        permit.send(Request { id, ask });
        Ok(Replies { id, receiver, ended: false, running: self.clone() })
    }

    /// The model is loaded: the worker is ready.
    pub(crate) fn loaded(&self, loaded: Loaded) {
        self.queue.set_slots(loaded.slots.min(MAX_SLOTS));
        self.life.send_if_modified(|life| {
            let loading = matches!(life, Life::Loading);
            if loading {
                *life = Life::Ready(loaded);
            }
            loading
        });
    }

    /// Takes what the process said.
    pub(crate) async fn heard(&self, Reply { id, say }: Reply) {
        if let Say::Log(line) = &say {
            self.log.push(line.level, &line.message);
        }
        let current = || Some((id?, self.current().get(&id?)?.replies.clone()));
        let Some((id, replies)) = current() else { return };
        let last = matches!(say, Say::Result(_) | Say::Error(_));
        // A job that was cancelled doesn't listen any more.
        let _ = replies.send(say).await;
        if last {
            self.current().remove(&id);
        }
    }

    /// Ends the worker. The first reason counts.
    pub(crate) fn stop(&self, why: Stop) {
        self.stop.get_or_init(|| why);
        self.end.cancel();
    }

    /// Whose wish the worker's end was, if it was anyone's.
    pub(crate) fn stop_reason(&self) -> Option<Stop> {
        self.stop.get().copied()
    }

    /// Whether the process, which is gone, has ended by a fault of its own.
    pub(crate) fn has_crashed(&self) -> bool {
        matches!(self.stop_reason(), None | Some(Stop::Nonsense))
    }

    /// The process is gone, `exit` says how: fails all that wait for it.
    pub(crate) fn has_gone(&self, exit: String) {
        self.life.send_replace(Life::Gone { exit, stop: self.stop_reason() });
        self.log.close();
        self.queue.close();
        self.current().clear();
    }

    /// Waits for the worker's end, and says why nothing can be had of it.
    pub(crate) async fn gone(&self) -> OperationError {
        let mut life = self.life.subscribe();
        let life = life.wait_for(|life| matches!(life, Life::Gone { .. })).await;
        let Ok(Life::Gone { exit, stop }) = life.as_deref() else {
            unreachable!("the worker holds the sender")
        };
        let Self { id, model, pid, .. } = self;
        let worker = format!("worker `{id}` (model `{model}`, process {pid})");
        let error = match stop {
            None => {
                OperationError::new("worker-crashed", format!("{worker} ended by itself: {exit}"))
            }
            Some(Stop::Nonsense) => OperationError::new(
                "worker-crashed",
                format!("{worker} did not speak the protocol, and was ended; see its log"),
            ),
            Some(Stop::Deleted) => {
                OperationError::new("worker-deleted", format!("{worker} was deleted"))
                    .with_status(409)
            }
            Some(Stop::NotLoaded) => {
                OperationError::new("worker-not-loaded", format!("{worker} did not load its model"))
            }
            Some(Stop::Idle | Stop::Evicted) => OperationError::new(
                "worker-unloaded",
                format!("{worker} has given its memory back"),
            )
            .with_status(503),
            Some(Stop::Shutdown) => {
                Problem::new(Code::ShuttingDown, format!("{worker} ended with the server")).into()
            }
        };
        error.with("worker_id", id.as_str())
    }

    fn current(&self) -> MutexGuard<'_, HashMap<u64, Current>> {
        // Only map operations run under the lock.
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a worker replies to one request. Dropped before the last reply, it cancels the request.
pub(crate) struct Replies {
    id: u64,
    receiver: mpsc::Receiver<Say>,
    ended: bool,
    running: Arc<Running>,
}

impl Replies {
    /// The next reply; fails when the worker is gone. The last one is `Result` or `Error`.
    /// Cancel-safe.
    pub(crate) async fn next(&mut self) -> Result<Say> {
        let Some(say) = self.receiver.recv().await else {
            self.ended = true;
            return Err(self.running.gone().await);
        };
        self.ended = matches!(say, Say::Result(_) | Say::Error(_));
        Ok(say)
    }
}

impl Drop for Replies {
    fn drop(&mut self) {
        if !self.ended {
            // There is room, see `REQUESTS`; a worker that is gone has nothing to cancel.
            let _ = self.running.requests.try_send(Request { id: self.id, ask: Ask::Cancel(true) });
        }
    }
}
