//! What keeps a worker running: its processes, one after the other.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use skep::prelude::*;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::crashes::{Crashes, pause};
use crate::driver::Recipe;
use crate::process::{Process, Program};
use crate::protocol::{Ask, Load, Loaded, Say};
use crate::queue::Place;
use crate::running::{Ending, Running};
use crate::session::Exit;

/// How many crashes end a worker that hasn't answered in between.
const TOO_MANY: u32 = 5;

/// What workers are run by.
pub(crate) struct Means {
    pub(crate) program: Program,
    pub(crate) limits: Limits,
    pub(crate) crashes: Crashes,
}

/// What workers may take: room and time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// How many there may be.
    pub(crate) workers: usize,
    /// How much memory all their models may take, bytes; what is free of the machine's if absent.
    pub(crate) memory: Option<u64>,
    /// After how long without a job one ends; never if absent.
    pub(crate) idle: Option<Duration>,
    /// How long one may take to load its model.
    pub(crate) start: Duration,
    /// After how long without an answer a process is ended.
    pub(crate) unresponsive: Duration,
}

/// Runs a worker's processes: when one has ended by itself, another is started, after a pause that grows;
/// until the worker is to end, or too many have ended in a row.
///
/// Whoever starts the worker has the first one load, and is told if that fails.
pub(crate) async fn supervise(
    means: &Means,
    running: &Arc<Running>,
    recipe: &Recipe,
    first: Process,
) -> Ending {
    let (id, model) = (&running.id, &running.model);
    let (mut process, mut place) = (first, None);
    loop {
        let session = process.session.clone();
        let (exit, failure) =
            attend(&means.limits, running, process, place.take(), &recipe.load).await;
        if let Some(stop) = running.stop_reason() {
            info!(worker = %id, %model, "a worker was ended: {exit}");
            return Ending::Stopped(stop);
        }
        if let Some(why) = failure {
            return not_restarted(running, why);
        }
        let lines = running.last_lines(&session);
        warn!(worker = %id, %model, log = lines.join("\n"), "a worker ended by itself: {exit}");
        means.crashes.note(model, lines.clone());
        if !running.has_loaded() {
            return Ending::Crashed { pid: session.pid, exit };
        }
        let crashes = running.has_crashed();
        if crashes >= TOO_MANY {
            return Ending::CrashLoop { crashes, exit, lines };
        }
        let pause = pause(crashes);
        let when = if pause.is_zero() { "at once".to_owned() } else { format!("in {pause:?}") };
        running.log.push(LogLevel::Warn, format!("{exit}; another process is started {when}"));
        // Those that wait for their turn go on waiting: the model comes first.
        place = Some(running.restarts());
        session.has_ended(Exit { how: exit, lines });
        tokio::select! {
            () = sleep(pause) => {}
            () = running.end.cancelled() => {}
        }
        if let Some(stop) = running.stop_reason() {
            return Ending::Stopped(stop);
        }
        process = match means.program.start(recipe, &running.log) {
            Ok(process) => process,
            Err(error) => {
                return not_restarted(running, format!("its process can't be started: {error}"));
            }
        };
        running.begins(process.session.clone());
    }
}

fn not_restarted(running: &Running, why: String) -> Ending {
    let Running { id, model, .. } = running;
    warn!(worker = %id, %model, "a worker can't be started again: {why}");
    Ending::NotRestarted(why)
}

/// Attends to a process until it has ended. One that isn't the first is told what to load, in `place`; if
/// it can't, it's ended. Returns how it ended, in words, and why it couldn't.
async fn attend(
    limits: &Limits,
    running: &Arc<Running>,
    process: Process,
    place: Option<Place>,
    load: &Load,
) -> (String, Option<String>) {
    let unwanted = CancellationToken::new();
    let mut kept = pin!(process.keep(running, &unwanted, limits.unresponsive));
    if let Some(place) = place {
        let loaded = tokio::select! {
            exit = &mut kept => return (exit, None),
            loaded = reload(running, place, load, limits.start) => loaded,
        };
        if let Err(why) = loaded {
            unwanted.cancel();
            return (kept.await, Some(why));
        }
    }
    (kept.await, None)
}

/// Has the worker's new process load.
///
/// # Errors
/// Why it can't. If the process ends, this doesn't.
async fn reload(
    running: &Running,
    place: Place,
    load: &Load,
    limit: Duration,
) -> Result<(), String> {
    let loads = async {
        let Ok(mut replies) = running.ask(Ask::Load(load.clone()), place).await else {
            return std::future::pending().await;
        };
        loop {
            match running.next(&mut replies).await? {
                Say::Result(loaded) => return Ok(serde_json::from_value::<Loaded>(loaded)?),
                Say::Error(problem) => return Err(OperationError::from(problem)),
                Say::Emit(_) | Say::Progress(_) | Say::Log(_) => {}
            }
        }
    };
    match timeout(limit, loads).await {
        Ok(Ok(loaded)) => {
            running.loaded(loaded);
            Ok(())
        }
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("it hasn't loaded its model within {limit:?}")),
    }
}
