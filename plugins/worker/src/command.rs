//! `skep worker`: the process that holds a model.
//!
//! Two threads: one reads the lines from the server, so that a cancellation and the end of the
//! server are heard at any time; the other computes.

use std::ffi::OsString;
use std::io::{BufRead, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use serde::Serialize;
use skep::job::{LogLevel, Progress};
use skep::prelude::*;
use skep::problem::Problem;
use skep_engine::{Engine, EngineError, Step};

use crate::answer;
use crate::protocol::{Ask, Generate, Line, Load, Loaded, Reply, Request, Say, Token};
use crate::remote::Remote;

/// How often a load tells how far it is.
const TELL_EVERY: Duration = Duration::from_millis(100);

/// The server asks for one thing at a time, and may send the next before this one is taken out.
const QUEUED: usize = 2;

/// What the computing thread is given to do.
enum Work {
    Load(u64, Load),
    Infer(u64, Generate),
}

/// The last request that was cancelled. Requests come one after the other, so those before it have
/// ended.
type Cancelled = Arc<AtomicU64>;

/// Hold a model for the server that started this process
#[skep::command]
fn worker(arguments: Vec<OsString>) -> ExitCode {
    std::panic::set_hook(Box::new(report_panic));
    if !arguments.is_empty() {
        let Some(remote) = Remote::read(arguments) else {
            eprintln!(
                "`worker` is no command for people: a server starts it, and speaks with it in lines \
                 of JSON"
            );
            return ExitCode::from(2);
        };
        return remote.run();
    }
    let cpu = skep_engine::check_cpu();
    let cancelled = Cancelled::default();
    let (sender, queue) = sync_channel(QUEUED);
    let heard = cancelled.clone();
    std::thread::spawn(move || listen(&sender, &heard));
    compute(&queue, &cancelled, cpu);
    ExitCode::SUCCESS
}

/// Reads lines to the end, which is also the end of the process: the server is gone, or has closed
/// the pipe to say so.
fn listen(work: &SyncSender<Work>, cancelled: &Cancelled) {
    for line in std::io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        let request = match serde_json::from_str(&line) {
            Ok(Request { id, ask: Ask::Load(load) }) => Work::Load(id, load),
            Ok(Request { id, ask: Ask::Infer(generate) }) => Work::Infer(id, generate),
            Ok(Request { id, ask: Ask::Cancel(_) }) => {
                cancelled.fetch_max(id, Ordering::Relaxed);
                continue;
            }
            Ok(Request { id, ask: Ask::Ping(_) }) => {
                say(id, Say::Result(serde_json::Value::Null));
                continue;
            }
            Err(error) => {
                eprintln!("not a request: {error}");
                std::process::exit(1);
            }
        };
        if work.try_send(request).is_err() {
            eprintln!("more requests than one at a time");
            std::process::exit(1);
        }
    }
    std::process::exit(0);
}

fn compute(queue: &Receiver<Work>, cancelled: &Cancelled, mut cpu: Result<(), EngineError>) {
    let mut engine: Option<Engine> = None;
    for work in queue {
        let (id, result) = match work {
            Work::Load(id, request) => {
                let loaded = std::mem::replace(&mut cpu, Ok(())).and_then(|()| load(id, &request));
                let result = loaded.map(|(loaded, told)| {
                    engine = Some(loaded);
                    json(&told)
                });
                (id, result.map_err(|error| answer::problem(&error)))
            }
            Work::Infer(id, generate) => (id, infer(id, engine.as_mut(), generate, cancelled)),
        };
        say(id, result.map_or_else(Say::Error, Say::Result));
    }
}

fn load(id: u64, load: &Load) -> Result<(Engine, Loaded), EngineError> {
    if let Some(missing) = skep_engine::missing_kernels() {
        let message = format!(
            "this build does without {missing}, which the processor has: answers are several times \
             slower than they could be (build with RUSTFLAGS=\"-C target-cpu=x86-64-v3\")"
        );
        say(id, Say::Log(Line { level: LogLevel::Warn, message }));
    }
    let started = Instant::now();
    let mut told: Option<Instant> = None;
    let engine = Engine::load(Path::new(&load.path), load.context, &mut |done, total| {
        if done == total || told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
            told = Some(Instant::now());
            say(id, Say::Progress(Progress::new(done, total, "bytes")));
        }
    })?;
    let info = engine.info();
    let loaded = Loaded {
        context: info.context,
        threads: info.threads,
        load_ms: answer::milliseconds(started.elapsed()),
        slots: 1,
    };
    Ok((engine, loaded))
}

fn infer(
    id: u64,
    engine: Option<&mut Engine>,
    generate: Generate,
    cancelled: &Cancelled,
) -> Result<serde_json::Value, Problem> {
    let Some(engine) = engine else {
        let error = OperationError::new("worker-not-loaded", "the worker has no model");
        return Err(error.into_problem());
    };
    let is_cancelled = || cancelled.load(Ordering::Relaxed) >= id;
    let mut tell = |step: Step<'_>| {
        if is_cancelled() {
            return ControlFlow::Break(());
        }
        match step {
            Step::Prompt { done, total } => {
                say(id, Say::Progress(Progress::new(done as u64, total as u64, "tokens")));
            }
            // Text that is held back is no news.
            Step::Token { text: "" } => {}
            Step::Token { text } => say(id, Say::Emit(json(&Token { text: text.to_owned() }))),
            _ => {}
        }
        ControlFlow::Continue(())
    };
    match engine.generate(&answer::request(generate), &mut tell) {
        Ok(generation) => Ok(json(&answer::answer(generation))),
        Err(error) => {
            if !error.is_request_error() {
                // What a failed computation left there is not to be built on.
                engine.clear_cache();
            }
            Err(answer::problem(&error))
        }
    }
}

/// Writes a line for request `id`.
pub(crate) fn say(id: u64, say: Say) {
    let Ok(mut line) = serde_json::to_vec(&Reply { id: Some(id), say }) else {
        unreachable!("texts, numbers and JSON values serialise")
    };
    line.push(b'\n');
    let mut stdout = std::io::stdout().lock();
    if stdout.write_all(&line).and_then(|()| stdout.flush()).is_err() {
        // Nobody listens any more.
        std::process::exit(0);
    }
}

pub(crate) fn json(value: &impl Serialize) -> serde_json::Value {
    let Ok(value) = serde_json::to_value(value) else {
        unreachable!("texts and numbers serialise")
    };
    value
}

/// Tells a panic on standard error, which the server keeps, without the paths of the machine that
/// this was built on.
fn report_panic(panic: &std::panic::PanicHookInfo<'_>) {
    let message = panic.payload_as_str().unwrap_or("no message");
    let at = panic.location().map(|location| {
        let file = Path::new(location.file()).file_name().unwrap_or_default();
        format!(" at {}:{}", file.display(), location.line())
    });
    eprintln!("the worker panicked{}: {message}", at.unwrap_or_default());
}
