//! Followers of jobs over a restart of their server.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Stdio};

use serde_json::{Value, json};

use crate::support::{Server, command, program};

/// Runs an `echo` of half a second on `server`, and returns it behind its
/// first line.
fn run_echo(server: &Server) -> (Child, BufReader<ChildStdout>) {
    let mut run = command(program())
        .args(["run", "echo", "value=x", "count=250", "interval_us=2000", "--json"])
        .env("SKEP_URL", &server.url)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(run.stdout.take().unwrap());
    out.read_line(&mut String::new()).unwrap();
    (run, out)
}

#[test]
fn run_says_that_a_restart_has_lost_its_job() {
    let mut server = Server::start(&["--store", "memory"]);
    let (mut run, _out) = run_echo(&server);
    server.signal("KILL");
    server.restart();
    let mut said = String::new();
    run.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(run.wait().unwrap().code(), Some(1));
    assert!(said.contains("(unknown-job)"), "{said}");
}

#[test]
fn run_gets_each_event_once_over_a_restart_and_over_a_crash() {
    let config = "[server]\ndrain = \"50ms\"\n[jobs]\ncancel_grace = \"50ms\"";
    for signal in ["TERM", "KILL"] {
        let mut server = Server::configured(config, &[]);
        let (mut run, out) = run_echo(&server);
        server.signal(signal);
        server.restart();
        let events: Vec<Value> =
            out.lines().map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect();
        assert!(run.wait().unwrap().success(), "{signal}: {:?}", events.last());
        let ids: Vec<_> = events.iter().map(|event| event["id"].as_u64().unwrap()).collect();
        assert!(ids.is_sorted_by(|one, next| one < next), "{signal}: {ids:?}");
        let again = json!({ "state": "running", "attempt": 2 });
        let second = events.iter().position(|event| event["data"] == again).unwrap();
        let outputs = events[second..].iter().filter(|event| event["event"] == "message");
        assert_eq!(outputs.count(), 250, "{signal}");
        assert_eq!(events.last().unwrap()["data"]["state"], "succeeded", "{signal}");
    }
}
