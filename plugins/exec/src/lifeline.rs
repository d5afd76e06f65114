//! What ends the programs of a server that can't do it itself any more.
//!
//! A server that ends in order ends its programs. One that is killed (`kill -9`, out of memory) can't,
//! and a program in a group of its own would outlive it, unknown to the next server. So a shell
//! stands beside it. It's told which groups run, and when its standard input ends, and be it because
//! its server is gone, it kills the last that it was told of. (Linux alone could have the kernel do it,
//! `PR_SET_PDEATHSIG`, but that is asked for between `fork` and `exec`, in unsafe code, and it fires when
//! the *thread* that started the program ends.)

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::process::Pid;
use tracing::warn;

/// Keeps the last whole line, and kills the groups that it names.
const SCRIPT: &str = "while read -r line; do groups=$line; done
for group in $groups; do kill -s KILL -- \"-$group\"; done";

/// The groups of a server's programs that run.
#[derive(Default)]
pub(crate) struct Lifeline(Mutex<State>);

#[derive(Default)]
struct State {
    groups: BTreeSet<i32>,
    watcher: Option<Watcher>,
    /// There's no shell: that has been said once.
    is_missing: bool,
}

/// The shell.
struct Watcher(Child);

/// A group that is to end with the server; dropped when it has ended.
pub(crate) struct Held {
    lifeline: Arc<Lifeline>,
    group: Pid,
}

impl Lifeline {
    /// Has `group` end with the server, from now on.
    pub(crate) fn hold(self: &Arc<Self>, group: Pid) -> Held {
        let mut state = self.lock();
        state.groups.insert(group.as_raw_nonzero().get());
        state.tell();
        Held { lifeline: self.clone(), group }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // What is half told is told again with the next change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut state = self.lifeline.lock();
        state.groups.remove(&self.group.as_raw_nonzero().get());
        state.tell();
    }
}

impl State {
    /// Tells the shell which groups there are; another shell if it's gone.
    fn tell(&mut self) {
        if self.is_missing {
            return;
        }
        let line: String = self.groups.iter().map(|group| format!("{group} ")).collect();
        if let Some(watcher) = &mut self.watcher
            && watcher.tell(&line).is_ok()
        {
            return;
        }
        self.watcher = None;
        let told = Watcher::start().and_then(|mut watcher| {
            watcher.tell(&line)?;
            Ok(watcher)
        });
        match told {
            Ok(watcher) => self.watcher = Some(watcher),
            Err(error) => {
                self.is_missing = true;
                warn!("no shell: programs outlive a server that is killed ({error})");
            }
        }
    }
}

impl Watcher {
    fn start() -> io::Result<Self> {
        let shell = Command::new("/bin/sh")
            .args(["-c", SCRIPT])
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // It must outlive a Ctrl-C in the server's terminal.
            .process_group(0)
            .spawn()?;
        Ok(Self(shell))
    }

    fn tell(&mut self, groups: &str) -> io::Result<()> {
        let Some(stdin) = &mut self.0.stdin else { unreachable!("it's a pipe") };
        stdin.write_all(format!("{groups}\n").as_bytes())
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // That closes its standard input first. What still runs then is killed.
        let _ = self.0.wait();
    }
}
