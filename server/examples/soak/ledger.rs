//! What clients and handlers saw, to be held against what the store has in the end.
//!
//! Of an event only its id and a hash are kept.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use skep::JobId;

use crate::order::Order;
use crate::report::{Counters, Violation};

/// What is known of a job that was accepted.
pub(crate) struct Entry {
    pub(crate) order: Order,
    /// Whether it belongs to the request that made it.
    pub(crate) is_attached: bool,
    pub(crate) cancel: Cancel,
    /// What each reader saw.
    pub(crate) sights: Vec<Sight>,
    /// The last state that a client was told of, if that was an end.
    pub(crate) told: Option<String>,
}

/// How far a job's cancellation is known to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Cancel {
    No,
    /// It was asked for, and the answer got lost or said that it's too late.
    Asked,
    /// It was answered with 202.
    Promised,
}

/// What one reader saw, over all its connections: all events after one, to its last.
#[derive(Clone, Debug)]
pub(crate) struct Sight {
    pub(crate) after: u64,
    /// Ids and hashes.
    pub(crate) events: Vec<(u64, u64)>,
    /// Whether the last one was the job's end.
    pub(crate) has_end: bool,
    /// Whether the server said that there's nothing more: by that end, or by 204.
    pub(crate) is_whole: bool,
}

impl Sight {
    /// Nothing yet, of what comes after an event.
    pub(crate) fn after(after: u64) -> Self {
        Self { after, events: Vec::new(), has_end: false, is_whole: false }
    }

    /// The last event that the reader has behind it.
    pub(crate) fn last(&self) -> u64 {
        self.events.last().map_or(self.after, |(id, _)| *id)
    }
}

/// What handlers told of themselves.
#[derive(Default)]
struct Handlers {
    begun: HashMap<JobId, Vec<u32>>,
    /// Steps whose results are stored.
    taken: HashSet<(JobId, u32)>,
    aborted: HashMap<JobId, u32>,
}

/// The ledger.
#[derive(Default)]
pub(crate) struct Ledger {
    jobs: Mutex<HashMap<JobId, Entry>>,
    /// Idempotency keys, what was asked for by each, and the job that was answered.
    keys: Mutex<Vec<(String, Order, JobId)>>,
    handlers: Mutex<Handlers>,
    violations: Mutex<Vec<Violation>>,
    pub(crate) counters: Counters,
}

impl Ledger {
    /// A job was accepted.
    pub(crate) fn accept(&self, id: JobId, order: &Order, is_attached: bool) {
        let entry = Entry {
            order: order.clone(),
            is_attached,
            cancel: Cancel::No,
            sights: Vec::new(),
            told: None,
        };
        lock(&self.jobs).entry(id).or_insert(entry);
    }

    /// A key was answered with a job: always the same one.
    pub(crate) fn keyed(&self, key: &str, order: &Order, id: JobId) {
        let mut keys = lock(&self.keys);
        let known = keys.iter().rev().find(|(known, ..)| known == key).map(|(.., id)| *id);
        match known {
            None => keys.push((key.to_owned(), order.clone(), id)),
            Some(known) if known == id => {}
            Some(known) => {
                self.violate("keys with two jobs", id, format!("key {key} had job {known} before"));
            }
        }
    }

    /// Some keys of earlier requests, to be asked for again.
    pub(crate) fn some_keys(&self, rng: &mut fastrand::Rng, count: usize) -> Vec<(String, Order)> {
        let keys = lock(&self.keys);
        let some = rng.choose_multiple(keys.iter(), count);
        some.into_iter().map(|(key, order, _)| (key.clone(), order.clone())).collect()
    }

    /// A cancellation has come so far.
    pub(crate) fn cancel(&self, id: JobId, cancel: Cancel) {
        if let Some(entry) = lock(&self.jobs).get_mut(&id) {
            entry.cancel = entry.cancel.max(cancel);
        }
    }

    /// A client was told how the job ended.
    pub(crate) fn told(&self, id: JobId, state: &str) {
        let mut jobs = lock(&self.jobs);
        let Some(entry) = jobs.get_mut(&id) else { return };
        if let Some(before) = entry.told.replace(state.to_owned())
            && before != state
        {
            drop(jobs);
            self.violate("ended twice", id, format!("it had ended as {before}, now as {state}"));
        }
    }

    /// A reader has read what it could.
    pub(crate) fn saw(&self, id: JobId, sight: Sight) {
        self.counters.events.fetch_add(sight.events.len() as u64, Ordering::Relaxed);
        if let Some(entry) = lock(&self.jobs).get_mut(&id) {
            entry.sights.push(sight);
        }
    }

    /// A line that a handler, or the store's faults, said.
    pub(crate) fn hear(&self, line: &str) {
        let mut words = line.split(' ');
        let (verb, object, id) = (words.next(), words.next(), words.next_back());
        match (verb, object, id.and_then(|id| id.parse::<JobId>().ok())) {
            (Some("fault"), ..) => count(&self.counters.store.felt),
            (Some("abort"), Some(id), _) => {
                if let Ok(id) = id.parse() {
                    *lock(&self.handlers).aborted.entry(id).or_default() += 1;
                    count(&self.counters.poisoned);
                }
            }
            (Some(verb), Some(number), Some(id)) => {
                if let Ok(number) = number.parse() {
                    self.hear_of(verb, number, id);
                }
            }
            // A line that was cut off in the middle.
            _ => {}
        }
    }

    /// A line of the server's log: what its store complains of, it has felt.
    pub(crate) fn hear_store(&self, line: &str) {
        let says = |words: &[&str]| words.iter().any(|words| line.contains(words));
        // The store's words for what its database is told, and the system's for its other files.
        if says(&["another program has locked"]) {
            count(&self.counters.busy.felt);
        } else if says(&["the disk is full", "No space left on device"]) {
            count(&self.counters.full.felt);
        } else if says(&["the disk fails", "File too large"]) {
            count(&self.counters.broken.felt);
        }
    }

    fn hear_of(&self, verb: &str, number: u32, id: JobId) {
        let mut handlers = lock(&self.handlers);
        match verb {
            "begin" => {
                let begun = handlers.begun.entry(id).or_default();
                if begun.last().is_some_and(|last| *last >= number) {
                    let what = format!("attempt {number} began after attempts {begun:?}");
                    self.violate("attempts run twice", id, what);
                }
                begun.push(number);
            }
            "step" if handlers.taken.contains(&(id, number)) => {
                self.violate("steps run twice", id, format!("step {number} was taken before"));
            }
            "taken" => drop(handlers.taken.insert((id, number))),
            _ => {}
        }
    }

    /// How often the job's handler has begun.
    pub(crate) fn begun(&self, id: JobId) -> usize {
        lock(&self.handlers).begun.get(&id).map_or(0, Vec::len)
    }

    /// How often the job has taken its server down.
    pub(crate) fn aborted(&self, id: JobId) -> u32 {
        lock(&self.handlers).aborted.get(&id).copied().unwrap_or_default()
    }

    /// Something isn't as it was promised.
    pub(crate) fn violate(&self, what: &'static str, job: JobId, detail: String) {
        eprintln!("VIOLATION: {what}: job {job}: {detail}");
        lock(&self.violations).push(Violation { what, job: Some(job), detail });
    }

    /// The same, of no one job.
    pub(crate) fn violate_as_a_whole(&self, what: &'static str, detail: String) {
        eprintln!("VIOLATION: {what}: {detail}");
        lock(&self.violations).push(Violation { what, job: None, detail });
    }

    pub(crate) fn violations(&self) -> Vec<Violation> {
        lock(&self.violations).clone()
    }

    pub(crate) fn accepted(&self) -> usize {
        lock(&self.jobs).len()
    }

    pub(crate) fn ids(&self) -> Vec<JobId> {
        lock(&self.jobs).keys().copied().collect()
    }

    /// A job's entry, which isn't needed again.
    pub(crate) fn take(&self, id: JobId) -> Option<Entry> {
        lock(&self.jobs).remove(&id)
    }
}

/// Counts one.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
