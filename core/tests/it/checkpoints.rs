//! What a job keeps over its attempts.

use std::time::Duration;

use bytesize::ByteSize;
use serde_json::json;
use skep::job::JobState;
use skep::problem::Code;
use skep::store::Store;

use crate::restart::Disk;
use crate::signal::signal;
use crate::support::{create, end, failure, router_with, within};

#[tokio::test]
async fn a_job_goes_on_from_its_checkpoint_after_an_error_and_after_the_servers_death() {
    let disk = Disk::new();
    let job = disk
        .crash_after(async |router| {
            let job = create(&router, "count_to_six", json!({})).await;
            within(signal("count_to_six/hangs").reached(1)).await;
            job
        })
        .await;
    let router = disk.router().await;
    let JobState::Succeeded(counted) = end(&router, job).await else { panic!("it fails") };
    assert_eq!(counted.get(), "[1,2,3,4,5,6]");
    assert!(disk.0.checkpointed(job, "checkpoint").await.unwrap().is_none());
}

#[tokio::test]
async fn a_step_runs_once_over_all_attempts() {
    let disk = Disk::new();
    let router = disk.router().await;
    let job = create(&router, "pay_once", json!({})).await;
    let JobState::Succeeded(receipt) = end(&router, job).await else { panic!("it fails") };
    assert_eq!(receipt.get(), "\"receipt 1\"");
    assert_eq!(signal("pay_once/paid").count(), 1);
    assert_eq!(signal("pay_once/attempts").count(), 3);
}

#[tokio::test]
async fn what_is_done_while_the_server_stops_is_not_done_again() {
    let disk = Disk::new();
    let router = disk.router().await;
    let job = create(&router, "pay_late", json!({})).await;
    within(signal("pay_late/begun").reached(1)).await;
    within(router.shutdown(Duration::ZERO)).await;
    let router = disk.router().await;
    let JobState::Succeeded(result) = end(&router, job).await else { panic!("it fails") };
    // What had not begun by then is the next attempt's.
    assert_eq!(result.get(), r#"["receipt 1","and here","more 2"]"#);
    assert_eq!(signal("pay_late/paid").count(), 1);
}

#[tokio::test]
async fn what_a_job_keeps_is_no_larger_than_its_log_may_be() {
    let router = router_with(|config| config.jobs.max_log = ByteSize::kib(4)).await;
    let job = create(&router, "keep_much", json!({})).await;
    let problem = failure(&router, job).await;
    assert!(problem.is(Code::OutputTooLarge), "{problem:?}");
    // The fifth was taken, and could not be kept.
    assert_eq!(signal("keep_much/steps").count(), 5);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_is_over_keeps_nothing_any_more() {
    let router = router_with(|_| {}).await;
    let job = create(&router, "keep_late", json!({})).await;
    let JobState::Succeeded(kept) = end(&router, job).await else { panic!("it fails") };
    assert_eq!(kept.get(), "\"first\"");
}

#[tokio::test]
async fn what_a_plugin_keeps_of_a_job_is_not_what_its_handler_keeps() {
    let router = crate::support::router().await;
    let job = create(&router, "keep_beside", json!({})).await;
    let JobState::Succeeded(kept) = end(&router, job).await else { panic!("it fails") };
    assert_eq!(kept.get(), r#"[null,"elsewhere",17]"#);
}

#[tokio::test]
async fn two_steps_of_one_name_are_refused() {
    let router = crate::support::router().await;
    let job = create(&router, "step_twice", json!({})).await;
    assert!(failure(&router, job).await.detail.contains("`same`"));
}

mod operations {
    use skep::prelude::*;

    use crate::signal::signal;

    /// Count to six over three attempts: the first one hangs after two, the second one fails after
    /// four.
    #[skep::operation(idempotent, retry(attempts = 3, backoff = "1ms"))]
    async fn count_to_six(job: &JobContext) -> Result<Vec<usize>> {
        let mut counted: Vec<usize> = job.restored().await?.unwrap_or_default();
        while counted.len() < 6 {
            match (job.attempt(), counted.len()) {
                (1, 2) => {
                    signal("count_to_six/hangs").fire();
                    std::future::pending::<()>().await;
                }
                (2, 4) => return Err(OperationError::message("again")),
                _ => {}
            }
            counted.push(counted.len() + 1);
            job.checkpoint(&counted).await?;
        }
        Ok(counted)
    }

    /// Pay, and fail twice.
    #[skep::operation(idempotent, retry(attempts = 3, backoff = "1ms"))]
    async fn pay_once(job: &JobContext) -> Result<String> {
        signal("pay_once/attempts").fire();
        let receipt = job
            .step("pay", async || {
                signal("pay_once/paid").fire();
                Ok(format!("receipt {}", job.attempt()))
            })
            .await?;
        if job.attempt() < 3 {
            return Err(OperationError::message("again"));
        }
        Ok(receipt)
    }

    /// Pay when the server stops, say so, and take one step more.
    #[skep::operation(idempotent)]
    async fn pay_late(job: &JobContext) -> Result<(String, String, String)> {
        let receipt = job
            .step("pay", async || {
                signal("pay_late/begun").fire();
                job.cancelled().await;
                signal("pay_late/paid").fire();
                Ok(format!("receipt {}", job.attempt()))
            })
            .await?;
        if job.attempt() == 1 {
            assert!(job.checkpoint(&"and here").await.is_err());
        }
        let more = job.step("more", async || Ok(format!("more {}", job.attempt()))).await?;
        Ok((receipt, job.restored().await?.unwrap_or_default(), more))
    }

    /// Keep a kilobyte, and another one.
    #[skep::operation(idempotent)]
    async fn keep_much(job: &JobContext) -> Result<()> {
        for step in 0..10 {
            job.step(&step.to_string(), async || {
                signal("keep_much/steps").fire();
                Ok("x".repeat(1_000))
            })
            .await?;
        }
        Ok(())
    }

    /// Leave a task behind in the first attempt that keeps something in the second one.
    #[skep::operation(idempotent, retry(attempts = 2, backoff = "1ms"))]
    async fn keep_late(job: &JobContext) -> Result<Option<String>> {
        if job.attempt() == 1 {
            job.checkpoint(&"first").await?;
            let job = job.clone();
            tokio::spawn(async move {
                signal("keep_late/second").reached(1).await;
                assert!(job.checkpoint(&"late").await.is_err());
                assert!(job.step("late", async || Ok(())).await.is_err());
                signal("keep_late/refused").fire();
            });
            return Err(OperationError::message("again"));
        }
        signal("keep_late/second").fire();
        signal("keep_late/refused").reached(1).await;
        job.restored().await
    }

    /// Keep something, beside what a plugin keeps of the job.
    #[skep::operation(idempotent)]
    async fn keep_beside(job: &JobContext) -> Result<(Option<u32>, Option<String>, Option<u32>)> {
        job.checkpoint_of("hive", &"elsewhere").await?;
        let before = job.restored().await?;
        job.checkpoint(&17).await?;
        Ok((before, job.restored_of("hive").await?, job.restored().await?))
    }

    /// Use a step's name twice.
    #[skep::operation(idempotent)]
    async fn step_twice(job: &JobContext) -> Result<()> {
        job.step("same", async || Ok(1)).await?;
        job.step("same", async || Ok(2)).await?;
        Ok(())
    }
}
