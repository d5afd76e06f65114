//! The harness that plugins are tested with.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use skep::job::{EventKind, JobState, Start};
use skep::json;
use skep::prelude::*;
use skep::testing::{Fault, StoreCall, TestServer};
use skep::{JobRequest, Problem};

/// Count up to a number, an event each, and go on after a crash.
#[skep::operation(idempotent)]
async fn count_up(to: u32, job: &JobContext) -> Result<u32> {
    for number in job.restored().await?.unwrap_or(0)..to {
        job.emit(&number).await?;
        job.checkpoint(&(number + 1)).await?;
    }
    Ok(to)
}

/// Sleep for an hour.
#[skep::operation(timeout = "30m")]
async fn oversleep() -> Result<()> {
    tokio::time::sleep(Duration::from_hours(1)).await;
    Ok(())
}

/// Ask the operation `price_of` for a price, and double it.
#[skep::operation]
async fn price_double(item: String, job: &JobContext) -> Result<u32> {
    let price: u32 = job.call("price_of", json!({ "item": item })).await?;
    Ok(2 * price)
}

/// Tell a price.
#[skep::operation]
async fn price_of(#[schemars(length(min = 3))] item: String) -> Result<u32> {
    Ok(u32::try_from(item.len())?)
}

#[test]
fn an_operation_runs_and_its_events_are_told() {
    let server = TestServer::start();
    let job = server.run("hello", json!({ "name": "Ada" }));
    assert_eq!(job.outputs(), ["Hello,", "Ada"]);
    assert_eq!(job.result(), "Hello, Ada!");
    let refused = server.call("hello", json!({ "nam": "Ada" })).unwrap_err();
    assert_eq!(refused.code, "invalid-input");
}

#[test]
fn a_job_stands_at_its_event_until_it_is_cancelled() {
    let server = TestServer::start();
    let job = server.create_until("echo", json!({ "value": "x", "count": 1000 }), 3);
    server.advance(Duration::from_hours(1));
    assert_eq!(job.record().last_event, 3);
    job.cancel();
    let kinds: Vec<_> = job.events().into_iter().map(|event| event.kind).collect();
    assert_eq!(
        kinds[1..],
        [
            EventKind::Output("x".into()),
            EventKind::Output("x".into()),
            EventKind::End(skep::job::End::Cancelled),
        ]
    );
}

#[test]
fn a_job_that_is_released_goes_on() {
    let server = TestServer::start();
    let job = server.create_until("echo", json!({ "value": 1, "count": 3 }), 2);
    job.release();
    assert_eq!(job.outputs(), [1, 1, 1]);
}

#[test]
fn a_killed_server_comes_back_at_that_event() {
    let server = TestServer::start();
    let job = server.create_until("count_up", json!({ "to": 4 }), 3);
    server.crash();
    assert_eq!(job.result(), 4);
    assert_eq!((job.record().attempt, job.record().crashes), (2, 1));
    // The second event was emitted, and not yet checkpointed.
    assert_eq!(job.outputs(), [0, 1, 2, 3]);
}

#[test]
fn a_restarted_server_goes_on_without_a_crash() {
    let server = TestServer::start();
    let job = server.create_until("count_up", json!({ "to": 2 }), 1);
    server.restart();
    assert_eq!(job.result(), 2);
    assert_eq!((job.record().attempt, job.record().crashes), (2, 0));
}

#[test]
fn time_passes_at_once() {
    let begun = Instant::now();
    let server = TestServer::start();
    assert_eq!(server.run("oversleep", json!({})).problem().code, "timeout");
    let mut later = JobRequest::new("hello", json!({ "name": "Ada" }));
    let now = server.run("hello", json!({ "name": "Ada" })).record().created_at;
    later.start = Start::At(now + Duration::from_hours(24));
    let job = server.request(later).unwrap();
    assert_eq!(job.result(), "Hello, Ada!");
    let record = job.record();
    assert!(record.started_at.unwrap() >= now + Duration::from_hours(24), "{record:?}");
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
}

#[test]
fn time_does_not_go_back_at_a_restart() {
    let server = TestServer::start();
    let begun = server.run("hello", json!({ "name": "Ada" })).record().created_at;
    let mut later = JobRequest::new("hello", json!({ "name": "Ada" }));
    later.start = Start::At(begun + Duration::from_hours(2));
    let job = server.request(later).unwrap();
    server.advance(Duration::from_mins(90));
    server.crash();
    let restarted = server.run("hello", json!({ "name": "Ada" })).record().created_at;
    assert!(restarted >= begun + Duration::from_mins(90), "{restarted}");
    assert_eq!(job.result(), "Hello, Ada!");
}

#[test]
fn a_fake_stands_in_and_its_input_is_checked_as_the_real_ones() {
    let calls = Arc::new(AtomicU32::new(0));
    let counted = calls.clone();
    let server = TestServer::builder()
        .fake("price_of", move |input, _| {
            counted.fetch_add(1, Ordering::Relaxed);
            async move {
                assert_eq!(input, json!({ "item": "tea" }));
                Ok(json!(21))
            }
        })
        .start();
    assert_eq!(server.call("price_double", json!({ "item": "tea" })), Ok(json!(42)));
    let refused = server.call("price_double", json!({ "item": "x" })).unwrap_err();
    assert_eq!(refused.code, "invalid-input");
    assert_eq!(calls.load(Ordering::Relaxed), 1);
}

#[test]
fn a_fake_of_what_is_not_linked_takes_anything() {
    let server =
        TestServer::builder().empty().fake("anything", |input, _| async move { Ok(input) }).start();
    assert_eq!(server.call("anything", json!({ "a": 1 })), Ok(json!({ "a": 1 })));
}

#[test]
fn the_store_fails_when_the_test_has_it() {
    let server = TestServer::start();
    server.inject(|call| if call == StoreCall::Accept { Fault::Fails } else { Fault::None });
    let code = |refused: Result<_, Problem>| refused.unwrap_err().code;
    assert_eq!(code(server.call("hello", json!({ "name": "Ada" }))), "store-unavailable");
    server.inject(|_| Fault::None);
    assert!(server.call("hello", json!({ "name": "Ada" })).is_ok());
}

#[test]
fn denied_operations_are_not_there() {
    let server = TestServer::builder().deny("price_*").start();
    let refused = server.call("price_of", json!({ "item": "tea" })).unwrap_err();
    assert_eq!(refused.code, "unknown-operation");
    // One that may come later, as a program's name, is no mistake.
    drop(TestServer::builder().deny("danger_*").start());
    let error = TestServer::builder().deny("prize_of").try_start().err().unwrap();
    assert_eq!(
        error.to_string(),
        "[operations] deny: no operation of this server is called `prize_of`, did you mean \
         `price_of`?"
    );
}

#[test]
fn the_public_specs_are_held_against_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("specs.json");
    let server = TestServer::builder().plugins(&["bare"]).start();
    let specs: serde_json::Map<_, _> = server
        .router()
        .operations()
        .iter()
        .map(|spec| (spec.name.clone(), json!(**spec)))
        .collect();
    std::fs::write(&file, json!(specs).to_string()).unwrap();
    server.assert_specs(&file);

    let mut changed = specs;
    changed["hello"]["input_schema"]["properties"]["name"]["type"] = json!("integer");
    std::fs::write(&file, json!(changed).to_string()).unwrap();
    let complaint = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        server.assert_specs(&file);
    }))
    .unwrap_err();
    let complaint = complaint.downcast_ref::<String>().unwrap();
    let place = r#"/hello/input_schema/properties/name/type: was "integer", is "string""#;
    assert!(complaint.contains(place), "{complaint}");
}

#[test]
fn what_never_comes_fails_the_test_and_says_so() {
    let server = TestServer::start();
    let job = server.run("hello", json!({ "name": "Ada" }));
    assert!(matches!(job.end(), JobState::Succeeded(_)));
    let waited = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| job.events_until(99)))
        .unwrap_err();
    let complaint = waited.downcast_ref::<String>().unwrap();
    assert!(complaint.contains("it ends before event 99"), "{complaint}");
}

#[test]
fn a_thousand_test_servers_start_and_stop_within_seconds() {
    let begun = Instant::now();
    for _ in 0..1_000 {
        let builder = TestServer::builder().empty();
        drop(builder.fake("anything", |input, _| async move { Ok(input) }).start());
    }
    // It's about one; a machine may be busy.
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}
