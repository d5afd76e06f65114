//! A worker's process: how it's started, its pipes, and its end.

use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use skep::prelude::*;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::driver::Recipe;
use crate::liveness::silent;
use crate::log::{Log, MAX_LINE};
use crate::protocol::{Reply, Request, Say};
use crate::running::Running;
use crate::session::Session;

/// How long a process may take to end when its standard input has ended, before it's killed.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// How long the last lines of a process that has ended may take to be read.
const LAST_LINES: Duration = Duration::from_secs(1);

/// The longest line from a worker, bytes.
const MAX_REPLY: usize = 16 << 20;

/// What a worker inherits of the server's environment, all of it.
const INHERITED: [&str; 3] = ["PATH", THREADS, "RAYON_NUM_THREADS"];

/// How many threads the engine computes with.
const THREADS: &str = "CANDLE_NUM_THREADS";

/// What is started as a worker.
#[derive(Debug)]
pub(crate) struct Program {
    /// A path, or a name that is looked for along `PATH`.
    path: PathBuf,
    arguments: Vec<String>,
    threads: Option<usize>,
}

impl Program {
    /// `command`, or this program itself as `skep worker`, with `threads` to compute.
    pub(crate) fn new(command: Option<Vec<String>>, threads: Option<usize>) -> Result<Self> {
        let Some(command) = command else {
            let path = std::env::current_exe()?;
            return Ok(Self { path, arguments: vec!["worker".to_owned()], threads });
        };
        let mut words = command.into_iter();
        let path = words.next().map(PathBuf::from);
        let path = path.ok_or_else(|| OperationError::message("`command` is an empty list"))?;
        Ok(Self { path, arguments: words.collect(), threads })
    }

    /// Whether there is something to start, as far as that can be seen.
    pub(crate) fn is_there(&self) -> bool {
        !self.path.is_absolute() || self.path.exists()
    }

    /// Starts a process for a worker whose log this is. It dies when it's dropped.
    pub(crate) fn start(&self, recipe: &Recipe, log: &Log) -> io::Result<Process> {
        let mut command = Command::new(&self.path);
        command
            .args(&self.arguments)
            .args(&recipe.arguments)
            .env_clear()
            .envs(INHERITED.iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
            .envs(self.threads.map(|threads| (THREADS, threads.to_string())))
            .envs(recipe.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        // Ctrl-C in the server's terminal is for the server alone: it ends its workers itself.
        #[cfg(unix)]
        command.process_group(0);
        let child = command.spawn()?;
        let (session, requests) = Session::new(child.id().unwrap_or_default(), log.before_last(0));
        Ok(Process { child, session, requests })
    }
}

/// A process that was started.
pub(crate) struct Process {
    child: Child,
    pub(crate) session: Arc<Session>,
    requests: mpsc::Receiver<Request>,
}

impl Process {
    /// Moves lines between the process and its session until the worker is to end or the process is
    /// `unwanted`, or until it doesn't answer for so long; and ends the process. Returns how it ended, in
    /// words.
    pub(crate) async fn keep(
        self,
        running: &Arc<Running>,
        unwanted: &CancellationToken,
        unresponsive: Duration,
    ) -> String {
        let Self { mut child, session, mut requests } = self;
        let group = Group::of(&child);
        let (mut hearing, mut reading) = (JoinSet::new(), JoinSet::new());
        if let Some(stdout) = child.stdout.take() {
            hearing.spawn(hear(stdout, running.clone(), session.clone()));
        }
        if let Some(stderr) = child.stderr.take() {
            reading.spawn(keep_stderr(stderr, running.clone()));
        }
        let mut fault = None;
        if let Some(stdin) = child.stdin.take() {
            fault = tokio::select! {
                _ = child.wait() => None,
                () = write(stdin, &mut requests) => None,
                () = running.end.cancelled() => None,
                () = unwanted.cancelled() => None,
                Some(heard) = hearing.join_next() => heard.ok().flatten(),
                () = hangs(running, &session, unresponsive) => {
                    Some(format!("it did not answer for {unresponsive:?}, and was ended"))
                }
            };
        }
        // Its standard input has ended by now, which tells a worker to end.
        drop(requests);
        let exit = match timeout(STOP_GRACE, child.wait()).await {
            Ok(exit) => exit,
            Err(_) => match child.kill().await {
                Ok(()) => child.wait().await,
                Err(error) => Err(error),
            },
        };
        drop(group);
        // A process that has left the group may still hold the pipes.
        let _ = timeout(LAST_LINES, async {
            while reading.join_next().await.is_some() {}
            while hearing.join_next().await.is_some() {}
        })
        .await;
        match (fault, exit) {
            (Some(fault), _) => fault,
            (None, Ok(status)) => status.to_string(),
            (None, Err(error)) => format!("its end can't be learned: {error}"),
        }
    }
}

/// Waits until the process hangs. While it loads its model there's another limit.
async fn hangs(running: &Running, session: &Session, limit: Duration) {
    if running.ready().await.is_ok() {
        silent(session, limit).await;
    }
}

/// The group of a worker's process: what it has started has no one to serve when it's gone, however that
/// comes, and is killed.
struct Group(Option<Pid>);

impl Group {
    fn of(process: &Child) -> Self {
        Self(process.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // There may be nobody left.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// Writes requests until that fails.
async fn write(mut stdin: ChildStdin, requests: &mut mpsc::Receiver<Request>) {
    while let Some(request) = requests.recv().await {
        let Ok(mut line) = serde_json::to_vec(&request) else {
            unreachable!("texts and numbers serialise")
        };
        line.push(b'\n');
        if stdin.write_all(&line).await.is_err() {
            return;
        }
    }
}

/// Reads replies until there are no more, or one that can't be understood: then it says so.
async fn hear(stdout: ChildStdout, running: Arc<Running>, session: Arc<Session>) -> Option<String> {
    let mut stdout = BufReader::new(stdout);
    let mut line = Vec::new();
    while read_line(&mut stdout, &mut line, MAX_REPLY).await {
        match serde_json::from_slice::<Reply>(&line) {
            Ok(reply) => {
                if let Say::Log(line) = &reply.say {
                    running.log.push(line.level, &line.message);
                }
                session.heard(reply).await;
            }
            // The process's end has cut it off.
            Err(_) if !line.ends_with(b"\n") && line.len() < MAX_REPLY => return None,
            Err(error) => {
                let start = String::from_utf8_lossy(&line[..line.len().min(200)]).into_owned();
                running.log.push(LogLevel::Error, format!("not a reply ({error}): {start}"));
                return Some(
                    "it did not speak the protocol, and was ended; see its log".to_owned(),
                );
            }
        }
    }
    None
}

async fn keep_stderr(stderr: ChildStderr, running: Arc<Running>) {
    let mut stderr = BufReader::new(stderr);
    let mut line = Vec::new();
    while read_line(&mut stderr, &mut line, MAX_LINE).await {
        keep_line(&running.log, &line);
    }
}

fn keep_line(log: &Log, line: &[u8]) {
    log.push_stderr(String::from_utf8_lossy(line).trim_end());
}

/// Reads a line, or the first `most` bytes of it. `false` at the end.
async fn read_line(
    from: &mut (impl AsyncBufRead + Unpin),
    line: &mut Vec<u8>,
    most: usize,
) -> bool {
    line.clear();
    let read = from.take(most as u64).read_until(b'\n', line).await;
    read.is_ok_and(|read| read > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_line_that_is_too_long_comes_in_pieces() {
        let mut from = BufReader::new(&b"one\n12345678\nlast"[..]);
        let mut line = Vec::new();
        let mut lines = Vec::new();
        while read_line(&mut from, &mut line, 5).await {
            lines.push(String::from_utf8(line.clone()).unwrap());
        }
        assert_eq!(lines, ["one\n", "12345", "678\n", "last"]);
    }

    #[test]
    fn an_empty_command_is_refused() {
        assert!(Program::new(Some(Vec::new()), None).is_err());
    }
}
