//! In the end: what the store has is held against what clients and handlers saw.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::iter;
use reqwest::Method;
use skep::JobId;
use tokio::time::{Instant, sleep};

use crate::Result;
use crate::client::Client;
use crate::ledger::{Cancel, Entry, Ledger};
use crate::listing::{Listed, Page, Walk};
use crate::log::{Log, check_among};
use crate::order::{End, Kind, MAX_ATTEMPTS};

/// How many logs are read at once.
const AT_ONCE: usize = 32;

/// How long the last jobs may take to end that no client waits for.
const PATIENCE: Duration = Duration::from_mins(5);

/// Compares the store with the ledger.
pub(crate) struct Verifier {
    pub(crate) client: Client,
    pub(crate) ledger: Arc<Ledger>,
}

impl Verifier {
    /// Waits until all jobs have ended.
    pub(crate) async fn settle(&self) {
        let until = Instant::now() + PATIENCE;
        // A job may still take its server down, and another one comes.
        while !matches!(self.unended().await, Ok(None)) {
            if Instant::now() > until {
                // Those that haven't ended are told when each is looked at.
                let what = format!("it doesn't come to rest within {PATIENCE:?}");
                return self.ledger.violate_as_a_whole("lost", what);
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// A job that hasn't ended.
    async fn unended(&self) -> Result<Option<Listed>> {
        let path = "/v1/jobs?state=scheduled,queued,running&limit=1";
        let page: Page = self.fetch(path).await?.json().await?;
        Ok(page.jobs.into_iter().next())
    }

    /// All jobs that are kept.
    pub(crate) async fn list(&self) -> Result<Vec<Listed>> {
        let (mut jobs, mut walk) = (Vec::new(), Walk::new(500));
        while let Some(path) = walk.path() {
            let page = self.fetch(&path).await?.json().await?;
            jobs.extend(walk.take(page, &self.ledger));
        }
        Ok(jobs)
    }

    /// Checks every job, and returns the hashes of their logs.
    pub(crate) async fn check(&self, jobs: Vec<Listed>) -> Result<HashMap<JobId, u64>> {
        // The log of one that goes on would be read for ever.
        let (live, jobs): (Vec<_>, Vec<_>) = jobs.into_iter().partition(Listed::is_live);
        for Listed { job_id, state, .. } in live {
            self.ledger.take(job_id);
            self.ledger.violate("lost", job_id, format!("it's still {state} in the end"));
        }
        let mut hashes = HashMap::new();
        let logs = iter(jobs).map(|job| async { (self.log(job.job_id).await, job) });
        let mut logs = std::pin::pin!(logs.buffer_unordered(AT_ONCE));
        while let Some((bytes, job)) = logs.next().await {
            let log = Log::parse(bytes?);
            hashes.insert(job.job_id, log.hash);
            self.check_job(&job, &log);
        }
        for id in self.ledger.ids() {
            self.ledger.violate("lost", id, "it was accepted, and isn't listed".to_owned());
        }
        Ok(hashes)
    }

    /// Reads every log again, and compares.
    pub(crate) async fn compare(&self, hashes: &HashMap<JobId, u64>) -> Result<()> {
        let logs = iter(hashes).map(|(id, hash)| async { (self.log(*id).await, *id, *hash) });
        let mut logs = std::pin::pin!(logs.buffer_unordered(AT_ONCE));
        while let Some((bytes, id, hash)) = logs.next().await {
            if Log::parse(bytes?).hash != hash {
                self.ledger.violate("replays that differ", id, "after another start".to_owned());
            }
        }
        Ok(())
    }

    fn check_job(&self, job: &Listed, log: &Log) {
        let id = job.job_id;
        let violate = |what, detail| self.ledger.violate(what, id, detail);
        let (begun, aborted) = (self.ledger.begun(id), self.ledger.aborted(id));
        if job.operation == Kind::ONCE && begun > 1 {
            violate(
                "attempts run twice",
                format!("it isn't idempotent, and has run {begun} times"),
            );
        }
        if u64::from(aborted) > MAX_ATTEMPTS {
            violate("wrong ends", format!("it has taken {aborted} servers down"));
        }
        log.wrongs.iter().for_each(|(what, detail)| violate(what, detail.clone()));
        let Some(end) = &log.end else {
            self.ledger.take(id);
            return;
        };
        if end.state() != job.state || log.last() != job.last_event {
            let listed = format!("it's listed as {} at event {}", job.state, job.last_event);
            let found = format!("its log ends as {} at event {}", end.state(), log.last());
            violate("wrong records", format!("{listed}, {found}"));
        }
        // A job that another one called, or whose client got no answer.
        let Some(entry) = self.ledger.take(id) else { return };
        if let Some(told) = &entry.told
            && told != end.state()
        {
            violate("ended twice", format!("as {told}, then as {}", end.state()));
        }
        if entry.cancel == Cancel::Promised && end.state() != "cancelled" {
            violate("cancelled that weren't", format!("it ended as {end:?}"));
        }
        if !may_end(&entry, end) {
            violate("wrong ends", format!("{:?} can't end as {end:?}", entry.order));
        }
        if let Err(what) = log.check_output(&entry.order) {
            violate("wrong outputs", format!("{:?}: {what}", entry.order));
        }
        let seen = entry.sights.iter().flat_map(|sight| log.check_sight(sight));
        seen.chain(check_among(&entry.sights)).for_each(|(what, detail)| violate(what, detail));
    }

    /// The whole of a job's log.
    async fn log(&self, id: JobId) -> Result<Vec<u8>> {
        let response = self.client.stream(id, 0).await?;
        Ok(response.error_for_status()?.bytes().await?.to_vec())
    }

    async fn fetch(&self, path: &str) -> Result<reqwest::Response> {
        let response = self.client.request(Method::GET, path).await.send().await?;
        Ok(response.error_for_status()?)
    }
}

/// Whether a job may have ended so.
fn may_end(entry: &Entry, end: &End) -> bool {
    match end {
        End::Cancelled if entry.is_attached || entry.cancel > Cancel::No => true,
        End::Failed { .. } if entry.is_attached && end.code() == Some("interrupted") => true,
        _ => entry.order.may_end(end),
    }
}
