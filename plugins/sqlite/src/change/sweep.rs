//! What is no longer kept, a little at a time.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use rusqlite::OptionalExtension;
use skep::JobId;
use skep::store::{Change as Published, Retention, Sweep};
use tracing::warn;

use crate::error::Failure;
use crate::forget::forget;
use crate::log_files;
use crate::query::{has_log_file, keys_since};
use crate::rows::{FIRST_END, micros};
use crate::writer::{Change, Transaction};

/// How long one step may take; other calls wait for it.
const STEP: Duration = Duration::from_millis(5);

/// How many jobs, keys or documents one step forgets at most: each dirties pages that the commit
/// has to write.
const MOST: usize = 200;

/// How many log files one step removes at most: a file system may take a millisecond for a large one.
const FILES: usize = 8;

/// How many free pages the database may have, or as many as make this part of it. They're used up
/// by what comes next; more are given back.
const SPARE: (u64, u64) = (256, 8);

/// How far the log files have been looked through since the store was opened: a crash may have left
/// files that no job knows.
#[derive(Clone, Copy, Default)]
pub(crate) struct Orphans {
    /// How many directories are done.
    directories: usize,
    /// The job whose file was the last to be looked at in the next one.
    last: Option<JobId>,
}

/// What a step may still do.
struct Budget {
    until: Instant,
    files: usize,
}

impl Budget {
    fn is_spent(&self) -> bool {
        self.files == 0 || Instant::now() > self.until
    }
}

/// One step of [`Store::sweep`](skep::store::Store::sweep).
pub(crate) struct Step {
    pub(crate) keep: Retention,
    /// How far the steps before it have come.
    pub(crate) orphans: Orphans,
}

impl Change for Step {
    /// Also how far it has come, which counts once it's committed.
    type Output = (Sweep, Orphans);

    fn apply(&self, to: &mut Transaction<'_>) -> Result<Self::Output, Failure> {
        let mut budget = Budget { until: Instant::now() + STEP, files: FILES };
        let mut orphans = self.orphans;
        // Each is done when the one before it has nothing left to do.
        let is_done = forget_keys(to)?
            && forget_documents(to)?
            && forget_jobs(to, &self.keep, &mut budget)?
            && forget_orphans(to, &mut orphans, &mut budget)?
            && give_back(to, &budget)?;
        if is_done {
            to.shrink();
        }
        Ok((if is_done { Sweep::Done } else { Sweep::More }, orphans))
    }
}

fn forget_keys(to: &Transaction<'_>) -> Result<bool, Failure> {
    let deleted = to
        .statement(
            "DELETE FROM keys WHERE key IN \
             (SELECT key FROM keys WHERE created_at <= ?1 ORDER BY created_at LIMIT ?2)",
        )?
        .execute((keys_since(), MOST))?;
    Ok(deleted < MOST)
}

fn forget_documents(to: &mut Transaction<'_>) -> Result<bool, Failure> {
    let mut expired = to.statement(
        "SELECT namespace, key FROM documents WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2",
    )?;
    let expired = expired
        .query_map((micros(Timestamp::now()), MOST), |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<Vec<(String, String)>, _>>()?;
    let mut delete = to.statement("DELETE FROM documents WHERE namespace = ?1 AND key = ?2")?;
    for (namespace, key) in &expired {
        delete.execute((namespace, key))?;
        to.publish(namespace, Published::Deleted(key.clone()));
    }
    Ok(expired.len() < MOST)
}

fn forget_jobs(
    to: &mut Transaction<'_>,
    keep: &Retention,
    budget: &mut Budget,
) -> Result<bool, Failure> {
    for _ in 0..MOST {
        let mut first = to.statement(
            "SELECT id, ended_at FROM jobs INDEXED BY jobs_by_end \
             WHERE ended_at IS NOT NULL ORDER BY ended_at, id LIMIT 1",
        )?;
        let first = first.query_row([], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        let Some((id, ended_at)): Option<([u8; 16], i64)> = first else { return Ok(true) };
        let is_over = ended_at < micros(keep.ended_since)
            || to.totals.ended > keep.max_jobs
            || to.totals.bytes > keep.max_bytes;
        if !is_over {
            return Ok(true);
        }
        let id = JobId::from_bytes(id);
        let gone = forget(to.database(), id)?;
        to.totals.bytes = to.totals.bytes.saturating_sub(gone.bytes);
        to.totals.ended = to.totals.ended.saturating_sub(u64::from(gone.has_ended));
        if gone.has_log_file {
            to.remove_log_file(id);
            budget.files -= 1;
        }
        if budget.is_spent() {
            break;
        }
    }
    Ok(false)
}

fn forget_orphans(
    to: &mut Transaction<'_>,
    orphans: &mut Orphans,
    budget: &mut Budget,
) -> Result<bool, Failure> {
    while let Some(shard) = log_files::shards().nth(orphans.directories) {
        let directory = to.logs.root().join(shard);
        let mut jobs = log_files::jobs_in(&directory).unwrap_or_else(|error| {
            warn!("can't look for files of jobs long gone in {}: {error}", directory.display());
            Vec::new()
        });
        jobs.retain(|job| Some(*job) > orphans.last);
        jobs.sort_unstable();
        for job in jobs {
            orphans.last = Some(job);
            if is_orphan(to, job)? {
                to.remove_log_file(job);
                budget.files -= 1;
            }
            if budget.is_spent() {
                return Ok(false);
            }
        }
        *orphans = Orphans { directories: orphans.directories + 1, last: None };
        if budget.is_spent() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether nothing needs a job's log file. A job that goes on may outgrow the database in this very
/// commit, and then has its log in that file.
fn is_orphan(to: &Transaction<'_>, job: JobId) -> Result<bool, Failure> {
    let mut goes_on = to.statement("SELECT 1 FROM jobs WHERE id = ?1 AND state < ?2")?;
    Ok(!goes_on.exists((job.as_bytes(), FIRST_END))? && !has_log_file(to.database(), job)?)
}

/// Gives free pages back to the file system, if there are many.
fn give_back(to: &Transaction<'_>, budget: &Budget) -> Result<bool, Failure> {
    let number = |query| -> Result<u64, Failure> {
        Ok(to.statement(query)?.query_row([], |row| row.get(0))?)
    };
    loop {
        let (free, all) = (number("PRAGMA freelist_count")?, number("PRAGMA page_count")?);
        let (pages, part) = SPARE;
        if free <= pages.max(all / part) {
            return Ok(true);
        }
        // Half a megabyte at once; each row that it yields is a page.
        let mut vacuum = to.statement("PRAGMA incremental_vacuum(32)")?;
        let mut pages = vacuum.query([])?;
        while pages.next()?.is_some() {}
        // A database that wasn't made for it gives nothing back.
        if number("PRAGMA freelist_count")? >= free {
            return Ok(true);
        }
        if budget.is_spent() {
            return Ok(false);
        }
    }
}
