//! Followers of jobs over a restart of their server.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout};

use serde_json::{Value, json};

use crate::support::{Frame, Server, frames};

/// Runs an `echo` of half a second on `server`, and returns it behind its
/// first line.
fn run_echo(server: &Server) -> (Child, BufReader<ChildStdout>) {
    server.run(&["echo", "value=x", "count=250", "interval_us=2000"])
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

/// Reads a job's frames to its end, over as many connections as it takes; `crash` comes behind the
/// first ones.
async fn follow(server: &mut Server, id: &str, crash: impl FnOnce(&mut Server)) -> Vec<Frame> {
    let mut crash = Some(crash);
    let mut seen: Vec<Frame> = Vec::new();
    while seen.last().is_none_or(|frame| frame.event != "end") {
        let after = seen.last().map_or(0, |frame| frame.id);
        let mut stream = server.stream(id, after).await;
        assert_eq!(stream.status(), 200);
        let (mut text, mut taken) = (String::new(), 0);
        // A connection that breaks has given all that came before.
        while let Ok(Some(part)) = stream.chunk().await {
            text += std::str::from_utf8(&part).unwrap();
            let frames = frames(&text);
            seen.extend_from_slice(&frames[taken..]);
            taken = frames.len();
            if taken > 20
                && let Some(crash) = crash.take()
            {
                crash(server);
            }
        }
    }
    seen
}

#[tokio::test]
async fn a_reader_over_a_crash_sees_what_is_kept_exactly_once() {
    let mut server = Server::start(&[]);
    let id = server.job("echo", json!({ "value": "x", "count": 1000, "interval_us": 2000 })).await;
    let seen = follow(&mut server, &id, |server| {
        server.signal("KILL");
        server.restart();
    })
    .await;
    assert!(seen.is_sorted_by(|one, next| one.id < next.id), "{seen:?}");
    let log = frames(&server.log(&id).await);
    let second = "{\"state\":\"running\",\"attempt\":2}";
    assert!(log.iter().any(|frame| frame.data == second), "{log:?}");
    // What it saw besides was lost before it was stored: its ids are nobody's.
    let ids: BTreeSet<u64> = log.iter().map(|frame| frame.id).collect();
    let kept: Vec<_> = seen.into_iter().filter(|frame| ids.contains(&frame.id)).collect();
    assert_eq!(kept, log);
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
