//! What is read of jobs and documents.

use jiff::Timestamp;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params_from_iter};
use serde_json::value::RawValue;
use skep::JobId;
use skep::job::{JobRecord, JobSummary, StateName};
use skep::store::{Claimed, Document, IDEMPOTENCY_KEY_TTL, JobQuery, StoreError};

use crate::error::Failure;
use crate::rows::{self, FIRST_END, RECORD, RECORD_COLUMNS, SUMMARY, micros, state_number};

/// The jobs that haven't ended, oldest first.
pub(crate) fn unfinished(db: &Connection) -> rusqlite::Result<Vec<JobId>> {
    let mut found = db.prepare("SELECT id FROM jobs INDEXED BY jobs_by_state WHERE state < ?1")?;
    let ids = found.query_map([FIRST_END], |row| row.get(0).map(JobId::from_bytes))?;
    let mut ids = ids.collect::<Result<Vec<_>, _>>()?;
    ids.sort_unstable();
    Ok(ids)
}

/// Those of `ids` that are to be run, as far as they have come.
pub(crate) fn claimed(db: &Connection, ids: &[JobId]) -> Result<Vec<Claimed>, Failure> {
    let mut found = db.prepare_cached(&format!(
        "SELECT {RECORD}, is_cancelled, log.last, log.start + log.size \
         FROM jobs JOIN inputs ON inputs.job = jobs.id \
         LEFT JOIN segments AS log ON log.job = jobs.id \
         AND log.last = (SELECT max(last) FROM segments WHERE job = jobs.id) \
         WHERE jobs.id = ?1"
    ))?;
    let mut claimed = Vec::with_capacity(ids.len());
    for id in ids {
        let mut rows = found.query([id.as_bytes()])?;
        let Some(row) = rows.next()? else { continue };
        let record = rows::record(row)?;
        if record.state.is_end() {
            continue;
        }
        let last = row.get::<_, Option<u64>>(RECORD_COLUMNS + 1)?.unwrap_or_default();
        let size = row.get::<_, Option<u64>>(RECORD_COLUMNS + 2)?.unwrap_or_default();
        claimed.push(Claimed::new(record, last, size, row.get(RECORD_COLUMNS)?));
    }
    Ok(claimed)
}

pub(crate) fn job(db: &Connection, id: JobId) -> Result<Option<JobRecord>, Failure> {
    let mut found = db.prepare_cached(&format!(
        "SELECT {RECORD} FROM jobs JOIN inputs ON inputs.job = jobs.id WHERE jobs.id = ?1"
    ))?;
    let mut rows = found.query([id.as_bytes()])?;
    rows.next()?.map(rows::record).transpose()
}

/// The job that has `key`, if the key still counts.
pub(crate) fn keyed(db: &Connection, key: &str) -> Result<Option<JobId>, Failure> {
    let mut found = db.prepare_cached("SELECT job FROM keys WHERE key = ?1 AND created_at > ?2")?;
    let id = found.query_row((key, keys_since()), |row| row.get(0)).optional()?;
    Ok(id.map(JobId::from_bytes))
}

/// When the oldest of the keys that still count was accepted.
pub(crate) fn keys_since() -> i64 {
    Timestamp::now().checked_sub(IDEMPOTENCY_KEY_TTL).map_or(i64::MIN, micros)
}

/// Whether a job's log has a file of its own.
pub(crate) fn has_log_file(db: &Connection, id: JobId) -> rusqlite::Result<bool> {
    let mut found =
        db.prepare_cached("SELECT 1 FROM segments WHERE job = ?1 AND bytes IS NULL LIMIT 1")?;
    found.exists([id.as_bytes()])
}

/// The newest jobs that `query` asks for. Where it asks for states or for an operation, each state's
/// jobs stand in an index in their order, and the newest of all are among the newest of each.
pub(crate) fn list(db: &Connection, query: &JobQuery) -> Result<Vec<JobSummary>, Failure> {
    let mut jobs = Vec::new();
    if query.parent.is_some() || (query.states.is_empty() && query.operation.is_none()) {
        newest(db, query, None, &mut jobs)?;
        return Ok(jobs);
    }
    let is_asked_for = |state: &&StateName| query.states.is_empty() || query.states.contains(state);
    for state in StateName::ALL.iter().filter(is_asked_for) {
        newest(db, query, Some(*state), &mut jobs)?;
    }
    jobs.sort_unstable_by_key(|job| std::cmp::Reverse(job.id));
    jobs.truncate(query.limit);
    Ok(jobs)
}

/// The newest jobs in one state, or of one parent, or of all.
fn newest(
    db: &Connection,
    query: &JobQuery,
    state: Option<StateName>,
    jobs: &mut Vec<JobSummary>,
) -> Result<(), Failure> {
    let mut conditions = vec!["TRUE"];
    let mut values = Vec::new();
    let mut only = |condition, value: Value| {
        conditions.push(condition);
        values.push(value);
    };
    if let Some(parent) = query.parent {
        only("parent = ?", parent.as_bytes().to_vec().into());
    }
    if let Some(state) = state {
        only("state = ?", state_number(state).into());
    }
    if let Some(operation) = &query.operation {
        only("operation = ?", operation.clone().into());
    }
    if let Some(before) = query.before {
        only("id < ?", before.as_bytes().to_vec().into());
    }
    let index = match (query.parent, &query.operation, state) {
        (Some(_), ..) => "INDEXED BY jobs_by_parent",
        (None, Some(_), _) => "INDEXED BY jobs_by_operation",
        (None, None, Some(_)) => "INDEXED BY jobs_by_state",
        (None, None, None) => "",
    };
    let mut found = db.prepare_cached(&format!(
        "SELECT {SUMMARY} FROM jobs {index} WHERE {} ORDER BY id DESC",
        conditions.join(" AND ")
    ))?;
    let mut rows = found.query(params_from_iter(values))?;
    let full = jobs.len().saturating_add(query.limit);
    while jobs.len() < full
        && let Some(row) = rows.next()?
    {
        let job = rows::summary(row)?;
        // What an index of parents or of all jobs doesn't tell.
        if query.states.is_empty() || query.states.contains(&job.state.name()) {
            jobs.push(job.summary());
        }
    }
    Ok(())
}

pub(crate) fn checkpointed(
    db: &Connection,
    id: JobId,
    name: &str,
) -> Result<Option<Box<RawValue>>, Failure> {
    let mut found = db.prepare_cached(
        "SELECT value FROM jobs LEFT JOIN checkpoints ON job = id AND name = ?2 WHERE id = ?1",
    )?;
    let value = found.query_row((id.as_bytes(), name), |row| row.get(0)).optional()?;
    let value: Option<_> = value.ok_or(Failure::Refused(StoreError::Forgotten(id)))?;
    value.map(rows::raw).transpose()
}

/// The documents of a namespace, from its first or after key `after`.
pub(crate) fn documents(
    db: &Connection,
    namespace: &str,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<Document>, Failure> {
    let mut found = db.prepare_cached(&format!(
        "SELECT key, revision, expires_at, value FROM documents WHERE namespace = ?1 \
         AND (expires_at IS NULL OR expires_at > ?2) {} ORDER BY key LIMIT ?3",
        if after.is_some() { "AND key > ?4" } else { "" }
    ))?;
    let mut values: Vec<Value> = vec![
        namespace.to_owned().into(),
        micros(Timestamp::now()).into(),
        i64::try_from(limit).unwrap_or(i64::MAX).into(),
    ];
    values.extend(after.map(|after| after.to_owned().into()));
    let mut rows = found.query(params_from_iter(values))?;
    let mut documents = Vec::new();
    while let Some(row) = rows.next()? {
        documents.push(document(row)?);
    }
    Ok(documents)
}

pub(crate) fn one_document(
    db: &Connection,
    namespace: &str,
    key: &str,
) -> Result<Option<Document>, Failure> {
    let mut found = db.prepare_cached(
        "SELECT key, revision, expires_at, value FROM documents WHERE namespace = ?1 \
         AND (expires_at IS NULL OR expires_at > ?2) AND key = ?3",
    )?;
    let mut rows = found.query((namespace, micros(Timestamp::now()), key))?;
    rows.next()?.map(document).transpose()
}

fn document(row: &rusqlite::Row<'_>) -> Result<Document, Failure> {
    let value = rows::raw(row.get(3)?)?;
    Ok(Document::new(row.get(0)?, value.into(), row.get(1)?, rows::time(row, 2)?))
}
