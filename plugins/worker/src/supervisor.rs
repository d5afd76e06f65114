//! What keeps a worker running: its processes, one after the other.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use skep::prelude::*;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use crate::crashes::{Crashes, pause};
use crate::driver::Recipe;
use crate::process::{Process, Program};
use crate::protocol::{Ask, Load, Loaded, Say};
use crate::queue::Place;
use crate::running::{Ending, Running, Stop};

/// How many crashes in a row end a worker.
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
        let exit = attend(&means.limits, running, process, place.take(), &recipe.load).await;
        if let Some(stop) = running.stop_reason() {
            info!(worker = %id, %model, "a worker was ended: {exit}");
            return Ending::Stopped(stop);
        }
        let lines = running.last_lines(&session);
        warn!(worker = %id, %model, log = lines.join("\n"), "a worker ended by itself: {exit}");
        let crashes = means.crashes.note(model, lines.clone());
        if !running.has_loaded() {
            return Ending::Crashed { pid: session.pid, exit };
        }
        if crashes >= TOO_MANY {
            return Ending::CrashLoop { crashes, exit, lines };
        }
        let pause = pause(crashes);
        let when = if pause.is_zero() { "at once".to_owned() } else { format!("in {pause:?}") };
        running.log.push(LogLevel::Warn, format!("{exit}; another process is started {when}"));
        // Those that wait for their turn go on waiting: the model comes first.
        place = Some(running.restarts());
        session.has_ended(exit);
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
                let exit = format!("it can't be started again: {error}");
                return Ending::Crashed { pid: session.pid, exit };
            }
        };
        running.begins(process.session.clone());
    }
}

/// Attends to a process until it has ended. One that isn't the first is told what to load, in `place`.
/// Returns how it ended, in words.
async fn attend(
    limits: &Limits,
    running: &Arc<Running>,
    process: Process,
    place: Option<Place>,
    load: &Load,
) -> String {
    let mut kept = pin!(process.keep(running, limits.unresponsive));
    if let Some(place) = place {
        tokio::select! {
            exit = &mut kept => return exit,
            () = reload(running, place, load, limits.start) => {}
        }
    }
    kept.await
}

/// Has the worker's new process load. If it can't, that ends the worker.
async fn reload(running: &Running, place: Place, load: &Load, limit: Duration) {
    let loads = async {
        let mut replies = running.ask(Ask::Load(load.clone()), place).await?;
        loop {
            match running.next(&mut replies).await? {
                Say::Result(loaded) => return Ok(serde_json::from_value::<Loaded>(loaded)?),
                Say::Error(problem) => return Err(OperationError::from(problem)),
                Say::Emit(_) | Say::Progress(_) | Say::Log(_) => {}
            }
        }
    };
    let error = match timeout(limit, loads).await {
        Ok(Ok(loaded)) => return running.loaded(loaded),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("it hasn't loaded its model within {limit:?}"),
    };
    running.log.push(LogLevel::Error, error);
    running.stop(Stop::NotLoaded);
}
