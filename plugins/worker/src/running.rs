//! One worker: its queue, what it's asked, its end.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use jiff::Timestamp;
use skep::placement::LOCALHOST;
use skep::prelude::*;
use skep::problem::{Code, Problem};
use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::log::Log;
use crate::protocol::{Ask, Loaded, Say};
use crate::queue::{Closed, Place, Queue};
use crate::session::{Ended, Exit, MAX_SLOTS, Replies, Session};
use crate::worker::{Backend, Kind, ModelFile, State, Worker};

/// How many of its last lines are told of a worker that crashed.
const LAST_LINES: usize = 20;

/// A worker's end, as wished for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// `worker_delete`.
    Deleted,
    /// Its model was not loaded: why.
    NotLoaded(String),
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
    /// A process that was to take another's place has no model: why.
    NotRestarted(String),
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
    /// How much memory it may take, bytes.
    pub(crate) memory: u64,
    pub(crate) kind: Kind,
    pub(crate) started_at: Timestamp,
    pub(crate) log: Log,
    /// Fires when the worker is to end.
    pub(crate) end: CancellationToken,
    stop: OnceLock<Stop>,
    /// How many processes have ended by themselves since one has answered.
    crashes: AtomicU32,
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
    /// A worker for a model, with its memory, its log and its first process.
    pub(crate) fn new(
        id: String,
        model: &ModelFile,
        kind: Kind,
        memory: u64,
        log: Log,
        session: Arc<Session>,
    ) -> Self {
        let ModelFile { id: model, architecture, .. } = model.clone();
        Self {
            id,
            model,
            architecture,
            memory,
            kind,
            started_at: Timestamp::now(),
            log,
            end: CancellationToken::new(),
            stop: OnceLock::new(),
            crashes: AtomicU32::new(0),
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

    /// How much of its memory it hasn't taken yet, about.
    pub(crate) fn memory_to_come(&self) -> u64 {
        let is_loading = matches!(*self.life.borrow(), Life::Loading | Life::Restarting);
        match self.kind.backend {
            // It takes memory as its texts grow.
            Backend::Cpu => self.memory.saturating_sub(resident(self.processes().session.pid)),
            // It's another process's, which takes all of it when it loads.
            Backend::LlamaServer if is_loading => self.memory,
            Backend::LlamaServer | Backend::Url => 0,
        }
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
    ///
    /// # Errors
    /// The place, if the process has ended before it was asked: another may take its place.
    pub(crate) async fn ask(&self, ask: Ask, place: Place) -> Result<Replies, Place> {
        let session = self.processes().session.clone();
        let asked = session.ask(ask, place).await;
        if asked.is_err() {
            // From then on the worker has another process, or none.
            session.exit().await;
        }
        asked
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

    /// A process has ended by itself. Returns how many have since one has answered.
    pub(crate) fn has_crashed(&self) -> u32 {
        self.crashes.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// A process has answered.
    pub(crate) fn has_answered(&self) {
        self.crashes.store(0, Ordering::Relaxed);
    }

    /// Ends the worker. The first reason counts.
    pub(crate) fn stop(&self, why: Stop) {
        self.stop.get_or_init(|| why);
        self.end.cancel();
    }

    /// Whose wish the worker's end was, if it was anyone's.
    pub(crate) fn stop_reason(&self) -> Option<Stop> {
        self.stop.get().cloned()
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
            Ending::NotRestarted(why) => why.clone(),
            // Then it's told whose wish that was.
            Ending::Stopped(_) => String::new(),
        };
        let session = self.processes().session.clone();
        let lines = self.last_lines(&session);
        // Whatever else waits for its end.
        self.end.cancel();
        self.life.send_replace(Life::Gone(ending));
        self.log.close();
        self.queue.close();
        session.has_ended(Exit { how: exit, lines });
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
        let Exit { how: exit, .. } = session.exit().await;
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
            Ending::NotRestarted(why) => {
                let detail = format!("{worker} has ended: it was to be started again, but {why}");
                OperationError::new("worker-not-loaded", detail)
            }
            Ending::Stopped(Stop::Deleted) => {
                OperationError::new("worker-deleted", format!("{worker} was deleted"))
                    .with_status(409)
            }
            Ending::Stopped(Stop::NotLoaded(why)) => {
                let detail = format!("{worker} did not load its model: {why}");
                OperationError::new("worker-not-loaded", detail)
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

/// How much memory a process has, bytes.
fn resident(pid: u32) -> u64 {
    let (pid, mut system) = (Pid::from_u32(pid), System::new());
    let memory = ProcessRefreshKind::nothing().with_memory();
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), true, memory);
    system.process(pid).map_or(0, sysinfo::Process::memory)
}
