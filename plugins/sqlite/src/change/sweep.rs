//! What is no longer kept, a little at a time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rusqlite::OptionalExtension;
use skep::JobId;
use skep::store::{Change as Published, Retention, Sweep};
use tracing::warn;

use crate::change::jobs::keys_since;
use crate::error::Failure;
use crate::log_files;
use crate::rows::micros;
use crate::writer::{Change, Transaction};

/// How long one step may take; other calls wait for it.
const STEP: Duration = Duration::from_millis(5);

/// How many jobs, keys or documents one step forgets at most: each dirties pages that the commit
/// has to write.
const MOST: usize = 200;

/// How many free pages the database may have, or as many as make this part of it. They're used up
/// by what comes next; more are given back.
const SPARE: (u64, u64) = (64, 8);

/// The directories of log files that haven't been looked through yet since the store was opened: a
/// crash may have left files there that no job knows.
pub(crate) struct Orphans(Mutex<Vec<String>>);

impl Orphans {
    pub(crate) fn unknown() -> Self {
        Self(Mutex::new(log_files::shards().collect()))
    }

    fn next(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }
}

/// One step of [`Store::sweep`](skep::store::Store::sweep).
pub(crate) struct Step {
    pub(crate) keep: Retention,
    pub(crate) orphans: Arc<Orphans>,
}

impl Change for Step {
    type Output = Sweep;

    fn apply(&self, to: &mut Transaction<'_>) -> Result<Sweep, Failure> {
        let until = Instant::now() + STEP;
        // Each is done when the one before it has nothing left to do.
        let is_done = forget_keys(to)?
            && forget_documents(to)?
            && forget_jobs(to, &self.keep, until)?
            && self.forget_orphans(to, until)?
            && give_back(to, until)?;
        Ok(if is_done { Sweep::Done } else { Sweep::More })
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
    until: Instant,
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
        forget_job(to, JobId::from_bytes(id))?;
        if Instant::now() > until {
            break;
        }
    }
    Ok(false)
}

fn forget_job(to: &mut Transaction<'_>, job: JobId) -> Result<(), Failure> {
    let id = job.as_bytes();
    let record: u64 = to
        .statement(
            "SELECT octet_length(input) + coalesce(octet_length(outcome), 0) \
             FROM jobs JOIN inputs ON job = id WHERE id = ?1",
        )?
        .query_row([id], |row| row.get(0))
        .optional()?
        .unwrap_or_default();
    let log = to
        .statement(
            "SELECT start + size, bytes IS NULL FROM segments \
             WHERE job = ?1 ORDER BY last DESC LIMIT 1",
        )?
        .query_row([id], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let (log, is_in_file): (u64, bool) = log.unwrap_or_default();
    for table in [
        "DELETE FROM jobs WHERE id = ?1",
        "DELETE FROM inputs WHERE job = ?1",
        "DELETE FROM segments WHERE job = ?1",
    ] {
        to.statement(table)?.execute([id])?;
    }
    if is_in_file {
        to.forget(job);
    }
    to.totals.bytes = to.totals.bytes.saturating_sub(record + log);
    to.totals.ended = to.totals.ended.saturating_sub(1);
    Ok(())
}

impl Step {
    fn forget_orphans(&self, to: &mut Transaction<'_>, until: Instant) -> Result<bool, Failure> {
        while let Some(shard) = self.orphans.next() {
            let directory = to.logs.root().join(shard);
            let jobs = log_files::jobs_in(&directory).unwrap_or_else(|error| {
                warn!("can't look for files of jobs long gone in {}: {error}", directory.display());
                Vec::new()
            });
            for job in jobs {
                let mut known = to
                    .statement("SELECT 1 FROM segments WHERE job = ?1 AND bytes IS NULL LIMIT 1")?;
                if !known.exists([job.as_bytes()])? {
                    to.forget(job);
                }
            }
            if Instant::now() > until {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Gives free pages back to the file system, if there are many.
fn give_back(to: &mut Transaction<'_>, until: Instant) -> Result<bool, Failure> {
    let number = |query| -> Result<u64, Failure> {
        Ok(to.statement(query)?.query_row([], |row| row.get(0))?)
    };
    loop {
        let (free, all) = (number("PRAGMA freelist_count")?, number("PRAGMA page_count")?);
        let (pages, part) = SPARE;
        if free <= pages.max(all / part) {
            return Ok(true);
        }
        if Instant::now() > until {
            return Ok(false);
        }
        // Half a megabyte at once; each row that it yields is a page.
        let mut vacuum = to.statement("PRAGMA incremental_vacuum(32)")?;
        let mut pages = vacuum.query([])?;
        while pages.next()?.is_some() {}
    }
}
