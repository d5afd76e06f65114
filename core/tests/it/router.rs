//! The router alone, without a server.

use futures_util::TryStreamExt;
use serde_json::json;
use skep::JobRequest;
use skep::job::{End, Event, EventKind};

use crate::support::router;

#[tokio::test]
async fn a_job_is_made_and_its_events_are_a_stream() {
    let router = router().await;
    let job = router.create_job(JobRequest::new("hello", json!({ "name": "Ada" }))).await.unwrap();
    let events: Vec<Event> =
        router.execute_job(job.id, 0).await.unwrap().try_collect().await.unwrap();
    let kinds: Vec<_> = events.iter().map(|event| event.kind.clone()).collect();
    assert_eq!(
        kinds,
        [
            EventKind::State { state: "running".into(), attempt: 1 },
            EventKind::Output(json!("Hello,")),
            EventKind::Output(json!("Ada")),
            EventKind::End(End::Succeeded { result: json!("Hello, Ada!") }),
        ]
    );
    assert!(events.iter().map(|event| event.id).eq(1..=4));
}

#[tokio::test]
async fn a_call_returns_the_result() {
    let result = router().await.call("hello", json!({ "name": "Ada" })).await.unwrap();
    assert_eq!(result, "Hello, Ada!");
}
