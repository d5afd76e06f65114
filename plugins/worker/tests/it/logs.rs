//! `worker_logs`.

use serde_json::{Value, json};
use skep::job::{End, EventKind};

use crate::support::{SILENT, Server};

async fn talkative() -> (Server, Value) {
    let script = format!("for i in 1 2 3; do echo line $i >&2; done; {SILENT}");
    let server = Server::with_script(&script).await;
    // It stays in its load, which nobody waits for.
    server.job("worker_spawn", json!({ "model": "tiny" })).await;
    let worker = server.worker().await;
    (server, worker["id"].clone())
}

#[tokio::test]
async fn a_log_is_followed_until_the_worker_is_gone() {
    let (server, id) = talkative().await;
    let mut job = server.job("worker_logs", json!({ "id": id, "follow": true })).await;
    for line in 1..=3 {
        let entry = job.output().await;
        assert_eq!(
            (&entry["level"], &entry["message"]),
            (&json!("stderr"), &json!(format!("line {line}")))
        );
    }
    server.call("worker_delete", json!({ "id": id })).await.unwrap();
    job.rest().await;
    let end = EventKind::End(End::Succeeded { result: json!({ "lines": 3 }) });
    assert_eq!(job.seen.last(), Some(&end));
}

#[tokio::test]
async fn a_log_can_be_followed_until_the_job_is_cancelled() {
    let (server, id) = talkative().await;
    let mut job = server.job("worker_logs", json!({ "id": id, "follow": true })).await;
    job.output().await;
    server.router.cancel_job(job.id).await.unwrap();
    assert_eq!(server.end(&job).await.state.as_str(), "cancelled");
}

#[tokio::test]
async fn the_last_lines_alone_are_shown_on_request() {
    let (server, id) = talkative().await;
    let mut all = server.job("worker_logs", json!({ "id": id, "follow": true })).await;
    for _ in 1..=3 {
        all.output().await;
    }
    let mut job = server.job("worker_logs", json!({ "id": id, "tail": 1 })).await;
    assert_eq!(job.output().await["message"], "line 3");
    job.rest().await;
    let end = EventKind::End(End::Succeeded { result: json!({ "lines": 1 }) });
    assert_eq!(job.seen.last(), Some(&end));
}

#[tokio::test]
async fn a_worker_knows_nothing_of_the_servers_environment() {
    // Cargo sets this one for the tests.
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
    let server = Server::with_script("echo \"it is '$CARGO_MANIFEST_DIR'\" >&2; exit 3").await;
    let mut job = server.job("worker_spawn", json!({ "model": "tiny" })).await;
    job.until("its word", |kind| match kind {
        EventKind::Log(line) => line.message == "it is ''",
        _ => false,
    })
    .await;
}
