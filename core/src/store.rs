//! The store: where jobs, their logs and plugins' documents live.
//!
//! The engine keeps running jobs and the newest part of their logs; all else is the store's. It
//! hands over whole segments of a log, never single events, and calls for many jobs at once: a
//! store may gather what comes together into one commit.
//!
//! A store is a plugin like any other: it registers a
//! [`StoreRegistration`](crate::plugin::StoreRegistration). The suite in `skep::testing::store`
//! (feature `testing`) says whether it keeps the promises that stand here.

mod documents;
mod memory;

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use serde_json::value::RawValue;

pub use self::documents::{
    Change, Changes, Document, DocumentStore, Documents, Expected, Feed, PutDocument,
};
pub use self::memory::MemoryStore;
use crate::job::{JobId, JobRecord, JobSummary, StateName, frames};

/// How long an idempotency key is kept, from its job's acceptance on.
pub const IDEMPOTENCY_KEY_TTL: Duration = Duration::from_hours(24);

/// Where jobs and their logs live.
///
/// The engine keeps these promises to it:
///
/// - A job's segments come in order, one call after the other, and nothing is appended to a job
///   after its `end`. Calls of other kinds may come at the same time, also for the same job.
/// - A call that failed with [`StoreError::Unavailable`] may be made again with the same arguments.
///   One that was done although it failed must not be done twice.
///
/// A call that changes a job which isn't kept, or was never accepted, fails with
/// [`StoreError::Forgotten`]; so does a question for its checkpoints. A call that comes after the
/// job's end changes nothing and returns `Ok`: who made it may not have known.
///
/// And the store this one: what a call has returned `Ok` for is kept, whatever happens to the
/// process afterwards, if it [is durable](Self::is_durable) at all. No future here may be relied on
/// to do nothing when it's dropped: the call may have been done.
#[async_trait]
pub trait Store: DocumentStore {
    /// Whether what it keeps outlives the process.
    fn is_durable(&self) -> bool;

    /// Takes a new job. Times are kept to the microsecond. If it has an idempotency key that another
    /// job has, nothing is taken, and that job is told; the first of several that come at once wins.
    ///
    /// The engine runs no job that it was told isn't taken. If the store has it all the same,
    /// [`claim`](Self::claim) gives it, to this process or to a later one.
    async fn accept(&self, job: &JobRecord) -> Result<Accepted, StoreError>;

    /// Takes what has changed in a job that hasn't ended: all of its record but its id, operation,
    /// input, caller, key and creation. After the job's end it changes nothing.
    async fn update(&self, job: &JobRecord) -> Result<(), StoreError>;

    /// Keeps that a job is to be cancelled, so that it isn't run again if the process dies before
    /// the job's end is stored. After the job's end it changes nothing.
    async fn cancel(&self, id: JobId) -> Result<(), StoreError>;

    /// Takes the next segments of a job's log, all or none. After the job's end it changes nothing.
    async fn append(&self, id: JobId, segments: Vec<Segment>) -> Result<(), StoreError>;

    /// Takes a checkpoint of a job that hasn't ended, in place of an earlier one of that name.
    /// After the job's end it changes nothing.
    async fn checkpoint(&self, id: JobId, name: &str, value: &RawValue) -> Result<(), StoreError>;

    /// A checkpoint of a job. After the job's end it has none.
    async fn checkpointed(
        &self,
        id: JobId,
        name: &str,
    ) -> Result<Option<Box<RawValue>>, StoreError>;

    /// Takes a job's end, as one: its record and the segments of its log that are still missing, the
    /// last of which holds the `end` event. The job's checkpoints are forgotten.
    ///
    /// A job must always be able to end: a full store makes room or goes over its limit here, or
    /// is [`Unavailable`](StoreError::Unavailable) until there's room. What comes is bounded: about
    /// 4.1 MiB, and one event that may be larger than a segment.
    async fn end(&self, job: &JobRecord, rest: Vec<Segment>) -> Result<(), StoreError>;

    /// Takes over jobs that haven't ended and that no living server runs, at most `limit` of them,
    /// the oldest first. Each job is given once. None are left when the answer is empty.
    async fn claim(&self, limit: usize) -> Result<Vec<Claimed>, StoreError>;

    /// A job's record, as it was taken last.
    async fn job(&self, id: JobId) -> Result<Option<JobRecord>, StoreError>;

    /// The job that was accepted with an idempotency key, within [`IDEMPOTENCY_KEY_TTL`]. It may be
    /// one that is no longer kept itself.
    async fn keyed(&self, key: &str) -> Result<Option<JobId>, StoreError>;

    /// The segment of a job's log that holds the first event after `position`; `None` if the log
    /// ends there. Ids may skip between two segments.
    async fn read(&self, id: JobId, position: Position) -> Result<Option<Segment>, StoreError>;

    /// The jobs that `query` asks for, newest first.
    async fn list(&self, query: &JobQuery) -> Result<Vec<JobSummary>, StoreError>;

    /// Forgets a few of the ended jobs that `keep` doesn't want kept, those that ended first before
    /// others, and idempotency keys and documents whose time is over; gives their space back.
    /// Returns whether there is more to forget. Other calls go on meanwhile: one step takes no
    /// longer than some milliseconds.
    async fn sweep(&self, keep: &Retention) -> Result<Sweep, StoreError>;
}

/// What [`Store::accept`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// The job is kept.
    New,
    /// It isn't: this job has its idempotency key already.
    Existing(JobId),
}

/// A job that nobody runs, from [`Store::claim`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Claimed {
    /// The job.
    pub record: JobRecord,
    /// The end of its log, as far as it's stored.
    pub log: Position,
    /// Whether it's to be cancelled.
    pub is_cancelled: bool,
}

impl Claimed {
    /// A job, and the last event of its log and the log's size in bytes.
    pub fn new(record: JobRecord, last_event: u64, log_size: u64, is_cancelled: bool) -> Self {
        let log = Position { event: last_event, offset: Some(log_size) };
        Self { record, log, is_cancelled }
    }
}

/// Which ended jobs are kept: those that fit every limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Retention {
    /// Jobs that ended at this time or later.
    pub ended_since: Timestamp,
    /// This many ended jobs.
    pub max_jobs: u64,
    /// So many that the inputs, results and logs of all jobs, ended or not, take this many bytes.
    pub max_bytes: u64,
}

impl Retention {
    /// Keeps everything.
    pub const ALL: Self =
        Self { ended_since: Timestamp::MIN, max_jobs: u64::MAX, max_bytes: u64::MAX };
}

/// What [`Store::sweep`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sweep {
    /// There may be more to forget.
    More,
    /// All that is kept is to be kept.
    Done,
}

/// A place in a job's log: behind an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Position {
    /// The event's id; 0 is the log's beginning.
    pub event: u64,
    /// How many bytes of the log stand before this place, where that is known.
    pub offset: Option<u64>,
}

impl Position {
    /// Before the first event.
    pub const START: Self = Self { event: 0, offset: Some(0) };

    /// Behind event `event`.
    pub fn after(event: u64) -> Self {
        if event == 0 { Self::START } else { Self { event, offset: None } }
    }
}

/// A part of a job's log: whole frames, never empty.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Segment {
    /// The id of its first event.
    pub first: u64,
    /// The id of its last event.
    pub last: u64,
    /// How many bytes of the log stand before it.
    pub offset: u64,
    /// The frames, as readers are sent them.
    pub bytes: Bytes,
}

impl Segment {
    /// The frames `bytes` of events `first` to `last`, which stand at `offset` of their log.
    pub fn new(first: u64, last: u64, offset: u64, bytes: Bytes) -> Self {
        Self { first, last, offset, bytes }
    }

    /// The place behind the segment.
    pub fn end(&self) -> Position {
        Position { event: self.last, offset: Some(self.offset + self.bytes.len() as u64) }
    }

    /// The frames after `position`, shared, not copied.
    pub fn after(&self, position: Position) -> Bytes {
        self.bytes.slice(start_of(&self.bytes, self.first, self.offset, position)..)
    }
}

/// Where in `bytes`, frames from event `first` on that stand at `offset` of their log, the first
/// event after `position` begins.
pub(crate) fn start_of(bytes: &[u8], first: u64, offset: u64, position: Position) -> usize {
    if position.event < first {
        return 0;
    }
    if let Some(known) = position.offset {
        return usize::try_from(known - offset).unwrap_or(bytes.len()).min(bytes.len());
    }
    frames(bytes).take_while(|(id, _)| *id <= position.event).map(|(_, frame)| frame.len()).sum()
}

/// Which jobs [`Store::list`] is asked for.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct JobQuery {
    /// Only jobs in one of these states; in any if there is none.
    pub states: Vec<StateName>,
    /// Only jobs of this operation.
    pub operation: Option<String>,
    /// Only jobs that this one called.
    pub parent: Option<JobId>,
    /// Only jobs older than this one.
    pub before: Option<JobId>,
    /// How many at most.
    pub limit: usize,
}

impl JobQuery {
    /// The newest `limit` jobs.
    pub fn newest(limit: usize) -> Self {
        Self { states: Vec::new(), operation: None, parent: None, before: None, limit }
    }

    /// Whether `job` is one of those asked for, its age aside.
    pub fn matches(&self, job: &JobRecord) -> bool {
        (self.states.is_empty() || self.states.contains(&job.state.name()))
            && self.operation.as_ref().is_none_or(|operation| **operation == *job.operation)
            && self.parent.is_none_or(|parent| job.parent() == Some(parent))
    }
}

/// Why a store didn't do what it was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// It has no room, and gets none by waiting: the jobs that run hold all of it.
    #[error("the store is full: {0}")]
    Full(String),
    /// It can't be reached, or fails. Asking again later may help.
    #[error("the store is not available: {0}")]
    Unavailable(String),
    /// The job, or the rest of its log that was being read, is no longer kept, or never was.
    #[error("job {0} is no longer kept")]
    Forgotten(JobId),
    /// An event of a log is nothing that Skep writes, or nested too deeply to be read.
    #[error("event {0} can't be read")]
    Unreadable(u64),
    /// What is to be kept can't be: it doesn't serialise as JSON.
    #[error("`{0}` can't be kept: {1}")]
    NotJson(String, serde_json::Error),
    /// A document isn't in the state that was expected.
    #[error("document `{key}` of `{namespace}` was changed by someone else: read it again")]
    Conflict {
        /// The document's namespace.
        namespace: String,
        /// Its key.
        key: String,
    },
}
