//! The worker's process by itself, as its server speaks with it.

use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{WORKER, smollm2};

/// How soon a worker is gone after its server.
const GONE_WITHIN: Duration = Duration::from_secs(3);

struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
    replies: Lines<BufReader<ChildStdout>>,
}

impl Process {
    fn start() -> Self {
        let mut command = Command::new(WORKER);
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = piped.spawn().unwrap();
        let replies = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { stdin: child.stdin.take(), replies, child }
    }

    /// A process that has the model.
    fn loaded() -> Self {
        let mut process = Self::start();
        process.load();
        process.until(1, "result");
        process
    }

    fn load(&mut self) {
        self.say(&json!({ "id": 1, "load": { "path": smollm2(), "context": 2048, "slots": 2 } }));
    }

    fn infer(&mut self, id: u64, max_tokens: u64) {
        let infer = json!({
            "input": { "prompt": "Once upon a time" }, "max_tokens": max_tokens,
            "temperature": 0.0, "top_p": 1.0, "top_k": 0, "seed": 1, "stop": [],
        });
        self.say(&json!({ "id": id, "infer": infer }));
    }

    fn say(&mut self, line: &Value) {
        let stdin = self.stdin.as_mut().unwrap();
        writeln!(stdin, "{line}").unwrap();
    }

    /// Reads on to the first line of `id` that has `field`, and returns it.
    fn until(&mut self, id: u64, field: &str) -> Value {
        loop {
            let line = self.replies.next().expect("the worker goes on").unwrap();
            let mut reply: Value = serde_json::from_str(&line).unwrap();
            if reply["id"] == id && reply.get(field).is_some() {
                return reply[field].take();
            }
            assert!(reply.get("error").is_none(), "{line}");
        }
    }

    /// Closes its standard input, as a server that was killed does, and waits for its end.
    fn ends_with_its_server(mut self) {
        drop(self.stdin.take());
        let closed = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            assert!(closed.elapsed() < GONE_WITHIN, "the worker outlives its server");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Most often it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_worker_ends_with_its_server_when_it_has_nothing_to_do() {
    Process::start().ends_with_its_server();
}

#[test]
fn a_worker_ends_with_its_server_while_it_loads() {
    let mut process = Process::start();
    process.load();
    process.until(1, "progress");
    process.ends_with_its_server();
}

#[test]
fn a_worker_ends_with_its_server_while_it_computes() {
    let mut process = Process::loaded();
    process.infer(2, 2000);
    process.until(2, "emit");
    process.ends_with_its_server();
}

#[test]
fn a_cancelled_request_ends_within_a_token_and_the_next_is_answered() {
    let mut process = Process::loaded();
    process.infer(2, 2000);
    process.until(2, "emit");
    process.say(&json!({ "id": 2, "cancel": true }));
    let result = process.until(2, "result");
    assert_eq!(result["finish_reason"], "cancelled");
    // Some come while the line is on its way.
    assert!(result["usage"]["completion_tokens"].as_u64().unwrap() < 10, "{result}");
    process.infer(3, 2);
    let result = process.until(3, "result");
    assert_eq!(result["usage"]["completion_tokens"], 2);
}

#[test]
fn a_ping_is_answered_while_it_computes() {
    let mut process = Process::loaded();
    process.infer(2, 2000);
    process.until(2, "emit");
    process.say(&json!({ "id": 3, "ping": true }));
    process.until(3, "result");
    process.until(2, "emit");
}

#[test]
fn a_worker_takes_no_arguments() {
    let output = Command::new(WORKER).arg("--help").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("a server starts it"));
}

#[test]
fn a_line_that_is_no_request_ends_the_worker() {
    let mut process = Process::start();
    process.say(&json!({ "id": 1, "dance": true }));
    assert_eq!(process.child.wait().unwrap().code(), Some(1));
}
