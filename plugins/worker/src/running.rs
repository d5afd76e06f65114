//! One worker: its queue, what it's asked, its end.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use jiff::Timestamp;
use skep::placement::LOCALHOST;
use skep::prelude::*;
use skep::problem::{Code, Problem};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::log::Log;
use crate::protocol::{Ask, Loaded, Say};
use crate::queue::{Closed, Place, Queue};
use crate::session::{Ended, MAX_SLOTS, Replies, Session};
use crate::worker::{Kind, ModelFile, State, Worker};

/// How many of its last lines are told of a worker that crashed.
const LAST_LINES: usize = 20;

/// A worker's end, as wished for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// `worker_delete`.
    Deleted,
    /// Its model was not loaded, or its load was cancelled.
    NotLoaded,
    /// It had nothing to do for too long.
    Idle,
    /// Another model needs its memory, or its place.
    Evicted,
    /// The server goes down.
    Shutdown,
}

/// How a worker has ended.
#[derive(Clone, Debug)]
pub(crate) enum Ending {
    /// As wished for.
    Stopped(Stop),
    /// Its process ended by itself: how, in words.
    Crashed { pid: u32, exit: String },
    /// Its processes ended by themselves one after the other: how many, how the last one did, and that one's
    /// last lines.
    CrashLoop { crashes: u32, exit: String, lines: Vec<String> },
}

#[derive(Clone, Debug)]
enum Life {
    Loading,
    Ready(Loaded),
    /// Its process has ended by itself, and another takes its place.
    Restarting,
    Gone(Ending),
}

/// The server's side of a worker.
pub(crate) struct Running {
    pub(crate) id: String,
    pub(crate) model: String,
    architecture: String,
    /// The size of the model's file: about the memory that it takes.
    pub(crate) bytes: u64,
    kind: Kind,
    pub(crate) started_at: Timestamp,
    pub(crate) log: Log,
    /// Fires when the worker is to end.
    pub(crate) end: CancellationToken,
    stop: OnceLock<Stop>,
    life: watch::Sender<Life>,
    /// Its jobs, in the order they came.
    pub(crate) queue: Arc<Queue>,
    processes: Mutex<Processes>,
}

/// A worker's processes.
struct Processes {
    /// The last one.
    session: Arc<Session>,
    /// How many there were before.
    restarts: u64,
}

impl Running {
    /// A worker for a model, with its log and its first process.
    pub(crate) fn new(
        id: String,
        model: &ModelFile,
        kind: Kind,
        log: Log,
        session: Arc<Session>,
    ) -> Self {
        let ModelFile { id: model, architecture, bytes } = model.clone();
        Self {
            id,
            model,
            architecture,
            bytes,
            kind,
            started_at: Timestamp::now(),
            log,
            end: CancellationToken::new(),
            stop: OnceLock::new(),
            life: watch::Sender::new(Life::Loading),
            queue: Queue::new(),
            processes: Mutex::new(Processes { session, restarts: 0 }),
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
            Life::Restarting => State::Restarting,
            Life::Gone(_) => State::Stopped,
        };
        let loaded = if let Life::Ready(loaded) = life { Some(loaded) } else { None };
        let (pid, restarts) = {
            let processes = self.processes();
            (processes.session.pid, processes.restarts)
        };
        Worker {
            id: self.id.clone(),
            hive_id: LOCALHOST.to_owned(),
            model: self.model.clone(),
            architecture: self.architecture.clone(),
            state,
            jobs,
            worker: self.kind.backend,
            device: self.kind.device,
            pid,
            restarts,
            started_at: self.started_at,
            context: loaded.as_ref().map(|loaded| loaded.context),
            threads: loaded.as_ref().map(|loaded| loaded.threads).filter(|threads| *threads > 0),
            load_ms: loaded.as_ref().map(|loaded| loaded.load_ms),
            slots: loaded.as_ref().map(|loaded| loaded.slots),
            url: self.kind.url.clone(),
        }
    }

    /// Whether its model isn't in memory yet.
    pub(crate) fn is_loading(&self) -> bool {
        matches!(*self.life.borrow(), Life::Loading | Life::Restarting)
    }

    /// Whether its model is in memory.
    pub(crate) fn has_loaded(&self) -> bool {
        matches!(*self.life.borrow(), Life::Ready(_) | Life::Restarting)
    }

    /// Waits until the worker is ready. Cancel-safe.
    ///
    /// # Errors
    /// If it has ended before.
    pub(crate) async fn ready(&self) -> Result<()> {
        let mut life = self.life.subscribe();
        let settled = life.wait_for(|life| matches!(life, Life::Ready(_) | Life::Gone(_))).await;
        match settled.as_deref() {
            Ok(Life::Gone(ending)) => Err(self.ended(ending)),
            _ => Ok(()),
        }
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
    pub(crate) async fn ask(&self, ask: Ask, place: Place) -> Result<Replies> {
        let session = self.processes().session.clone();
        match session.ask(ask, place).await {
            Ok(replies) => Ok(replies),
            Err(Ended) => Err(self.lost(&session).await),
        }
    }

    /// The next of the worker's replies. Cancel-safe.
    pub(crate) async fn next(&self, replies: &mut Replies) -> Result<Say> {
        match replies.next().await {
            Ok(say) => Ok(say),
            Err(Ended) => Err(self.lost(replies.session()).await),
        }
    }

    /// The model is loaded: the worker is ready.
    pub(crate) fn loaded(&self, loaded: Loaded) {
        self.queue.set_slots(loaded.slots.min(MAX_SLOTS));
        self.life.send_if_modified(|life| {
            let is_waited_for = matches!(life, Life::Loading | Life::Restarting);
            if is_waited_for {
                *life = Life::Ready(loaded);
            }
            is_waited_for
        });
    }

    /// The process has ended by itself, and another is to take its place. Returns that one's place in the
    /// queue: the first.
    pub(crate) fn restarts(&self) -> Place {
        self.life.send_replace(Life::Restarting);
        self.queue.enter_first()
    }

    /// The next process has been started.
    pub(crate) fn begins(&self, session: Arc<Session>) {
        let mut processes = self.processes();
        processes.session = session;
        processes.restarts += 1;
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

    /// The last lines of one of its processes, for whoever looks for the cause of its end.
    pub(crate) fn last_lines(&self, session: &Session) -> Vec<String> {
        let begin = session.begin.max(self.log.before_last(LAST_LINES));
        let (lines, _) = self.log.read(begin);
        lines.into_iter().map(|line| line.message).collect()
    }

    /// The worker has ended: fails all that wait for it.
    pub(crate) fn has_gone(&self, ending: Ending) {
        let exit = match &ending {
            Ending::Crashed { exit, .. } | Ending::CrashLoop { exit, .. } => exit.clone(),
            // Then it's told whose wish that was.
            Ending::Stopped(_) => String::new(),
        };
        self.life.send_replace(Life::Gone(ending));
        self.log.close();
        self.queue.close();
        self.processes().session.has_ended(exit);
    }

    /// Waits for the worker's end, and says why nothing can be had of it.
    pub(crate) async fn gone(&self) -> OperationError {
        let mut life = self.life.subscribe();
        let life = life.wait_for(|life| matches!(life, Life::Gone(_))).await;
        let Ok(Life::Gone(ending)) = life.as_deref() else {
            unreachable!("the worker holds the sender")
        };
        self.ended(ending)
    }

    /// Waits for the end of one of its processes, and says why nothing can be had of it.
    async fn lost(&self, session: &Session) -> OperationError {
        let exit = session.exit().await;
        match self.stop_reason() {
            Some(stop) => self.ended(&Ending::Stopped(stop)),
            None => self.ended(&Ending::Crashed { pid: session.pid, exit }),
        }
    }

    /// Why nothing can be had of a worker that has ended.
    fn ended(&self, ending: &Ending) -> OperationError {
        let Self { id, model, .. } = self;
        let worker = format!("worker `{id}` (model `{model}`)");
        let error = match ending {
            Ending::Crashed { pid, exit } => {
                let detail = format!("the process {pid} of {worker} ended by itself: {exit}");
                OperationError::new("worker-crashed", detail)
            }
            Ending::CrashLoop { crashes, exit, lines } => {
                let detail = format!(
                    "{worker} has ended: {crashes} of its processes ended by themselves one after the \
                     other, the last one: {exit}"
                );
                let error = OperationError::new("worker-crash-loop", detail).with_status(503);
                error.with("log", lines.clone())
            }
            Ending::Stopped(Stop::Deleted) => {
                OperationError::new("worker-deleted", format!("{worker} was deleted"))
                    .with_status(409)
            }
            Ending::Stopped(Stop::NotLoaded) => {
                OperationError::new("worker-not-loaded", format!("{worker} did not load its model"))
            }
            Ending::Stopped(Stop::Idle | Stop::Evicted) => OperationError::new(
                "worker-unloaded",
                format!("{worker} has given its memory back"),
            )
            .with_status(503),
            Ending::Stopped(Stop::Shutdown) => {
                Problem::new(Code::ShuttingDown, format!("{worker} ended with the server")).into()
            }
        };
        error.with("worker_id", id.as_str())
    }

    fn processes(&self) -> MutexGuard<'_, Processes> {
        // Only assignments run under the lock.
        self.processes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
