//! Operations that do what none should, and the others beside them.

use std::time::Duration;

use bytesize::ByteSize;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};
use skep::job::{EventKind, JobState};
use skep::prelude::*;
use skep::problem::Code;
use skep::{Config, JobId, JobRequest, Router};

use crate::signal::{FireOnDrop, signal};
use crate::support::{
    assert_served, create, end, events, failure, frames, router, router_with, within,
};

#[tokio::test]
async fn a_panic_ends_its_own_job_and_nothing_of_it_is_told() {
    let router = router().await;
    for operation in ["panic_at_once", "panic_after_output", "panic_in_serialize"] {
        let job = create(&router, operation, json!({})).await;
        let problem = failure(&router, job).await;
        assert!(problem.is(Code::Panic), "{operation}: {problem:?}");
        assert!(!problem.detail.contains("secret"), "{operation}: {problem:?}");
        let outputs = events(&router, job, 0).await;
        let outputs = outputs.iter().filter(|event| matches!(event.kind, EventKind::Output(_)));
        assert_eq!(outputs.count(), usize::from(operation != "panic_at_once"), "{operation}");
        assert_served(&router).await;
    }
    assert_eq!(router.job_counts().live, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_that_block_their_threads_end_cancelled_and_cost_no_other_job() {
    let _go = FireOnDrop(signal("block/go"));
    let router = router().await;
    // More of them than the runtime has threads.
    let mut jobs: Vec<JobId> = Vec::new();
    for _ in 0..4 {
        jobs.push(create(&router, "block", json!({ "key": "block" })).await);
    }
    within(signal("block/started").reached(4)).await;
    assert_served(&router).await;
    for job in &jobs {
        router.cancel_job(*job).await.unwrap();
    }
    for job in jobs {
        assert!(matches!(end(&router, job).await, JobState::Cancelled));
    }
    assert_served(&router).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operation_that_blocks_for_the_first_time_later_has_a_thread_of_its_own_from_then_on() {
    let _go = FireOnDrop(signal("later/go"));
    let router = router().await;
    router.call("block_on_demand", json!({ "key": "later", "block": false })).await.unwrap();
    let first = create(&router, "block_on_demand", json!({ "key": "later", "block": true })).await;
    within(signal("later/started").reached(1)).await;
    assert_served(&router).await;
    router.cancel_job(first).await.unwrap();
    assert!(matches!(end(&router, first).await, JobState::Cancelled));
    for started in 2..6 {
        create(&router, "block_on_demand", json!({ "key": "later", "block": true })).await;
        within(signal("later/started").reached(started)).await;
    }
    assert_served(&router).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_blocks_its_thread_runs_out_of_time_all_the_same() {
    let _go = FireOnDrop(signal("timed/go"));
    let router = router().await;
    let mut request = JobRequest::new("block", json!({ "key": "timed" }));
    request.timeout = Some(Duration::from_millis(50));
    let job = router.create_job(request).await.unwrap().id;
    assert!(failure(&router, job).await.is(Code::Timeout));
}

fn small_logs(config: &mut Config) {
    config.jobs.max_log = ByteSize::mib(8);
}

async fn start_flood(router: &Router, ignore_errors: bool) -> JobId {
    create(router, "flood", json!({ "ignore_errors": ignore_errors })).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_emits_without_end_fails_at_the_limit_of_its_log() {
    let router = router_with(small_logs).await;
    let job = start_flood(&router, false).await;
    assert_served(&router).await;
    assert!(failure(&router, job).await.is(Code::OutputTooLarge));
    let log = frames(&router, job).await.len();
    assert!((7 << 20..9 << 20).contains(&log), "{log} bytes");
}

#[tokio::test]
async fn a_job_that_emits_without_end_and_ignores_errors_is_stopped_too() {
    // On one thread: it shows that a loop around a failing `emit` comes back to the runtime.
    let router = router_with(small_logs).await;
    let job = start_flood(&router, true).await;
    assert_served(&router).await;
    assert!(failure(&router, job).await.is(Code::OutputTooLarge));
    within(signal("flood/dropped").reached(1)).await;
    assert_served(&router).await;
}

#[tokio::test]
async fn a_loop_around_a_call_that_is_refused_is_stopped() {
    let router = router().await;
    let job = create(&router, "call_nothing_for_ever", json!({})).await;
    assert_served(&router).await;
    router.cancel_job(job).await.unwrap();
    assert!(matches!(end(&router, job).await, JobState::Cancelled));
    within(signal("call_nothing/dropped").reached(1)).await;
}

#[tokio::test]
async fn a_job_that_never_ends_is_stopped_by_its_time_limit() {
    let router = router().await;
    let mut request = JobRequest::new("never_end", json!({}));
    request.timeout = Some(Duration::from_millis(50));
    let job = router.create_job(request).await.unwrap().id;
    assert_served(&router).await;
    assert!(failure(&router, job).await.is(Code::Timeout));
}

#[tokio::test]
async fn a_result_or_an_error_beyond_the_limit_of_the_log_is_output_too_large() {
    let router = router_with(|config| config.jobs.max_log = ByteSize::kib(10)).await;
    for operation in ["large_result", "large_error"] {
        let job = create(&router, operation, json!({})).await;
        assert!(failure(&router, job).await.is(Code::OutputTooLarge), "{operation}");
    }
}

#[tokio::test]
async fn a_time_limit_beyond_the_clock_is_none() {
    let router = router().await;
    let mut request = JobRequest::new("echo", json!({ "value": 1 }));
    request.timeout = Some(Duration::MAX);
    let job = router.create_job(request).await.unwrap().id;
    assert!(matches!(end(&router, job).await, JobState::Succeeded(_)));
}

#[tokio::test]
async fn a_result_that_is_nested_too_deeply_is_an_error_and_no_hole() {
    let router = router().await;
    let problem = within(router.call("deep_result", json!({}))).await.unwrap_err();
    assert!(problem.detail.contains("can't be read"), "{problem:?}");
}

/// Panic.
#[skep::operation]
async fn panic_at_once() -> Result<()> {
    panic!("a secret")
}

/// Emit, then panic.
#[skep::operation]
async fn panic_after_output(job: &JobContext) -> Result<()> {
    job.emit(&1).await?;
    panic!("a secret")
}

struct Panics;

impl Serialize for Panics {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        panic!("a secret")
    }
}

/// Emit, then emit something that panics while it's serialised.
#[skep::operation]
async fn panic_in_serialize(job: &JobContext) -> Result<()> {
    job.emit(&1).await?;
    job.emit(&Panics).await
}

/// Fire `KEY/started` and block the thread until `KEY/go`.
#[skep::operation]
async fn block(key: String) -> Result<()> {
    signal(&format!("{key}/started")).fire();
    signal(&format!("{key}/go")).block_until_fired();
    Ok(())
}

/// The same, if it's asked to.
#[skep::operation]
async fn block_on_demand(key: String, block: bool) -> Result<()> {
    if block {
        signal(&format!("{key}/started")).fire();
        signal(&format!("{key}/go")).block_until_fired();
    }
    Ok(())
}

/// Emit a gigabyte, and go on if that fails.
#[skep::operation]
async fn flood(ignore_errors: bool, job: &JobContext) -> Result<()> {
    let _dropped = FireOnDrop(signal("flood/dropped"));
    let text = "x".repeat(16 * 1024);
    let mut emitted = 0;
    while ignore_errors || emitted < 1 << 30 {
        let result = job.emit(&text).await;
        if !ignore_errors {
            result?;
        }
        emitted += text.len();
    }
    Ok(())
}

/// Call an operation that isn't there, again and again.
#[skep::operation]
async fn call_nothing_for_ever(job: &JobContext) -> Result<()> {
    let _dropped = FireOnDrop(signal("call_nothing/dropped"));
    loop {
        let _: Result<Value> = job.call("nothing_of_that_name", json!({})).await;
    }
}

/// Wait for what never comes.
#[skep::operation]
async fn never_end() -> Result<()> {
    std::future::pending().await
}

/// Return 20 KB.
#[skep::operation]
async fn large_result() -> Result<String> {
    Ok("x".repeat(20_000))
}

/// Fail with 20 KB of words.
#[skep::operation]
async fn large_error() -> Result<()> {
    Err(OperationError::message("x".repeat(20_000)))
}

/// Return arrays in arrays.
#[skep::operation]
async fn deep_result() -> Result<serde_json::Value> {
    Ok((0..200).fold(Value::Null, |inner, _| Value::Array(vec![inner])))
}
