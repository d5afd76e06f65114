//! Lists of jobs: those that haven't ended from memory, the others from the store.

use std::ops::Bound;
use std::sync::Arc;

use crate::job::{Job, JobRecord, JobSummary};
use crate::router::{Router, RouterError, store_failed};
use crate::store::JobQuery;

/// How many live jobs are looked at under one lock when they are listed.
const LISTED: usize = 1024;

impl Router {
    /// The jobs that `query` asks for, newest first.
    ///
    /// # Errors
    /// What the store says.
    pub async fn jobs(&self, query: &JobQuery) -> Result<Vec<JobSummary>, RouterError> {
        if !query.states.is_empty() && !query.states.iter().any(|state| state.is_end()) {
            return Ok(self.live_jobs(query));
        }
        let mut jobs = self.inner.store.list(query).await.map_err(store_failed)?;
        for job in &mut jobs {
            if let Some(live) = self.live(job.id) {
                *job = live.look(JobRecord::summary);
            }
        }
        Ok(jobs)
    }

    /// The live jobs that `query` asks for, newest first.
    fn live_jobs(&self, query: &JobQuery) -> Vec<JobSummary> {
        let mut found = Vec::new();
        let mut before = query.before.map_or(Bound::Unbounded, Bound::Excluded);
        loop {
            // Some at a time: there may be very many, and every new job takes this lock.
            let older = (Bound::Unbounded, before);
            let some: Vec<Arc<Job>> =
                self.lock().jobs.range(older).rev().take(LISTED).map(|(_, j)| j.clone()).collect();
            let Some(last) = some.last() else { return found };
            before = Bound::Excluded(last.id);
            for job in some {
                if job.look(|record| query.matches(record)) {
                    found.push(job.look(JobRecord::summary));
                }
                if found.len() >= query.limit {
                    return found;
                }
            }
        }
    }
}
