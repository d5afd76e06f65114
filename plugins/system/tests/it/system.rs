//! `echo`, `check` and `status` as a server serves them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use serde_json::{Value, json};
use skep::job::{End, Event, EventKind};
use skep::plugin::Linked;
use skep::prelude::*;
use skep::store::MemoryStore;
use skep::{Config, JobRequest, Router};
use skep_system as _;

/// List the workers, for `status` to find.
#[skep::operation(read_only)]
async fn worker_list() -> Result<Vec<Value>> {
    Ok(vec![json!({ "id": "w-1" })])
}

async fn router() -> Router {
    let store = MemoryStore::new(1 << 20);
    Router::start(Config::default(), Linked::all(), Arc::new(store)).await.unwrap()
}

async fn events(router: &Router, operation: &str, input: Value) -> Vec<EventKind> {
    let job = router.create_job(JobRequest::new(operation, input)).await.unwrap();
    let events: Vec<Event> =
        router.execute_job(job.id, 0).await.unwrap().try_collect().await.unwrap();
    events.into_iter().map(|event| event.kind).collect()
}

#[tokio::test]
async fn echo_emits_the_value_as_often_as_asked() {
    let value = json!({ "text": "a\nb \u{2028} é", "list": [1, null] });
    let events = events(&router().await, "echo", json!({ "value": value, "count": 50 })).await;
    let output = events.iter().filter(|kind| **kind == EventKind::Output(value.clone()));
    assert_eq!(output.count(), 50);
    let end = EventKind::End(End::Succeeded { result: json!({ "count": 50 }) });
    assert_eq!(events.last(), Some(&end));
}

#[tokio::test]
async fn echo_needs_a_value_and_takes_null_for_one() {
    let router = router().await;
    let problem = router.call("echo", json!({})).await.unwrap_err();
    assert_eq!(problem.extensions["errors"][0]["pointer"], "/value");
    let once = router.call("echo", json!({ "value": null })).await.unwrap();
    assert_eq!(once, json!({ "count": 1 }));
}

#[tokio::test]
async fn echo_keeps_its_pace() {
    let started = Instant::now();
    let input = json!({ "value": 1, "count": 51, "interval_us": 400 });
    router().await.call("echo", input).await.unwrap();
    assert!(started.elapsed() >= Duration::from_millis(20), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_slow_echo_can_be_cancelled_between_two_events() {
    let router = router().await;
    let input = json!({ "value": 1, "count": 2, "interval_us": 3_600_000_000_u64 });
    let job = router.create_job(JobRequest::new("echo", input)).await.unwrap();
    router.cancel_job(job.id).await.unwrap();
    let job = router.wait(job.id, Duration::from_secs(3)).await.unwrap();
    assert_eq!(job.state.as_str(), "cancelled");
}

#[tokio::test]
async fn check_shows_one_of_every_kind_of_event() {
    let events = events(&router().await, "check", json!({})).await;
    let has = |wanted: fn(&EventKind) -> bool| events.iter().any(wanted);
    assert!(has(|kind| matches!(kind, EventKind::Output(_))));
    assert!(has(|kind| matches!(kind, EventKind::Progress(_))));
    assert!(has(|kind| matches!(kind, EventKind::Log(_))));
    assert!(has(|kind| matches!(kind, EventKind::State { .. })));
    let checked = json!({ "checked": ["output", "progress", "log", "blocking", "call"] });
    assert_eq!(events.last(), Some(&EventKind::End(End::Succeeded { result: checked })));
}

#[tokio::test]
async fn status_shows_what_is_linked_and_leaves_out_what_is_not() {
    let status = router().await.call("status", json!({})).await.unwrap();
    let hives = json!([{ "id": "localhost", "state": "online", "workers": [{ "id": "w-1" }] }]);
    assert_eq!(status, json!({ "hives": hives, "jobs": { "live": 1, "queued": 0 } }));
}
