//! Time limits, and limits of how many jobs run and wait.

use std::time::Duration;

use serde_json::json;
use skep::job::{JobState, Priority};
use skep::prelude::*;
use skep::problem::Code;
use skep::{JobRequest, Router};

use crate::signal::signal;
use crate::support::{create, end, failure, router, router_with, within};

/// How long a job of `operation` runs before it fails as `timeout`, by the paused clock.
async fn runs_for(router: &Router, operation: &str, timeout: Option<Duration>) -> Duration {
    let mut request = JobRequest::new(operation, json!({}));
    request.timeout = timeout;
    let begun = tokio::time::Instant::now();
    let job = router.create_job(request).await.unwrap().id;
    assert!(failure(router, job).await.is(Code::Timeout));
    begun.elapsed()
}

#[tokio::test(start_paused = true)]
async fn the_shorter_of_an_operations_and_a_requests_time_limit_counts() {
    let router = router().await;
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    for (request, least) in [(None, 20), (seconds(5), 5), (seconds(40), 20), (seconds(0), 0)] {
        let ran = runs_for(&router, "limited", request).await;
        let least = Duration::from_secs(least);
        assert!(ran >= least && ran < least + Duration::from_secs(1), "{request:?}: {ran:?}");
    }
}

#[tokio::test]
async fn of_jobs_that_wait_the_higher_priority_goes_first() {
    let router = router_with(|config| config.jobs.max_running = 1).await;
    let first = create(&router, "wait_for_go", json!({ "key": "priority" })).await;
    let mut jobs = Vec::new();
    for priority in [Priority::Low, Priority::Normal, Priority::High] {
        let mut request = JobRequest::new("hello", json!({ "name": "Ada" }));
        request.priority = priority;
        jobs.push(router.create_job(request).await.unwrap().id);
    }
    signal("priority/go").fire();
    end(&router, first).await;
    let mut started = Vec::new();
    for job in jobs {
        end(&router, job).await;
        let record = router.job(job).await.unwrap();
        started.push((record.started_at.unwrap(), record.priority));
    }
    started.sort();
    let order: Vec<_> = started.into_iter().map(|(_, priority)| priority).collect();
    assert_eq!(order, [Priority::High, Priority::Normal, Priority::Low]);
}

#[tokio::test(start_paused = true)]
async fn a_handler_knows_its_deadline() {
    let router = router().await;
    let mut request = JobRequest::new("tell_deadline", json!({}));
    request.timeout = Some(Duration::from_secs(7));
    let job = router.create_job(request).await.unwrap().id;
    let JobState::Succeeded(left) = end(&router, job).await else { panic!("it succeeds") };
    let left: f64 = left.get().parse().unwrap();
    assert!((6.0..=7.1).contains(&left), "{left}");
}

#[tokio::test]
async fn past_an_operations_places_and_queue_a_job_is_refused() {
    let router = router().await;
    let first = create(&router, "one_at_a_time", json!({ "key": "one" })).await;
    within(signal("one/started").reached(1)).await;
    let second = create(&router, "one_at_a_time", json!({ "key": "one" })).await;
    let third = router.create_job(JobRequest::new("one_at_a_time", json!({ "key": "one" })));
    let refused = third.await.unwrap_err();
    assert!(refused.problem().is(Code::TooManyJobs));
    assert!(refused.retry_after().is_some());
    assert!(matches!(router.job(second).await.unwrap().state, JobState::Queued));
    assert_eq!(signal("one/started").count(), 1);

    signal("one/go").fire();
    for job in [first, second] {
        assert!(matches!(end(&router, job).await, JobState::Succeeded(_)));
    }
    within(router.call("one_at_a_time", json!({ "key": "one" }))).await.unwrap();
}

#[tokio::test]
async fn past_the_servers_places_and_queue_a_job_is_refused() {
    let router = router_with(|config| {
        config.jobs.max_running = 2;
        config.jobs.max_queued = 3;
    })
    .await;
    let mut jobs = Vec::new();
    for _ in 0..5 {
        jobs.push(create(&router, "wait_for_go", json!({ "key": "server" })).await);
    }
    let refused = router.create_job(JobRequest::new("echo", json!({ "value": 1 }))).await;
    assert!(refused.unwrap_err().problem().is(Code::TooManyJobs));
    let counts = router.job_counts();
    assert_eq!((counts.live, counts.queued), (5, 3));
    within(signal("server/started").reached(2)).await;
    assert_eq!(signal("server/started").count(), 2);
    signal("server/go").fire();
    for job in jobs {
        assert!(matches!(end(&router, job).await, JobState::Succeeded(_)));
    }
}

#[tokio::test]
async fn jobs_that_wait_for_their_operation_leave_the_servers_places_to_others() {
    let router = router_with(|config| config.jobs.max_running = 2).await;
    let mut jobs = Vec::new();
    for _ in 0..2 {
        jobs.push(create(&router, "one_at_a_time", json!({ "key": "narrow" })).await);
    }
    within(router.call("echo", json!({ "value": 1 }))).await.unwrap();
    signal("narrow/go").fire();
    for job in jobs {
        assert!(matches!(end(&router, job).await, JobState::Succeeded(_)));
    }
}

#[tokio::test]
async fn a_place_is_given_back_however_a_job_ends() {
    let router = router_with(|config| {
        config.jobs.max_running = 1;
        config.jobs.max_queued = 0;
    })
    .await;
    for round in 0..20 {
        let key = format!("back-{round}");
        let job = create(&router, "wait_for_go", json!({ "key": key })).await;
        match round % 3 {
            0 => signal(&format!("{key}/go")).fire(),
            _ => drop(router.cancel_job(job).await),
        }
        end(&router, job).await;
        let job = create(&router, "panic_at_once", json!({})).await;
        end(&router, job).await;
    }
}

/// Wait for what never comes, but not long.
#[skep::operation(timeout = "20s")]
async fn limited() -> Result<()> {
    std::future::pending().await
}

/// Return how many seconds are left.
#[skep::operation]
async fn tell_deadline(job: &JobContext) -> Result<f64> {
    let deadline = job.deadline().ok_or_else(|| OperationError::message("there is none"))?;
    Ok(deadline.duration_since(std::time::Instant::now()).as_secs_f64())
}

/// Fire `KEY/started` and wait for `KEY/go`.
#[skep::operation(max_concurrency = 1, max_queued = 1)]
async fn one_at_a_time(key: String) -> Result<()> {
    signal(&format!("{key}/started")).fire();
    signal(&format!("{key}/go")).reached(1).await;
    Ok(())
}
