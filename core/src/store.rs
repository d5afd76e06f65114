//! The store: where jobs and their logs live.
//!
//! The engine keeps running jobs and the newest part of their logs; all else is the store's. It
//! hands over whole segments of a log, never single events, and never waits for one segment before
//! it hands over the next part of another job's: a store may gather what comes at once into one
//! commit.

mod memory;

use async_trait::async_trait;
use bytes::Bytes;

pub use self::memory::MemoryStore;
use crate::job::{JobId, JobRecord, frames};

/// Where jobs and their logs live.
///
/// The engine keeps these promises to it: calls for one job come one after the other; segments
/// come in order; nothing is appended to a job after its `end`. A call that failed with
/// [`StoreError::Unavailable`] is made again with the same arguments, until it succeeds: one that
/// was done although it failed must not be done twice. A call that has returned `Ok` is kept, whatever happens to the process afterwards, as far as the store promises at all
/// ([`MemoryStore`] promises nothing beyond the process).
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Takes a new job.
    async fn accept(&self, job: &JobRecord) -> Result<(), StoreError>;

    /// Takes the next segment of a job's log.
    async fn append(&self, id: JobId, segment: Segment) -> Result<(), StoreError>;

    /// Takes a job's end, as one: its record and the segments of its log that are still missing, the
    /// last of which holds the `end` event.
    ///
    /// A job must always be able to end: a full store makes room or goes over its limit here. What
    /// comes is bounded: about 320 KiB, and one event that may be larger than a segment.
    async fn end(&self, job: &JobRecord, rest: Vec<Segment>) -> Result<(), StoreError>;

    /// A job's record, as [`accept`](Self::accept) or [`end`](Self::end) took it.
    async fn job(&self, id: JobId) -> Result<Option<JobRecord>, StoreError>;

    /// The segment of a job's log that holds the first event after `position`; `None` if the log
    /// ends there.
    async fn read(&self, id: JobId, position: Position) -> Result<Option<Segment>, StoreError>;

    /// The jobs that `query` asks for, newest first.
    async fn list(&self, query: &JobQuery) -> Result<Vec<JobRecord>, StoreError>;
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
    /// Only jobs in the state of this name.
    pub state: Option<String>,
    /// Only jobs of this operation.
    pub operation: Option<String>,
    /// Only jobs older than this one.
    pub before: Option<JobId>,
    /// How many at most.
    pub limit: usize,
}

impl JobQuery {
    /// The newest `limit` jobs.
    pub fn newest(limit: usize) -> Self {
        Self { state: None, operation: None, before: None, limit }
    }

    /// Whether `job` is one of those asked for, its age aside.
    pub fn matches(&self, job: &JobRecord) -> bool {
        self.state.as_ref().is_none_or(|state| state == job.state.as_str())
            && self.operation.as_ref().is_none_or(|operation| **operation == *job.operation)
    }
}

/// Why a store didn't do what it was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// It has no room.
    #[error("the store is full: {0}")]
    Full(String),
    /// It can't be reached, or fails.
    #[error("the store is not available: {0}")]
    Unavailable(String),
    /// The rest of a log that was being read is no longer kept.
    #[error("job {0} is no longer kept")]
    Forgotten(JobId),
    /// An event of a log is nothing that Skep writes, or nested too deeply to be read.
    #[error("event {0} can't be read")]
    Unreadable(u64),
}
