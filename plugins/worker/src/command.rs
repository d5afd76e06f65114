//! `skep worker`: the process that holds a model.
//!
//! Two threads: one reads the lines from the server, so that the end of the server is heard at any time,
//! and a ping is answered; the other computes, all texts together.

use std::ffi::OsString;
use std::io::BufRead;
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc::{Sender, channel};

use crate::compute::compute;
use crate::protocol::{Ask, Request, Say};
use crate::remote::Remote;
use crate::stdout::say;

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
