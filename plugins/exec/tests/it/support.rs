//! Servers with programs of a test's own.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use skep::job::{Event, EventKind};
use skep::testing::{TestJob, TestServer, TestServerBuilder};
use skep::{OperationSpec, StartError, Value, json};
use skep_exec as _;
use tempfile::TempDir;

/// How long anything may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Set up to run what `exec` is configured to.
pub(crate) fn builder(exec: Value) -> TestServerBuilder {
    TestServer::builder().plugins(&["exec"]).config("exec", exec).real_time()
}

pub(crate) fn server(exec: Value) -> TestServer {
    builder(exec).start()
}

/// A server whose operation `run` is the shell's `script`.
pub(crate) fn shell(script: &str) -> TestServer {
    shell_with(script, json!({}))
}

/// The same, with `more` of the operation's keys.
pub(crate) fn shell_with(script: &str, more: Value) -> TestServer {
    let mut operation = json!({ "command": ["sh", "-c", script], "summary": "A script." });
    merge(&mut operation, more);
    server(json!({ "operations": { "run": operation } }))
}

/// A server whose operation `run` is the Python program `script`.
pub(crate) fn python(script: &str) -> TestServer {
    let operation = json!({ "command": ["python3", "-c", script], "summary": "A program." });
    server(json!({ "operations": { "run": operation } }))
}

/// Why a server with this configuration doesn't start.
pub(crate) fn refusal(exec: Value) -> String {
    match builder(exec).try_start() {
        Ok(_) => panic!("the server starts"),
        Err(StartError::Several(errors)) => panic!("several: {errors:?}"),
        Err(error) => error.to_string(),
    }
}

fn merge(into: &mut Value, more: Value) {
    let (Value::Object(into), Value::Object(more)) = (into, more) else {
        panic!("both are objects")
    };
    into.extend(more);
}

/// The lines of a job's log, levels before them.
pub(crate) fn log(job: &TestJob<'_>) -> Vec<String> {
    let line = |event: Event| match event.kind {
        EventKind::Log(line) => Some(format!("{}: {}", line.level.as_str(), line.message)),
        _ => None,
    };
    job.events().into_iter().filter_map(line).collect()
}

/// Waits for the first output of a job that goes on, and returns it.
pub(crate) fn first_output(job: &TestJob<'_>) -> Value {
    let mut events = 1;
    loop {
        if let Some(EventKind::Output(value)) = job.events_until(events).pop().map(|last| last.kind)
        {
            return value;
        }
        events += 1;
    }
}

/// The spec of operation `name`.
pub(crate) fn spec_of(server: &TestServer, name: &str) -> Arc<OperationSpec> {
    let found = server.router().operations().into_iter().find(|spec| spec.name == name);
    found.unwrap_or_else(|| panic!("`{name}` is not served"))
}

/// Waits, while the server runs, until `is_so`.
pub(crate) fn until(server: &TestServer, what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "waited in vain until {what}");
        server.advance(Duration::from_millis(10));
    }
}

/// Whether process `pid` runs. One that has ended and that nobody has reaped doesn't.
pub(crate) fn runs(pid: &Value) -> bool {
    let mut ps = Command::new("ps");
    let output = ps.args(["-o", "stat=", "-p", &pid.to_string()]).output();
    let output = output.expect("these tests need `ps`");
    let state = String::from_utf8_lossy(&output.stdout);
    !state.trim().is_empty() && !state.starts_with('Z')
}

/// A folder for programs.
pub(crate) struct Programs(TempDir);

impl Programs {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.0.path().to_owned()
    }

    /// Puts a file there at once, as a whole.
    pub(crate) fn put(&self, name: &str, text: &str, mode: u32) -> PathBuf {
        let partial = self.0.path().join(format!(".{name}"));
        std::fs::write(&partial, text).unwrap();
        std::fs::set_permissions(&partial, PermissionsExt::from_mode(mode)).unwrap();
        let path = self.0.path().join(name);
        std::fs::rename(partial, &path).unwrap();
        path
    }

    /// Puts a shell script there that answers `spec` when it's asked, and else runs `body`.
    pub(crate) fn script(&self, name: &str, spec: &Value, body: &str) -> PathBuf {
        let text = format!(
            "#!/bin/sh\nif [ \"$1\" = --skep-spec ]; then\ncat <<'END'\n{spec}\nEND\nexit\nfi\n{body}\n"
        );
        self.put(name, &text, 0o755)
    }

    pub(crate) fn remove(&self, name: &str) {
        std::fs::remove_file(self.0.path().join(name)).unwrap();
    }
}
