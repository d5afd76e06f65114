//! The machine that a hive is on: this one, or one that SSH gets to. Both are asked by the same
//! scripts, whose arguments are never part of a script's text.

use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use openssh::{Session, Stdio as RemoteStdio};
use skep::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::time::timeout;

use crate::ssh;

/// How long a script may take that only looks or starts something.
const PATIENCE: Duration = Duration::from_secs(30);

/// How much of the program is sent at once, bytes.
const CHUNK: usize = 256 * 1024;

/// The longest part of what a script says that is told on, bytes.
const MAX_TOLD: usize = 2_000;

/// The machine that a hive is on.
pub(crate) enum Machine {
    /// The one that this server is on.
    Here,
    /// Another one.
    There(Arc<Session>),
}

/// What a machine has.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// The system and the processor, as Rust names them: `linux`, `x86_64`.
    pub(crate) target: (String, String),
    /// What the installed program says of its version; `None` if there's none.
    pub(crate) version: Option<String>,
}

/// A hive's server, seen on its machine.
pub(crate) struct Seen {
    pub(crate) runs: bool,
    /// Where it listens, if it does, and the end of its log.
    pub(crate) log: String,
}

impl Machine {
    /// What the machine has.
    pub(crate) async fn find(&self) -> Result<Found> {
        let told = self.run(include_str!("machine/find.sh"), &[]).await?;
        let mut lines = told.lines();
        let mut line = || lines.next().unwrap_or_default().trim().to_owned();
        let target = target(&line(), &line());
        Ok(Found { target, version: Some(line()).filter(|version| version != "missing") })
    }

    /// Installs `program`, and tells how much of it has been sent.
    pub(crate) async fn install(&self, program: &Path, job: &JobContext) -> Result<()> {
        let mut file = tokio::fs::File::open(program).await?;
        let size = file.metadata().await?.len();
        let Self::There(session) = self else {
            let detail = "on its own machine the server runs itself, not a copy";
            return Err(OperationError::message(detail));
        };
        let mut install = session.command("sh");
        install.args(["-c", include_str!("machine/install.sh"), "sh", &size.to_string()]);
        install
            .stdin(RemoteStdio::piped())
            .stdout(RemoteStdio::null())
            .stderr(RemoteStdio::piped());
        let mut install = install.spawn().await.map_err(|error| ssh::failed(&error))?;
        if let Some(mut to) = install.stdin().take() {
            let (mut sent, mut chunk) = (0, vec![0; CHUNK]);
            loop {
                let read = file.read(&mut chunk).await?;
                // The script says why, if it takes no more.
                if read == 0 || to.write_all(&chunk[..read]).await.is_err() {
                    break;
                }
                sent += read as u64;
                job.progress(sent, size, "bytes").await?;
            }
        }
        let output = install.wait_with_output().await.map_err(|error| ssh::failed(&error))?;
        said(&output).map(drop)
    }

    /// Starts the server of hive `id`, which listens on `listen`, unless it runs. Returns its process.
    pub(crate) async fn start(&self, id: &str, listen: &str) -> Result<u32> {
        let program = match self {
            Self::Here => std::env::current_exe()?.to_string_lossy().into_owned(),
            Self::There(_) => String::new(),
        };
        let told = self.run(include_str!("machine/start.sh"), &[id, listen, &program]).await?;
        told.trim().parse().map_err(|_| failed(&format!("no process was told, but `{told}`")))
    }

    /// Looks at the server of hive `id`, process `pid`.
    pub(crate) async fn look(&self, id: &str, pid: u32) -> Result<Seen> {
        let told = self.run(include_str!("machine/look.sh"), &[id, &pid.to_string()]).await?;
        let (state, log) = told.split_once('\n').unwrap_or((&told, ""));
        Ok(Seen { runs: state == "runs", log: log.trim_end().to_owned() })
    }

    /// Sends the server of hive `id` a signal, if it's there.
    pub(crate) async fn signal(&self, id: &str, pid: u32, signal: &str) -> Result<()> {
        let script = include_str!("machine/signal.sh");
        self.run(script, &[id, &pid.to_string(), signal]).await.map(drop)
    }

    async fn run(&self, script: &str, arguments: &[&str]) -> Result<String> {
        let run = async {
            match self {
                Self::Here => {
                    let mut command = Command::new("sh");
                    command.args(["-c", script, "sh"]).args(arguments);
                    // What configures this server isn't for that one.
                    for (name, _) in std::env::vars_os() {
                        if name.to_string_lossy().starts_with("SKEP_") {
                            command.env_remove(name);
                        }
                    }
                    // Ctrl-C in the server's terminal isn't for it either.
                    command.process_group(0).stdin(Stdio::null()).kill_on_drop(true);
                    Ok(command.output().await?)
                }
                Self::There(session) => {
                    let mut command = session.command("sh");
                    command.args(["-c", script, "sh"]).args(arguments);
                    command.output().await.map_err(|error| ssh::failed(&error))
                }
            }
        };
        match timeout(PATIENCE, run).await {
            Ok(output) => said(&output?),
            Err(_) => Err(failed(&format!("it hasn't answered within {PATIENCE:?}"))),
        }
    }
}

/// What a script has said, or why it failed.
fn said(output: &Output) -> Result<String> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let why = String::from_utf8_lossy(&output.stderr);
    let why = why.trim();
    let why = &why[..why.floor_char_boundary(MAX_TOLD)];
    Err(failed(if why.is_empty() { "it says nothing of why" } else { why }))
}

fn failed(why: &str) -> OperationError {
    OperationError::new("machine-failed", format!("the machine can't do it: {why}"))
        .with_status(502)
}

/// A system and a processor as `uname` tells them, by Rust's names.
fn target(system: &str, processor: &str) -> (String, String) {
    let system = match system {
        "Darwin" => "macos".to_owned(),
        system => system.to_ascii_lowercase(),
    };
    let processor = match processor {
        "arm64" => "aarch64",
        "amd64" => "x86_64",
        processor => processor,
    };
    (system, processor.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_known_by_rusts_names() {
        let named = |(system, processor): (&str, &str)| (system.to_owned(), processor.to_owned());
        assert_eq!(target("Linux", "x86_64"), named(("linux", "x86_64")));
        assert_eq!(target("Darwin", "arm64"), named(("macos", "aarch64")));
        assert_eq!(target("FreeBSD", "amd64"), named(("freebsd", "x86_64")));
    }

    #[tokio::test]
    async fn this_machine_is_what_this_program_was_built_for() {
        let found = Machine::Here.find().await.unwrap();
        let built = (std::env::consts::OS.to_owned(), std::env::consts::ARCH.to_owned());
        assert_eq!(found.target, built);
    }

    #[tokio::test]
    async fn an_argument_is_no_part_of_the_script() {
        let hostile = "$(touch /tmp/x); echo '\"";
        let told = Machine::Here.run("printf %s \"$1\"", &[hostile]).await.unwrap();
        assert_eq!(told, hostile);
        let error = Machine::Here.run("echo no way >&2; exit 3", &[]).await.unwrap_err();
        assert_eq!(error.problem().code, "machine-failed");
        assert!(error.to_string().contains("no way"), "{error}");
    }

    #[tokio::test]
    async fn a_process_that_is_not_the_hives_is_gone_and_gets_no_signal() {
        let own = std::process::id();
        assert!(!Machine::Here.look("no-such-hive", own).await.unwrap().runs);
        Machine::Here.signal("no-such-hive", own, "KILL").await.unwrap();
    }
}
