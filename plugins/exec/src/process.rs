//! A program that runs: its group, its pipes, its end.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout};
use tokio::time::timeout;
use tracing::warn;

use crate::lifeline::{Held, Lifeline};
use crate::program::Program;

/// How long a process that is killed is waited for.
const KILL_PATIENCE: Duration = Duration::from_secs(5);

/// A process, and all that it starts and that stays in its group.
///
/// The group ends with the process, and when this is dropped.
pub(crate) struct Process {
    // In this order: whoever is dropped is killed before it's reaped.
    group: Option<Group>,
    child: Child,
}

/// A process's standard input, output and error.
pub(crate) struct Pipes {
    pub(crate) stdin: ChildStdin,
    pub(crate) stdout: ChildStdout,
    pub(crate) stderr: ChildStderr,
}

impl Process {
    /// Starts `program` with these variables beside its own.
    pub(crate) fn start(
        program: &Program,
        variables: &[(&str, String)],
        lifeline: &Arc<Lifeline>,
    ) -> io::Result<(Self, Pipes)> {
        let mut command = program.command();
        command
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Its own, so that it's killed with all that it starts, and not by a Ctrl-C in the
            // server's terminal.
            .process_group(0)
            // Should it have left its group.
            .kill_on_drop(true);
        let mut child = command.spawn()?;
        let id = child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
        let group = id.map(|id| Group { id, _held: lifeline.hold(id) });
        let (Some(stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            unreachable!("all three are pipes")
        };
        Ok((Self { group, child }, Pipes { stdin, stdout, stderr }))
    }

    /// Waits until the process has ended; what it leaves of its group is killed. Cancel-safe.
    pub(crate) async fn ended(&mut self) -> io::Result<ExitStatus> {
        let exit = self.child.wait().await;
        // At once: the group's id is nobody else's while it has members, and after that not so soon.
        self.group = None;
        exit
    }

    /// Asks the group to end.
    pub(crate) fn terminate(&self) {
        if let Some(group) = &self.group {
            group.signal(Signal::TERM);
        }
    }

    /// Kills the group, and waits until the process is gone.
    pub(crate) async fn kill(&mut self) {
        self.group = None;
        // By itself too: it may have left the group.
        let _ = self.child.start_kill();
        // It's gone, however that can be learned; one that may not be killed, as another user's, is
        // waited for no longer.
        if timeout(KILL_PATIENCE, self.child.wait()).await.is_err() {
            warn!(pid = self.child.id(), "a program can't be killed: it's another user's?");
        }
    }
}

/// The group of a process; killed when dropped.
struct Group {
    id: Pid,
    _held: Held,
}

impl Group {
    fn signal(&self, signal: Signal) {
        // It fails where nobody is left to get it.
        let _ = kill_process_group(self.id, signal);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}
