//! Idempotency keys: a request that is sent again is answered with the same job.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{Server, frames, stderr, stdout};

const KEY: &str = "idempotency-key";

#[tokio::test]
async fn many_requests_with_one_key_at_once_make_one_job_also_over_a_crash() {
    let mut server = Server::start(&[]);
    let echo = json!({ "operation": "echo", "value": 1 });
    let posts = (0..200).map(|_| async {
        let answer = server.post_with("/v1/jobs", (KEY, "order-17"), &echo).await;
        assert_eq!(answer.status(), 201);
        let location = answer.headers()["location"].to_str().unwrap().to_owned();
        let job: Value = answer.json().await.unwrap();
        assert_eq!(location, format!("/v1/jobs/{}", job["job_id"].as_str().unwrap()));
        location
    });
    let jobs: BTreeSet<_> = join_all(posts).await.into_iter().collect();
    assert_eq!(jobs.len(), 1);
    assert_eq!(server.json("/v1/jobs").await["jobs"].as_array().unwrap().len(), 1);

    server.signal("KILL");
    server.restart();
    let again = server.post_with("/v1/jobs", (KEY, "order-17"), &echo).await;
    assert_eq!(again.status(), 201);
    assert_eq!(
        Some(again.headers()["location"].to_str().unwrap()),
        jobs.first().map(String::as_str)
    );
    assert_eq!(server.json("/v1/jobs").await["jobs"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_key_is_one_jobs_and_another_input_or_operation_is_refused_with_it() {
    let server = Server::start(&[]);
    let post = async |key, body: Value| server.post_with("/v1/jobs", (KEY, key), &body).await;
    let echo = |value| json!({ "operation": "echo", "value": value });
    assert_eq!(post("a", echo(1)).await.status(), 201);
    assert_eq!(post("b", echo(1)).await.status(), 201);
    for other in [echo(2), json!({ "operation": "check" })] {
        let refused = post("a", other).await;
        assert_eq!(refused.status(), 409);
        assert_eq!(refused.json::<Value>().await.unwrap()["code"], "conflict");
    }
    assert_eq!(server.json("/v1/jobs").await["jobs"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_direct_call_with_the_key_of_an_ended_job_is_answered_with_its_result() {
    let server = Server::start(&[]);
    let input = json!({ "value": 1, "count": 3 });
    let mut jobs = BTreeSet::new();
    for _ in 0..2 {
        let answer = server.post_with("/v1/operations/echo", (KEY, "a"), &input).await;
        assert_eq!(answer.status(), 200);
        jobs.insert(answer.headers()["location"].to_str().unwrap().to_owned());
        assert_eq!(answer.json::<Value>().await.unwrap(), json!({ "count": 3 }));
    }
    assert_eq!(jobs.len(), 1);
}

#[tokio::test]
async fn a_direct_call_with_the_key_of_a_job_that_waits_for_a_reader_starts_it() {
    let server = Server::start(&[]);
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let waits = client
        .post(format!("{}/v1/jobs", server.url))
        .header(KEY, "a")
        .header("skep-start", "on-stream")
        .json(&json!({ "operation": "echo", "value": 1 }));
    let job: Value = waits.send().await.unwrap().json().await.unwrap();
    assert_eq!(job["state"], "scheduled");
    let answer = server.post_with("/v1/operations/echo", (KEY, "a"), &json!({ "value": 1 })).await;
    assert_eq!(answer.json::<Value>().await.unwrap(), json!({ "count": 1 }));
}

#[tokio::test]
async fn a_job_with_a_key_goes_on_when_the_client_that_called_it_goes_away() {
    let server = Server::start(&[]);
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let input = json!({ "value": 1, "count": 300, "interval_us": 1000 });
    let call = || {
        let request = client.post(format!("{}/v1/operations/echo", server.url)).json(&input);
        request.header("accept", "text/event-stream").header(KEY, "a").send()
    };
    let first = call().await.unwrap();
    let location = first.headers()["location"].to_str().unwrap().to_owned();
    drop(first);
    let second = call().await.unwrap();
    assert_eq!(second.headers()["location"].to_str().unwrap(), location);
    assert_eq!(frames(&second.text().await.unwrap()).len(), 302);
    assert_eq!(server.json(&location).await["state"], "succeeded");
}

#[tokio::test]
async fn run_with_a_key_shows_the_same_job_again() {
    let server = Server::start(&[]);
    let run = || server.skep(&["run", "echo", "value=1", "--key", "a", "--detach"]);
    let (first, second) = (run(), run());
    assert!(first.status.success() && second.status.success(), "{}", stderr(&second));
    let id = stdout(&first);
    assert_eq!(server.ended(id.trim()).await["state"], "succeeded");
    assert_eq!(stdout(&second), id);
}
