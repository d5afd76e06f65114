//! Jobs that fail and are tried again.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;
use skep::job::{EventKind, JobState, StateName};
use skep::store::Store;
use skep::{JobId, Router};
use tokio::time::Instant;

use crate::restart::Disk;
use crate::signal::signal;
use crate::support::{create, end, events, failure, router, within};

/// Waits until a job waits for its next attempt.
async fn queued(router: &Router, job: JobId) {
    while router.job(job).await.unwrap().state.name() != StateName::Queued {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_that_fails_is_tried_again_and_its_log_tells_of_each_attempt() {
    let router = router().await;
    let job = create(&router, "flaky", json!({ "key": "twice", "failures": 2 })).await;
    assert!(matches!(end(&router, job).await, JobState::Succeeded(_)));
    assert_eq!(router.job(job).await.unwrap().attempt, 3);
    let told: Vec<_> = events(&router, job, 0)
        .await
        .into_iter()
        .map(|event| match event.kind {
            EventKind::State { state, attempt } => format!("{state} {attempt}"),
            EventKind::Log(line) => line.message.split(';').next().unwrap().to_owned(),
            EventKind::Output(output) => output.to_string(),
            EventKind::End(_) => "end".to_owned(),
            other => panic!("{other:?}"),
        })
        .collect();
    let expected = [
        "running 1",
        "1",
        "attempt 1 failed: not yet (flaky)",
        "queued 2",
        "running 2",
        "2",
        "attempt 2 failed: not yet (flaky)",
        "queued 3",
        "running 3",
        "3",
        "end",
    ];
    assert_eq!(told, expected);
}

#[tokio::test(start_paused = true)]
async fn the_last_attempts_error_is_the_jobs() {
    let router = router().await;
    let job = create(&router, "flaky", json!({ "key": "never", "failures": 99 })).await;
    assert!(failure(&router, job).await.code == "flaky");
    assert_eq!(signal("never").count(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_at_fault_is_not_tried_again() {
    let router = router().await;
    let input = json!({ "key": "fault", "failures": 99, "status": 404 });
    let job = create(&router, "flaky", input).await;
    failure(&router, job).await;
    assert_eq!(signal("fault").count(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_error_may_say_when_to_try_again() {
    let router = router().await;
    let begun = Instant::now();
    let input = json!({ "key": "later", "failures": 1, "status": 429, "retry_after": 90 });
    let job = create(&router, "flaky", input).await;
    within(queued(&router, job)).await;
    let early = router.wait(job, Duration::from_secs(89)).await.unwrap();
    assert_eq!(early.state.name(), StateName::Queued);
    assert!(matches!(end(&router, job).await, JobState::Succeeded(_)));
    assert!(begun.elapsed() >= Duration::from_secs(90));
}

#[tokio::test(start_paused = true)]
async fn a_job_may_be_cancelled_between_two_attempts() {
    let router = router().await;
    let input = json!({ "key": "between", "failures": 1, "retry_after": 3_600 });
    let job = create(&router, "flaky", input).await;
    within(queued(&router, job)).await;
    router.cancel_job(job).await.unwrap();
    assert!(matches!(end(&router, job).await, JobState::Cancelled));
    assert_eq!(signal("between").count(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_runs_out_of_time_or_panics_is_followed_by_another() {
    let router = router().await;
    for how in ["hang", "panic"] {
        let job = create(&router, "fail_once", json!({ "how": how })).await;
        assert!(matches!(end(&router, job).await, JobState::Succeeded(_)), "{how}");
        assert_eq!(router.job(job).await.unwrap().attempt, 2);
    }
}

#[tokio::test(start_paused = true)]
async fn what_an_attempt_left_behind_adds_nothing_to_the_next_one() {
    let router = router().await;
    let job = create(&router, "leave_a_task", json!({})).await;
    within(signal("leave_a_task/second").reached(1)).await;
    signal("leave_a_task/emit").fire();
    within(signal("leave_a_task/refused").reached(1)).await;
    signal("leave_a_task/go").fire();
    end(&router, job).await;
    let events = events(&router, job, 0).await;
    assert!(events.iter().all(|event| !matches!(event.kind, EventKind::Output(_))), "{events:?}");
}

#[tokio::test]
async fn a_pause_between_attempts_goes_on_after_the_servers_death() {
    let disk = Disk::new();
    let life = disk.clone();
    let job = disk
        .crash_after(async move |router| {
            let input = json!({ "key": "pause", "failures": 1, "retry_after": 1, "status": 503 });
            let job = create(&router, "flaky", input).await;
            within(async {
                while life.0.job(job).await.unwrap().unwrap().attempt != 2 {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            })
            .await;
            job
        })
        .await;
    let until = disk.0.job(job).await.unwrap().unwrap().run_at.expect("it pauses");
    // A graceful stop in the pause costs no more than a crash.
    within(disk.router().await.shutdown(Duration::ZERO)).await;
    assert_eq!(disk.0.job(job).await.unwrap().unwrap().run_at, Some(until));
    let router = disk.router().await;
    assert!(matches!(end(&router, job).await, JobState::Succeeded(_)));
    assert!(Timestamp::now() >= until);
    let record = router.job(job).await.unwrap();
    assert_eq!((record.attempt, record.crashes), (2, 0));
}

mod operations {
    use std::time::Duration;

    use skep::prelude::*;

    use crate::signal::signal;

    /// Fail so often, then return.
    #[skep::operation(idempotent, retry(attempts = 4, backoff = "50ms"))]
    async fn flaky(
        key: String,
        failures: u32,
        #[default(500)] status: u16,
        retry_after: Option<u64>,
        job: &JobContext,
    ) -> Result<()> {
        job.emit(&job.attempt()).await?;
        signal(&key).fire();
        if job.attempt() > failures {
            return Ok(());
        }
        let error = OperationError::new("flaky", "not yet").with_status(status);
        Err(match retry_after {
            Some(seconds) => error.with_retry_after(Duration::from_secs(seconds)),
            None => error,
        })
    }

    /// Hang or panic in the first attempt.
    #[skep::operation(idempotent, timeout = "1s", retry(attempts = 2, backoff = "1ms"))]
    async fn fail_once(how: String, job: &JobContext) -> Result<()> {
        match (job.attempt(), how.as_str()) {
            (1, "hang") => std::future::pending().await,
            (1, _) => panic!("as asked for"),
            _ => Ok(()),
        }
    }

    /// Leave a task behind in the first attempt that emits in the second one.
    #[skep::operation(idempotent, retry(attempts = 2, backoff = "1ms"))]
    async fn leave_a_task(job: &JobContext) -> Result<()> {
        if job.attempt() == 1 {
            let job = job.clone();
            tokio::spawn(async move {
                signal("leave_a_task/emit").reached(1).await;
                if job.emit("late").await.is_err() {
                    signal("leave_a_task/refused").fire();
                }
            });
            return Err(OperationError::message("again"));
        }
        signal("leave_a_task/second").fire();
        signal("leave_a_task/go").reached(1).await;
        Ok(())
    }
}
