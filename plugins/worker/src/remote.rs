//! `skep worker` for models that another server holds: llama.cpp's, which it starts, or any that speaks
//! OpenAI's protocol. Lines on one side, HTTP on the other.
//!
//! It's a process of its own as the engine's is: what it starts ends with it, and its server knows one
//! kind of worker.

mod api;
mod llama;

use std::collections::HashMap;
use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use skep::prelude::*;
use skep::problem::Problem;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::answer::milliseconds;
use crate::driver::API_KEY;
use crate::protocol::{Ask, Load, Loaded, Request, Say};
use crate::remote::api::Api;
use crate::remote::llama::Llama;
use crate::stdout::{json, say};

/// What the command line says of the server.
pub(crate) enum Remote {
    /// llama.cpp's: the program, its arguments.
    Llama(OsString, Vec<OsString>),
    /// One at a URL, and what it calls the model.
    Url(String, String),
}

/// How long the end of llama.cpp's server may take to be noticed, once it doesn't answer.
const NOTICE: Duration = Duration::from_secs(1);

impl Remote {
    /// Reads the arguments behind `skep worker`.
    pub(crate) fn read(arguments: Vec<OsString>) -> Option<Self> {
        let mut arguments = arguments.into_iter();
        let mut next = || arguments.next();
        match next()?.to_str()? {
            "llama-server" => Some(Self::Llama(next()?, arguments.collect())),
            "url" => Some(Self::Url(next()?.into_string().ok()?, next()?.into_string().ok()?)),
            _ => None,
        }
    }

    /// Serves requests by lines until there are no more.
    pub(crate) fn run(self) -> ExitCode {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        match runtime {
            Ok(runtime) => {
                let exit = runtime.block_on(serve(self));
                // A thread may still wait for a line, which never comes.
                runtime.shutdown_background();
                exit
            }
            Err(error) => {
                eprintln!("there's no runtime: {error}");
                ExitCode::FAILURE
            }
        }
    }
}

/// The requests that are worked on.
type Running = Arc<Mutex<HashMap<u64, CancellationToken>>>;

async fn serve(remote: Remote) -> ExitCode {
    let running = Running::default();
    let mut llama: Option<Llama> = None;
    let mut api: Option<Arc<Api>> = None;
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    loop {
        let line = tokio::select! {
            line = lines.next_line() => line,
            exit = ended(&mut llama) => {
                eprintln!("llama-server ended: {exit}");
                return ExitCode::FAILURE;
            }
        };
        // The end of the lines is the end of the process: the server is gone, or says so.
        let Ok(Some(line)) = line else { return ExitCode::SUCCESS };
        let Request { id, ask } = match serde_json::from_str(&line) {
            Ok(request) => request,
            Err(error) => {
                eprintln!("not a request: {error}");
                return ExitCode::FAILURE;
            }
        };
        match ask {
            Ask::Load(load) => {
                let started = tokio::select! {
                    started = start(&remote, &load, &mut llama) => started,
                    // The server is gone, or doesn't want it any more.
                    _ = lines.next_line() => return ExitCode::SUCCESS,
                };
                match started {
                    Ok((loaded, new)) => {
                        api = Some(Arc::new(new));
                        say(id, Say::Result(json(&loaded)));
                    }
                    Err(problem) => say(id, Say::Error(problem)),
                }
            }
            Ask::Infer(generate) => {
                let Some(api) = api.clone() else {
                    let error = OperationError::new("worker-not-loaded", "the worker has no model");
                    say(id, Say::Error(error.into_problem()));
                    continue;
                };
                let cancel = CancellationToken::new();
                lock(&running).insert(id, cancel.clone());
                let running = running.clone();
                tokio::spawn(async move {
                    let answer = api.infer(generate, &cancel, |said| say(id, said)).await;
                    if answer.as_ref().is_err_and(|problem| api.may_have_died(problem)) {
                        // Then that's what is told, by our own end: it's noticed in a moment.
                        sleep(NOTICE).await;
                    }
                    lock(&running).remove(&id);
                    say(id, answer.map_or_else(Say::Error, |answer| Say::Result(json(&answer))));
                });
            }
            Ask::Ping(_) => match api.clone() {
                // One that doesn't answer hangs, so this doesn't either.
                Some(api) if api.is_ours() => {
                    tokio::spawn(async move {
                        if api.is_ready().await {
                            say(id, Say::Result(json(&())));
                        }
                    });
                }
                _ => say(id, Say::Result(json(&()))),
            },
            Ask::Cancel(_) => {
                if let Some(cancel) = lock(&running).get(&id) {
                    cancel.cancel();
                }
            }
        }
    }
}

/// Has the server ready.
async fn start(
    remote: &Remote,
    load: &Load,
    llama: &mut Option<Llama>,
) -> Result<(Loaded, Api), Problem> {
    let begun = Instant::now();
    let api = match remote {
        Remote::Llama(program, arguments) => {
            let started = Llama::start(program, arguments, load).await?;
            let api = Api::of_llama(&started.url)?;
            *llama = Some(started);
            api
        }
        Remote::Url(url, model) => {
            let api = Api::new(url, model.clone(), std::env::var(API_KEY).ok().as_deref())?;
            api.check().await?;
            api
        }
    };
    let Load { context, slots, .. } = *load;
    let load_ms = milliseconds(begun.elapsed());
    Ok((Loaded { context, threads: 0, load_ms, slots }, api))
}

/// Waits for the end of llama.cpp's server, if there's one.
async fn ended(llama: &mut Option<Llama>) -> String {
    match llama {
        Some(llama) => llama.ended().await,
        None => std::future::pending().await,
    }
}

fn lock(running: &Running) -> std::sync::MutexGuard<'_, HashMap<u64, CancellationToken>> {
    // Only map operations run under the lock.
    running.lock().unwrap_or_else(PoisonError::into_inner)
}
