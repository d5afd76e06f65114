//! Lists of jobs: those that haven't ended from memory, the others from the store.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::job::JobSummary;
use crate::router::{Router, RouterError, store_failed};
use crate::store::JobQuery;

/// How many live jobs are looked at under one lock when they are listed.
const LISTED: usize = 1024;

impl Router {
    /// The jobs that `query` asks for, newest first.
    ///
    /// A cursor is a job's id ([`JobQuery::before`]), so that a page is the same wherever jobs come
    /// and go.
    ///
    /// # Errors
    /// What the store says.
    pub async fn jobs(&self, query: &JobQuery) -> Result<Vec<JobSummary>, RouterError> {
        let is_asked_for = |is_end: bool| {
            let mut states = query.states.iter();
            query.states.is_empty() || states.any(|state| state.is_end() == is_end)
        };
        // Before the store is asked: one that ends in between is in both, never in none.
        let live = if is_asked_for(false) { self.live_jobs(query) } else { Vec::new() };
        if !is_asked_for(true) {
            return Ok(live);
        }
        let mut stored = query.clone();
        // What the store has of a job that lives is older than what is known here. But it alone has
        // those that wait for a server with their operation.
        if !stored.states.is_empty() {
            stored.states.retain(|state| state.is_end());
        }
        let stored = self.inner.store.list(&stored).await.map_err(store_failed)?;
        let mut jobs: BTreeMap<_, _> = live.into_iter().map(|job| (job.id, job)).collect();
        for job in stored {
            // One that has ended since doesn't live any more.
            if job.state.is_end() || !jobs.contains_key(&job.id) {
                jobs.insert(job.id, job);
            }
        }
        Ok(jobs.into_values().rev().take(query.limit).collect())
    }

    /// The live jobs that `query` asks for, newest first.
    fn live_jobs(&self, query: &JobQuery) -> Vec<JobSummary> {
        let mut found = Vec::new();
        let mut before = query.before.map_or(Bound::Unbounded, Bound::Excluded);
        loop {
            // Some at a time: there may be very many, and every new job takes this lock.
            let live = self.lock();
            let mut some =
                live.jobs.range((Bound::Unbounded, before)).rev().take(LISTED).peekable();
            if some.peek().is_none() {
                return found;
            }
            for (id, job) in some {
                before = Bound::Excluded(*id);
                if job.look(|record| query.matches(record)) {
                    found.push(job.summary());
                }
                if found.len() >= query.limit {
                    return found;
                }
            }
        }
    }
}
