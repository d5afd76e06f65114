//! `/metrics`: what is counted, in Prometheus' text format.

use hyper::Response;
use skep::metrics::{describe_gauge, gauge};

use crate::http::Http;
use crate::http::body::{self, Body};

const LIVE: &str = "skep_jobs_live";
const QUEUED: &str = "skep_jobs_queued";

/// Tells the recorder what the server's metrics mean.
pub(crate) fn describe() {
    skep::metrics::describe();
    describe_gauge!(LIVE, "Jobs that have not ended.");
    describe_gauge!(QUEUED, "Jobs that wait: for a place, their time, or their first reader.");
}

impl Http {
    /// `GET /metrics`.
    pub(crate) fn metrics(&self) -> Response<Body> {
        let jobs = self.router.job_counts();
        #[allow(clippy::cast_precision_loss, reason = "there aren't 2^52 jobs")]
        for (name, count) in [(LIVE, jobs.live), (QUEUED, jobs.queued)] {
            gauge!(name).set(count as f64);
        }
        body::text(self.recorder.render())
    }
}
