//! Jobs that start later, and jobs that go before others.

use serde_json::{Value, json};

use crate::support::{Server, stdout};

const RUN_AT: &str = "skep-run-at";

/// Makes an echo with a header, and returns its answer.
async fn echo(server: &Server, header: (&'static str, &str)) -> Value {
    let body = json!({ "operation": "echo", "value": 1 });
    let answer = server.post_with("/v1/jobs", header, &body).await;
    assert_eq!(answer.status(), 201);
    answer.json().await.unwrap()
}

/// When a job that has ended did something.
fn time(job: &Value, field: &str) -> jiff::Timestamp {
    job[field].as_str().unwrap_or_else(|| panic!("no {field}: {job}")).parse().unwrap()
}

#[tokio::test]
async fn a_job_waits_for_its_time_and_then_runs() {
    let server = Server::start(&[]);
    let created = echo(&server, (RUN_AT, "+1s")).await;
    assert_eq!(created["state"], "scheduled");
    let id = created["job_id"].as_str().unwrap();
    let waiting = server.json(&format!("/v1/jobs/{id}")).await;
    assert_eq!(waiting["state"], "scheduled");
    let job = server.ended(id).await;
    assert_eq!(job["state"], "succeeded");
    assert!(time(&job, "started_at") >= time(&waiting, "run_at"), "{job}");
}

#[tokio::test]
async fn a_time_that_is_over_is_now() {
    let server = Server::start(&[]);
    let created = echo(&server, (RUN_AT, "2020-01-31T08:00:00Z")).await;
    let job = server.ended(created["job_id"].as_str().unwrap()).await;
    assert_eq!(job["state"], "succeeded");
}

#[tokio::test]
async fn a_job_that_waits_for_its_time_can_be_cancelled() {
    let server = Server::start(&[]);
    let created = echo(&server, (RUN_AT, "+1h")).await;
    let id = created["job_id"].as_str().unwrap();
    assert!(stdout(&server.skep(&["jobs"])).contains("scheduled, in 59m"));
    assert_eq!(server.cancel(id).await.status(), 202);
    let job = server.ended(id).await;
    assert_eq!((&job["state"], &job["started_at"]), (&json!("cancelled"), &Value::Null));
}

#[tokio::test]
async fn a_job_of_high_priority_goes_before_one_that_came_earlier() {
    let server = Server::configured("[jobs]\nmax_running = 1", &[]);
    let first = server.job("ignore_cancellation", json!({})).await;
    let mut waiting = Vec::new();
    for priority in ["low", "normal", "high"] {
        let created = echo(&server, ("skep-priority", priority)).await;
        let id = created["job_id"].as_str().unwrap().to_owned();
        let job = server.json(&format!("/v1/jobs/{id}")).await;
        assert_eq!((&job["state"], &job["priority"]), (&json!("queued"), &json!(priority)));
        waiting.push(id);
    }
    server.cancel(&first).await;
    let mut started = Vec::new();
    for id in waiting.iter().rev() {
        started.push(time(&server.ended(id).await, "started_at"));
    }
    assert!(started.is_sorted(), "{started:?}");
}

#[test]
fn run_takes_a_time_and_a_priority() {
    let server = Server::start(&[]);
    let run = ["run", "echo", "value=hi", "--priority", "low", "--run-at", "+200ms"];
    let done = server.skep(&run);
    assert_eq!((done.status.code(), stdout(&done).as_str()), (Some(0), "hi\n"));
    let listed: Value = serde_json::from_str(&stdout(&server.skep(&["jobs", "--json"]))).unwrap();
    assert_eq!(listed[0]["priority"], "low");
    let waited = time(&listed[0], "started_at").duration_since(time(&listed[0], "created_at"));
    assert!(waited.as_millis() >= 200, "{listed}");
}
