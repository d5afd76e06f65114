//! The store that keeps everything in memory.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::job::{JobId, JobRecord, JobState};
use crate::store::{JobQuery, Position, Segment, Store, StoreError};

/// What a job costs beside its input and its log, bytes: its record, and its place in the maps.
const RECORD_COST: u64 = 512;

/// A store in memory: for tests, and for jobs that need not outlive the process.
///
/// It holds at most `capacity` bytes. When they are used up, the jobs that ended first are
/// forgotten; when all that is left are jobs that still run, it's full. A job that ended more
/// than `retention` ago is forgotten too.
pub struct MemoryStore {
    capacity: u64,
    retention: Duration,
    jobs: Mutex<Jobs>,
}

#[derive(Default)]
struct Jobs {
    /// Ids sort by time: the newest job is the last.
    by_id: BTreeMap<JobId, Stored>,
    /// The ended jobs by the order of their ends, the first to be forgotten first.
    ended: BTreeMap<u64, JobId>,
    /// How many jobs have ended: the next key of `ended`.
    ends: u64,
    /// What all jobs cost, bytes.
    used: u64,
}

struct Stored {
    record: JobRecord,
    segments: Vec<Segment>,
    cost: u64,
}

impl Stored {
    /// Whether `segment` has been taken already: a call that seemed to fail is made again.
    fn has(&self, segment: &Segment) -> bool {
        self.segments.last().is_some_and(|last| last.last >= segment.last)
    }
}

impl MemoryStore {
    /// A store of at most `capacity` bytes that forgets a job `retention` after its end.
    pub fn new(capacity: u64, retention: Duration) -> Self {
        Self { capacity, retention, jobs: Mutex::default() }
    }

    /// What is kept, without the jobs whose time is over.
    fn lock(&self) -> MutexGuard<'_, Jobs> {
        // No caller's code runs under the lock, so nothing is half done if a thread died in it.
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(limit) = Timestamp::now().checked_sub(self.retention) {
            jobs.forget_ended_before(limit);
        }
        jobs
    }

    fn full(&self) -> StoreError {
        StoreError::Full(format!("{} bytes of jobs that run, raise `jobs.memory`", self.capacity))
    }
}

impl Jobs {
    /// Adds to the log of a job.
    fn add(&mut self, id: JobId, segments: Vec<Segment>, cost: u64) {
        if let Some(job) = self.by_id.get_mut(&id) {
            job.segments.extend(segments);
            job.cost += cost;
            self.used += cost;
        }
    }

    fn end(&mut self, record: &JobRecord) {
        if let Some(job) = self.by_id.get_mut(&record.id) {
            job.record = record.clone();
            self.ended.insert(self.ends, record.id);
            self.ends += 1;
        }
    }

    /// Forgets ended jobs until `more` bytes fit into `capacity`. Returns whether they do.
    fn make_room(&mut self, capacity: u64, more: u64) -> bool {
        while self.used + more > capacity && self.forget_first_ended() {}
        self.used + more <= capacity
    }

    /// Forgets the jobs that ended before `limit`.
    fn forget_ended_before(&mut self, limit: Timestamp) {
        while let Some((_, id)) = self.ended.first_key_value() {
            let ended_at = self.by_id.get(id).and_then(|job| job.record.ended_at);
            if ended_at.is_some_and(|at| at >= limit) {
                return;
            }
            self.forget_first_ended();
        }
    }

    fn forget_first_ended(&mut self) -> bool {
        let Some((_, id)) = self.ended.pop_first() else { return false };
        if let Some(job) = self.by_id.remove(&id) {
            self.used -= job.cost;
        }
        true
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn accept(&self, job: &JobRecord) -> Result<(), StoreError> {
        let cost = RECORD_COST + job.input.get().len() as u64;
        let mut jobs = self.lock();
        if jobs.by_id.contains_key(&job.id) {
            return Ok(());
        }
        if !jobs.make_room(self.capacity, cost) {
            return Err(self.full());
        }
        jobs.used += cost;
        jobs.by_id.insert(job.id, Stored { record: job.clone(), segments: Vec::new(), cost });
        Ok(())
    }

    async fn append(&self, id: JobId, segment: Segment) -> Result<(), StoreError> {
        let cost = segment.bytes.len() as u64;
        let mut jobs = self.lock();
        if jobs.by_id.get(&id).ok_or_else(|| unknown(id))?.has(&segment) {
            return Ok(());
        }
        if !jobs.make_room(self.capacity, cost) {
            return Err(self.full());
        }
        jobs.add(id, vec![segment], cost);
        Ok(())
    }

    async fn end(&self, job: &JobRecord, rest: Vec<Segment>) -> Result<(), StoreError> {
        let mut jobs = self.lock();
        let stored = jobs.by_id.get(&job.id).ok_or_else(|| unknown(job.id))?;
        if stored.record.state.is_end() {
            return Ok(());
        }
        let rest: Vec<_> = rest.into_iter().filter(|segment| !stored.has(segment)).collect();
        let log: usize = rest.iter().map(|segment| segment.bytes.len()).sum();
        let cost = (log + size(&job.state)) as u64;
        jobs.make_room(self.capacity, cost);
        jobs.add(job.id, rest, cost);
        jobs.end(job);
        Ok(())
    }

    async fn job(&self, id: JobId) -> Result<Option<JobRecord>, StoreError> {
        Ok(self.lock().by_id.get(&id).map(|job| job.record.clone()))
    }

    async fn read(&self, id: JobId, position: Position) -> Result<Option<Segment>, StoreError> {
        let jobs = self.lock();
        let Some(job) = jobs.by_id.get(&id) else { return Ok(None) };
        let next = job.segments.partition_point(|segment| segment.last <= position.event);
        Ok(job.segments.get(next).cloned())
    }

    async fn list(&self, query: &JobQuery) -> Result<Vec<JobRecord>, StoreError> {
        let end = query.before.map_or(Bound::Unbounded, Bound::Excluded);
        let jobs = self.lock();
        let newest_first = jobs.by_id.range((Bound::Unbounded, end)).rev();
        let found = newest_first.map(|(_, job)| &job.record).filter(|job| query.matches(job));
        Ok(found.take(query.limit).cloned().collect())
    }
}

fn unknown(id: JobId) -> StoreError {
    StoreError::Unavailable(format!("job {id} was never accepted"))
}

/// What a state holds, bytes.
fn size(state: &JobState) -> usize {
    match state {
        JobState::Succeeded(result) => result.get().len(),
        JobState::Failed(problem) => serde_json::to_vec(problem).map_or(0, |json| json.len()),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::value::RawValue;

    use super::*;

    fn job() -> JobRecord {
        JobRecord {
            id: JobId::new(),
            operation: "echo".into(),
            input: RawValue::NULL.to_owned().into(),
            state: JobState::Queued,
            attempt: 1,
            parent: None,
            created_at: Timestamp::now(),
            started_at: None,
            ended_at: None,
            last_event: 0,
        }
    }

    #[tokio::test]
    async fn a_call_that_is_made_again_takes_no_more_room() {
        let store = MemoryStore::new(1_000_000, Duration::from_mins(1));
        let mut job = job();
        let segment = Segment { first: 1, last: 2, offset: 0, bytes: Bytes::from(vec![0; 1_000]) };
        for _ in 0..2 {
            store.accept(&job).await.unwrap();
        }
        for _ in 0..2 {
            store.append(job.id, segment.clone()).await.unwrap();
        }
        job.state = JobState::Cancelled;
        job.ended_at = Some(Timestamp::now());
        for _ in 0..2 {
            store.end(&job, vec![segment.clone()]).await.unwrap();
        }
        assert_eq!(store.lock().used, RECORD_COST + 4 + 1_000);
        assert_eq!(store.lock().ended.len(), 1);
    }
}
