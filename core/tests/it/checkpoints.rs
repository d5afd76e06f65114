//! What a job keeps over its attempts.

use serde_json::json;
use skep::job::JobState;
use skep::store::Store;

use crate::restart::Disk;
use crate::signal::signal;
use crate::support::{create, end, failure, within};

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

    /// Use a step's name twice.
    #[skep::operation(idempotent)]
    async fn step_twice(job: &JobContext) -> Result<()> {
        job.step("same", async || Ok(1)).await?;
        job.step("same", async || Ok(2)).await?;
        Ok(())
    }
}
