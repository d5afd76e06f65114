//! How much the memory store keeps, and for how long.

use std::time::Duration;

use bytesize::ByteSize;
use serde_json::json;
use skep::JobRequest;
use skep::job::JobState;
use skep::problem::Code;
use skep::store::JobQuery;

use crate::signal::signal;
use crate::support::{create, end, events, failure, router_with, within};

#[tokio::test]
async fn the_jobs_that_ended_first_are_forgotten_first() {
    let router = router_with(|config| config.jobs.memory = ByteSize::mib(1)).await;
    let mut jobs = Vec::new();
    for _ in 0..10 {
        let value = "x".repeat(1_000);
        let job = create(&router, "echo", json!({ "value": value, "count": 200 })).await;
        end(&router, job).await;
        jobs.push(job);
    }
    let kept = router.jobs(&JobQuery::newest(100)).await.unwrap();
    let kept: Vec<_> = kept.iter().rev().map(|job| job.id).collect();
    assert!((3..=5).contains(&kept.len()), "{} jobs are kept", kept.len());
    assert!(jobs.ends_with(&kept));
    assert!(router.job(jobs[0]).await.unwrap_err().problem().is(Code::UnknownJob));
}

#[tokio::test]
async fn a_running_job_fails_when_there_is_no_room_and_its_log_has_no_holes() {
    let router = router_with(|config| config.jobs.memory = ByteSize::mib(1)).await;
    let value = "x".repeat(1_000);
    let job = create(&router, "echo", json!({ "value": value, "count": 100_000 })).await;
    let live = events(&router, job, 0).await;
    assert!(failure(&router, job).await.is(Code::OutputTooLarge));
    assert!(live.iter().map(|event| event.id).eq(1..=live.len() as u64));
    assert!(live.len() > 500, "{} events", live.len());
    assert_eq!(events(&router, job, 0).await, live);
    // The room is there again for the next one.
    within(router.call("echo", json!({ "value": value, "count": 300 }))).await.unwrap();
}

#[tokio::test]
async fn a_running_job_is_never_forgotten() {
    let router = router_with(|config| config.jobs.memory = ByteSize::kib(512)).await;
    let running = create(&router, "wait_for_go", json!({ "key": "kept" })).await;
    for _ in 0..5 {
        let value = "x".repeat(1_000);
        within(router.call("echo", json!({ "value": value, "count": 300 }))).await.unwrap();
    }
    signal("kept/go").fire();
    assert!(matches!(end(&router, running).await, JobState::Succeeded(_)));
    assert_eq!(events(&router, running, 0).await.len(), 2);
}

#[tokio::test]
async fn a_store_that_is_full_of_running_jobs_takes_no_more() {
    let router = router_with(|config| config.jobs.memory = ByteSize::b(1_500)).await;
    let job = create(&router, "wait_for_go", json!({ "key": "full" })).await;
    let value = "x".repeat(1_000);
    let refused = router.create_job(JobRequest::new("echo", json!({ "value": value }))).await;
    let refused = refused.unwrap_err();
    assert!(refused.problem().is(Code::StoreUnavailable));
    assert!(refused.retry_after().is_some());
    signal("full/go").fire();
    end(&router, job).await;
}

#[tokio::test(start_paused = true)]
async fn a_job_is_forgotten_when_its_retention_is_over() {
    let router = router_with(|config| config.jobs.retention = Duration::ZERO).await;
    let job = create(&router, "wait_for_go", json!({ "key": "retention" })).await;
    assert!(router.job(job).await.is_ok());
    signal("retention/go").fire();
    end(&router, job).await;
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert!(router.job(job).await.unwrap_err().problem().is(Code::UnknownJob));
    assert!(router.jobs(&JobQuery::newest(10)).await.unwrap().is_empty());
}
