//! Cancelling jobs.

use std::time::Duration;

use serde_json::json;
use skep::job::{JobState, Start};
use skep::prelude::*;
use skep::problem::Code;
use skep::{JobRequest, RouterError};

use crate::signal::{FireOnDrop, signal};
use crate::support::{create, end, events, router, router_with, within};

#[tokio::test]
async fn a_running_job_is_told_and_ends_cancelled() {
    let router = router().await;
    let job = create(&router, "wait_for_go", json!({ "key": "told" })).await;
    within(signal("told/started").reached(1)).await;
    router.cancel_job(job).await.unwrap();
    assert!(matches!(end(&router, job).await, JobState::Cancelled));
    assert_eq!(signal("told/stopped").count(), 1);
}

#[tokio::test]
async fn a_queued_job_that_is_cancelled_never_runs() {
    let router = router_with(|config| config.jobs.max_running = 1).await;
    let first = create(&router, "wait_for_go", json!({ "key": "queued-1" })).await;
    let second = create(&router, "wait_for_go", json!({ "key": "queued-2" })).await;
    router.cancel_job(second).await.unwrap();
    assert!(matches!(end(&router, second).await, JobState::Cancelled));
    signal("queued-1/go").fire();
    end(&router, first).await;
    assert_eq!(signal("queued-2/started").count(), 0);
    assert_eq!(router.job_counts().queued, 0);
}

#[tokio::test]
async fn a_scheduled_job_that_is_cancelled_never_runs() {
    let router = router().await;
    let mut request = JobRequest::new("wait_for_go", json!({ "key": "scheduled" }));
    request.start = Start::OnStream;
    let job = router.create_job(request).await.unwrap().id;
    router.cancel_job(job).await.unwrap();
    assert!(matches!(end(&router, job).await, JobState::Cancelled));
    assert_eq!(events(&router, job, 0).await.len(), 1);
    assert_eq!(signal("scheduled/started").count(), 0);
}

#[tokio::test]
async fn cancelling_again_changes_nothing() {
    let router = router().await;
    let job = create(&router, "linger", json!({ "key": "again" })).await;
    within(signal("again/started").reached(1)).await;
    for _ in 0..3 {
        router.cancel_job(job).await.unwrap();
    }
    signal("again/go").fire();
    assert!(matches!(end(&router, job).await, JobState::Cancelled));
}

#[tokio::test]
async fn an_ended_job_can_not_be_cancelled() {
    let router = router().await;
    let finished = create(&router, "echo", json!({ "value": 1 })).await;
    end(&router, finished).await;
    let cancelled = create(&router, "wait_for_go", json!({ "key": "ended" })).await;
    router.cancel_job(cancelled).await.unwrap();
    end(&router, cancelled).await;
    for job in [finished, cancelled] {
        let error = router.cancel_job(job).await.unwrap_err();
        assert!(matches!(error, RouterError::JobEnded(id) if id == job));
        assert_eq!(error.problem().status, 409);
    }
}

#[tokio::test]
async fn emit_fails_once_the_job_is_cancelled_and_log_still_works() {
    let router = router().await;
    let job = create(&router, "linger", json!({ "key": "emit" })).await;
    within(signal("emit/started").reached(1)).await;
    router.cancel_job(job).await.unwrap();
    signal("emit/go").fire();
    let events = events(&router, job, 0).await;
    let texts: Vec<_> = events.iter().map(|event| format!("{:?}", event.kind)).collect();
    assert_eq!(texts.len(), 3, "{texts:?}");
    assert!(texts[1].contains("emit said cancelled"), "{texts:?}");
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_ignores_cancellation_is_dropped_after_the_grace() {
    let router = router_with(|config| config.jobs.cancel_grace = Duration::from_secs(5)).await;
    let job = create(&router, "ignore_cancellation", json!({ "key": "ignored" })).await;
    within(signal("ignored/started").reached(1)).await;
    router.cancel_job(job).await.unwrap();
    let before = router.wait(job, Duration::from_millis(4_900)).await.unwrap();
    assert!(!before.state.is_end());
    assert_eq!(signal("ignored/dropped").count(), 0);
    let after = router.wait(job, Duration::from_millis(200)).await.unwrap();
    assert!(matches!(after.state, JobState::Cancelled));
    assert_eq!(signal("ignored/dropped").count(), 1);
}

#[tokio::test]
async fn of_a_cancellation_and_an_end_at_once_one_counts() {
    let router = router().await;
    for round in 0..100 {
        let job = create(&router, "echo", json!({ "value": 1 })).await;
        for _ in 0..round % 7 {
            tokio::task::yield_now().await;
        }
        let cancelled = router.cancel_job(job).await.is_ok();
        let state = end(&router, job).await;
        assert_eq!(cancelled, matches!(state, JobState::Cancelled), "{}", state.as_str());
        assert_eq!(events(&router, job, 0).await.iter().filter(|e| is_end(e)).count(), 1);
    }
}

fn is_end(event: &skep::job::Event) -> bool {
    matches!(event.kind, skep::job::EventKind::End(_))
}

/// Fire `KEY/started`, wait for `KEY/go` whatever happens, and log what `emit` says then.
#[skep::operation]
async fn linger(key: String, job: &JobContext) -> Result<()> {
    signal(&format!("{key}/started")).fire();
    signal(&format!("{key}/go")).reached(1).await;
    if let Err(error) = job.emit("late").await {
        assert!(error.problem().is(Code::Cancelled));
        job.log(LogLevel::Info, format!("emit said {}", error.problem().code)).await?;
    }
    Ok(())
}

/// Fire `KEY/started` and go on for ever; `KEY/dropped` tells that the future was dropped.
#[skep::operation]
async fn ignore_cancellation(key: String) -> Result<()> {
    let _dropped = FireOnDrop(signal(&format!("{key}/dropped")));
    signal(&format!("{key}/started")).fire();
    loop {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
