//! A router's start on a store that has jobs: what becomes of those that another process left.

use std::sync::Arc;

use tracing::{info, warn};

use crate::job::{Job, JobRecord, JobState, Log, NotAgain, Queued, Run, Wait, crashed};
use crate::registry::Operation;
use crate::router::{Router, StartError};
use crate::store::Claimed;

/// How many jobs are claimed at once.
const CLAIMED: usize = 1_000;

impl Router {
    /// Takes over the jobs of the store that nobody runs.
    ///
    /// - One that hadn't begun waits again: for its time, its reader, or its turn.
    /// - One that ran when its server died runs again if its operation is idempotent, as its next
    ///   attempt; else it ends as `interrupted`. So does one that has seen its server die
    ///   `jobs.max_attempts` times.
    /// - One that was cancelled, or belonged to a request, ends as `cancelled`; one that another job
    ///   called ends as `interrupted`: its caller, if it runs again, calls anew.
    /// - One of an operation that isn't served here is left alone, for a server that has it.
    pub(super) async fn recover(&self) -> Result<(), StartError> {
        let (mut again, mut ended) = (0_usize, 0_usize);
        loop {
            let claimed = self.inner.store.claim(CLAIMED).await.map_err(StartError::Store)?;
            if claimed.is_empty() {
                break;
            }
            for job in claimed {
                let Ok(operation) = self.find(&job.record.operation) else {
                    warn!(
                        job = %job.record.id, operation = %job.record.operation,
                        "a job is left as it is: its operation isn't served here"
                    );
                    continue;
                };
                match self.take_over(operation, job) {
                    Fate::RunsAgain => again += 1,
                    Fate::Ends => ended += 1,
                }
            }
        }
        if again + ended > 0 {
            info!("of the jobs that had not ended, {again} go on and {ended} end");
        }
        Ok(())
    }

    fn take_over(&self, operation: Arc<Operation>, claimed: Claimed) -> Fate {
        let Claimed { mut record, log, is_cancelled } = claimed;
        let max_attempts = self.inner.config.max_attempts;
        let ran = matches!(record.state, JobState::Running);
        record.crashes += u32::from(ran);
        let end = if is_cancelled || record.attached {
            Some(JobState::Cancelled)
        } else if record.parent().is_some() {
            Some(crashed(&record, NotAgain::Called))
        } else if ran && !self.may_run_again(&operation, &record) {
            Some(crashed(&record, NotAgain::NotIdempotent))
        } else if ran && record.crashes >= max_attempts {
            Some(crashed(&record, NotAgain::GivenUp))
        } else {
            None
        };
        let wait = match (&record.state, record.run_at) {
            (_, Some(at)) => Wait::Until(at),
            (JobState::Scheduled, None) => Wait::FirstReader,
            _ => Wait::Nothing,
        };
        // An attempt's number is in the store before the attempt runs. Before that a process can have
        // told only that the job is queued for it, as this one does first, unless it ends the job.
        let life = record.attempt + u32::from(ran);
        if ran && end.is_none() {
            record.attempt += 1;
            record.state = JobState::Queued;
        }
        let log = Log::resume(log, life, self.inner.config.max_log.as_u64(), self.flusher());
        let job = Arc::new(Job::new(record, operation, None, log));
        self.lock().jobs.insert(job.id, job.clone());
        let router = self.clone();
        if let Some(state) = end {
            let has_begun = job.look(|record| record.started_at.is_some());
            self.inner.unfinished.spawn(async move {
                if has_begun {
                    router.tell_of_cut_off(&job.cut_off(&router)).await;
                }
                job.end_at_once(router, state).await;
            });
            return Fate::Ends;
        }
        let mut ticket = self.readmit(&job);
        if matches!(wait, Wait::Nothing) && !self.is_suspect(&job) {
            // Here rather than in its task, so that jobs keep their order.
            ticket.enqueue();
        }
        let run = Run {
            input: None,
            wait,
            ticket,
            is_begun: false,
            queued: Queued::Always,
            unfinished: Some(self.inner.unfinished.token()),
        };
        self.spawn(job.run(router, run));
        Fate::RunsAgain
    }

    /// Whether the operation that did the job when its server died may do it twice.
    fn may_run_again(&self, operation: &Operation, record: &JobRecord) -> bool {
        match &record.rerouted_to {
            None => operation.spec.hints.idempotent,
            Some(other) => self.find(other).is_ok_and(|other| other.spec.hints.idempotent),
        }
    }
}

/// What becomes of a job that is taken over.
enum Fate {
    RunsAgain,
    Ends,
}
