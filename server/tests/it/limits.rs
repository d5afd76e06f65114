//! Load past the limits is refused at once, and told.

use serde_json::{Value, json};

use crate::support::Server;

/// When to ask again, whole seconds.
fn retry_after(refused: &reqwest::Response) -> u64 {
    refused.headers()["retry-after"].to_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn past_an_operations_queue_jobs_are_refused_with_retry_after() {
    let server = Server::start(&[]);
    let first = server.job("one_at_a_time", json!({})).await;
    let second = server.job("one_at_a_time", json!({})).await;
    let refused = server.post("/v1/jobs", &json!({ "operation": "one_at_a_time" })).await;
    assert_eq!(refused.status(), 429);
    assert!(retry_after(&refused) >= 1);
    assert_eq!(refused.json::<Value>().await.unwrap()["code"], "too-many-jobs");

    // It's cancelled while it waits, and never runs.
    assert_eq!(server.json(&format!("/v1/jobs/{second}")).await["state"], "queued");
    assert_eq!(server.cancel(&second).await.status(), 202);
    let cancelled = server.ended(&second).await;
    assert_eq!(
        (&cancelled["state"], &cancelled["started_at"]),
        (&json!("cancelled"), &Value::Null)
    );
    assert_eq!(server.json(&format!("/v1/jobs/{first}")).await["state"], "running");
}

#[tokio::test]
async fn past_the_servers_places_and_queue_jobs_are_refused() {
    let server = Server::configured("[jobs]\nmax_running = 1\nmax_queued = 1", &[]);
    let running = server.job("ignore_cancellation", json!({})).await;
    server.job("ignore_cancellation", json!({})).await;
    let echo = json!({ "operation": "echo", "value": 1 });
    let refused = server.post("/v1/jobs", &echo).await;
    assert_eq!(refused.status(), 429);
    assert!(retry_after(&refused) >= 1);
    assert_eq!(server.json(&format!("/v1/jobs/{running}")).await["state"], "running");
}

#[tokio::test]
async fn a_request_may_shorten_a_jobs_time() {
    let server = Server::configured("[jobs]\ncancel_grace = \"100ms\"", &[]);
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client
        .post(format!("{}/v1/operations/ignore_cancellation", server.url))
        .header("skep-timeout", "150ms")
        .json(&json!({}));
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 504);
    assert_eq!(answer.json::<Value>().await.unwrap()["code"], "timeout");
}

#[tokio::test]
async fn an_operation_that_knows_when_to_try_again_says_so_in_whole_seconds() {
    let server = Server::start(&[]);
    let answer = server.post("/v1/operations/fail_for_now", &json!({})).await;
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.headers()["retry-after"], "2");
    let problem: Value = answer.json().await.unwrap();
    assert_eq!((&problem["code"], &problem["retry_after"]), (&json!("busy"), &json!(1.2)));
}
