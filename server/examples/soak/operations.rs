//! The operations of the server under test: jobs of all kinds.
//!
//! What handlers do they also say on standard output, a line each. The driver reads it at the other
//! side of a pipe, where a line stays when the server is killed, so it's an account of what has
//! really run, independent of the store's.

use std::time::Duration;

use skep::prelude::*;
use tokio::time::sleep;

/// Says what a handler does.
pub(crate) fn tell(job: &JobContext, what: &str) {
    println!("{what} {}", job.id());
}

fn tell_begin(job: &JobContext) {
    tell(job, &format!("begin {}", job.attempt()));
}

/// An event of numbered output.
#[skep::data]
struct Numbered {
    /// Its number, from 1.
    n: u64,
    /// What makes it large.
    #[serde(skip_serializing_if = "String::is_empty")]
    pad: String,
}

/// How often it's told how far the work is, events.
const PROGRESS: u64 = 4;

/// Emits events `first` to `last`, and tells of it between them.
async fn emit_numbers(
    job: &JobContext,
    numbers: std::ops::RangeInclusive<u64>,
    pad: usize,
    pause_ms: u64,
) -> Result<()> {
    for n in numbers {
        job.emit(&Numbered { n, pad: "x".repeat(pad) }).await?;
        if n % PROGRESS == 0 {
            job.progress(n, None, "events").await?;
            job.log(LogLevel::Debug, format!("{n} events")).await?;
        }
        pause(job, pause_ms).await;
    }
    Ok(())
}

/// Sleeps, unless the job is to stop.
async fn pause(job: &JobContext, ms: u64) {
    if ms > 0 {
        tokio::select! {
            () = sleep(Duration::from_millis(ms)) => {}
            () = job.cancelled() => {}
        }
    }
}

/// Emit numbered events; again, if need be.
#[skep::operation(idempotent)]
async fn soak_count(
    n: u64,
    #[default(0)] pad: usize,
    #[default(0)] pause_ms: u64,
    job: &JobContext,
) -> Result<u64> {
    tell_begin(job);
    emit_numbers(job, 1..=n, pad, pause_ms).await?;
    Ok(n)
}

/// Emit numbered events, once.
#[skep::operation]
async fn soak_once(
    n: u64,
    #[default(0)] pad: usize,
    #[default(0)] pause_ms: u64,
    job: &JobContext,
) -> Result<u64> {
    tell_begin(job);
    emit_numbers(job, 1..=n, pad, pause_ms).await?;
    Ok(n)
}

/// Fail in the first attempts.
#[skep::operation(idempotent, retry(attempts = 6, backoff = "50ms"))]
async fn soak_flaky(n: u64, fails: u32, job: &JobContext) -> Result<u64> {
    tell_begin(job);
    emit_numbers(job, 1..=n, 0, 0).await?;
    if job.attempt() <= fails {
        return Err(OperationError::new("soak-flaky", "not yet").with_status(503));
    }
    Ok(n)
}

/// Emit numbered events, and go on where an earlier attempt had kept that it was.
#[skep::operation(idempotent, retry(attempts = 6, backoff = "50ms"))]
async fn soak_checkpoint(n: u64, every: u64, pause_ms: u64, job: &JobContext) -> Result<u64> {
    tell_begin(job);
    let mut done: u64 = job.restored().await?.unwrap_or(0);
    while done < n {
        let next = (done + every).min(n);
        emit_numbers(job, done + 1..=next, 0, pause_ms).await?;
        job.checkpoint(&next).await?;
        done = next;
    }
    Ok(n)
}

/// Take steps, each of which runs once.
#[skep::operation(idempotent, retry(attempts = 6, backoff = "50ms"))]
async fn soak_steps(n: u64, pause_ms: u64, job: &JobContext) -> Result<u64> {
    tell_begin(job);
    for step in 1..=n {
        let taken: u64 = job
            .step(&format!("step {step}"), async || {
                tell(job, &format!("step {step}"));
                pause(job, pause_ms).await;
                Ok(step)
            })
            .await?;
        tell(job, &format!("taken {taken}"));
        emit_numbers(job, taken..=taken, 0, 0).await?;
    }
    Ok(n)
}

/// Wait, for being cancelled, or timed out.
#[skep::operation(idempotent)]
async fn soak_wait(ms: u64, job: &JobContext) -> Result<u64> {
    tell_begin(job);
    job.emit(&Numbered { n: 1, pad: String::new() }).await?;
    pause(job, ms).await;
    Ok(1)
}

/// Have another job do it.
#[skep::operation(idempotent, retry(attempts = 6, backoff = "50ms"))]
async fn soak_call(n: u64, pause_ms: u64, job: &JobContext) -> Result<u64> {
    tell_begin(job);
    let input = serde_json::json!({ "n": n, "pause_ms": pause_ms });
    let called: u64 = job.call("soak_once", input).await?;
    emit_numbers(job, 1..=n, 0, 0).await?;
    Ok(called)
}

/// Fail.
#[skep::operation(idempotent)]
async fn soak_fail(n: u64, job: &JobContext) -> Result<u64> {
    tell_begin(job);
    emit_numbers(job, 1..=n, 0, 0).await?;
    Err(OperationError::new("soak-fail", "as it was asked to"))
}

/// Panic.
#[skep::operation(idempotent)]
async fn soak_panic(n: u64, job: &JobContext) -> Result<u64> {
    tell_begin(job);
    emit_numbers(job, 1..=n, 0, 0).await?;
    panic!("as it was asked to");
}

/// Take the server down.
#[skep::operation(idempotent)]
async fn soak_abort(job: &JobContext) -> Result<u64> {
    tell_begin(job);
    tell(job, "abort");
    std::process::abort();
}
