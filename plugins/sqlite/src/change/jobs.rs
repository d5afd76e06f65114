//! Changes of jobs.

use rusqlite::{OptionalExtension, params};
use skep::JobId;
use skep::job::JobRecord;
use skep::store::{Accepted, Segment, StoreError};

use crate::change::log::{append, size_of};
use crate::error::Failure;
use crate::query::keyed;
use crate::rows::{
    FIRST_END, caller_name, duration_micros, error_code, micros, outcome, state_number,
};
use crate::writer::{Change, LiveJob, Transaction};

/// [`Store::accept`](skep::store::Store::accept).
pub(crate) struct Accept {
    pub(crate) job: JobRecord,
}

impl Change for Accept {
    type Output = Accepted;

    fn apply(&self, to: &mut Transaction<'_>) -> Result<Accepted, Failure> {
        let job = &self.job;
        if let Some(key) = &job.idempotency_key
            && let Some(existing) = keyed(to.database(), key)?
        {
            // Its own key, if the call is made again.
            let accepted = existing == job.id;
            return Ok(if accepted { Accepted::New } else { Accepted::Existing(existing) });
        }
        let outcome = outcome(&job.state)?;
        let inserted = to
            .statement(
                "INSERT INTO jobs (id, operation, state, error_code, attempt, crashes, priority, \
                 caller, parent, created_at, run_at, started_at, ended_at, last_event, timeout, \
                 outcome, idempotency_key, attached, hops) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, \
                 ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19) ON CONFLICT (id) DO NOTHING",
            )?
            .execute(params![
                job.id.as_bytes(),
                job.operation,
                state_number(job.state.name()),
                error_code(&job.state),
                job.attempt,
                job.crashes,
                job.priority.as_str(),
                &*caller_name(&job.caller),
                job.parent().as_ref().map(JobId::as_bytes),
                micros(job.created_at),
                job.run_at.map(micros),
                job.started_at.map(micros),
                job.ended_at.map(micros),
                job.last_event,
                job.timeout.and_then(duration_micros),
                outcome,
                job.idempotency_key,
                job.attached,
                job.hops,
            ])?;
        if inserted == 0 {
            return Ok(Accepted::New);
        }
        to.statement("INSERT INTO inputs (job, input) VALUES (?1, ?2)")?
            .execute((job.id.as_bytes(), job.input.get()))?;
        if let Some(key) = &job.idempotency_key {
            to.statement("INSERT OR REPLACE INTO keys (key, job, created_at) VALUES (?1, ?2, ?3)")?
                .execute((key, job.id.as_bytes(), micros(job.created_at)))?;
        }
        to.totals.bytes += (job.input.get().len() + outcome.map_or(0, |json| json.len())) as u64;
        to.totals.ended += u64::from(job.state.is_end());
        if !job.state.is_end() {
            to.live.insert(job.id, LiveJob::default());
        }
        Ok(Accepted::New)
    }

    fn size(&self) -> usize {
        self.job.input.get().len()
    }
}

/// [`Store::update`](skep::store::Store::update).
pub(crate) struct Update {
    pub(crate) job: JobRecord,
}

impl Change for Update {
    type Output = ();

    fn apply(&self, to: &mut Transaction<'_>) -> Result<(), Failure> {
        let outcome = outcome(&self.job.state)?;
        if !has_ended(to, self.job.id)? {
            write(to, &self.job, outcome.as_deref())?;
        }
        Ok(())
    }
}

/// [`Store::cancel`](skep::store::Store::cancel).
pub(crate) struct Cancel {
    pub(crate) id: JobId,
}

impl Change for Cancel {
    type Output = ();

    fn apply(&self, to: &mut Transaction<'_>) -> Result<(), Failure> {
        if !has_ended(to, self.id)? {
            to.statement("UPDATE jobs SET is_cancelled = 1 WHERE id = ?1")?
                .execute([self.id.as_bytes()])?;
        }
        Ok(())
    }
}

/// [`Store::checkpoint`](skep::store::Store::checkpoint).
pub(crate) struct Checkpoint {
    pub(crate) id: JobId,
    pub(crate) name: String,
    pub(crate) value: String,
}

impl Change for Checkpoint {
    type Output = ();

    fn apply(&self, to: &mut Transaction<'_>) -> Result<(), Failure> {
        if !has_ended(to, self.id)? {
            to.statement(
                "INSERT OR REPLACE INTO checkpoints (job, name, value) VALUES (?1, ?2, ?3)",
            )?
            .execute((self.id.as_bytes(), &self.name, &self.value))?;
            if let Some(job) = to.live.get_mut(&self.id) {
                job.has_checkpoints = true;
            }
        }
        Ok(())
    }

    fn size(&self) -> usize {
        self.value.len()
    }
}

/// [`Store::end`](skep::store::Store::end).
pub(crate) struct End {
    pub(crate) job: JobRecord,
    pub(crate) rest: Vec<Segment>,
}

impl Change for End {
    type Output = ();

    fn apply(&self, to: &mut Transaction<'_>) -> Result<(), Failure> {
        let id = self.job.id;
        let outcome = outcome(&self.job.state)?;
        if has_ended(to, id)? {
            return Ok(());
        }
        append(to, id, &self.rest)?;
        write(to, &self.job, outcome.as_deref())?;
        if to.live.remove(&id).is_none_or(|job| job.has_checkpoints) {
            to.statement("DELETE FROM checkpoints WHERE job = ?1")?.execute([id.as_bytes()])?;
        }
        to.logs.end(id);
        Ok(())
    }

    fn size(&self) -> usize {
        size_of(&self.rest)
    }
}

/// Whether a job has ended.
///
/// # Errors
/// If there's none of this id, refused: [`StoreError::Forgotten`].
pub(super) fn has_ended(to: &Transaction<'_>, id: JobId) -> Result<bool, Failure> {
    if to.live.contains_key(&id) {
        return Ok(false);
    }
    let mut found = to.statement("SELECT state FROM jobs WHERE id = ?1")?;
    let state: Option<i64> = found.query_row([id.as_bytes()], |row| row.get(0)).optional()?;
    let forgotten = || Failure::Refused(StoreError::Forgotten(id));
    state.map(|state| state >= FIRST_END).ok_or_else(forgotten)
}

/// Writes what changes in a job that hasn't ended, its end too.
fn write(to: &mut Transaction<'_>, job: &JobRecord, outcome: Option<&str>) -> Result<(), Failure> {
    to.statement(
        "UPDATE jobs SET state = ?2, error_code = ?3, attempt = ?4, crashes = ?5, priority = ?6, \
         run_at = ?7, started_at = ?8, ended_at = ?9, last_event = ?10, timeout = ?11, \
         outcome = ?12, attached = ?13, rerouted_to = ?14 WHERE id = ?1",
    )?
    .execute(params![
        job.id.as_bytes(),
        state_number(job.state.name()),
        error_code(&job.state),
        job.attempt,
        job.crashes,
        job.priority.as_str(),
        job.run_at.map(micros),
        job.started_at.map(micros),
        job.ended_at.map(micros),
        job.last_event,
        job.timeout.and_then(duration_micros),
        outcome,
        job.attached,
        job.rerouted_to,
    ])?;
    to.totals.bytes += outcome.map_or(0, str::len) as u64;
    to.totals.ended += u64::from(job.state.is_end());
    Ok(())
}
