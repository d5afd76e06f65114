//! The command line as a process, and plugins for it to build.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// How long a build may take: it may be the first, on a machine that has little to give.
pub(crate) const PATIENCE: Duration = Duration::from_mins(15);

/// What is left out of a server so that it's built quickly.
pub(crate) const WITHOUT_ENGINE: [&str; 2] = ["--without", "worker"];

/// What a command did.
pub(crate) struct Done {
    pub(crate) succeeded: bool,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Done {
    fn from(output: Output) -> Self {
        Self {
            succeeded: output.status.success(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Done {
    /// What it printed. Fails the test if the command failed.
    #[track_caller]
    pub(crate) fn stdout(self) -> String {
        assert!(self.succeeded, "it failed: {}", self.stderr);
        self.stdout
    }

    /// What it said as it failed. Fails the test if it didn't.
    #[track_caller]
    pub(crate) fn refusal(self) -> String {
        assert!(!self.succeeded, "it did not fail: {}", self.stdout);
        self.stderr
    }
}

/// `skep`, to be run in a directory.
pub(crate) fn skep(directory: &Path) -> Command {
    let mut path = std::env::current_exe().expect("a test has a path");
    path.pop();
    path.pop();
    let program = path.join("examples/author");
    assert!(program.is_file(), "{} is missing: `cargo build --examples`", program.display());
    command(&program, directory)
}

/// Cargo, to be run in a directory.
pub(crate) fn cargo(directory: &Path) -> Command {
    command(Path::new("cargo"), directory)
}

fn command(program: &Path, directory: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .current_dir(directory)
        .env("CARGO_TARGET_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).join("author-target"))
        .env("CARGO_TERM_COLOR", "never")
        .stdin(Stdio::null());
    command
}

/// Runs a command to its end, which may be a while.
pub(crate) fn run(command: &mut Command) -> Done {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
    let pid = Pid::from_child(&child);
    let (tell, done) = mpsc::channel();
    std::thread::spawn(move || tell.send(child.wait_with_output()));
    if let Ok(output) = done.recv_timeout(PATIENCE) {
        return output.expect("its output is read").into();
    }
    let _ = kill_process(pid, Signal::KILL);
    panic!("{command:?} did not end within {PATIENCE:?}");
}

/// Runs a build.
pub(crate) fn build(command: &mut Command) -> Done {
    let _target = lock_target();
    run(command.args(["--debug"]))
}

/// Has the target directory to itself until the file is dropped: the servers that tests build have
/// one name there.
pub(crate) fn lock_target() -> File {
    let lock = Path::new(env!("CARGO_TARGET_TMPDIR")).join("author-build.lock");
    let lock = File::create(lock).expect("a lock file");
    lock.lock().expect("the lock");
    lock
}

/// Writes a crate: its dependencies as Cargo has them, its library's source.
pub(crate) fn write_crate(
    directory: &Path,
    (name, version): (&str, &str),
    dependencies: &str,
    source: &str,
) -> PathBuf {
    let root = directory.join(name);
    let manifest = format!(
        "[package]\nname = \"{name}\"\nversion = \"{version}\"\nedition = \"2024\"\n\n\
         [dependencies]\n{dependencies}\n"
    );
    fs::create_dir_all(root.join("src")).expect("a directory");
    fs::write(root.join("Cargo.toml"), manifest).expect("its manifest");
    fs::write(root.join("src/lib.rs"), source).expect("its source");
    root
}

/// The source of a plugin with one operation.
pub(crate) fn operation(name: &str) -> String {
    format!(
        "//! One operation.\n\
         use skep::prelude::*;\n\n\
         /// Says its name.\n\
         #[skep::operation]\n\
         async fn {name}() -> Result<String> {{\n    Ok({name:?}.to_owned())\n}}\n"
    )
}

/// Writes a plugin with one operation, both of this name, that asks for core as anyone's does.
pub(crate) fn write_plugin(directory: &Path, name: &str) -> PathBuf {
    write_crate(directory, (name, "0.1.0"), "skep = \"0.1\"", &operation(name))
}

/// An argument that names a plugin by its path.
pub(crate) fn by_path(name: &str, path: &Path) -> String {
    format!("{name}={}", path.display())
}
