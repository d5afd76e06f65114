//! Workers whose model another server holds: llama.cpp's, which is real here, as its bindings have it.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use skep::job::EventKind;
use tempfile::TempDir;

use crate::infer::two_at_once;
use crate::support::{PATIENCE, Server, WORKER, eventually, kill, runs, smollm2};

/// A program that is llama.cpp's server, in a directory of its own.
fn llama_server() -> (TempDir, PathBuf) {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let bindings = here.join("../../target/llama");
    assert!(bindings.join("xllamacpp").is_dir(), "llama.cpp is missing: run `./x llama`");
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("llama-server");
    let script = format!(
        "#!/bin/sh\nPYTHONPATH='{}' exec python3 '{}' \"$@\"\n",
        bindings.canonicalize().unwrap().display(),
        here.join("tests/llama_server.py").display()
    );
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    (directory, program)
}

async fn server(slots: usize) -> (Server, TempDir) {
    let (directory, program) = llama_server();
    let worker = json!({
        "command": [WORKER],
        "slots": slots,
        "llama_server": { "program": program },
        "unresponsive_after": "3s",
    });
    let server = Server::configured(worker).await;
    server.import(&smollm2(), "smollm2").await;
    (server, directory)
}

fn spawn() -> Value {
    json!({ "model": "smollm2", "worker": "llama-server" })
}

fn story(tokens: u32) -> Value {
    json!({ "model": "smollm2", "prompt": "Once upon a time", "max_tokens": tokens, "seed": 1 })
}

/// The process that holds the model, below the worker's.
fn child_of(pid: &Value) -> Option<Value> {
    let listed =
        std::process::Command::new("ps").args(["-e", "-o", "pid=,ppid="]).output().unwrap();
    String::from_utf8_lossy(&listed.stdout).lines().find_map(|line| {
        let mut numbers = line.split_whitespace().map(|number| number.parse::<u64>().unwrap());
        let (child, parent) = (numbers.next()?, numbers.next()?);
        (Some(parent) == pid.as_u64()).then(|| child.into())
    })
}

#[tokio::test]
async fn a_question_is_answered_token_by_token() {
    let (server, _directory) = server(1).await;
    let worker = server.call("worker_spawn", spawn()).await.unwrap();
    assert_eq!((&worker["worker"], &worker["slots"]), (&json!("llama-server"), &json!(1)));
    let ask = json!({ "model": "smollm2", "prompt": "The capital of France is", "max_tokens": 8,
                      "temperature": 0 });
    let mut job = server.job("infer", ask).await;
    job.rest().await;
    let pieces = job.seen.iter().filter_map(|kind| match kind {
        EventKind::Output(piece) => piece["text"].as_str(),
        _ => None,
    });
    let pieces: Vec<_> = pieces.collect();
    assert!(pieces.len() > 3 && pieces.concat().starts_with(" Paris"), "{pieces:?}");
    let state = server.end(&job).await.state;
    let result: Value = serde_json::from_str(state.result().unwrap().get()).unwrap();
    assert_eq!(result["text"], pieces.concat());
    assert_eq!((&result["finish_reason"], &result["worker_id"]), (&json!("length"), &worker["id"]));
    assert_eq!(result["usage"]["completion_tokens"], 8);
    assert!(result["usage"]["prompt_tokens"].as_u64().unwrap() > 3, "{result}");
    assert!(result["timings"]["tokens_per_second"].as_f64().unwrap() > 0.0, "{result}");
    let chat = json!({ "model": "smollm2", "messages": [{ "role": "user", "content": "Hi" }],
                       "max_tokens": 4, "stop": ["\n"] });
    assert!(!server.call("infer", chat).await.unwrap()["text"].as_str().unwrap().is_empty());
    // What it refuses, it refuses by itself, in its own words.
    let long = json!({ "model": "smollm2", "prompt": "bee ".repeat(6000), "max_tokens": 1 });
    let refused = server.call("infer", long).await.unwrap_err();
    assert_eq!((&*refused.code, refused.status), ("backend-refused", 422), "{refused}");
    assert!(refused.detail.contains("context"), "{refused}");
    server.call("infer", story(1)).await.unwrap();
}

#[tokio::test]
async fn it_works_for_as_many_jobs_at_once_as_it_has_slots() {
    let (server, _directory) = server(2).await;
    server.call("worker_spawn", spawn()).await.unwrap();
    two_at_once(&server).await;
}

#[tokio::test]
async fn one_that_crashes_or_hangs_in_mid_answer_fails_its_job_and_is_started_again() {
    let (server, _directory) = server(1).await;
    let worker = server.call("worker_spawn", spawn()).await.unwrap();
    for (times, signal) in [(1, "-9"), (2, "-STOP")] {
        let mut job = server.job("infer", story(1500)).await;
        job.output().await;
        let llama = child_of(&server.worker().await["pid"]).expect("it has a child");
        assert!(kill(signal, &llama));
        let problem = server.problem(&job).await;
        assert_eq!(problem.code, "worker-crashed", "{problem}");
        server.restarted(times).await;
        let answer = server.call("infer", story(2)).await.unwrap();
        assert_eq!(answer["worker_id"], worker["id"]);
        eventually("it's gone", async || (!runs(&llama)).then_some(())).await;
    }
    assert_eq!(server.worker().await["worker"], "llama-server");
}

#[tokio::test]
async fn it_ends_with_its_worker_however_that_ends() {
    let (server, _directory) = server(1).await;
    for signal in ["-9", "-15"] {
        let worker = server.call("worker_spawn", spawn()).await.unwrap();
        let llama = child_of(&worker["pid"]).expect("it has a child");
        assert!(kill(signal, &worker["pid"]));
        eventually("it's gone", async || (!runs(&llama)).then_some(())).await;
    }
    let worker = server.call("worker_spawn", spawn()).await.unwrap();
    let llama = child_of(&worker["pid"]).expect("it has a child");
    server.call("worker_delete", json!({ "id": worker["id"] })).await.unwrap();
    eventually("it's gone", async || (!runs(&llama)).then_some(())).await;
}

#[tokio::test]
async fn a_program_that_is_missing_is_named() {
    let llama = json!({ "program": "no-such-llama" });
    let server = Server::configured(json!({ "command": [WORKER], "llama_server": llama })).await;
    server.import(&server.file("llama"), "tiny").await;
    let input = json!({ "model": "tiny", "worker": "llama-server" });
    let problem = server.call("worker_spawn", input).await.unwrap_err();
    assert_eq!((&*problem.code, problem.status), ("missing-program", 501));
    assert!(problem.detail.contains("`no-such-llama`"), "{problem}");
}

#[tokio::test]
async fn a_server_is_attached_by_its_url_and_asked_as_any_worker() {
    let (_directory, program) = llama_server();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut command = tokio::process::Command::new(program);
    command.args(["--host", "127.0.0.1", "--port", &port.to_string(), "--model"]).arg(smollm2());
    command.args(["--ctx-size", "2048", "--parallel", "2", "--api-key", "secret"]);
    command.kill_on_drop(true);
    let _llama = command.stdout(std::process::Stdio::null()).spawn().unwrap();
    let url = format!("http://127.0.0.1:{port}");
    let keys = json!({ (&url): "secret" });
    let server = Server::configured(json!({ "command": [WORKER], "api_keys": keys })).await;
    let attach =
        |model: &str, remote: &str| json!({ "url": url, "model": model, "remote_model": remote });
    // What the server calls the model, it says itself.
    let begun = Instant::now();
    let refused = loop {
        let problem = server.call("worker_attach", attach("story", "none")).await.unwrap_err();
        if problem.code == "unknown-model" {
            break problem;
        }
        assert!(begun.elapsed() < PATIENCE, "{problem}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let remote = refused.detail.rsplit_once("it has ").unwrap().1.to_owned();
    let worker = server.call("worker_attach", attach("story", &remote)).await.unwrap();
    assert_eq!((&worker["worker"], &worker["url"]), (&json!("url"), &json!(url)));
    let ask = json!({ "model": "story", "prompt": "The capital of France is", "max_tokens": 4,
                      "temperature": 0 });
    let answer = server.call("infer", ask).await.unwrap();
    assert!(answer["text"].as_str().unwrap().starts_with(" Paris"), "{answer}");
    assert_eq!(answer["worker_id"], worker["id"]);
    // Without its key it refuses.
    let stranger = Server::configured(json!({ "command": [WORKER] })).await;
    let problem = stranger.call("worker_attach", attach("story", &remote)).await.unwrap_err();
    assert_eq!((&*problem.code, problem.status), ("backend-refused", 422), "{problem}");
    assert!(problem.detail.contains("401"), "{problem}");
    let nobody = json!({ "url": "http://127.0.0.1:9", "model": "story" });
    let problem = server.call("worker_attach", nobody).await.unwrap_err();
    assert_eq!((&*problem.code, problem.status), ("backend-failed", 502), "{problem}");
    // What is kept with the job has no password in it.
    for url in ["ftp://x", "http://user:password@127.0.0.1:9"] {
        let refused = json!({ "url": url, "model": "story" });
        let problem = server.call("worker_attach", refused).await.unwrap_err();
        assert_eq!(problem.code, "invalid-input", "{problem}");
    }
}
