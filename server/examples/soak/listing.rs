//! The list of jobs, page by page.

use serde::Deserialize;
use skep::JobId;

use crate::ledger::Ledger;

/// A job as it's listed.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Listed {
    pub(crate) job_id: JobId,
    pub(crate) operation: String,
    pub(crate) state: String,
    pub(crate) last_event: u64,
}

impl Listed {
    pub(crate) fn is_live(&self) -> bool {
        matches!(self.state.as_str(), "scheduled" | "queued" | "running")
    }
}

/// An answer of `GET /v1/jobs`.
#[derive(Deserialize)]
pub(crate) struct Page {
    pub(crate) jobs: Vec<Listed>,
    next_cursor: Option<JobId>,
}

/// A walk through the list, from the newest job to older ones.
pub(crate) struct Walk {
    limit: usize,
    cursor: Option<JobId>,
    /// The oldest job so far.
    last: Option<JobId>,
    is_over: bool,
}

impl Walk {
    /// A walk by pages of so many jobs.
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, cursor: None, last: None, is_over: false }
    }

    /// The next page's path; `None` behind the last one.
    pub(crate) fn path(&self) -> Option<String> {
        let cursor = self.cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
        (!self.is_over).then(|| format!("/v1/jobs?limit={}{cursor}", self.limit))
    }

    /// Takes the next page. Each of its jobs must be older than all before it.
    pub(crate) fn take(&mut self, page: Page, ledger: &Ledger) -> Vec<Listed> {
        for job in &page.jobs {
            if let Some(last) = self.last.replace(job.job_id)
                && last <= job.job_id
            {
                ledger.violate("wrong lists", job.job_id, format!("it's listed behind {last}"));
            }
        }
        self.cursor = page.next_cursor;
        self.is_over = self.cursor.is_none();
        page.jobs
    }
}
