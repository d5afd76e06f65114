//! Whether a server is ready, and its end.

use serde_json::{Value, json};

use crate::support::{Server, frames};

#[tokio::test]
async fn sigterm_lets_jobs_finish_refuses_new_ones_and_exits_zero() {
    let mut server = Server::start(&[]);
    let id = server.job("echo", json!({ "value": 1, "count": 400, "interval_us": 1000 })).await;
    let reader = tokio::spawn({
        let url = format!("{}/v1/jobs/{id}/stream", server.url);
        async move { reqwest::get(url).await.unwrap().text().await.unwrap() }
    });
    server.signal("TERM");
    server.wait_for_line("stopping");
    let ready = server.fetch("/readyz").await;
    assert_eq!(ready.status(), 503);
    assert!(ready.headers().contains_key("retry-after"));
    let refused = server.post("/v1/jobs", &json!({ "operation": "echo", "value": 1 })).await;
    assert_eq!(refused.status(), 503);
    assert_eq!(refused.json::<Value>().await.unwrap()["code"], "shutting-down");
    assert_eq!(server.fetch("/livez").await.status(), 200);

    let log = frames(&reader.await.unwrap());
    assert!(log.last().unwrap().data.contains("succeeded"), "{:?}", log.last());
    assert!(server.child.wait().unwrap().success());
}

#[tokio::test]
async fn a_plugin_that_cannot_work_makes_the_server_unready() {
    let server = Server::configured("[plugins.fragile]\nill = \"no disk\"", &[]);
    let ready = server.fetch("/readyz").await;
    assert_eq!(ready.status(), 503);
    let problem: Value = ready.json().await.unwrap();
    assert_eq!(problem["code"], "unhealthy");
    assert!(problem["detail"].as_str().unwrap().contains("`fragile`"), "{problem}");
    let health = server.json("/health").await;
    assert_eq!(health["plugins"]["fragile"], json!({ "unhealthy": "no disk" }));
    assert_eq!(health["status"], "degraded");
    assert_eq!(server.fetch("/livez").await.status(), 200);
}

#[tokio::test]
async fn jobs_that_outlast_the_drain_are_interrupted() {
    let config = "[server]\ndrain = \"100ms\"\n[jobs]\ncancel_grace = \"100ms\"";
    let mut server = Server::configured(config, &[]);
    let id = server.job("ignore_cancellation", json!({})).await;
    let stream = server.stream(&id, 0).await;
    server.signal("INT");
    let log = frames(&stream.text().await.unwrap());
    let end: Value = serde_json::from_str(&log.last().unwrap().data).unwrap();
    assert_eq!(end["error"]["code"], "interrupted");
    assert!(server.child.wait().unwrap().success());
}

#[tokio::test]
async fn a_thread_that_is_blocked_does_not_hold_up_the_end() {
    let config = "[server]\ndrain = \"100ms\"\n[jobs]\ncancel_grace = \"100ms\"";
    let mut server = Server::configured(config, &[]);
    server.job("block_thread", json!({})).await;
    server.signal("TERM");
    assert!(server.child.wait().unwrap().success());
}
