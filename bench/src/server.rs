//! A server under load: a process of its own, what it costs, and its end.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::time::ClockId;
use nix::unistd::Pid;

use crate::Result;

/// How long a server may take until it listens.
const PATIENCE: Duration = Duration::from_mins(1);

/// How long a server may take to end, once it's asked to, and how often it's looked whether it has.
const END_PATIENCE: (Duration, Duration) = (Duration::from_secs(2), Duration::from_millis(5));

/// A server that runs. When dropped it's asked to end, as one that counts what it does writes that down at its
/// end; one that takes too long is killed.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// Starts `command` and waits until it says where it listens.
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{}: {error}", command.get_program().display()))?;
        let (tell, heard) = channel();
        if let Some(stdout) = child.stdout.take() {
            listen(stdout, tell.clone());
        }
        if let Some(stderr) = child.stderr.take() {
            listen(stderr, tell);
        }
        // Killed by its drop if it doesn't listen.
        let mut server = Self { child, address: SocketAddr::from(([127, 0, 0, 1], 0)) };
        server.address = heard
            .recv_timeout(PATIENCE)
            .map_err(|_| format!("{} does not listen", command.get_program().display()))?;
        Ok(server)
    }

    /// Measures what the server does from now on.
    pub(crate) fn meter(&self) -> Result<Meter<'_>> {
        Ok(Meter { server: self, cpu: self.cpu()?, begun: Instant::now() })
    }

    /// The processor time that the process has taken so far, of all its threads, seconds.
    fn cpu(&self) -> Result<f64> {
        let taken = ClockId::pid_cpu_clock_id(self.id()?)?.now()?;
        Ok(Duration::from(taken).as_secs_f64())
    }

    fn id(&self) -> Result<Pid> {
        Ok(Pid::from_raw(self.child.id().try_into()?))
    }

    /// The memory that the process has now, bytes.
    pub(crate) fn memory(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let line = line.ok_or("a process without memory")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
    }
}

/// What a server does from one moment on.
pub(crate) struct Meter<'a> {
    server: &'a Server,
    cpu: f64,
    begun: Instant,
}

impl Meter<'_> {
    /// How many a second were done, of `done` in all, and what each took of the server's processor
    /// time, us.
    pub(crate) fn read(&self, done: f64) -> Result<(f64, f64)> {
        let took = self.begun.elapsed().as_secs_f64();
        let cpu = self.server.cpu()? - self.cpu;
        Ok((done / took, cpu * 1e6 / done))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let (longest, pause) = END_PATIENCE;
        let asked = Instant::now();
        // One that has ended by itself can't be asked, or killed; all the same it's waited for.
        let _ = self.id().map(|id| kill(id, Signal::SIGTERM));
        while asked.elapsed() < longest {
            if let Ok(Some(_)) = self.child.try_wait() {
                return;
            }
            thread::sleep(pause);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads what a server says to the end, so that it never waits for a full pipe, and tells its address.
fn listen(pipe: impl Read + Send + 'static, tell: Sender<SocketAddr>) {
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(std::result::Result::ok) {
            match line.split_once("listening on http://") {
                Some((_, address)) => {
                    if let Ok(address) = address.trim().parse() {
                        // Whoever has lost patience isn't told.
                        let _ = tell.send(address);
                    }
                }
                None => eprintln!("    {line}"),
            }
        }
    });
}
