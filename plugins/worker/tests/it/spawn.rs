//! How workers come and go.

use std::time::Duration;

use serde_json::json;
use skep::job::EventKind;

use crate::support::{SILENT, Server, WORKER, runs};

#[tokio::test]
async fn a_worker_is_spawned_listed_shown_and_deleted() {
    let server = Server::real().await;
    let mut job = server.job("worker_spawn", json!({ "model": "smollm2" })).await;
    job.until("progress", |kind| match kind {
        EventKind::Progress(progress) => progress.unit == "bytes",
        _ => false,
    })
    .await;
    job.rest().await;
    let worker = server.worker().await;
    for (field, value) in [
        ("model", json!("smollm2")),
        ("architecture", json!("llama")),
        ("state", json!("idle")),
        ("hive_id", json!("localhost")),
        ("worker", json!("cpu")),
        ("device", json!(0)),
        ("jobs", json!(0)),
        ("context", json!(4096)),
    ] {
        assert_eq!(worker[field], value, "{field}");
    }
    assert!(runs(&worker["pid"]));

    let id = json!({ "id": worker["id"] });
    assert_eq!(server.call("worker_get", id.clone()).await.unwrap(), worker);
    let deleted = server.call("worker_delete", id.clone()).await.unwrap();
    assert_eq!(deleted["state"], "stopped");
    assert!(!runs(&worker["pid"]));
    assert!(server.workers().await.is_empty());
    assert_eq!(server.call("worker_get", id).await.unwrap_err().code, "unknown-worker");
}

#[tokio::test]
async fn a_model_that_the_engine_does_not_know_is_refused_by_name() {
    let server = Server::with(json!([WORKER])).await;
    server.import(&server.file("mamba"), "tiny").await;
    let problem = server.call("worker_spawn", json!({ "model": "tiny" })).await.unwrap_err();
    assert_eq!((&*problem.code, problem.status), ("unsupported-architecture", 422), "{problem}");
    assert!(problem.detail.contains("`mamba`"), "{problem}");
    assert!(server.workers().await.is_empty());
}

#[tokio::test]
async fn a_model_that_is_no_whole_model_is_refused_without_telling_where_it_lies() {
    let server = Server::with(json!([WORKER])).await;
    let path = server.file("llama");
    server.import(&path, "tiny").await;
    let problem = server.call("worker_spawn", json!({ "model": "tiny" })).await.unwrap_err();
    assert_ne!(problem.code, "worker-crashed", "{problem}");
    let data = path.parent().unwrap().join("data");
    assert!(!problem.detail.contains(data.to_str().unwrap()), "{problem}");
    assert!(server.workers().await.is_empty());
}

#[tokio::test]
async fn an_unknown_model_is_the_models_own_problem() {
    let server = Server::with(json!([WORKER])).await;
    let problem = server.call("worker_spawn", json!({ "model": "tiny" })).await.unwrap_err();
    assert_eq!((&*problem.code, problem.status), ("unknown-model", 404));
}

#[tokio::test]
async fn a_spawn_that_is_cancelled_while_it_loads_leaves_no_process() {
    // The second one doesn't heed the end of its input.
    for script in [SILENT, "exec sleep 1000"] {
        let server = Server::with_script(script).await;
        let job = server.job("worker_spawn", json!({ "model": "tiny" })).await;
        let worker = server.worker().await;
        assert_eq!(worker["state"], "loading");
        server.router.cancel_job(job.id).await.unwrap();
        assert_eq!(server.end(&job).await.state.as_str(), "cancelled");
        assert!(!runs(&worker["pid"]), "{script}");
        assert!(server.workers().await.is_empty());
    }
}

#[tokio::test]
async fn no_more_workers_are_started_than_may_be() {
    let worker = json!({ "command": ["sh", "-c", SILENT], "max_workers": 1 });
    let server = Server::configured(worker).await;
    server.import(&server.file("llama"), "tiny").await;
    let _first = server.job("worker_spawn", json!({ "model": "tiny" })).await;
    server.worker().await;
    let problem = server.call("worker_spawn", json!({ "model": "tiny" })).await.unwrap_err();
    assert_eq!((&*problem.code, problem.status), ("too-many-workers", 429), "{problem}");
}

#[tokio::test]
async fn shutdown_ends_every_worker() {
    let server = Server::with_script(SILENT).await;
    let _job = server.job("worker_spawn", json!({ "model": "tiny" })).await;
    let worker = server.worker().await;
    server.router.shutdown(Duration::ZERO).await;
    assert!(!runs(&worker["pid"]));
}

#[tokio::test]
async fn what_the_schemas_refuse_is_named() {
    let server = Server::with(json!([WORKER])).await;
    let cases = [("worker", json!("gpu")), ("device", json!(-1)), ("hive_id", json!(7))];
    for (field, value) in cases {
        let mut input = json!({ "model": "tiny" });
        input[field] = value;
        let problem = server.call("worker_spawn", input).await.unwrap_err();
        assert_eq!(problem.code, "invalid-input", "{problem}");
        assert_eq!(problem.extensions["errors"][0]["pointer"], format!("/{field}"));
    }
}
