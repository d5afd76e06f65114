//! A router's shutdown and the jobs that run.

use std::time::Duration;

use serde_json::json;
use skep::job::{JobState, Start};
use skep::problem::Code;
use skep::{JobRequest, RouterError};

use crate::signal::{FireOnDrop, signal};
use crate::support::{create, end, failure, router, router_with, within};

#[tokio::test]
async fn jobs_that_finish_in_time_are_let() {
    let router = router().await;
    let job = create(&router, "wait_for_go", json!({ "key": "drain" })).await;
    within(signal("drain/started").reached(1)).await;
    let shutdown = router.shutdown(Duration::from_mins(1));
    let go = async {
        while !router.is_shutting_down() {
            tokio::task::yield_now().await;
        }
        signal("drain/go").fire();
    };
    within(async { tokio::join!(shutdown, go) }).await;
    assert!(matches!(end(&router, job).await, JobState::Succeeded(_)));
}

#[tokio::test]
async fn all_other_jobs_are_interrupted() {
    let router = router_with(|config| config.jobs.max_running = 2).await;
    let running = create(&router, "wait_for_go", json!({ "key": "cut" })).await;
    let input = json!({ "operation_name": "wait_for_go", "input": { "key": "cut" } });
    let caller = create(&router, "relay", input).await;
    let queued = create(&router, "hello", json!({ "name": "Ada" })).await;
    let mut request = JobRequest::new("hello", json!({ "name": "Ada" }));
    request.start = Start::OnStream;
    let scheduled = router.create_job(request).await.unwrap().id;
    within(signal("cut/started").reached(2)).await;

    within(router.shutdown(Duration::ZERO)).await;
    let mut query = skep::store::JobQuery::newest(10);
    query.operation = Some("wait_for_go".to_owned());
    let child = router.jobs(&query).await.unwrap()[0].id;
    for job in [running, caller, child, queued, scheduled] {
        assert!(failure(&router, job).await.is(Code::Interrupted));
    }
    assert_eq!(router.job_counts().live, 0);
}

#[tokio::test]
async fn new_jobs_are_refused_and_calls_of_running_jobs_are_not() {
    let router = router().await;
    let job = create(&router, "call_on_go", json!({})).await;
    within(signal("call_on_go/started").reached(1)).await;
    let shutdown = router.shutdown(Duration::from_mins(1));
    let meanwhile = async {
        while !router.is_shutting_down() {
            tokio::task::yield_now().await;
        }
        let refused = router.create_job(JobRequest::new("echo", json!({ "value": 1 }))).await;
        assert!(matches!(refused, Err(RouterError::ShuttingDown)));
        signal("call_on_go/go").fire();
    };
    within(async { tokio::join!(shutdown, meanwhile) }).await;
    assert!(matches!(end(&router, job).await, JobState::Succeeded(_)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_blocks_its_thread_does_not_hold_up_the_shutdown() {
    let _go = FireOnDrop(signal("blocked-shutdown/go"));
    let router = router().await;
    let job = create(&router, "block", json!({ "key": "blocked-shutdown" })).await;
    within(signal("blocked-shutdown/started").reached(1)).await;
    within(router.shutdown(Duration::ZERO)).await;
    assert!(failure(&router, job).await.is(Code::Interrupted));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn nor_does_one_that_has_never_blocked_its_thread_before() {
    let _go = FireOnDrop(signal("later-shutdown/go"));
    let router = router().await;
    let input = |block| json!({ "key": "later-shutdown", "block": block });
    router.call("block_on_demand", input(false)).await.unwrap();
    let job = create(&router, "block_on_demand", input(true)).await;
    within(signal("later-shutdown/started").reached(1)).await;
    within(router.shutdown(Duration::ZERO)).await;
    assert!(failure(&router, job).await.is(Code::Interrupted));
}

mod operations {
    use skep::prelude::*;

    use crate::signal::signal;

    /// Wait, then call an operation.
    #[skep::operation]
    async fn call_on_go(job: &JobContext) -> Result<u32> {
        signal("call_on_go/started").fire();
        signal("call_on_go/go").reached(1).await;
        job.call("echo", serde_json::json!({ "value": 1 })).await
    }
}
