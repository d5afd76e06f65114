//! The server's process: its start on a socket that outlives it, and its end.

use std::ffi::OsString;
use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::recipe::{Built, Edition, Recipe};

/// How long jobs that run may go on when the server is replaced.
const DRAIN: (&str, &str) = ("SKEP_SERVER__DRAIN", "1s");

/// How long a server may take to end before it's killed: its drain, what it gives handlers that
/// ignore their cancellation, and its store.
const STOP_PATIENCE: Duration = Duration::from_secs(20);

/// What the servers have one after the other.
pub(super) struct Seat {
    socket: TcpListener,
    /// The plugin's directory.
    directory: PathBuf,
    data: PathBuf,
    /// More arguments of `skep serve`.
    arguments: Vec<OsString>,
}

/// A server that runs. It's killed when dropped.
pub(super) struct Server {
    pub(super) edition: Edition,
    process: Child,
}

impl Seat {
    pub(super) fn new(socket: TcpListener, recipe: &Recipe, arguments: Vec<OsString>) -> Self {
        Self { socket, directory: recipe.directory.clone(), data: recipe.data(), arguments }
    }

    /// Starts a server. The one before must have ended: it has the data to itself.
    pub(super) fn start(&self, built: Built) -> io::Result<Server> {
        let socket = OwnedFd::from(self.socket.try_clone()?);
        let mut command = Command::new(&built.program);
        command
            .args(["serve", "--listen", "stdin", "--data-dir"])
            .arg(&self.data)
            .args(&self.arguments)
            .current_dir(&self.directory)
            .stdin(Stdio::from(socket))
            // Ctrl-C is for this command, which ends the server itself. Should it be killed, the
            // server finds that whoever handed it its socket is gone.
            .process_group(0)
            .kill_on_drop(true);
        if std::env::var_os(DRAIN.0).is_none() {
            command.env(DRAIN.0, DRAIN.1);
        }
        Ok(Server { edition: built.edition, process: command.spawn()? })
    }
}

impl Server {
    /// Waits for its end, which nobody has asked for. Cancel-safe.
    pub(super) async fn ended(&mut self) -> String {
        match self.process.wait().await {
            Ok(exit) => exit.to_string(),
            Err(error) => error.to_string(),
        }
    }

    /// Ends it: as it likes to, or, if that takes too long, at once.
    pub(super) async fn stop(mut self) {
        let pid = self.process.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
        if let Some(pid) = pid {
            // One that has just ended can't be told to, and needn't be.
            let _ = kill_process(pid, Signal::TERM);
        }
        if timeout(STOP_PATIENCE, self.process.wait()).await.is_err() {
            eprintln!("skep dev: the server did not end within {STOP_PATIENCE:?}: it's killed");
            if let Err(error) = self.process.kill().await {
                eprintln!("skep dev: it can't be killed: {error}");
            }
        }
    }
}
