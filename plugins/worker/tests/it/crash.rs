//! Workers that die, or are none.

use std::time::Duration;

use serde_json::json;
use skep::job::{EventKind, LogLevel};

use crate::support::{READY, SILENT, Server, eventually, kill, runs};

fn long_answer() -> serde_json::Value {
    json!({ "model": "smollm2", "prompt": "Once upon a time", "max_tokens": 1500, "seed": 1 })
}

#[tokio::test]
async fn a_worker_killed_in_mid_answer_fails_its_job_and_is_there_again_for_those_that_wait() {
    let server = Server::real_with(json!({ "slots": 1 })).await;
    let mut job = server.job("infer", long_answer()).await;
    job.output().await;
    let short = json!({ "model": "smollm2", "prompt": "Once upon a time", "max_tokens": 3 });
    let waits = server.job("infer", short.clone()).await;
    let worker = eventually("both are on it", async || {
        server.workers().await.pop().filter(|worker| worker["jobs"] == 2)
    })
    .await;
    assert_eq!(worker["state"], "busy");
    assert!(kill("-9", &worker["pid"]));

    let problem = server.problem(&job).await;
    assert_eq!(problem.code, "worker-crashed", "{problem}");
    assert_eq!(problem.extensions["worker_id"], worker["id"]);
    assert!(problem.detail.contains(worker["id"].as_str().unwrap()), "{problem}");
    assert!(problem.detail.contains("SIGKILL"), "{problem}");

    let result = server.result(&waits).await;
    assert_eq!(result["worker_id"], worker["id"]);
    let again = server.restarted(1).await;
    assert_eq!(again["id"], worker["id"]);
    assert_ne!(again["pid"], worker["pid"]);
    assert_eq!(server.call("infer", short).await.unwrap()["worker_id"], worker["id"]);
}

#[tokio::test]
async fn a_worker_that_hangs_is_ended_and_started_again() {
    let server = Server::real_with(json!({ "unresponsive_after": "1s" })).await;
    let mut job = server.job("infer", long_answer()).await;
    job.output().await;
    let worker = server.worker().await;
    assert!(kill("-STOP", &worker["pid"]));
    let problem = server.problem(&job).await;
    assert_eq!(problem.code, "worker-crashed", "{problem}");
    assert!(problem.detail.contains("did not answer for 1s"), "{problem}");
    assert!(!runs(&worker["pid"]));
    assert_eq!(server.restarted(1).await["id"], worker["id"]);
}

#[tokio::test]
async fn a_worker_that_does_not_get_ready_is_ended() {
    let worker = json!({ "command": ["sh", "-c", SILENT], "start_timeout": "300ms" });
    let server = Server::configured(worker).await;
    server.import(&server.file("llama"), "tiny").await;
    let problem = server.call("worker_spawn", json!({ "model": "tiny" })).await.unwrap_err();
    assert_eq!((&*problem.code, problem.status), ("worker-start-timeout", 504), "{problem}");
    assert!(server.workers().await.is_empty());
}

#[tokio::test]
async fn a_worker_that_crashes_again_and_again_is_given_up_with_its_last_words() {
    let server = Server::with_script(READY).await;
    server.call("worker_spawn", json!({ "model": "tiny" })).await.unwrap();
    let ask = |prompt: &str| json!({ "model": "tiny", "prompt": prompt });
    for times in 1..5 {
        let problem = server.call("infer", ask("crash")).await.unwrap_err();
        assert_eq!(problem.code, "worker-crashed", "{problem}");
        server.restarted(times).await;
    }
    let crashes = server.job("infer", ask("hang")).await;
    eventually("it is on it", async || (server.worker().await["jobs"] == 1).then_some(())).await;
    let waits = server.job("infer", ask("Hi")).await;
    let worker = eventually("both are on it", async || {
        server.workers().await.pop().filter(|worker| worker["jobs"] == 2)
    })
    .await;
    let logs = json!({ "id": worker["id"], "follow": true });
    let logs = server.job("worker_logs", logs).await;
    assert!(kill("-9", &worker["pid"]));

    assert_eq!(server.problem(&crashes).await.code, "worker-crashed");
    let problem = server.problem(&waits).await;
    assert_eq!((&*problem.code, problem.status), ("worker-crash-loop", 503), "{problem}");
    assert!(problem.detail.contains("5 of its processes"), "{problem}");
    assert!(server.workers().await.is_empty());
    // The log has all its processes' lines, and ends with the worker.
    let lines = server.result(&logs).await;
    assert_eq!(lines, json!({ "lines": 8 }));
    // Nothing of it is left that a shutdown would wait for.
    let down = server.router.shutdown(Duration::ZERO);
    tokio::time::timeout(Duration::from_secs(5), down).await.expect("it goes down");
}

#[tokio::test]
async fn a_worker_that_can_not_be_started_again_says_why() {
    let directory = tempfile::tempdir().unwrap();
    let gone = directory.path().join("gone");
    let error = json!({
        "type": "about:blank", "title": "No", "status": 500, "code": "damaged-model",
        "detail": "the disk is broken",
    });
    let load = r#"*'"load"'*)"#;
    let refuse = format!(
        r#"{load} if test -e '{}'; then echo "{{\"id\":$id,\"error\":$REFUSAL}}"; continue; fi;"#,
        gone.display()
    );
    let script = format!("REFUSAL='{error}'\n{}", READY.replace(load, &refuse));
    let server = Server::with_script(&script).await;
    let worker = server.call("worker_spawn", json!({ "model": "tiny" })).await.unwrap();
    let ask = |prompt: &str| json!({ "model": "tiny", "prompt": prompt });
    let works = server.job("infer", ask("hang")).await;
    eventually("it is on it", async || (server.worker().await["jobs"] == 1).then_some(())).await;
    // One that may go to no other worker.
    let mut named = ask("Hi");
    named["worker_id"] = worker["id"].clone();
    let waits = server.job("infer", named).await;
    eventually("the other waits", async || (server.worker().await["jobs"] == 2).then_some(()))
        .await;
    std::fs::write(gone, "").unwrap();
    assert!(kill("-9", &worker["pid"]));
    assert_eq!(server.problem(&works).await.code, "worker-crashed");
    let problem = server.problem(&waits).await;
    assert_eq!(problem.code, "worker-not-loaded", "{problem}");
    assert!(problem.detail.contains("the disk is broken"), "{problem}");
    assert!(server.workers().await.is_empty());
}

#[tokio::test]
async fn a_model_whose_workers_crash_again_and_again_gets_none_for_a_while() {
    let server = Server::with_script("echo no such tensor >&2; exit 3").await;
    let spawn = async || server.call("worker_spawn", json!({ "model": "tiny" })).await.unwrap_err();
    for _ in 0..3 {
        assert_eq!(spawn().await.code, "worker-crashed");
    }
    let problem = spawn().await;
    assert_eq!((&*problem.code, problem.status), ("worker-crash-loop", 503), "{problem}");
    assert_eq!(problem.extensions["log"], json!(["no such tensor"]));
    assert!(problem.retry_after().is_some());
}

#[tokio::test]
async fn a_deleted_worker_fails_its_jobs_also_those_that_wait() {
    let server = Server::real_with(json!({ "slots": 1 })).await;
    let mut job = server.job("infer", long_answer()).await;
    job.output().await;
    let waits = server.job("infer", long_answer()).await;
    let worker = eventually("both are on it", async || {
        server.workers().await.pop().filter(|worker| worker["jobs"] == 2)
    })
    .await;
    server.call("worker_delete", json!({ "id": worker["id"] })).await.unwrap();
    for job in [job, waits] {
        let problem = server.problem(&job).await;
        assert_eq!((&*problem.code, problem.status), ("worker-deleted", 409), "{problem}");
        assert!(problem.detail.contains(worker["id"].as_str().unwrap()), "{problem}");
    }
}

#[tokio::test]
async fn a_process_that_ends_while_it_loads_is_reported_with_its_last_words() {
    let server = Server::with_script("echo out of memory >&2; exit 3").await;
    let mut job = server.job("worker_spawn", json!({ "model": "tiny" })).await;
    job.rest().await;
    let problem = server.problem(&job).await;
    assert_eq!(problem.code, "worker-crashed");
    assert!(problem.detail.contains("exit status: 3"), "{problem}");
    let told = job.seen.iter().any(|kind| match kind {
        EventKind::Log(line) => line.level == LogLevel::Error && line.message == "out of memory",
        _ => false,
    });
    assert!(told, "{:?}", job.seen);
    assert!(server.workers().await.is_empty());
}

#[tokio::test]
async fn a_process_that_speaks_something_else_is_ended() {
    let server = Server::with_script(&format!("echo Hello; {SILENT}")).await;
    let mut job = server.job("worker_spawn", json!({ "model": "tiny" })).await;
    job.rest().await;
    let problem = server.problem(&job).await;
    assert_eq!(problem.code, "worker-crashed");
    assert!(problem.detail.contains("did not speak the protocol"), "{problem}");
    assert!(server.workers().await.is_empty());
}

#[tokio::test]
async fn a_program_that_is_not_there_is_reported() {
    let server = Server::with(json!(["/nowhere/skep", "worker"])).await;
    server.import(&server.file("llama"), "tiny").await;
    let problem = server.call("worker_spawn", json!({ "model": "tiny" })).await.unwrap_err();
    assert_eq!(problem.code, "worker-not-started");
    assert!(!problem.detail.contains("/nowhere"), "{problem}");
    let health = server.router.health().await;
    let worker = health.iter().find(|(plugin, _)| *plugin == "worker").unwrap();
    assert_ne!(worker.1, skep::plugin::Health::Healthy);
}

#[tokio::test]
async fn an_idle_worker_that_dies_is_started_again() {
    let server = Server::real().await;
    let worker = server.call("worker_spawn", json!({ "model": "smollm2" })).await.unwrap();
    assert!(kill("-9", &worker["pid"]));
    let again = server.restarted(1).await;
    assert_eq!((&again["id"], &again["state"]), (&worker["id"], &json!("idle")));
    assert!(!runs(&worker["pid"]));
}
