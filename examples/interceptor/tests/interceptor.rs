//! Quota and audit, without HTTP and with it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use skep::job::{Caller, JobRequest};
use skep::prelude::*;
use skep::testing::TestServer;
use skep::{Value, json};
use skep_interceptor as _;
use skep_system as _;

/// Panic.
#[skep::operation]
async fn burst() -> Result<()> {
    panic!("a bug")
}

/// Call `echo` and panic.
#[skep::operation]
async fn call_and_burst(job: &JobContext) -> Result<()> {
    let _: Value = job.call("echo", json!({ "value": 1 })).await?;
    panic!("a bug")
}

/// A server where each caller may ask for two jobs an hour.
fn server() -> TestServer {
    TestServer::builder().config("quota", json!({ "jobs": 2, "per": "1h" })).start()
}

fn ask(server: &TestServer, name: &str) -> Result<(), skep::Problem> {
    let mut request = JobRequest::new("echo", json!({ "value": 1 }));
    request.caller = Caller::Client(Some(name.into()));
    server.request(request).map(drop).map_err(|error| error.problem())
}

/// The audit's lines: job and state.
fn audited(data: &Path) -> Vec<(String, String)> {
    let log = std::fs::read_to_string(data.join("audit/audit.jsonl")).unwrap();
    let line = |line: &str| {
        let entry: Value = line.parse().unwrap();
        let text = |field: &str| entry[field].as_str().unwrap().to_owned();
        (text("job"), text("state"))
    };
    log.lines().map(line).collect()
}

#[test]
fn over_quota_is_429_with_the_caller_named_and_others_are_not_concerned() {
    let server = server();
    for _ in 0..2 {
        ask(&server, "Ada").unwrap();
    }
    let refused = ask(&server, "Ada").unwrap_err();
    assert_eq!((&*refused.code, refused.status), ("over-quota", 429));
    assert!(refused.detail.starts_with("Ada has asked for 2 jobs"), "{}", refused.detail);
    assert!(refused.retry_after().unwrap() > Duration::from_mins(59));
    ask(&server, "Bea").unwrap();
}

#[test]
fn a_new_window_is_a_new_quota() {
    let server = TestServer::builder().config("quota", json!({ "jobs": 1, "per": "1ms" })).start();
    ask(&server, "Ada").unwrap();
    std::thread::sleep(Duration::from_millis(2));
    ask(&server, "Ada").unwrap();
}

#[test]
fn what_jobs_call_is_on_nobodys_account() {
    let server = server();
    let mut request = JobRequest::new("call_and_burst", json!({}));
    request.caller = Caller::Client(Some("Ada".into()));
    assert_eq!(server.request(request).unwrap().problem().code, "panic");
    ask(&server, "Ada").unwrap();
}

#[test]
fn the_audit_has_every_job_once_also_one_that_panics_and_over_a_crash() {
    let server = server();
    let done = server.run("echo", json!({ "value": 1 }));
    let panicked = server.run("burst", json!({}));
    let calls = server.run("call_and_burst", json!({}));
    let cut_off = server.create_until("burst", json!({}), 1);
    server.crash();
    assert_eq!(cut_off.problem().code, "interrupted");
    server.advance(Duration::from_secs(1));
    let mut audited = audited(server.data_dir());
    audited.sort();
    let state = |id: String| audited.iter().filter(|(job, _)| *job == id).collect::<Vec<_>>();
    for (job, expected) in
        [(&done, "succeeded"), (&panicked, "failed"), (&calls, "failed"), (&cut_off, "failed")]
    {
        assert_eq!(state(job.id().to_string()), [&(job.id().to_string(), expected.to_owned())]);
    }
    assert_eq!(audited.len(), 5, "the called one is the fifth: {audited:?}");
}

#[test]
fn what_a_server_did_not_live_to_write_is_written_by_the_next() {
    let server = server();
    let job = server.run("echo", json!({ "value": 1 }));
    let log = server.data_dir().join("audit/audit.jsonl");
    // As if it had died between the end and the line.
    std::fs::write(&log, "").unwrap();
    for _ in 0..2 {
        server.restart();
        server.advance(Duration::from_secs(1));
        assert_eq!(audited(server.data_dir()), [(job.id().to_string(), "succeeded".to_owned())]);
    }
}

/// Ends the server with the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_client_over_http_is_refused_by_the_name_that_its_proxy_gives() {
    let dir = tempfile::tempdir().unwrap();
    let config = "[server]\ncaller_header = \"x-forwarded-user\"\n[plugins.quota]\njobs = 1\n";
    std::fs::write(dir.path().join("skep.toml"), config).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_skep-interceptor"))
        .args(["serve", "--listen", "127.0.0.1:0"])
        .current_dir(dir.path())
        .env("NO_COLOR", "1")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let log = BufReader::new(child.stderr.take().unwrap());
    let _server = Ended(child);
    let mut lines = log.lines().map_while(Result::ok);
    let line = lines.find(|line| line.contains("http://")).expect("it listens");
    let address = line.split("http://").nth(1).unwrap().trim();

    let post = |name: &str| {
        let body = r#"{"value":1}"#;
        let mut stream = TcpStream::connect(address).unwrap();
        write!(
            stream,
            "POST /v1/operations/echo HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
             Content-Type: application/json\r\nX-Forwarded-User: {name}\r\nContent-Length: {}\r\n\r\n\
             {body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    assert!(post("Ada").starts_with("HTTP/1.1 200 "));
    let refused = post("Ada");
    assert!(refused.starts_with("HTTP/1.1 429 "), "{refused}");
    assert!(refused.to_lowercase().contains("retry-after: 3600"), "{refused}");
    assert!(refused.contains("Ada has asked for 1 jobs within 3600s"), "{refused}");
    assert!(post("Bea").starts_with("HTTP/1.1 200 "));
}
