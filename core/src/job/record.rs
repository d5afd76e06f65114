//! What is known of a job: the record that the store keeps.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::clock;
use crate::job::JobId;
use crate::problem::{Code, Problem};

/// A job to be made.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct JobRequest {
    /// The operation's name.
    pub operation: String,
    /// Its input, a JSON object.
    pub input: Value,
    /// The longest an attempt may run, if shorter than the operation's own limit.
    pub timeout: Option<Duration>,
    /// When it starts.
    pub start: Start,
    /// Which jobs it goes before where jobs have to wait.
    pub priority: Priority,
    /// A key by which its caller knows the job: a second request with the same key is answered with
    /// the first one's job, for [`IDEMPOTENCY_KEY_TTL`](crate::store::IDEMPOTENCY_KEY_TTL).
    pub idempotency_key: Option<String>,
    /// Whether the job belongs to who asks: a server that has lost him ends it instead of running
    /// it again. [`Router::cancel_on_drop`](crate::Router::cancel_on_drop) ends it when he leaves.
    pub attached: bool,
    /// Who asks.
    pub caller: Caller,
    /// How many servers have handed the job on before this one: where they do so in a circle, the
    /// number tells.
    pub hops: u32,
    /// The event at which a test has the job stand.
    #[cfg(feature = "testing")]
    pub(crate) hold_at: Option<u64>,
}

impl JobRequest {
    /// A job of `operation` that starts now, asked for by the server itself.
    pub fn new(operation: impl Into<String>, input: Value) -> Self {
        Self {
            operation: operation.into(),
            input,
            timeout: None,
            start: Start::Now,
            priority: Priority::Normal,
            idempotency_key: None,
            attached: false,
            caller: Caller::Server,
            hops: 0,
            #[cfg(feature = "testing")]
            hold_at: None,
        }
    }
}

impl JobRequest {
    /// Whether someone outside asks.
    pub(crate) fn is_clients(&self) -> bool {
        matches!(self.caller, Caller::Client(_))
    }

    /// The idempotency key with its caller's name before it: callers don't know of each other's.
    pub(crate) fn scoped_key(&self) -> Option<Arc<str>> {
        let key = self.idempotency_key.as_ref()?;
        Some(match &self.caller {
            Caller::Client(None) => format!("client/{key}").into(),
            // A key has no blanks, so the last one ends the name.
            Caller::Client(Some(name)) => format!("client {name} {key}").into(),
            Caller::Server => format!("server/{key}").into(),
            Caller::Job(id) => format!("{id}/{key}").into(),
        })
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
    /// At this time, by the server's clock; at once if it's over. The server may be restarted in
    /// between.
    At(Timestamp),
}

/// Which jobs go first where jobs have to wait. All get their share: of 21 places that fall free
/// while jobs of every priority wait, 16 go to `High`, 4 to `Normal` and 1 to `Low`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// What can wait.
    Low,
    /// What has no wish.
    #[default]
    Normal,
    /// What someone waits for.
    High,
}

impl Priority {
    /// Every priority, the lowest first.
    pub const ALL: [Self; 3] = [Self::Low, Self::Normal, Self::High];

    /// The priority's name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Normal => "normal",
            Self::High => "high",
        }
    }
}

/// Who asked for a job.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Caller {
    /// A program outside, over a protocol, with its name if it's known by one. It can't reach hidden
    /// operations.
    Client(Option<Arc<str>>),
    /// Another job, by [`JobContext::call`](crate::JobContext::call).
    Job(JobId),
    /// The server itself, or the program that embeds the router.
    Server,
}

/// The name of a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StateName {
    /// See [`JobState::Scheduled`].
    Scheduled,
    /// See [`JobState::Queued`].
    Queued,
    /// See [`JobState::Running`].
    Running,
    /// See [`JobState::Succeeded`].
    Succeeded,
    /// See [`JobState::Failed`].
    Failed,
    /// See [`JobState::Cancelled`].
    Cancelled,
}

impl StateName {
    /// Every state, in the order of a job's life.
    pub const ALL: [Self; 6] = [
        Self::Scheduled,
        Self::Queued,
        Self::Running,
        Self::Succeeded,
        Self::Failed,
        Self::Cancelled,
    ];

    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether this state is a job's last.
    pub fn is_end(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }
}

/// Where a job stands.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum JobState {
    /// Accepted, and waits for its time or its first reader.
    Scheduled,
    /// Waits for a place to run, or for its next attempt.
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
    /// The state's name.
    pub fn name(&self) -> StateName {
        match self {
            Self::Scheduled => StateName::Scheduled,
            Self::Queued => StateName::Queued,
            Self::Running => StateName::Running,
            Self::Succeeded(_) => StateName::Succeeded,
            Self::Failed(_) => StateName::Failed,
            Self::Cancelled => StateName::Cancelled,
        }
    }

    /// The state's name on the wire.
    pub fn as_str(&self) -> &'static str {
        self.name().as_str()
    }

    /// Whether this state is a job's last.
    pub fn is_end(&self) -> bool {
        self.name().is_end()
    }

    /// The result of a job that succeeded; why there is none otherwise.
    ///
    /// # Errors
    /// The problem of a failed job, `cancelled` for a cancelled one, and `conflict` for one that
    /// hasn't ended.
    pub fn result(&self) -> Result<&RawValue, Problem> {
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
    /// Who asked for it.
    pub caller: Caller,
    /// How many servers have handed it on before this one.
    pub hops: u32,
    /// The operation whose handler does it, where an interceptor has
    /// [rerouted](crate::Execution::reroute) it: that one's hints say whether it may be run again.
    pub rerouted_to: Option<Arc<str>>,
    /// Whether it belongs to who asked: it isn't run again when a server has lost him.
    pub attached: bool,
    /// Its priority.
    pub priority: Priority,
    /// The longest an attempt may run, if its request said so.
    pub timeout: Option<Duration>,
    /// Its idempotency key, with its caller's name before it, so that callers don't meet.
    pub idempotency_key: Option<Arc<str>>,
    /// Where it stands.
    pub state: JobState,
    /// Which attempt runs or ran last, from 1.
    pub attempt: u32,
    /// How many attempts a server's crash cut off.
    pub crashes: u32,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// Before when it doesn't run: its own start's time, or that of its next attempt.
    pub run_at: Option<Timestamp>,
    /// When it first ran.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// The id of the last event in its log; 0 if there is none.
    pub last_event: u64,
}

impl JobRecord {
    /// A job that is accepted now.
    ///
    /// For tests of stores: in a server it's [`Router::create_job`](crate::Router::create_job) that
    /// makes jobs.
    pub fn new(operation: impl Into<Arc<str>>, input: Arc<RawValue>) -> Self {
        Self {
            id: JobId::new(),
            operation: operation.into(),
            input,
            caller: Caller::Server,
            hops: 0,
            rerouted_to: None,
            attached: false,
            priority: Priority::Normal,
            timeout: None,
            idempotency_key: None,
            state: JobState::Queued,
            attempt: 1,
            crashes: 0,
            created_at: clock::now(),
            run_at: None,
            started_at: None,
            ended_at: None,
            last_event: 0,
        }
    }

    /// The job that called it, if one did.
    pub fn parent(&self) -> Option<JobId> {
        match self.caller {
            Caller::Job(parent) => Some(parent),
            _ => None,
        }
    }

    /// The record without what may be large.
    pub fn summary(&self) -> JobSummary {
        JobSummary {
            id: self.id,
            operation: self.operation.as_ref().to_owned(),
            state: self.state.name(),
            error_code: match &self.state {
                JobState::Failed(problem) => Some(problem.code.clone().into_owned()),
                _ => None,
            },
            attempt: self.attempt,
            priority: self.priority,
            parent: self.parent(),
            created_at: self.created_at,
            run_at: self.run_at,
            started_at: self.started_at,
            ended_at: self.ended_at,
            last_event: self.last_event,
        }
    }
}

/// A job in a list: its record without its input and its result, which may be large.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct JobSummary {
    /// Its id.
    #[serde(rename = "job_id")]
    pub id: JobId,
    /// Its operation's name.
    pub operation: String,
    /// Where it stands.
    pub state: StateName,
    /// The code of the problem that it failed with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_code: Option<String>,
    /// Which attempt runs or ran last, from 1.
    pub attempt: u32,
    /// Its priority.
    pub priority: Priority,
    /// The job that called it, if one did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<JobId>,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// Before when it doesn't run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_at: Option<Timestamp>,
    /// When it first ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// The id of the last event in its log; 0 if there is none.
    pub last_event: u64,
}

/// A summary's fields, and what it leaves out.
impl Serialize for JobRecord {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Shown<'a> {
            #[serde(flatten)]
            summary: JobSummary,
            input: &'a RawValue,
            #[serde(skip_serializing_if = "Option::is_none")]
            result: Option<&'a RawValue>,
            #[serde(skip_serializing_if = "Option::is_none")]
            error: Option<&'a Problem>,
        }
        let (result, error) = match &self.state {
            JobState::Succeeded(result) => (Some(&**result), None),
            JobState::Failed(problem) => (None, Some(problem)),
            _ => (None, None),
        };
        let summary = JobSummary { error_code: None, ..self.summary() };
        Shown { summary, input: &self.input, result, error }.serialize(serializer)
    }
}
