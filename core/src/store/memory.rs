//! The store that keeps everything in memory.

mod documents;

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use serde_json::value::RawValue;

use self::documents::MemoryDocuments;
use crate::clock;
use crate::job::{JobId, JobRecord, JobState, JobSummary};
use crate::store::{
    Accepted, Claimed, IDEMPOTENCY_KEY_TTL, JobQuery, Position, Retention, Segment, Store,
    StoreError, Sweep,
};

/// What a job costs beside its input and its log, bytes: its record, and its place in the maps.
const RECORD_COST: u64 = 512;

/// How many jobs one sweep forgets.
const SWEEP: usize = 256;

/// A store in memory: for tests, and for jobs that need not outlive the process.
///
/// It holds at most `capacity` bytes of jobs. When they are used up, the jobs that ended first are
/// forgotten, with their idempotency keys; when all that is left are jobs that still run, it's full.
/// Documents aren't counted: their plugins have them in their hands.
pub struct MemoryStore {
    capacity: u64,
    outlives_routers: bool,
    jobs: Mutex<Jobs>,
    documents: MemoryDocuments,
}

#[derive(Default)]
struct Jobs {
    /// Ids sort by time: the newest job is the last.
    by_id: BTreeMap<JobId, Stored>,
    /// The ended jobs by the order of their ends, the first to be forgotten first.
    ended: BTreeMap<u64, JobId>,
    /// How many jobs have ended: the next key of `ended`.
    ends: u64,
    /// The jobs that were accepted with an idempotency key.
    by_key: HashMap<Arc<str>, JobId>,
    /// What all jobs cost, bytes.
    used: u64,
}

struct Stored {
    record: JobRecord,
    segments: Vec<Segment>,
    checkpoints: HashMap<String, Box<RawValue>>,
    cost: u64,
    is_cancelled: bool,
    is_claimed: bool,
}

impl Stored {
    /// Whether `segment` has been taken already: a call that seemed to fail is made again.
    fn has(&self, segment: &Segment) -> bool {
        self.segments.last().is_some_and(|last| last.last >= segment.last)
    }
}

impl MemoryStore {
    /// A store of at most `capacity` bytes.
    pub fn new(capacity: u64) -> Self {
        Self {
            capacity,
            outlives_routers: false,
            jobs: Mutex::default(),
            documents: MemoryDocuments::default(),
        }
    }

    /// A store that outlives its router: jobs that haven't ended at the router's shutdown stay in it
    /// for the next one. For tests of what a restart does.
    pub fn for_restarts(capacity: u64) -> Self {
        Self { outlives_routers: true, ..Self::new(capacity) }
    }

    /// As if the process had died and the store had been opened anew: the jobs that haven't ended
    /// can be [claimed](Store::claim).
    pub fn reopen(&self) {
        for job in self.lock().by_id.values_mut() {
            job.is_claimed = job.record.state.is_end();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Jobs> {
        // No caller's code runs under the lock, so nothing is half done if a thread died in it.
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn full(&self) -> StoreError {
        StoreError::Full(format!("{} bytes of jobs that run, raise `jobs.memory`", self.capacity))
    }
}

impl Jobs {
    fn live(&mut self, id: JobId) -> Result<&mut Stored, StoreError> {
        self.by_id.get_mut(&id).ok_or(StoreError::Forgotten(id))
    }

    /// Adds to what a job costs.
    fn charge(&mut self, id: JobId, cost: u64) {
        if let Some(job) = self.by_id.get_mut(&id) {
            job.cost += cost;
            self.used += cost;
        }
    }

    /// The job that has `key`, if the key still counts.
    fn keyed(&self, key: &str) -> Option<JobId> {
        let id = *self.by_key.get(key)?;
        let accepted = self.by_id.get(&id)?.record.created_at;
        (accepted + IDEMPOTENCY_KEY_TTL > clock::system()).then_some(id)
    }

    /// Forgets ended jobs until `more` bytes fit into `capacity`. Returns whether they do.
    fn make_room(&mut self, capacity: u64, more: u64) -> bool {
        while self.used + more > capacity && self.forget_first_ended() {}
        self.used + more <= capacity
    }

    /// Whether the job that ended first is one too many.
    fn is_over(&self, keep: &Retention) -> bool {
        let Some((_, id)) = self.ended.first_key_value() else { return false };
        let ended_at = self.by_id.get(id).and_then(|job| job.record.ended_at);
        ended_at.is_none_or(|at| at < keep.ended_since)
            || self.ended.len() as u64 > keep.max_jobs
            || self.used > keep.max_bytes
    }

    fn forget_first_ended(&mut self) -> bool {
        let Some((_, id)) = self.ended.pop_first() else { return false };
        if let Some(job) = self.by_id.remove(&id) {
            self.used -= job.cost;
            // Unless it has passed to a later job.
            if let Some(key) = job.record.idempotency_key
                && self.by_key.get(&key) == Some(&id)
            {
                self.by_key.remove(&key);
            }
        }
        true
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn is_durable(&self) -> bool {
        self.outlives_routers
    }

    async fn accept(&self, job: &JobRecord) -> Result<Accepted, StoreError> {
        let key = job.idempotency_key.as_ref();
        let cost = RECORD_COST + (job.input.get().len() + key.map_or(0, |key| key.len())) as u64;
        let mut jobs = self.lock();
        if jobs.by_id.contains_key(&job.id) {
            return Ok(Accepted::New);
        }
        if let Some(existing) = key.and_then(|key| jobs.keyed(key)) {
            return Ok(Accepted::Existing(existing));
        }
        if !jobs.make_room(self.capacity, cost) {
            return Err(self.full());
        }
        jobs.used += cost;
        if let Some(key) = key {
            jobs.by_key.insert(key.clone(), job.id);
        }
        let stored = Stored {
            record: job.clone(),
            segments: Vec::new(),
            checkpoints: HashMap::new(),
            cost,
            is_cancelled: false,
            is_claimed: true,
        };
        jobs.by_id.insert(job.id, stored);
        Ok(Accepted::New)
    }

    async fn update(&self, job: &JobRecord) -> Result<(), StoreError> {
        let mut jobs = self.lock();
        let stored = jobs.live(job.id)?;
        if !stored.record.state.is_end() {
            stored.record = job.clone();
        }
        Ok(())
    }

    async fn cancel(&self, id: JobId) -> Result<(), StoreError> {
        let mut jobs = self.lock();
        let stored = jobs.live(id)?;
        stored.is_cancelled |= !stored.record.state.is_end();
        Ok(())
    }

    async fn append(&self, id: JobId, mut segments: Vec<Segment>) -> Result<(), StoreError> {
        let mut jobs = self.lock();
        let stored = jobs.live(id)?;
        if stored.record.state.is_end() {
            return Ok(());
        }
        segments.retain(|segment| !stored.has(segment));
        let cost = size_of(&segments);
        if !jobs.make_room(self.capacity, cost) {
            return Err(self.full());
        }
        jobs.live(id)?.segments.extend(segments);
        jobs.charge(id, cost);
        Ok(())
    }

    async fn checkpoint(&self, id: JobId, name: &str, value: &RawValue) -> Result<(), StoreError> {
        let cost = (name.len() + value.get().len()) as u64;
        let mut jobs = self.lock();
        if jobs.live(id)?.record.state.is_end() {
            return Ok(());
        }
        if !jobs.make_room(self.capacity, cost) {
            return Err(self.full());
        }
        let earlier = jobs.live(id)?.checkpoints.insert(name.to_owned(), value.to_owned());
        // A job that saves its progress again and again pays for the last one.
        let paid = earlier.map_or(0, |earlier| (name.len() + earlier.get().len()) as u64);
        let stored = jobs.live(id)?;
        stored.cost = stored.cost + cost - paid;
        jobs.used = jobs.used + cost - paid;
        Ok(())
    }

    async fn checkpointed(
        &self,
        id: JobId,
        name: &str,
    ) -> Result<Option<Box<RawValue>>, StoreError> {
        Ok(self.lock().live(id)?.checkpoints.get(name).cloned())
    }

    async fn end(&self, job: &JobRecord, mut rest: Vec<Segment>) -> Result<(), StoreError> {
        let mut jobs = self.lock();
        let stored = jobs.live(job.id)?;
        if stored.record.state.is_end() {
            return Ok(());
        }
        rest.retain(|segment| !stored.has(segment));
        let cost = size_of(&rest) + outcome_size(&job.state);
        let saved = std::mem::take(&mut stored.checkpoints);
        let saved: usize = saved.iter().map(|(name, value)| name.len() + value.get().len()).sum();
        stored.cost -= saved as u64;
        stored.record = job.clone();
        stored.segments.extend(rest);
        jobs.used -= saved as u64;
        // Before the job is one of those that may be forgotten.
        jobs.make_room(self.capacity, cost);
        jobs.charge(job.id, cost);
        let order = jobs.ends;
        jobs.ended.insert(order, job.id);
        jobs.ends += 1;
        Ok(())
    }

    async fn claim(&self, limit: usize) -> Result<Vec<Claimed>, StoreError> {
        let mut jobs = self.lock();
        let free = jobs.by_id.values_mut().filter(|job| !job.is_claimed).take(limit);
        Ok(free
            .map(|job| {
                job.is_claimed = true;
                let log = job.segments.last().map_or(Position::START, Segment::end);
                Claimed { record: job.record.clone(), log, is_cancelled: job.is_cancelled }
            })
            .collect())
    }

    async fn job(&self, id: JobId) -> Result<Option<JobRecord>, StoreError> {
        Ok(self.lock().by_id.get(&id).map(|job| job.record.clone()))
    }

    async fn keyed(&self, key: &str) -> Result<Option<JobId>, StoreError> {
        Ok(self.lock().keyed(key))
    }

    async fn read(&self, id: JobId, position: Position) -> Result<Option<Segment>, StoreError> {
        let jobs = self.lock();
        let Some(job) = jobs.by_id.get(&id) else { return Ok(None) };
        let next = job.segments.partition_point(|segment| segment.last <= position.event);
        Ok(job.segments.get(next).cloned())
    }

    async fn list(&self, query: &JobQuery) -> Result<Vec<JobSummary>, StoreError> {
        let end = query.before.map_or(Bound::Unbounded, Bound::Excluded);
        let jobs = self.lock();
        let newest_first = jobs.by_id.range((Bound::Unbounded, end)).rev();
        let found = newest_first.map(|(_, job)| &job.record).filter(|job| query.matches(job));
        Ok(found.take(query.limit).map(JobRecord::summary).collect())
    }

    async fn sweep(&self, keep: &Retention) -> Result<Sweep, StoreError> {
        self.documents.sweep();
        let mut jobs = self.lock();
        for _ in 0..SWEEP {
            if !jobs.is_over(keep) {
                return Ok(Sweep::Done);
            }
            jobs.forget_first_ended();
        }
        Ok(Sweep::More)
    }
}

fn size_of(segments: &[Segment]) -> u64 {
    segments.iter().map(|segment| segment.bytes.len() as u64).sum()
}

/// What a state holds, bytes.
fn outcome_size(state: &JobState) -> u64 {
    match state {
        JobState::Succeeded(result) => result.get().len() as u64,
        JobState::Failed(problem) => {
            serde_json::to_vec(problem).map_or(0, |json| json.len() as u64)
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[tokio::test]
    async fn a_call_that_is_made_again_takes_no_more_room() {
        let store = MemoryStore::new(1_000_000);
        let mut job = JobRecord::new("echo", RawValue::NULL.to_owned().into());
        let segment = Segment::new(1, 2, 0, Bytes::from(vec![0; 1_000]));
        for _ in 0..2 {
            store.accept(&job).await.unwrap();
        }
        for _ in 0..2 {
            store.append(job.id, vec![segment.clone()]).await.unwrap();
        }
        for _ in 0..2 {
            store.checkpoint(job.id, "progress", RawValue::NULL).await.unwrap();
        }
        assert_eq!(store.lock().used, RECORD_COST + 4 + 1_000 + 12);
        job.state = JobState::Cancelled;
        job.ended_at = Some(clock::system());
        for _ in 0..2 {
            store.end(&job, vec![segment.clone()]).await.unwrap();
        }
        assert_eq!(store.lock().used, RECORD_COST + 4 + 1_000);
        assert_eq!(store.lock().ended.len(), 1);
    }
}
