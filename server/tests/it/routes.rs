//! What plugins serve beside operations, and what the server counts.

use serde_json::{Value, json};

use crate::support::{Server, frames};

#[tokio::test]
async fn a_plugins_route_answers_with_its_path_query_body_and_caller() {
    let server = Server::configured("[server]\ncaller_header = \"X-Forwarded-User\"", &[]);
    let said = server.json("/v1/fragile/hold?on=1").await;
    assert_eq!(said, json!({ "does": "hold", "query": "on=1" }));
    let told = server
        .http
        .post(format!("{}/v1/fragile/hear", server.url))
        .header("x-forwarded-user", "Ada Lovelace")
        .body("[1]");
    let told: Value = told.send().await.unwrap().json().await.unwrap();
    assert_eq!(told, json!({ "does": "hear", "told": [1], "by": "Ada Lovelace" }));
}

#[tokio::test]
async fn a_route_streams_a_job_in_the_bytes_that_every_reader_gets() {
    let server = Server::start(&[]);
    let answer = server.fetch("/v1/fragile/stream").await;
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    assert_eq!(answer.headers()["x-accel-buffering"], "no");
    let streamed = answer.text().await.unwrap();
    assert_eq!(frames(&streamed).iter().filter(|event| event.data == "\"x\"").count(), 3);
    let job = server.json("/v1/jobs?operation=echo").await["jobs"][0]["job_id"].clone();
    assert_eq!(server.log(job.as_str().unwrap()).await, streamed);
}

#[tokio::test]
async fn a_routes_errors_are_problems_and_its_panics_are_its_own() {
    let server = Server::start(&[]);
    for (path, status, code) in
        [("/v1/fragile/fail", 503, "broken"), ("/v1/fragile/panic", 500, "internal")]
    {
        let answer = server.fetch(path).await;
        assert_eq!(answer.status(), status, "{path}");
        let problem: Value = answer.json().await.unwrap();
        assert_eq!(problem["code"], code, "{path}");
        assert!(!problem.to_string().contains("stays in the server"), "{problem}");
    }
    let url = format!("{}/v1/fragile/x", server.url);
    let refused = server.http.delete(&url).send().await.unwrap();
    assert_eq!(
        (refused.status().as_u16(), &refused.headers()["allow"]),
        (405, &"GET, HEAD, POST".parse().unwrap())
    );
    let bad = server.http.post(&url).body("{").send().await.unwrap();
    assert_eq!(bad.json::<Value>().await.unwrap()["code"], "invalid-json");
    assert_eq!(server.http.head(&url).send().await.unwrap().status(), 200);
    let foreign = server.http.get(&url).header("host", "evil.example").send().await.unwrap();
    assert_eq!(foreign.status(), 421, "the server's checks are before every route");
}

#[tokio::test]
async fn what_is_counted_is_shown() {
    let server = Server::start(&[]);
    let id = server.job("echo", json!({ "value": 1 })).await;
    server.ended(&id).await;
    let failed = server.job("panic_early", json!({})).await;
    server.ended(&failed).await;
    let answer = server.fetch("/metrics").await;
    let text = answer.text().await.unwrap();
    for line in [
        "skep_jobs_accepted_total{operation=\"echo\"} 1",
        "skep_jobs_ended_total{operation=\"echo\",state=\"succeeded\"} 1",
        "skep_jobs_ended_total{operation=\"panic_early\",state=\"failed\"} 1",
        "skep_job_seconds_count{operation=\"echo\"} 1",
        "# TYPE skep_job_seconds histogram",
        "skep_jobs_live 0",
        "skep_jobs_queued 0",
    ] {
        assert!(text.lines().any(|shown| shown == line), "{line} is not in\n{text}");
    }
}

#[tokio::test]
async fn a_client_that_keeps_the_specs_asks_whether_they_changed() {
    let server = Server::start(&[]);
    for path in ["/v1/operations", "/v1/operations/echo"] {
        let answer = server.fetch(path).await;
        assert_eq!(answer.headers()["cache-control"], "no-cache");
        let tag = answer.headers()["etag"].clone();
        let url = format!("{}{path}", server.url);
        for (tags, status) in [
            (tag.to_str().unwrap(), 304),
            (&format!("\"other\", W/{}", tag.to_str().unwrap()), 304),
            ("\"other\"", 200),
        ] {
            let again = server.http.get(&url).header("if-none-match", tags).send().await.unwrap();
            assert_eq!(again.status(), status, "{path} {tags}");
            assert_eq!(again.headers()["etag"], tag);
        }
    }
}
