//! The stock build as a program.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// How long a command may take that builds nothing.
const PATIENCE: Duration = Duration::from_mins(1);

/// The program `skep`. Cargo builds it with the tests of this crate.
pub(crate) fn program() -> PathBuf {
    let mut path = std::env::current_exe().expect("a test has a path");
    path.pop();
    path.pop();
    let program = path.join("examples/skep");
    assert!(program.is_file(), "{} is missing: `cargo build --examples`", program.display());
    program
}

/// A command that takes nothing of what this test is configured with.
pub(crate) fn command(program: impl AsRef<Path>) -> Command {
    let mut command = Command::new(program.as_ref());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("SKEP_")) {
        command.env_remove(name);
    }
    command.env("NO_COLOR", "1").env("CARGO_TERM_COLOR", "never").stdin(Stdio::null());
    command
}

/// What `skep ARGUMENT...` prints in `directory`, or what it says as it fails.
pub(crate) fn run(directory: &Path, arguments: &[&str]) -> Result<String, String> {
    output(command(program()).args(arguments).current_dir(directory))
}

/// What a command prints, or what it says as it fails.
pub(crate) fn output(command: &mut Command) -> Result<String, String> {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = child.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let pid = Pid::from_child(&child);
    let (tell, done) = mpsc::channel();
    std::thread::spawn(move || tell.send(child.wait_with_output()));
    let Ok(output) = done.recv_timeout(PATIENCE) else {
        let _ = kill_process(pid, Signal::KILL);
        panic!("{command:?} did not end within {PATIENCE:?}");
    };
    let output = output.expect("its output is read");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}
