//! `skep worker`: the process that holds a model.
//!
//! Two threads: one reads the lines from the server, so that the end of the server is heard at any time,
//! and a ping is answered; the other computes, all texts together.

use std::ffi::OsString;
use std::io::{BufRead, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc::{Sender, channel};

use serde::Serialize;

use crate::compute::compute;
use crate::protocol::{Ask, Reply, Request, Say};
use crate::remote::Remote;

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
    // The server doesn't ask for more at once than there are slots.
    let (sender, requests) = channel();
    std::thread::spawn(move || listen(&sender));
    compute(&requests);
    ExitCode::SUCCESS
}

/// Reads lines to the end, which is also the end of the process: the server is gone, or has closed
/// the pipe to say so.
fn listen(requests: &Sender<Request>) {
    for line in std::io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        match serde_json::from_str(&line) {
            Ok(Request { id, ask: Ask::Ping(_) }) => say(id, Say::Result(serde_json::Value::Null)),
            Ok(request) => {
                if requests.send(request).is_err() {
                    break;
                }
            }
            Err(error) => {
                eprintln!("not a request: {error}");
                std::process::exit(1);
            }
        }
    }
    std::process::exit(0);
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
