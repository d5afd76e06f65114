//! Requests that are made again, and the one job that they are answered with.

use std::collections::HashSet;

use futures_util::future::join_all;
use serde_json::{Value, json};
use skep::job::{Caller, JobState};
use skep::problem::Code;
use skep::store::JobQuery;
use skep::{JobRequest, RouterError};

use crate::restart::Disk;
use crate::support::{end, router, router_that_accepts_later};

fn keyed(input: Value) -> JobRequest {
    let mut request = JobRequest::new("echo", input);
    request.idempotency_key = Some("order-7".to_owned());
    request.caller = Caller::Client(None);
    request
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_requests_of_one_key_are_one_job() {
    let router = router().await;
    let posts = (0..200).map(|_| {
        let router = router.clone();
        tokio::spawn(async move { router.create_job(keyed(json!({ "value": 1 }))).await })
    });
    let ids: HashSet<_> =
        join_all(posts).await.into_iter().map(|job| job.unwrap().unwrap().id).collect();
    assert_eq!(ids.len(), 1);
    let job = ids.into_iter().next().unwrap();
    assert!(matches!(end(&router, job).await, JobState::Succeeded(_)));
    let again = router.create_job(keyed(json!({ "value": 1 }))).await.unwrap();
    assert_eq!(again.id, job);
    assert!(again.state.is_end());
}

#[tokio::test]
async fn a_keyed_job_goes_on_when_its_caller_leaves_before_it_is_accepted() {
    let router = router_that_accepts_later().await;
    {
        // Dropped when the job has been handed to its task, and not yet been accepted.
        let create = router.create_job(keyed(json!({ "value": 1 })));
        assert!(futures_util::FutureExt::now_or_never(create).is_none());
    }
    let job = router.create_job(keyed(json!({ "value": 1 }))).await.unwrap().id;
    assert!(matches!(end(&router, job).await, JobState::Succeeded(_)));
    assert_eq!(router.jobs(&JobQuery::newest(10)).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_key_with_another_input_or_operation_is_refused() {
    let router = router().await;
    router.create_job(keyed(json!({ "value": 1, "count": 2 }))).await.unwrap();
    router.create_job(keyed(json!({ "count": 2, "value": 1 }))).await.expect("the same, reordered");
    let other = router.create_job(keyed(json!({ "value": 2 }))).await.unwrap_err();
    assert!(matches!(other, RouterError::KeyTaken(_)));
    assert!(other.problem().is(Code::Conflict));
    let mut request = keyed(json!({ "name": "Ada" }));
    request.operation = "hello".to_owned();
    assert!(matches!(router.create_job(request).await, Err(RouterError::KeyTaken(_))));
}

#[tokio::test]
async fn callers_do_not_know_of_each_others_keys() {
    let router = router().await;
    let first = router.create_job(keyed(json!({ "value": 1 }))).await.unwrap();
    let mut request = keyed(json!({ "value": 2 }));
    request.caller = Caller::Server;
    assert_ne!(router.create_job(request).await.unwrap().id, first.id);
}

#[tokio::test]
async fn a_key_outlives_the_server() {
    let disk = Disk::new();
    let job = disk
        .crash_after(async |router| {
            router.create_job(keyed(json!({ "value": 1 }))).await.unwrap().id
        })
        .await;
    let router = disk.router().await;
    assert_eq!(router.create_job(keyed(json!({ "value": 1 }))).await.unwrap().id, job);
}

#[tokio::test]
async fn a_request_that_is_made_again_needs_no_room() {
    let router = crate::support::router_with(|config| {
        config.jobs.max_running = 1;
        config.jobs.max_queued = 0;
    })
    .await;
    let mut request = JobRequest::new("wait_for_go", json!({ "key": "keyed" }));
    request.idempotency_key = Some("only".to_owned());
    let job = router.create_job(request.clone()).await.unwrap().id;
    assert_eq!(router.create_job(request).await.unwrap().id, job);
    crate::signal::signal("keyed/go").fire();
    end(&router, job).await;
}
