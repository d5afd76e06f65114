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

pub use ::metrics::{
    counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};

use crate::job::JobRecord;

const ACCEPTED: &str = "skep_jobs_accepted_total";
const ENDED: &str = "skep_jobs_ended_total";
const SECONDS: &str = "skep_job_seconds";

/// Tells the recorder what the engine's metrics mean. Call it when the recorder is installed.
pub fn describe() {
    describe_counter!(ACCEPTED, "Jobs that were accepted.");
    describe_counter!(ENDED, "Jobs that have ended, by how they did.");
    describe_histogram!(SECONDS, ::metrics::Unit::Seconds, "How long jobs took, waiting aside.");
}

pub(crate) fn accepted(job: &JobRecord) {
    counter!(ACCEPTED, "operation" => job.operation.clone()).increment(1);
}

pub(crate) fn ended(job: &JobRecord) {
    let (operation, state) = (job.operation.clone(), job.state.as_str());
    counter!(ENDED, "operation" => operation.clone(), "state" => state).increment(1);
    if let (Some(started), Some(ended)) = (job.started_at, job.ended_at) {
        let seconds = ended.duration_since(started).as_secs_f64();
        histogram!(SECONDS, "operation" => operation).record(seconds);
    }
}
