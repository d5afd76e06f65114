//! Jobs that start later.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;
use skep::job::{JobState, Start, StateName};
use skep::problem::Code;
use skep::store::Store;
use skep::{JobId, JobRequest, Router};

use crate::restart::Disk;
use crate::support::{end, failure, router, within};

async fn create_at(router: &Router, at: Timestamp) -> JobId {
    let mut request = JobRequest::new("hello", json!({ "name": "Ada" }));
    request.start = Start::At(at);
    router.create_job(request).await.unwrap().id
}

#[tokio::test]
async fn a_job_runs_at_its_time_and_not_before() {
    let router = router().await;
    let at = Timestamp::now() + Duration::from_millis(200);
    let job = create_at(&router, at).await;
    let record = router.job(job).await.unwrap();
    assert_eq!(record.state.name(), StateName::Scheduled);
    assert_eq!(record.run_at.map(Timestamp::as_microsecond), Some(at.as_microsecond()));
    assert_eq!(router.job_counts().queued, 1);
    assert!(matches!(end(&router, job).await, JobState::Succeeded(_)));
    let record = router.job(job).await.unwrap();
    assert!(record.started_at.unwrap() >= at);
    assert_eq!(record.run_at, None);
}

#[tokio::test]
async fn a_time_that_is_over_is_now() {
    let router = router().await;
    let job = create_at(&router, Timestamp::UNIX_EPOCH).await;
    assert!(matches!(end(&router, job).await, JobState::Succeeded(_)));
}

#[tokio::test]
async fn a_job_that_waits_for_its_time_can_be_cancelled() {
    let router = router().await;
    let job = create_at(&router, Timestamp::now() + Duration::from_hours(1)).await;
    router.cancel_job(job).await.unwrap();
    assert!(matches!(end(&router, job).await, JobState::Cancelled));
    assert_eq!(router.job_counts().queued, 0);
}

#[tokio::test]
async fn a_schedule_outlives_the_server() {
    let disk = Disk::new();
    let (soon, late) = disk
        .crash_after(async |router| {
            let in_an_hour = Timestamp::now() + Duration::from_hours(1);
            (create_at(&router, in_an_hour).await, create_at(&router, in_an_hour).await)
        })
        .await;
    // As if the hour were over.
    let at = Timestamp::now() + Duration::from_millis(200);
    let mut record = disk.0.job(soon).await.unwrap().unwrap();
    record.run_at = Some(at);
    disk.0.update(&record).await.unwrap();
    let router = disk.router().await;
    assert!(matches!(end(&router, soon).await, JobState::Succeeded(_)));
    assert!(router.job(soon).await.unwrap().started_at.unwrap() >= at);
    assert_eq!(router.job(late).await.unwrap().state.name(), StateName::Scheduled);
}

#[tokio::test]
async fn a_schedule_outlives_a_stop_that_leaves_it_no_time() {
    let disk = Disk::new();
    let router = disk.router().await;
    let at = Timestamp::now() + Duration::from_hours(1);
    let job = create_at(&router, at).await;
    within(router.shutdown(Duration::ZERO)).await;
    let router = disk.router().await;
    let record = router.job(job).await.unwrap();
    assert_eq!(record.state.name(), StateName::Scheduled);
    assert_eq!(record.run_at.map(Timestamp::as_microsecond), Some(at.as_microsecond()));
}

#[tokio::test(start_paused = true)]
async fn a_schedule_that_goes_with_the_process_does_not_hold_up_its_stop() {
    let router = router().await;
    let job = create_at(&router, Timestamp::now() + Duration::from_hours(1)).await;
    let begun = tokio::time::Instant::now();
    router.shutdown(Duration::from_mins(1)).await;
    assert!(begun.elapsed() < Duration::from_secs(1));
    assert!(failure(&router, job).await.is(Code::Interrupted));
}
