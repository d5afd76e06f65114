//! What is counted, by the [`metrics`](https://docs.rs/metrics) facade: the server shows it at
//! `/metrics`, and a program that embeds the router installs the recorder that it likes.
//!
//! | metric | kind | labels |
//! |---|---|---|
//! | `skep_jobs_accepted_total` | counter | `operation` |
//! | `skep_jobs_ended_total` | counter | `operation`, `state`: `succeeded`, `failed` or `cancelled` |
//! | `skep_job_seconds` | histogram, from a job's first start to its end | `operation` |
//!
//! A plugin counts by the same macros; its metrics' names begin with its own:
//!
//! ```
//! skep::metrics::counter!("hive_heartbeats_total", "hive" => "localhost").increment(1);
//! ```

use std::sync::Arc;

use ::metrics::{Counter, Histogram};
pub use ::metrics::{
    counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};

use crate::job::{JobRecord, JobState};

const ACCEPTED: &str = "skep_jobs_accepted_total";
const ENDED: &str = "skep_jobs_ended_total";
const SECONDS: &str = "skep_job_seconds";

/// Tells the recorder what the engine's metrics mean. Call it when the recorder is installed.
pub fn describe() {
    describe_counter!(ACCEPTED, "Jobs that were accepted.");
    describe_counter!(ENDED, "Jobs that have ended, by how they did.");
    describe_histogram!(SECONDS, ::metrics::Unit::Seconds, "How long jobs took, waiting aside.");
}

/// What is counted of one operation. Found once: to look each of them up by its labels takes longer
/// than to count.
pub(crate) struct OperationMetrics {
    accepted: Counter,
    succeeded: Counter,
    failed: Counter,
    cancelled: Counter,
    seconds: Histogram,
}

impl OperationMetrics {
    pub(crate) fn new(operation: &Arc<str>) -> Self {
        let ended = |state| counter!(ENDED, "operation" => operation.clone(), "state" => state);
        Self {
            accepted: counter!(ACCEPTED, "operation" => operation.clone()),
            succeeded: ended("succeeded"),
            failed: ended("failed"),
            cancelled: ended("cancelled"),
            seconds: histogram!(SECONDS, "operation" => operation.clone()),
        }
    }

    pub(crate) fn accepted(&self) {
        self.accepted.increment(1);
    }

    /// Counts a job that has ended.
    pub(crate) fn ended(&self, job: &JobRecord) {
        match job.state {
            JobState::Succeeded(_) => self.succeeded.increment(1),
            JobState::Failed(_) => self.failed.increment(1),
            _ => self.cancelled.increment(1),
        }
        if let (Some(started), Some(ended)) = (job.started_at, job.ended_at) {
            self.seconds.record(ended.duration_since(started).as_secs_f64());
        }
    }
}
