//! Records as rows of the database, and back.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::Row;
use serde_json::value::RawValue;
use skep::JobId;
use skep::job::{Caller, JobRecord, JobState, Priority, StateName};
use skep::problem::{Code, Problem};
use skep::store::StoreError;

use crate::error::Failure;

/// `concat!` takes no constants.
macro_rules! summary_columns {
    () => {
        "jobs.id, operation, state, error_code, attempt, crashes, priority, caller, parent, \
         created_at, run_at, started_at, ended_at, last_event"
    };
}

/// The columns that [`summary`] reads, in its order.
pub(crate) const SUMMARY: &str = summary_columns!();

/// The columns that [`record`] reads, in its order; from `jobs JOIN inputs`.
pub(crate) const RECORD: &str = concat!(
    summary_columns!(),
    ", timeout, outcome, idempotency_key, input, attached, hops, rerouted_to"
);

/// How many columns [`record`] reads: the place of the first that a query adds.
pub(crate) const RECORD_COLUMNS: usize = 21;

/// The number of a state in the database: its place in a job's life.
pub(crate) fn state_number(state: StateName) -> i64 {
    match state {
        StateName::Scheduled => 0,
        StateName::Queued => 1,
        StateName::Running => 2,
        StateName::Succeeded => 3,
        StateName::Failed => 4,
        StateName::Cancelled => 5,
    }
}

/// The first state that is an end. All after it are ends too.
pub(crate) const FIRST_END: i64 = 3;

/// What a state holds, as JSON.
pub(crate) fn outcome(state: &JobState) -> Result<Option<Cow<'_, str>>, Failure> {
    match state {
        JobState::Succeeded(result) => Ok(Some(result.get().into())),
        JobState::Failed(problem) => match serde_json::to_string(problem) {
            Ok(json) => Ok(Some(json.into())),
            Err(error) => Err(Failure::Refused(StoreError::NotJson("error".to_owned(), error))),
        },
        _ => Ok(None),
    }
}

/// The code of the problem that a job failed with.
pub(crate) fn error_code(state: &JobState) -> Option<&str> {
    match state {
        JobState::Failed(problem) => Some(&problem.code),
        _ => None,
    }
}

/// What stands before a client's name.
const NAMED_CLIENT: &str = "client ";

/// A caller as the database has it; of a job its id has a column of its own.
pub(crate) fn caller_name(caller: &Caller) -> Cow<'static, str> {
    match caller {
        Caller::Server => "server".into(),
        Caller::Job(_) => "job".into(),
        Caller::Client(Some(name)) => format!("{NAMED_CLIENT}{name}").into(),
        // A kind that isn't known here gets the fewest rights.
        _ => "client".into(),
    }
}

/// A time as the database has it.
pub(crate) fn micros(time: Timestamp) -> i64 {
    time.as_microsecond()
}

/// A duration as the database has it: one that is longer than numbers go is as good as none.
pub(crate) fn duration_micros(duration: Duration) -> Option<i64> {
    i64::try_from(duration.as_micros()).ok()
}

/// A job's id as the database has it.
pub(crate) fn id(row: &Row<'_>, column: usize) -> Result<JobId, Failure> {
    Ok(JobId::from_bytes(row.get(column)?))
}

/// A time that there may be.
pub(crate) fn time(row: &Row<'_>, column: usize) -> Result<Option<Timestamp>, Failure> {
    let Some(micros) = row.get::<_, Option<i64>>(column)? else { return Ok(None) };
    Timestamp::from_microsecond(micros)
        .map(Some)
        .map_err(|error| Failure::Damaged(error.to_string()))
}

/// A record without its input and its outcome, from the columns of [`SUMMARY`]: enough for
/// [`JobRecord::summary`].
pub(crate) fn summary(row: &Row<'_>) -> Result<JobRecord, Failure> {
    let state = match row.get(2)? {
        0 => JobState::Scheduled,
        1 => JobState::Queued,
        2 => JobState::Running,
        3 => JobState::Succeeded(nothing()),
        4 => {
            let mut problem = Problem::new(Code::Failed, "");
            problem.code = row.get::<_, String>(3)?.into();
            JobState::Failed(problem)
        }
        5 => JobState::Cancelled,
        number => return Err(unknown(row, "state", number)),
    };
    let mut record = JobRecord::new(row.get::<_, Arc<str>>(1)?, nothing());
    record.id = id(row, 0)?;
    record.state = state;
    record.attempt = row.get(4)?;
    record.crashes = row.get(5)?;
    record.priority = match row.get_ref(6)?.as_str() {
        Ok("low") => Priority::Low,
        Ok("normal") => Priority::Normal,
        Ok("high") => Priority::High,
        name => return Err(unknown(row, "priority", name)),
    };
    record.caller = match row.get_ref(7)?.as_str() {
        Ok("client") => Caller::Client(None),
        Ok("job") => Caller::Job(id(row, 8)?),
        Ok("server") => Caller::Server,
        Ok(name) if name.starts_with(NAMED_CLIENT) => {
            Caller::Client(Some(name[NAMED_CLIENT.len()..].into()))
        }
        name => return Err(unknown(row, "caller", name)),
    };
    record.created_at = time(row, 9)?.unwrap_or_default();
    record.run_at = time(row, 10)?;
    record.started_at = time(row, 11)?;
    record.ended_at = time(row, 12)?;
    record.last_event = row.get(13)?;
    Ok(record)
}

/// A whole record, from the columns of [`RECORD`].
pub(crate) fn record(row: &Row<'_>) -> Result<JobRecord, Failure> {
    let mut record = summary(row)?;
    record.timeout = row.get::<_, Option<u64>>(14)?.map(Duration::from_micros);
    record.idempotency_key = row.get(16)?;
    record.input = raw(row.get(17)?)?.into();
    record.attached = row.get(18)?;
    record.hops = row.get(19)?;
    record.rerouted_to = row.get(20)?;
    record.state = match record.state {
        JobState::Succeeded(_) => JobState::Succeeded(raw(row.get(15)?)?.into()),
        JobState::Failed(_) => {
            let problem =
                serde_json::from_str(row.get_ref(15)?.as_str().map_err(|error| not_text(&error))?);
            JobState::Failed(problem.map_err(|error| Failure::Damaged(error.to_string()))?)
        }
        state => state,
    };
    Ok(record)
}

/// JSON as the database has it.
pub(crate) fn raw(json: String) -> Result<Box<RawValue>, Failure> {
    RawValue::from_string(json).map_err(|error| Failure::Damaged(error.to_string()))
}

fn not_text(error: &rusqlite::types::FromSqlError) -> Failure {
    Failure::Damaged(error.to_string())
}

fn nothing() -> Arc<RawValue> {
    RawValue::NULL.to_owned().into()
}

fn unknown(row: &Row<'_>, column: &str, value: impl std::fmt::Debug) -> Failure {
    match id(row, 0) {
        Ok(id) => Failure::Damaged(format!("the {column} of job {id} is {value:?}")),
        Err(failure) => failure,
    }
}
