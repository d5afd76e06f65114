//! Forgetting a job: in a sweep, and in a copy of the database.

use rusqlite::{Connection, OptionalExtension};
use skep::JobId;

use crate::query::has_log_file;
use crate::rows::FIRST_END;

/// What is no longer there once a job is forgotten.
pub(crate) struct Gone {
    /// What its input, its outcome and its log took: less is counted now.
    pub(crate) bytes: u64,
    /// Whether it was one of the ended jobs that are counted.
    pub(crate) has_ended: bool,
    /// Whether its log has a file, which is to be removed.
    pub(crate) has_log_file: bool,
}

/// Deletes all that a database has of a job but its idempotency key. Counting is the caller's.
pub(crate) fn forget(db: &Connection, job: JobId) -> rusqlite::Result<Gone> {
    let id = job.as_bytes();
    let record = db
        .prepare_cached(
            "SELECT coalesce(octet_length(input), 0) + coalesce(octet_length(outcome), 0), \
             state >= ?2 FROM jobs LEFT JOIN inputs ON job = id WHERE id = ?1",
        )?
        .query_row((id, FIRST_END), |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let (record, has_ended): (u64, bool) = record.unwrap_or_default();
    let log: Option<u64> = db
        .prepare_cached("SELECT max(start + size) FROM segments WHERE job = ?1")?
        .query_row([id], |row| row.get(0))?;
    let bytes = record + log.unwrap_or_default();
    let gone = Gone { bytes, has_ended, has_log_file: has_log_file(db, job)? };
    for table in [
        "DELETE FROM jobs WHERE id = ?1",
        "DELETE FROM inputs WHERE job = ?1",
        "DELETE FROM segments WHERE job = ?1",
        "DELETE FROM checkpoints WHERE job = ?1",
    ] {
        db.prepare_cached(table)?.execute([id])?;
    }
    Ok(gone)
}
