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
            Ok(watcher) => {
                self.watcher = Some(watcher);
                self.is_missing = false;
            }
            // It's tried again with the next program, and told once.
            Err(error) if !std::mem::replace(&mut self.is_missing, true) => {
                warn!("no shell: programs outlive a server that is killed ({error})");
            }
            Err(_) => {}
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

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    /// A process with a group of its own.
    struct Sleeper(Child);

    impl Sleeper {
        fn start() -> Self {
            Self(Command::new("sleep").arg("30").process_group(0).spawn().unwrap())
        }

        fn group(&self) -> Pid {
            Pid::from_child(&self.0)
        }

        fn runs(&mut self) -> bool {
            self.0.try_wait().unwrap().is_none()
        }

        /// Waits for its end, and returns the signal that it ended by.
        fn end(mut self) -> Option<i32> {
            self.0.wait().unwrap().signal()
        }
    }

    impl Drop for Sleeper {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn what_is_held_when_the_server_is_gone_is_killed_and_nothing_else() {
        let lifeline = Arc::new(Lifeline::default());
        let (held, mut freed) = (Sleeper::start(), Sleeper::start());
        let _held = lifeline.hold(held.group());
        drop(lifeline.hold(freed.group()));
        // As the server's death: the shell's standard input ends.
        lifeline.lock().watcher = None;
        assert!(held.end() == Some(9) && freed.runs());
    }

    #[test]
    fn another_shell_takes_the_place_of_one_that_is_gone() {
        let lifeline = Arc::new(Lifeline::default());
        let (first, second) = (Sleeper::start(), Sleeper::start());
        let _first = lifeline.hold(first.group());
        if let Some(Watcher(shell)) = &mut lifeline.lock().watcher {
            let stdin = shell.stdin.take();
            shell.kill().unwrap();
            // It leaves its standard input open, which is what is tried.
            shell.wait().unwrap();
            shell.stdin = stdin;
        }
        let _second = lifeline.hold(second.group());
        lifeline.lock().watcher = None;
        assert!(first.end() == Some(9) && second.end() == Some(9));
    }
}
