//! What is known of a job: the record that the store keeps.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::job::JobId;
use crate::problem::Problem;

/// A job to be made.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct JobRequest {
    /// The operation's name.
    pub operation: String,
    /// Its input, a JSON object.
    pub input: Value,
    /// The longest the job may run, if shorter than the operation's own limit.
    pub timeout: Option<Duration>,
    /// When it starts.
    pub start: Start,
    /// Who asks.
    pub caller: Caller,
}

impl JobRequest {
    /// A job of `operation` that starts now, asked for by the server itself.
    pub fn new(operation: impl Into<String>, input: Value) -> Self {
        Self {
            operation: operation.into(),
            input,
            timeout: None,
            start: Start::Now,
            caller: Caller::Server,
        }
    }
}

/// When a job starts to run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// As soon as it's accepted.
    #[default]
    Now,
    /// When its first reader comes; it's cancelled if none does within `jobs.unclaimed_ttl`.
    OnStream,
}

/// Who asked for a job.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Caller {
    /// A program outside, over a protocol. It can't reach hidden operations.
    Client,
    /// Another job, by [`JobContext::call`](crate::JobContext::call).
    Job(JobId),
    /// The server itself, or the program that embeds the router.
    Server,
}

/// Where a job stands.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum JobState {
    /// Accepted, and waits for its time or its first reader.
    Scheduled,
    /// Waits for a place to run.
    Queued,
    /// Runs.
    Running,
    /// Ended with a result (JSON).
    Succeeded(Arc<RawValue>),
    /// Ended with an error.
    Failed(Problem),
    /// Ended because its owner didn't want it any more.
    Cancelled,
}

impl JobState {
    /// The state's name on the wire.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Succeeded(_) => "succeeded",
            Self::Failed(_) => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether this state is a job's last.
    pub fn is_end(&self) -> bool {
        matches!(self, Self::Succeeded(_) | Self::Failed(_) | Self::Cancelled)
    }

    /// The result of a job that succeeded; why there is none otherwise.
    ///
    /// # Errors
    /// The problem of a failed job, `cancelled` for a cancelled one, and `conflict` for one that
    /// hasn't ended.
    pub fn result(&self) -> Result<&RawValue, Problem> {
        use crate::problem::Code;
        match self {
            Self::Succeeded(result) => Ok(result),
            Self::Failed(problem) => Err(problem.clone()),
            Self::Cancelled => Err(Problem::new(Code::Cancelled, "the job was cancelled")),
            _ => Err(Problem::new(Code::Conflict, "the job has not ended")),
        }
    }
}

/// A job as the store keeps it and as `GET /v1/jobs/{id}` shows it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct JobRecord {
    /// Its id.
    pub id: JobId,
    /// Its operation's name.
    pub operation: Arc<str>,
    /// Its input as it was checked, JSON.
    pub input: Arc<RawValue>,
    /// Where it stands.
    pub state: JobState,
    /// Which attempt runs or ran last, from 1.
    pub attempt: u32,
    /// The job that called it, if one did.
    pub parent: Option<JobId>,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When it first ran.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// The id of the last event in its log; 0 if there is none.
    pub last_event: u64,
}

impl Serialize for JobRecord {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut job = serializer.serialize_struct("Job", 11)?;
        job.serialize_field("job_id", &self.id)?;
        job.serialize_field("operation", &*self.operation)?;
        job.serialize_field("state", self.state.as_str())?;
        job.serialize_field("input", &*self.input)?;
        match &self.state {
            JobState::Succeeded(result) => job.serialize_field("result", &**result)?,
            JobState::Failed(problem) => job.serialize_field("error", problem)?,
            _ => {}
        }
        job.serialize_field("attempt", &self.attempt)?;
        if let Some(parent) = &self.parent {
            job.serialize_field("parent", parent)?;
        }
        job.serialize_field("created_at", &self.created_at)?;
        if let Some(at) = &self.started_at {
            job.serialize_field("started_at", at)?;
        }
        if let Some(at) = &self.ended_at {
            job.serialize_field("ended_at", at)?;
        }
        job.serialize_field("last_event", &self.last_event)?;
        job.end()
    }
}
