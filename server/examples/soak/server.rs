//! The server under test, as a process.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::Result;
use crate::ledger::Ledger;
use crate::place::run;

/// How long a server may take to start, or to stop when it's asked to.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

/// What is said of the clock to libfaketime.
const CLOCK: &str = "clock";

/// The signal of a program that aborts itself, as a job of the kind `Poison` has it do.
const SIGABRT: i32 = 6;

/// Where a server lives, over its incarnations.
pub(crate) struct Home {
    /// The driver's own files: what must not be on a disk that is full.
    pub(crate) directory: PathBuf,
    pub(crate) data: PathBuf,
    /// libfaketime, if clocks are to jump.
    pub(crate) faketime: Option<PathBuf>,
}

/// A server that runs. It's killed when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) url: String,
    listeners: Vec<JoinHandle<()>>,
    /// Whether a job has said that it takes the server down.
    is_poisoned: Arc<AtomicBool>,
}

/// How a server ended.
#[derive(Clone, Copy)]
pub(crate) struct Exit {
    pub(crate) status: ExitStatus,
    /// Whether a job took it down.
    pub(crate) is_poisoned: bool,
}

impl Home {
    /// Sets the clock of the servers, by seconds from the true one.
    pub(crate) fn set_clock(&self, offset: i64) -> Result<()> {
        // Renamed into its place: who reads it meanwhile finds one time or the other.
        let (clock, next) = (self.directory.join(CLOCK), self.directory.join("clock.next"));
        fs::write(&next, format!("{offset:+}\n"))?;
        Ok(fs::rename(next, clock)?)
    }

    /// Starts a server with a configuration and waits until it listens, or has ended; `ledger` hears
    /// what it says.
    pub(crate) fn start(
        &self,
        configuration: &str,
        ledger: &Arc<Ledger>,
    ) -> Result<std::result::Result<Server, Exit>> {
        let config = self.directory.join("skep.toml");
        fs::write(&config, configuration)?;
        let log = self.directory.join("server.log");
        let mut log = fs::File::options().create(true).append(true).open(log)?;
        let mut child = self
            .command()
            .args(["serve", "--listen", "127.0.0.1:0", "--config"])
            .arg(config)
            .arg("--data-dir")
            .arg(&self.data)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
            return Err("a server without pipes".into());
        };
        let (tell, listening) = channel();
        let is_poisoned = Arc::new(AtomicBool::new(false));
        let (handlers, store, poisoned) = (ledger.clone(), ledger.clone(), is_poisoned.clone());
        let listeners = vec![
            std::thread::spawn(move || {
                for line in lines(stdout) {
                    poisoned.fetch_or(line.starts_with("abort "), Ordering::Relaxed);
                    handlers.hear(&line);
                }
            }),
            std::thread::spawn(move || {
                for line in lines(stderr) {
                    store.hear_store(&line);
                    if let Some((_, url)) = line.split_once("listening on ") {
                        let _ = tell.send(url.to_owned());
                    }
                    // Without it only an explanation is lacking.
                    let _ = std::io::Write::write_all(&mut log, format!("{line}\n").as_bytes());
                }
            }),
        ];
        let server = Server { child, url: String::new(), listeners, is_poisoned };
        server.ready(&listening)
    }

    /// Looks for damage in the store; says what was looked at, or what was found.
    pub(crate) fn check(&self) -> Result<Result<String>> {
        let check = ["store", "check", "--store", "sqlite", "--data-dir"];
        let output = self.command().args(check).arg(&self.data).output()?;
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        let is_whole = output.status.success();
        Ok(if is_whole { Ok(said(&output.stdout)) } else { Err(said(&output.stderr).into()) })
    }

    /// This program, by way of a shell that has it survive writes beyond a file's size limit, which
    /// is how its disk is made to fail.
    fn command(&self) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]);
        command.arg(std::env::current_exe().unwrap_or_else(|_| "soak".into()));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("SKEP_") {
                command.env_remove(name);
            }
        }
        if let Some(faketime) = &self.faketime {
            command
                .env("LD_PRELOAD", faketime)
                .env("FAKETIME_TIMESTAMP_FILE", self.directory.join(CLOCK))
                .env("FAKETIME_CACHE_DURATION", "1")
                .env("DONT_FAKE_MONOTONIC", "1")
                .env("FAKETIME_DONT_RESET", "1");
        }
        // What is no violation yet is told at length in the log.
        command.env("RUST_LOG", "info").env("NO_COLOR", "1").current_dir(&self.directory);
        command
    }
}

impl Server {
    fn ready(mut self, listening: &Receiver<String>) -> Result<std::result::Result<Self, Exit>> {
        match listening.recv_timeout(PATIENCE) {
            Ok(url) => {
                self.url = url;
                Ok(Ok(self))
            }
            // Its standard error is closed.
            Err(RecvTimeoutError::Disconnected) => {
                let status = self.child.wait()?;
                Ok(Err(self.exit(status)?))
            }
            Err(RecvTimeoutError::Timeout) => {
                Err(format!("the server does not listen within {PATIENCE:?}").into())
            }
        }
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Result<Option<Exit>> {
        let status = self.child.try_wait()?;
        status.map(|status| self.exit(status)).transpose()
    }

    fn exit(&mut self, status: ExitStatus) -> Result<Exit> {
        self.listen_to_end()?;
        let said_so = self.is_poisoned.load(Ordering::Relaxed);
        Ok(Exit { status, is_poisoned: said_so && status.signal() == Some(SIGABRT) })
    }

    /// Kills it, as the system does when memory is short.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        self.listen_to_end()
    }

    /// Hears all that it said: what it told before its end comes before the next one's words.
    fn listen_to_end(&mut self) -> Result<()> {
        for listener in self.listeners.drain(..) {
            listener.join().map_err(|_| "who listens to the server has panicked")?;
        }
        Ok(())
    }

    /// Asks it to stop, and waits for that.
    pub(crate) async fn stop(mut self) -> Result<Exit> {
        run("kill", &["-s", "TERM", &self.id()], None);
        let until = tokio::time::Instant::now() + PATIENCE;
        while tokio::time::Instant::now() < until {
            if let Some(exit) = self.ended()? {
                return Ok(exit);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Err(format!("the server did not stop within {PATIENCE:?}").into())
    }

    /// Has its writes behind so many bytes of a file fail, or lets them be done again.
    pub(crate) fn limit_files(&self, bytes: Option<u64>) -> bool {
        let limit = bytes.map_or_else(|| "unlimited".to_owned(), |bytes| bytes.to_string());
        run("prlimit", &["--pid", &self.id(), &format!("--fsize={limit}:")], None)
    }

    pub(crate) fn id(&self) -> String {
        self.child.id().to_string()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a child says, line by line; one that was cut off in the middle is none.
fn lines(pipe: impl std::io::Read) -> impl Iterator<Item = String> {
    let mut pipe = BufReader::new(pipe);
    std::iter::from_fn(move || {
        let mut line = String::new();
        pipe.read_line(&mut line).ok()?;
        line.strip_suffix('\n').map(str::to_owned)
    })
}

/// The database, which another program may lock.
pub(crate) fn database(data: &Path) -> PathBuf {
    data.join("jobs.sqlite3")
}
