//! A shell that a page's commands are typed into.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use regex::Regex;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::expected::Expected;
use crate::skep;

/// How long a command may take: some build a server, on a machine that has little to give.
const PATIENCE: Duration = Duration::from_mins(15);

/// How long a server may take to say what stands below a command: it may have to be built anew.
const SERVER_PATIENCE: Duration = Duration::from_mins(2);

/// What the shell prints when a command has ended, with its exit code and the directory.
const MARK: &str = "---- that was it";

/// Where the pages say that the server is.
const SHOWN: [&str; 2] = ["127.0.0.1:7833", "localhost:7833"];

/// A shell in a directory of its own, where `skep` is the stock build.
pub(crate) struct Session {
    shell: Child,
    input: ChildStdin,
    lines: Receiver<String>,
    /// Where it is.
    directory: PathBuf,
    server: Option<Server>,
    home: TempDir,
}

/// A server that the session has started.
struct Server {
    process: Child,
    lines: Receiver<String>,
    address: String,
}

impl Session {
    /// Starts a shell.
    pub(crate) fn start() -> Self {
        let home = tempfile::tempdir().expect("a directory");
        let (programs, directory) = (home.path().join("bin"), home.path().join("work"));
        for made in [&programs, &directory] {
            std::fs::create_dir(made).expect("a directory");
        }
        symlink(skep::program(), programs.join("skep")).expect("a link");
        let (mut shell, lines) = spawn("exec 2>&1; exec bash --norc", &directory, home.path());
        let input = shell.stdin.take().expect("it was piped");
        Self { shell, input, lines, directory, server: None, home }
    }

    /// Where the next command runs.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Runs a command, which must print what is expected.
    ///
    /// # Errors
    /// What it did instead.
    pub(super) fn run(&mut self, command: &str, expected: &Expected) -> Result<(), String> {
        if let Some(command) = command.strip_suffix('&') {
            return self.start_server(command.trim_end(), expected);
        }
        match command {
            "kill %1" => return self.end_server(Signal::TERM, expected),
            "kill -9 %1" => return self.end_server(Signal::KILL, expected),
            _ => {}
        }
        let (mut printed, code) = self.command(&self.addressed(command))?;
        if !expected.is_met(&printed) {
            // What is missing is the server's, if it's a server's at all.
            let Some(server) = self.server.as_ref().filter(|_| expected.has_servers) else {
                return Err(format!("prints\n{printed}"));
            };
            server
                .lines_until(&mut printed, SERVER_PATIENCE, |printed| expected.is_met(printed))?;
        }
        if code != "0" && !expected.is_refusal {
            return Err(format!("fails, with exit code {code}"));
        }
        Ok(())
    }

    /// What a command prints that succeeds.
    pub(crate) fn output(&mut self, command: &str) -> String {
        match self.command(command) {
            Ok((printed, code)) if code == "0" => printed,
            other => panic!("`{command}`: {other:?}"),
        }
    }

    /// Starts a server and waits until it listens.
    pub(crate) fn serve(&mut self, command: &str) {
        if let Err(told) = self.start_server(command, &Expected::parse("")) {
            panic!("`{command}` {told}");
        }
    }

    /// A command with the address that the server has, for the one that is shown.
    fn addressed(&self, command: &str) -> String {
        let Some(server) = &self.server else { return command.to_owned() };
        SHOWN
            .iter()
            .fold(command.to_owned(), |command, shown| command.replace(shown, &server.address))
    }

    /// Has the shell do a command. Returns what it printed, and its exit code.
    fn command(&mut self, command: &str) -> Result<(String, String), String> {
        // What reads its input must not read the next command.
        let typed =
            format!("{{ {command}\n}} </dev/null\nprintf '\\n{MARK} %s %s\\n' \"$?\" \"$PWD\"\n");
        self.input.write_all(typed.as_bytes()).map_err(|error| format!("the shell: {error}"))?;
        let mut printed = String::new();
        loop {
            let line = self.lines.recv_timeout(PATIENCE);
            let line = line.map_err(|_| format!("does not end; it prints\n{printed}"))?;
            if let Some(told) = line.strip_prefix(MARK) {
                let (code, directory) = told.trim().split_once(' ').expect("both are told");
                self.directory = directory.into();
                return Ok((printed, code.to_owned()));
            }
            printed.push_str(&line);
            printed.push('\n');
        }
    }

    /// Starts a server on a port that is free, and waits until it listens.
    fn start_server(&mut self, command: &str, expected: &Expected) -> Result<(), String> {
        self.server = None;
        let listen = if command.starts_with("skep dev") { " --listen 127.0.0.1:0" } else { "" };
        let script = format!("exec 2>&1; export SKEP_SERVER__LISTEN=127.0.0.1:0; exec {command}");
        let (process, lines) = spawn(&(script + listen), &self.directory, self.home.path());
        let mut server = Server { process, lines, address: String::new() };
        let listening = Regex::new(r"listening on http://(\S+)").expect("a pattern");
        let mut printed = String::new();
        server.lines_until(&mut printed, PATIENCE, |printed| listening.is_match(printed))?;
        server.address = listening.captures(&printed).expect("it has just matched")[1].to_owned();
        if !expected.is_nothing && !expected.is_met(&printed) {
            return Err(format!("prints\n{printed}"));
        }
        self.command(&format!("export SKEP_URL=http://{}", server.address))?;
        self.server = Some(server);
        Ok(())
    }

    /// Ends the server and waits until it's gone.
    fn end_server(&mut self, signal: Signal, expected: &Expected) -> Result<(), String> {
        let Some(mut server) = self.server.take() else { return Err("there's no server".into()) };
        let _ = kill_process(Pid::from_child(&server.process), signal);
        let mut printed = String::new();
        // It has ended when it has closed its output.
        let begun = Instant::now();
        while let Ok(line) = server.lines.recv_timeout(PATIENCE.saturating_sub(begun.elapsed())) {
            printed.push_str(&line);
            printed.push('\n');
        }
        server.process.wait().map_err(|error| error.to_string())?;
        let is_met = expected.is_nothing || expected.is_met(&printed);
        if is_met { Ok(()) } else { Err(format!("prints\n{printed}")) }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}

impl Server {
    /// Adds its lines to `printed` until that is as wished.
    fn lines_until(
        &self,
        printed: &mut String,
        patience: Duration,
        is_met: impl Fn(&str) -> bool,
    ) -> Result<(), String> {
        let begun = Instant::now();
        while !is_met(printed) {
            let left = patience.saturating_sub(begun.elapsed());
            let line = self.lines.recv_timeout(left);
            let line = line.map_err(|_| format!("prints, with the server,\n{printed}"))?;
            printed.push_str(&line);
            printed.push('\n');
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Runs a script of bash, with the stock build first among the programs. Returns its lines as they
/// come, until it ends.
fn spawn(script: &str, directory: &Path, home: &Path) -> (Child, Receiver<String>) {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut shell = skep::command("bash")
        .args(["-c", script])
        .current_dir(directory)
        .env("PATH", format!("{}:{path}", home.join("bin").display()))
        .env("CARGO_TARGET_DIR", super::target())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("bash is there");
    let lines = lines_of(shell.stdout.take().expect("it was piped"));
    (shell, lines)
}

fn lines_of(output: impl Read + Send + 'static) -> Receiver<String> {
    let (tell, lines) = mpsc::channel();
    let output = BufReader::new(output).lines();
    std::thread::spawn(move || output.map_while(Result::ok).try_for_each(|line| tell.send(line)));
    lines
}
